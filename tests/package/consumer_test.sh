#!/bin/sh
# consumer_test.sh installed|subdirectory SOURCE BUILD SCRATCH CONFIG CMAKE-ARGUMENTS...
# Builds examples/consumer against the installed package of BUILD, moved after its installation, or with
# Luce's sources as a subdirectory; runs its programs and checks what they say.
set -eu
mode=$1 source=$2 build=$3 scratch=$4 config=$5
shift 5
cores=$(nproc)

fail() {
  printf 'FAILED: %s\n' "$*" >&2
  exit 1
}
expect() { # STATUS TEXT COMMAND...: the command ends with the status and prints the text
  status=$1 text=$2
  shift 2
  got=0
  output=$("$@" 2>&1) || got=$?
  [ "$got" = "$status" ] || fail "$* ended with $got, not $status: $output"
  case $output in
    *"$text"*) ;;
    *) fail "$* printed \"$output\", without \"$text\"" ;;
  esac
}

mkdir -p "$scratch"
if [ "$mode" = installed ]; then
  rm -rf "${scratch:?}"/*
  cmake --install "$build" --config "$config" --prefix "$scratch/first" >/dev/null
  mv "$scratch/first" "$scratch/moved"
  ! grep -rlF -e "$scratch/first" -e "$source" --include '*.cmake' --include '*.h' "$scratch/moved" ||
    fail "the installed files above name the folder that they were built in or installed to"
  if [ -x "$scratch/moved/bin/luce" ]; then
    expect 0 luce "$scratch/moved/bin/luce" --version
  fi
  expect 1 'LibTorch was not found' cmake -S "$source/examples/consumer" -B "$scratch/without-torch" "$@" \
    -DTorch_DIR="$scratch" -DCMAKE_PREFIX_PATH="$scratch/moved" -DCMAKE_FIND_USE_CMAKE_ENVIRONMENT_PATH=OFF
  set -- "$@" -DCMAKE_PREFIX_PATH="$scratch/moved"
else
  set -- "$@" -DLUCE_SOURCE="$source"
fi

cmake -S "$source/examples/consumer" -B "$scratch/build" "$@"
cmake --build "$scratch/build" --parallel "$cores" --target my_options my_loss

expect 0 '"beta": 0.5' "$scratch/build/my_options" beta=0.5
expect 64 'did you mean "beta"?' "$scratch/build/my_options" betta=0.5
expect 0 'loss 0.8, gradient of the first token' "$scratch/build/my_loss"
expect 0 'loss 0.598139' "$scratch/build/my_loss" loss.type=dpo
expect 64 'known losses' "$scratch/build/my_loss" loss.type=nonsense
echo "the consumer works: $mode"

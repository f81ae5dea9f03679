#!/bin/sh
# consumer_test.sh installed|subdirectory SOURCE BUILD SCRATCH CONFIG CMAKE-ARGUMENTS...
# Builds examples/consumer against the installed package of BUILD, moved after its installation, or with
# Luce's sources as a subdirectory; runs its programs and checks what they say. Installed, examples/plugin too,
# with which the installed program trains.
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
cmake --build "$scratch/build" --parallel "$cores" --target my_options my_loss my_plugin my_program

expect 0 '"beta": 0.5' "$scratch/build/my_options" beta=0.5
expect 64 'did you mean "beta"?' "$scratch/build/my_options" betta=0.5
expect 0 'loss 0.8, gradient of the first token' "$scratch/build/my_loss"
expect 0 'loss 0.598139' "$scratch/build/my_loss" loss.type=dpo
expect 64 'known losses' "$scratch/build/my_loss" loss.type=nonsense
expect 0 '  my_focal ' "$scratch/build/my_program" list --plugin "$scratch/build/libmy_plugin.so"

if [ "$mode" = installed ] && [ -x "$scratch/moved/bin/luce" ]; then
  luce=$scratch/moved/bin/luce
  cmake -S "$source/examples/plugin" -B "$scratch/plugin" "$@"
  cmake --build "$scratch/plugin"
  cd "$scratch/plugin"
  printf '{"task": "preference", "plugins": ["./libmy_loss.so"], "loss": {"type": "my_focal", "gamma": 0.5},
    "model": {"path": "%s"}, "data": {"train": "%s", "max_length": 64}, "train": {"max_steps": 3, "logging_steps": 1},
    "output_dir": "out"}' "$source/tests/golden/tiny" "$source/tests/golden/pairs_tiny.jsonl" >focal.json
  expect 0 '  my_focal ' "$luce" list --plugin ./libmy_loss.so
  expect 0 'my_focal: FocalPO' "$luce" explain my_focal --plugin libmy_loss.so
  expect 0 '"my_focal"' "$luce" schema --plugin libmy_loss.so
  expect 0 '' "$luce" train focal.json --no-progress
  expect 0 '"loss": 0.490129' head -n 1 out/metrics.jsonl # -p^gamma log p at p = 1/2
  expect 0 './libmy_loss.so' grep -A 1 '"plugins"' out/luce_config.json
fi
echo "the consumer works: $mode"

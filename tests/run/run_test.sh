#!/bin/sh
# Checks the script ./run without installing or building anything.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/../.." && pwd -P)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
unset LUCE_TORCH LUCE_JOBS LUCE_APT LUCE_WHEELS LUCE_NVCC || true

# A clone with nothing set up, whose `./run --print` shows every step, and tools that stand in for the
# system's: no package is installed, no driver works.
mkdir -p "$scratch/luce/cuda" "$scratch/bin" "$scratch/elsewhere"
cp "$root/run" "$scratch/luce/"
cp "$root/cuda/nvcc.sh" "$scratch/luce/cuda/"
for tool in dpkg-query nvidia-smi apt-get sudo; do
  printf '#!/bin/sh\nexit 1\n' >"$scratch/bin/$tool"
done
printf '#!/bin/sh\necho 1000\n' >"$scratch/bin/id"
chmod +x "$scratch"/bin/*
PATH=$scratch/bin:$PATH
cd "$scratch/elsewhere"

check() { # WHAT STATUS TEXT COMMAND...: the command ends with the status and prints a line with the text
  what=$1 status=$2 text=$3
  shift 3
  got=0
  "$@" >"$scratch/output" 2>"$scratch/errors" || got=$?
  if [ "$got" != "$status" ] || ! cat "$scratch/output" "$scratch/errors" | grep -qF -e "$text"; then
    printf 'FAILED: %s: expected status %s and "%s", got status %s and:\n' "$what" "$status" "$text" "$got" >&2
    cat "$scratch/output" "$scratch/errors" >&2
    failed=1
  fi
}
run() { sh "$scratch/luce/run" "$@"; }

check 'no verb shows the usage' 0 'usage: ./run' run
check 'an unknown verb is refused' 64 'unknown verb tset' run tset
[ ! -s "$scratch/output" ] || { echo 'FAILED: the usage after an unknown verb belongs to stderr' >&2 && failed=1; }
for verb in setup build test demo bench format parity gpu; do
  check "the usage names $verb" 0 "  $verb" run
done
check 'without root, a line to paste' 2 'sudo apt-get update && sudo apt-get install -y' run setup
check 'LUCE_APT=0 asks for the packages' 2 'libsentencepiece-dev' env LUCE_APT=0 sh "$scratch/luce/run" build
check '--print installs nothing' 0 '+ sudo env DEBIAN_FRONTEND=noninteractive apt-get install' run --print setup
check '--print shows the wheels' 0 'torch==2.11.0 nvidia-cuda-runtime==' run --print setup
check 'auto means cpu without a driver' 0 'torch==2.11.0' run --print setup
! grep -q nvidia-cublas "$scratch/output" || { echo 'FAILED: a CPU install fetches CUDA libraries' >&2 && failed=1; }
check 'cuda has its libraries' 0 'nvidia-cublas==' env LUCE_TORCH=cuda sh "$scratch/luce/run" --print setup
check 'a wrong LUCE_TORCH' 64 'expected auto, cpu, cuda or a folder' \
  env LUCE_TORCH=gpu sh "$scratch/luce/run" --print setup
check 'a folder without LibTorch' 66 'share/cmake/Torch/TorchConfig.cmake' \
  env LUCE_TORCH=./nowhere sh "$scratch/luce/run" --print setup
check 'a wrong LUCE_NVCC' 64 'expected auto or off' env LUCE_NVCC=on sh "$scratch/luce/run" --print setup
check 'wheels from a folder' 0 "--no-index --find-links $scratch/elsewhere/wheels" \
  env LUCE_WHEELS=wheels sh "$scratch/luce/run" --print setup
check 'build uses the preset' 0 '+ cmake --preset release' run --print build
check 'LUCE_JOBS is obeyed' 0 '--parallel 3' env LUCE_JOBS=3 sh "$scratch/luce/run" --print build
check 'test hands its arguments on' 0 "-R 'a b'" run --print test -R 'a b'
check 'demo writes to out/demo' 0 '/luce/out/demo' run --print demo
check 'demo hands its arguments on' 0 'bin/luce-demo mine --seed 2' run --print demo mine --seed 2
check 'bench hands its rows on' 0 '--build build/release startup' run --print bench startup
check 'parity has its own environment' 0 'trl==1.16.0' run --print parity
check 'format knows one flag' 64 'format takes --check or nothing' run format --fix
check 'gpu needs a GPU' 71 'no GPU here' run gpu
[ ! -e "$scratch/luce/.deps" ] || { echo 'FAILED: --print made .deps' >&2 && failed=1; }

exit "$failed"

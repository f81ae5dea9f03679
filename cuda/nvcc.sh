#!/bin/sh
# Prints the path of an nvcc: PATH's, or that of /usr/local/cuda, or else pip's, which it installs into
# .deps/nvcc (102 MB). Its steps go to stderr; with --print it only says them.
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
folder=$root/.deps/nvcc
wheels="nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-cccl==13.0.85 \
nvidia-cuda-runtime==13.0.96"

step() {
  echo "+ $*" >&2
  [ "$print" = 1 ] || "$@" >&2
}

print=0
[ "${1:-}" != --print ] || print=1
! command -v nvcc 2>/dev/null || exit 0
if [ -x /usr/local/cuda/bin/nvcc ]; then
  echo /usr/local/cuda/bin/nvcc
  exit 0
fi

# The stamp is written last, so that a half-finished installation is made anew.
if [ "$(cat "$folder/luce-stamp" 2>/dev/null)" != "$wheels" ]; then
  step rm -rf "$folder"
  step python3 -m venv "$folder"
  set -- --no-input --disable-pip-version-check --no-compile --no-deps
  [ -z "${LUCE_WHEELS:-}" ] || set -- "$@" --no-index --find-links "$LUCE_WHEELS"
  # shellcheck disable=SC2086  # a list of wheels
  step "$folder/bin/python" -m pip install "$@" $wheels
  if [ "$print" = 0 ]; then
    # The wheels hold libraries without the plain names that a linker looks for, in a folder that nvcc
    # does not look into.
    toolkit=$(echo "$folder"/lib/python3*/site-packages/nvidia/cu13)
    ln -s lib "$toolkit/lib64"
    for library in "$toolkit"/lib/lib*.so.[0-9]*; do
      ln -sf "$(basename "$library")" "${library%%.so.*}.so"
    done
    echo "$wheels" >"$folder/luce-stamp"
  fi
fi
echo "$folder"/lib/python3*/site-packages/nvidia/cu13/bin/nvcc

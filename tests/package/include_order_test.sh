#!/bin/sh
# Breaks the include order on purpose, once in each way, and expects to be told.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd -P)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failed=0

expect() { # FILE LINE MESSAGE: the message is expected, or silence where it is empty
  rm -rf "${tree:?}"/*
  mkdir -p "$tree/include/luce/loss" "$tree/src/loss" "$tree/src/data" "$tree/src/ops" "$tree/src/base"
  mkdir -p "$tree/src/extra" "$tree/include/luce/base"
  printf '%s\n' '// a comment' "$2" >"$tree/$1"
  status=0
  output=$("$here/include_order.sh" "$tree") || status=$?
  wanted=${3:+$1:2: $3}
  if [ "$output" != "$wanted" ] || { [ -n "$wanted" ] && [ "$status" = 0 ]; }; then
    printf '%s with %s\n  expected: %s\n  got:      %s (status %s)\n' "$1" "$2" "$wanted" "$output" "$status" >&2
    failed=1
  fi
}

expect include/luce/loss/dpo.h '#include "luce/model/model.h"' \
  'a file of loss includes luce/model/model.h, but model comes after loss'
expect src/loss/dpo.cpp '  #  include "luce/train/task.h"' \
  'a file of loss includes luce/train/task.h, but train comes after loss'
expect src/ops/head.cpp '#include "luce/batch.h"' 'a file of ops includes luce/batch.h, but batch comes after ops'
expect include/luce/batch.h '#include "luce/loss/loss.h"' \
  'a file of batch includes luce/loss/loss.h, but loss comes after batch'
expect src/data/rows.cpp '#include <ATen/core/Tensor.h>' 'a file of data includes a header of LibTorch'
expect src/base/log.cpp '#include "torch/torch.h"' 'includes "torch/torch.h": another folder is named as "luce/..."
src/base/log.cpp:2: a file of base includes a header of LibTorch'
expect src/loss/dpo.cpp '#include <spdlog/spdlog.h>' \
  'a file of loss includes spdlog or fmt, which clash with LibTorch'
expect include/luce/base/log.h '#include <spdlog/spdlog.h>' \
  'a public header includes spdlog or fmt, which clash with LibTorch'
expect src/loss/dpo.cpp '#include "../model/block.h"' \
  'includes "../model/block.h": another folder is named as "luce/..."'
expect src/loss/dpo.cpp '#include "luce/extra/thing.h"' \
  'includes luce/extra/thing.h, whose layer "extra" has no place in the order'

expect src/loss/dpo.cpp '#include "luce/batch.h"' ''
expect src/loss/dpo.cpp '#include "luce/version.h"' ''
expect src/loss/dpo.cpp '#include "pair.h"' ''
expect src/base/log.cpp '#include <spdlog/spdlog.h>' ''
expect include/luce/luce.h '#include "luce/cli.h"' ''
expect src/data/rows.cpp '// #include "luce/train/task.h"' ''

printf '\n' >"$tree/src/extra/new.cpp"
! "$here/include_order.sh" "$tree" >"$tree/output" || failed=1
grep -q 'src/extra/new.cpp:1: the layer "extra" has no place in the order' "$tree/output" || failed=1
exit "$failed"

#!/bin/sh
# own_loop.sh ROOT BIN: the loop of examples/own_loop has the losses of `luce train` on the same rows.
set -eu
root=$1 bin=$2
. "$root/tests/docs/workspace.sh"
cd "$work"
"$bin/own_loop" tests/golden/tiny tests/golden/pairs_tiny.jsonl 9 >own
"$bin/luce" --quiet train configs/dpo.json --no-progress data.eval_fraction=0 data.shuffle=false train.max_steps=9 \
  train.lr_scheduler_type=constant train.logging_steps=1
awk '
  FNR == NR { sub(/,/, "", $2); own[$2] = $4; next }
  match($0, /"step": [0-9]+/) {
    step = substr($0, RSTART + 8, RLENGTH - 8)
    if (!match($0, /"loss": [0-9.e+-]+/)) next
    loss = substr($0, RSTART + 8, RLENGTH - 8)
    difference = loss - own[step]
    ++compared
    if (difference > 2e-6 || difference < -2e-6) {
      printf "step %d: the own loop has loss %s, luce train %s\n", step, own[step], loss
      failed = 1
    }
  }
  END {
    if (compared != 9) print "9 steps were expected, " compared + 0 " could be compared"
    exit failed || compared != 9
  }' own out/dpo/metrics.jsonl

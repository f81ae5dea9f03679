#!/bin/sh
# Runs a tenth of the demo and holds it to the signs of its figures: the hidden score rises, the model
# moves away from its reference, and the report is there.
# usage: demo_test.sh LUCE_DEMO FOLDER
set -eu
rm -rf "$2"
"$1" "$2" --scale 0.1 >"$2.log" 2>&1 || { cat "$2.log"; exit 1; }
tail -n 12 "$2.log"
before=$(awk '/^hidden score before/ { print $4 }' "$2.log")
after=$(awk '/^hidden score after/ { print $4 }' "$2.log")
kl=$(awk '/^KL to the reference/ { print $5 }' "$2.log")
awk -v before="$before" -v after="$after" -v kl="$kl" \
  'BEGIN { if (!(after > before)) { print "the hidden score did not rise"; exit 1 }
           if (!(kl > 0)) { print "the model did not move"; exit 1 } }'
report=$(tail -n 1 "$2.log")
for wanted in 'Controlled sentiment in miniature' 'Hidden score of fresh samples' 'before and after' 'Reward margin'; do
  grep -q "$wanted" "$report" || { echo "$report lacks: $wanted"; exit 1; }
done

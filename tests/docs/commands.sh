#!/bin/sh
# commands.sh ROOT BIN FILE...: runs every `sh` block of Markdown files in a folder that looks like ROOT, with the
# programs of BIN. Lines that call ./run are only printed by it (--print): they would build and test again.
set -eu
root=$1 bin=$2
shift 2
. "$root/tests/docs/workspace.sh"
printf '#!/bin/sh\nexec "%s/run" --print "$@"\n' "$root" >"$work/run"
chmod +x "$work/run"
cd "$root"
mkdir "$work/blocks"
for file; do
  awk -v lang=sh -f "$root/tests/docs/blocks.awk" "$file"
done | awk -v folder="$work/blocks" '
  /^== / { block = sprintf("%s/%03d", folder, ++count); print "# " $2 >block; next }
  { print >block }'
cd "$work"
count=0
for block in blocks/*; do
  [ -e "$block" ] || { echo "no block to run in $*" && exit 1; }
  sh -eux "$block" >block.log 2>&1 </dev/null || {
    printf '%s: a command failed:\n' "$(head -n 1 "$block")"
    cat block.log
    exit 1
  }
  count=$((count + 1))
done
echo "$count blocks ran"

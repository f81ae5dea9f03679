#!/bin/sh
# config_table.sh ROOT BIN: the table in docs/config.md is what `luce schema --table` prints.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
awk '/^<!-- end: luce schema --table -->$/ { inside = 0 }
     inside
     /^<!-- begin: luce schema --table -->$/ { inside = 1 }' "$1/docs/config.md" >"$work/documented"
"$2/luce" schema --table >"$work/printed"
diff "$work/documented" "$work/printed" || {
  echo 'docs/config.md is not what `luce schema --table` prints (>): put that between its markers'
  exit 1
}

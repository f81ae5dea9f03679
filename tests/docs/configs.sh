#!/bin/sh
# configs.sh ROOT BIN: each config of configs/ passes `luce check` and trains, as it stands.
set -eu
root=$1 bin=$2
. "$root/tests/docs/workspace.sh"
cd "$work"
for config in configs/*.json; do
  for verb in check train; do
    build/release/bin/luce "$verb" "$config" >log 2>&1 </dev/null || {
      printf 'luce %s %s failed:\n' "$verb" "$config"
      cat log
      exit 1
    }
  done
  output=out/$(basename "$config" .json)
  for file in model.safetensors metrics.jsonl report.html luce_config.json; do
    [ -s "$output/$file" ] || { echo "luce train $config left no $output/$file" && exit 1; }
  done
  case $config in
    configs/reward*)
      grep -qE 'For(Sequence|Token)Classification' "$output/config.json" ||
        { echo "luce train $config left a model without a head of scores" && exit 1; }
      ;;
  esac
done

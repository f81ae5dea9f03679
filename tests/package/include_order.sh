#!/bin/sh
# include_order.sh [ROOT]: checks that every layer of ROOT's include/luce and src includes only itself and
# the layers left of it, and that the core sees no header of LibTorch. Prints what breaks the order.
set -eu
cd "${1:-$(dirname -- "$0")/../..}"

find include/luce src -name '*.h' -o -name '*.h.in' -o -name '*.cpp' | LC_ALL=C sort | xargs awk '
  BEGIN {
    count = split("base kernels cuda data ops batch loss oracle model rl train experiment cli luce", order, " ")
    for (i = 1; i <= count; ++i) rank[order[i]] = i
  }
  # The layer of "loss/dpo.h" is its folder; that of a file without one, such as "batch.h", its name.
  function layer_of(path) {
    sub(/[\/.].*/, "", path)
    return path == "version" ? "base" : path
  }
  function breaks(what) {
    printf "%s:%d: %s\n", FILENAME, FNR, what
    failed = 1
  }
  FNR == 1 {
    path = FILENAME
    sub(/^include\/luce\/|^src\//, "", path)
    own = layer_of(path)
    if (!(own in rank)) breaks("the layer \"" own "\" has no place in the order; give it one in this script")
  }
  /^[ \t]*#[ \t]*include[ \t]*"luce\// {
    split($0, part, "\"")
    other = layer_of(substr(part[2], 6))
    if (!(other in rank))
      breaks("includes " part[2] ", whose layer \"" other "\" has no place in the order")
    else if (rank[other] > rank[own])
      breaks("a file of " own " includes " part[2] ", but " other " comes after " own)
    next
  }
  /^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, part, "\"")
    if (part[2] !~ /\//) next
    other = layer_of(part[2]) # a private header, from src
    if (FILENAME ~ /^include/ || !(other in rank))
      breaks("includes \"" part[2] "\": another folder is named as \"luce/...\"")
    else if (rank[other] > rank[own])
      breaks("a file of " own " includes " part[2] ", but " other " comes after " own)
  }
  /^[ \t]*#[ \t]*include[ \t]*[<"](torch|ATen|c10|caffe2)\// {
    if (rank[own] <= rank["data"]) breaks("a file of " own " includes a header of LibTorch")
  }
  /^[ \t]*#[ \t]*include[ \t]*[<"](spdlog|fmt)\// {
    if (rank[own] > rank["data"]) breaks("a file of " own " includes spdlog or fmt, which clash with LibTorch")
    else if (FILENAME ~ /^include/) breaks("a public header includes spdlog or fmt, which clash with LibTorch")
  }
  END { exit failed }
'

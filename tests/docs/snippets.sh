#!/bin/sh
# snippets.sh ROOT: every block of C++, CMake and JSON in the documents stands in a file that is compiled or run. A line
# "// …" in a block stands for lines that were left out; indentation does not count. (Blocks that only sketch a format are
# marked `jsonc`.)
set -eu
cd "$1"
failed=0

check() { # LANGUAGE DOCUMENT SOURCE...: each block of the language is in one of the sources
  language=$1 document=$2
  shift 2
  awk -v lang="$language" -f tests/docs/blocks.awk "$document" | awk -v sources="$*" '
    function trimmed(line) {
      sub(/^[ \t]+/, "", line)
      sub(/[ \t]+$/, "", line)
      return line
    }
    # Whether all pieces of the block stand in one source, one after the other.
    function stands(    s, rest, p, at) {
      for (s = 1; s <= number; ++s) {
        rest = content[s]
        for (p = 1; p <= pieces; ++p) {
          at = index(rest, piece[p])
          if (at == 0) break
          rest = substr(rest, at + length(piece[p]) - 1)
        }
        if (p > pieces) return 1
      }
      return 0
    }
    function finish() {
      if (where != "" && !stands()) {
        print where ": no file that is compiled or run holds this block"
        failed = 1
      }
    }
    BEGIN {
      number = split(sources, name, " ")
      for (s = 1; s <= number; ++s) {
        content[s] = "\n"
        while ((getline line < name[s]) > 0) content[s] = content[s] trimmed(line) "\n"
      }
    }
    /^== / { finish(); where = $2; pieces = 1; piece[1] = "\n"; next }
    trimmed($0) == "// …" || trimmed($0) == "# …" { piece[++pieces] = "\n"; next }
    { piece[pieces] = piece[pieces] trimmed($0) "\n" }
    END { finish(); exit failed }
  ' || failed=1
}

for document in README.md docs/*.md; do
  check cpp "$document" examples/*/*.cpp include/luce/*/*.h include/luce/*.h src/*/*.cpp
  check cmake "$document" examples/consumer/CMakeLists.txt
  check json "$document" configs/*.json
done
grep -q '^```cpp' README.md || { echo 'README.md shows no C++' && failed=1; }
exit "$failed"

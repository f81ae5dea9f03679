#!/bin/sh
# links.sh ROOT: every relative link of the documents leads to a file, and every #section to a heading.
set -eu
cd "$1"
for document in README.md CHANGELOG.md CONTRIBUTING.md docs/*.md docs/experiments/*.md; do
  # Outside of code blocks; one link a line.
  awk '/^```/ { code = !code; next } !code' "$document" | grep -o '](\([^)]*\))' | sed 's/^](//; s/)$//' |
    while read -r link; do
      case $link in http*) continue ;; esac
      file=${link%%#*}
      target=$document
      [ -z "$file" ] || target=$(dirname "$document")/$file
      [ -e "$target" ] || { echo "$document: the link $link leads nowhere" && continue; }
      case $link in
        *'#'*) ;;
        *) continue ;;
      esac
      # A heading in lower case, its spaces as hyphens, all else but letters and digits left out.
      sed -n 's/^##* //p' "$target" | tr 'A-Z ' 'a-z-' | sed 's/[^a-z0-9-]//g' | grep -qxF "${link#*#}" ||
        echo "$document: the link $link names no heading of $target"
    done
done | {
  ! grep .
}

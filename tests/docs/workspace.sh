# Sourced by the checks of the documents, with $root and $bin set: makes $work, a folder that looks like the
# repository's root from where commands are typed, so that what they write does not land in the repository.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/build/release"
ln -s "$bin" "$work/build/release/bin"
for folder in configs examples include tests; do ln -s "$root/$folder" "$work/$folder"; done

# awk -v lang=LANGUAGE -f blocks.awk FILE: the code blocks of a Markdown file in one language, each after a
# line "== FILE:LINE" (LINE: where it begins).
/^```/ {
  if (inside) {
    inside = 0
  } else {
    inside = 1
    wanted = $0 == "```" lang
    if (wanted) printf "== %s:%d\n", FILENAME, FNR + 1
  }
  next
}
inside && wanted

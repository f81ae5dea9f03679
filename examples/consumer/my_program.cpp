// All verbs of `luce` in a program of one's own, which loads plug-ins as `luce` does.
#include "luce/cli.h"

int main(int argc, char** argv) {
  return luce::run_cli(argc, argv, luce::Registry::with_builtins());
}

#include <malloc.h>

#include "luce/cli.h"

int main(int argc, char** argv) {
  // A training step frees and asks again for the same large blocks. By default glibc maps each anew
  // and the kernel clears it page by page, which can cost more than the step's arithmetic.
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
  return luce::run_cli(argc, argv, luce::Registry::with_builtins());
}

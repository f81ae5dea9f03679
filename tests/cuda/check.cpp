// Compares every function of cuda/kernels.h with its formula, written as loops in f64.
//
// Tests run it on emulator/, which stands in for a GPU. On a machine with one, from the root:
//
//   nvcc -std=c++17 -O3 -lineinfo -arch=native -I. -Isrc -x cu tests/cuda/*.cpp cuda/*.cu -o check
//   ./check
//   compute-sanitizer --tool memcheck ./check       # likewise racecheck, initcheck and synccheck
//
// Names of parts, such as `./check head attention`, leave out the others.
#include "check.h"

int main(int argc, char** argv) {
  using namespace luce::cuda::check;
  const vector<std::string> names(argv + 1, argv + argc);
  const auto wanted = [&](const char* name) {
    return names.empty() || std::find(names.begin(), names.end(), name) != names.end();
  };
  Report report;
#if !defined(__CUDACC__)
  if (wanted("emulator")) check_emulator(report);
#endif
  if (wanted("head")) check_head(report);
  if (wanted("divergence")) check_divergence(report);
  if (wanted("attention")) check_attention(report);
  if (wanted("block")) check_block(report);
  if (wanted("adamw")) check_adamw(report);
  if (wanted("draw")) check_draw(report);
  if (wanted("paged_attention")) check_paged_attention(report);
  return report.finish();
}

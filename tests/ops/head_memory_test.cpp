// The head's memory, in a process of its own so that nobody else's peak hides it.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "luce/base/progress.h"
#include "luce/ops/head.h"

namespace luce {
namespace {

TEST(HeadMemory, GrowsByTheBudgetAndNoMore) {
  // In a child: peak memory never falls, so that earlier tests must not have raised it.
  const pid_t child = fork();
  if (child == 0) {
    at::set_num_threads(1);  // the parent's threads are not there
    const int64_t m = 16384, v = 32000, d = 16;
    const Tensor hidden = at::randn({m, d}), weight = at::randn({v, d}),
                 targets = at::randint(v, {m}, at::kLong);
    Tensor d_hidden = at::zeros({m, d}), d_weight = at::zeros({v, d});
    d_weight.fill_(1);
    const auto loss = [](const HeadStats& s, Range) {
      return HeadGradients{.logps = at::ones_like(s.logps)};
    };
    std::vector<int64_t> units;
    for (int64_t i = 0; i <= m; i += 64) units.push_back(i);
    // The libraries' own first-time memory: generated code, tables.
    head_backward(hidden.narrow(0, 0, 64), weight, targets.narrow(0, 0, 64), {0, 64}, {}, loss,
                  d_hidden.narrow(0, 0, 64), d_weight);
    const int64_t before = peak_resident_bytes();
    const int64_t budget = int64_t{64} << 20;
    head_backward(hidden, weight, targets, units, {.chunk_bytes = budget}, loss, d_hidden,
                  d_weight);
    const int64_t grown = peak_resident_bytes() - before;
    // All logits would be 2 GiB. Beside the budget there are packed copies of a chunk and what a
    // thread needs.
    _exit(grown <= budget + (int64_t{8} << 20) ? 0 : static_cast<int>(grown >> 20));
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0) << "MiB more";
}

}  // namespace
}  // namespace luce

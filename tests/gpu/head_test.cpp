// The head on a GPU against its definition on the CPU in f64.
#include "luce/ops/head.h"

#include "gpu/gpu.h"
#include "ops/head_cases.h"

namespace luce {
namespace {

using test::close;
using test::distance;
using test::HeadCase;
using test::HeadTensors;
using test::kHeadCases;
using test::to_cpu;
using test::to_gpu;

class GpuHead : public test::Gpu {};
class GpuDivergence : public test::Gpu {};

const LogitOptions kMaps[] = {{},
                              {.temperature = 0.7},
                              {.logit_scale = 0.25},
                              {.temperature = 1.3, .logit_scale = 2, .softcap = 5}};

HeadOptions everything(const Candidates& candidates, const LogitOptions& map) {
  return {.entropy = true,
          .log_sum_p2 = true,
          .greedy_match = true,
          .mean_logit = true,
          .candidates = &candidates,
          .logits = map};
}

/// Slopes that depend on the statistics, whatever their device.
HeadGradients slopes(const HeadStats& s) {
  return {s.logps.cos(), s.entropy.cos() * 0.5, s.log_sum_p2.cos() * 0.3, s.mean_logit.cos() * 0.2,
          s.candidate_logps.cos() * 0.7};
}

struct Result {
  HeadStats stats;
  Tensor d_hidden, d_weight;
};

Result backward(const Tensor& hidden, const Tensor& weight, const Tensor& targets,
                const HeadOptions& o) {
  const auto wide = statistics_type(weight.scalar_type());
  Result out{{}, at::zeros_like(hidden), at::zeros(weight.sizes(), weight.options().dtype(wide))};
  std::vector<int64_t> units;
  for (int64_t m = 0; m <= hidden.size(0); ++m) units.push_back(m);
  out.stats = head_backward(
      hidden, weight, targets, units, o, [](const HeadStats& s, Range) { return slopes(s); },
      out.d_hidden, out.d_weight);
  return out;
}

struct Bounds {
  at::ScalarType type;
  double values, gradients;
};
constexpr Bounds kBounds[] = {{at::kFloat, 2e-4, 2e-4}, {at::kBFloat16, 2e-4, 2e-2}};

TEST_F(GpuHead, HasTheStatisticsAndGradientsOfTheDefinition) {
  for (const auto& [type, values, gradients] : kBounds)
    for (const HeadCase& c : kHeadCases)
      for (const LogitOptions& map : kMaps) {
        SCOPED_TRACE(::testing::Message() << type << ", " << c.m << " x " << c.d << " x " << c.v
                                          << ", temperature " << map.temperature);
        const HeadTensors exact(c, at::kDouble), in(c, type);
        const Candidates candidates = test::some_candidates(c);
        Candidates moved = candidates;
        moved.ids = to_gpu(candidates.ids);
        HeadOptions few_rows = everything(moved, map);
        few_rows.chunk_bytes = 37 * c.v * 4;
        const Result want =
            backward(exact.hidden, exact.weight, exact.targets, everything(candidates, map));
        for (const HeadOptions& o : {everything(moved, map), few_rows}) {
          const Result got = backward(to_gpu(in.hidden), to_gpu(in.weight), to_gpu(in.targets), o);
          for (Tensor HeadStats::*member :
               {&HeadStats::logps, &HeadStats::entropy, &HeadStats::log_sum_p2,
                &HeadStats::mean_logit, &HeadStats::candidate_logps})
            EXPECT_TRUE(close(to_cpu(got.stats.*member), want.stats.*member, values, 1e-5));
          EXPECT_TRUE(close(to_cpu(got.stats.greedy_match), want.stats.greedy_match, 0));
          EXPECT_LE(distance(got.d_hidden, want.d_hidden), gradients);
          EXPECT_LE(distance(got.d_weight, want.d_weight), gradients);
        }
      }
}

TEST_F(GpuHead, GivesTheLikeliestTokensInOrder) {
  const HeadCase c{31, 16, 229};
  const HeadTensors exact(c, at::kDouble), in(c, at::kFloat);
  for (const int64_t k : {1, 7, 64, 65, 229}) {
    HeadOptions o;
    o.top_k = k;
    o.logits.softcap = 30;
    const HeadStats want = head(exact.hidden, exact.weight, exact.targets, o),
                    got = head(to_gpu(in.hidden), to_gpu(in.weight), to_gpu(in.targets), o);
    EXPECT_TRUE(close(to_cpu(got.top_logps), want.top_logps, 2e-4)) << k;
    // Near equals may change places: what counts is the log-prob of the token that is named.
    const Logits z = head_logits(exact.hidden, exact.weight, o.logits);
    const Tensor named = z.values.gather(1, to_cpu(got.top_ids)) - z.lse.unsqueeze(1);
    EXPECT_TRUE(close(named, want.top_logps, 2e-4)) << k;
  }
}

TEST_F(GpuHead, GivesASamplerTheLogitsBehindItsLogProbs) {
  const HeadCase c{31, 16, 229};
  const HeadTensors in(c, at::kFloat);
  const Tensor hidden = to_gpu(in.hidden), weight = to_gpu(in.weight), targets = to_gpu(in.targets);
  for (const LogitOptions& map : kMaps) {
    HeadOptions o;
    o.logits = map;
    const Logits z = head_logits(hidden, weight, map);
    const Tensor logps = head(hidden, weight, targets, o).logps;
    EXPECT_LE(distance(z.values.gather(1, targets.unsqueeze(1)).squeeze(1) - z.lse, logps), 1e-6);
  }
}

TEST_F(GpuHead, TakesNoRowsAtAll) {
  const HeadTensors in({0, 5, 31}, at::kFloat);
  const Candidates none{{0}, at::empty({0}, at::TensorOptions(test::kGpu).dtype(at::kLong))};
  const HeadStats got =
      head(to_gpu(in.hidden), to_gpu(in.weight), to_gpu(in.targets), everything(none, {}));
  EXPECT_EQ(got.logps.sizes(), at::IntArrayRef({0}));
}

TEST_F(GpuDivergence, IsTheDefinitionsInValueAndGradient) {
  for (const auto& [type, values, gradients] : kBounds)
    for (const HeadCase& c : kHeadCases)
      for (const auto kind :
           {Divergence::forward_kl, Divergence::reverse_kl, Divergence::jensen_shannon}) {
        SCOPED_TRACE(::testing::Message() << type << ", " << c.m << " x " << c.d << " x " << c.v
                                          << ", kind " << static_cast<int>(kind));
        const HeadTensors p(c, at::kDouble), q({c.m, c.d + 3, c.v}, at::kDouble);
        const DivergenceOptions o{.kind = kind, .beta = 0.3, .chunk_bytes = 70 * c.v * 4};
        const Tensor upstream = at::randn({c.m}, at::kDouble);
        const auto run = [&](const auto& move) {
          const HeadSide a{move(p.hidden), move(p.weight), {.temperature = 0.9, .softcap = 20}},
              b{move(q.hidden), move(q.weight), {.logit_scale = 0.5}};
          const auto wide = statistics_type(a.weight.scalar_type());
          const Tensor dh = at::zeros_like(a.hidden),
                       dw = at::zeros(a.weight.sizes(), a.weight.options().dtype(wide));
          const Tensor value =
              head_divergence_backward(a, b, o, upstream.to(a.weight.device(), wide), dh, dw);
          EXPECT_TRUE(at::equal(head_divergence(a, b, o), value));
          return std::vector<Tensor>{value, dh, dw};
        };
        const auto want = run([](const Tensor& t) { return t; });
        const auto got = run([dtype = type](const Tensor& t) { return to_gpu(t.to(dtype)); });
        EXPECT_TRUE(close(to_cpu(got[0]), want[0], values, 1e-5));
        if (c.v == 1) continue;  // gradients are 0
        EXPECT_LE(distance(got[1], want[1]), gradients);
        EXPECT_LE(distance(got[2], want[2]), gradients);
      }
}

}  // namespace
}  // namespace luce

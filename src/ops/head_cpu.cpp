// The head on the CPU: logits by tiles of the vocabulary, whose statistics and gradients are taken
// while a tile is in cache.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <array>

#include "ops/head_backend.h"
#include "ops/run_sums.h"
#include "ops/tile_gemm.h"
#include "ops/tile_head.h"

namespace luce {
namespace {

using kernels::kPanel;
using kernels::RowSums;

class CpuHead : public HeadBackend {
 public:
  CpuHead(const HeadInputs& in, const HeadOptions& o)
      : in_(in), o_(o), side_(in.hidden, in.weight, o.logits), vocabulary_(in.weight.size(0)) {}

  HeadStats forward(int64_t begin, int64_t n) override {
    n_ = n;
    targets_ = in_.targets.const_data_ptr<int64_t>() + begin;
    if (o_.candidates != nullptr) candidates_ = candidates_of(*o_.candidates, begin, n);
    side_.pack(begin, n);
    logits_ = chunk_buffer(o_.workspace == nullptr ? nullptr : &o_.workspace->logits,
                           side_.logits_size(n), in_.hidden, at::kFloat);
    const int64_t runs = (side_.tiles() + kRun - 1) / kRun;
    RunSums sums(runs, side_.panels() * kPanel);
    at::parallel_for(0, runs, 1, [&](int64_t first, int64_t last) {
      TileHead::Scratch scratch;
      for (int64_t run = first; run < last; ++run)
        for (int64_t tile = run * kRun; tile < std::min(side_.tiles(), (run + 1) * kRun); ++tile) {
          side_.begin_products(tile, scratch);
          for (int64_t panel = 0; panel < side_.panels(); ++panel) {
            float* z = logits(tile, panel);
            side_.product(tile, panel, scratch, z);
            int32_t* best = sums.best.data() + run * sums.targets + panel * kPanel;
            kernels::table().head_sums(z, side_.entries(tile), side_.panel_width(panel),
                                       side_.panel_width(panel), side_.first(tile), side_.map(),
                                       sums.arrays(run, panel * kPanel),
                                       o_.greedy_match ? best : nullptr);
          }
        }
      tile_gemm_release();
    });
    return statistics(sums, runs);
  }

  void backward(const HeadGradients& g, Tensor& d_hidden, Tensor& d_weight) override {
    set_slopes(g);
    const kernels::SlopeArrays slopes{lse_.data(), slopes_[0].data(), slopes_[1].data(),
                                      slopes_[2].data(), slopes_[3].data()};
    add_tile_gradients(
        side_, o_.chunk_bytes,
        [&](int64_t tile, int64_t panel) {
          float* z = logits(tile, panel);
          const int64_t at = panel * kPanel, wide = side_.panel_width(panel),
                        low = side_.first(tile), high = low + side_.entries(tile);
          // What is added at single tokens: its share of dz/dx must be told from z, which the next
          // call overwrites.
          std::vector<std::pair<float*, float>> single;
          for (size_t i = starts_[static_cast<size_t>(panel)];
               i < starts_[static_cast<size_t>(panel) + 1]; ++i) {
            const auto& [target, token, slope] = singles_[i];
            if (token < low || token >= high) continue;
            float* place = z + (token - low) * wide + target - at;
            single.emplace_back(place, slope * side_.map().slope(*place));
          }
          kernels::table().head_gradient(
              z, side_.entries(tile), wide, wide,
              {slopes.lse + at, slopes.a + at, slopes.b + at, slopes.c + at, slopes.m + at},
              side_.map());
          for (const auto& [place, slope] : single) *place += slope;
          return z;
        },
        d_hidden, d_weight);
  }

  Logits logits() const override {
    const auto options = in_.hidden.options().dtype(at::kFloat);
    Logits out{at::empty({n_, vocabulary_}, options), at::empty({n_}, options)};
    std::copy_n(lse_.data(), n_, out.lse.data_ptr<float>());
    float* values = out.values.data_ptr<float>();
    at::parallel_for(0, side_.tiles(), 1, [&](int64_t first, int64_t last) {
      for (int64_t tile = first; tile < last; ++tile)
        for (int64_t t = 0; t < n_; ++t) {
          const float* z =
              side_.logits_at(logits_.data_ptr<float>(), tile, t / kPanel) + t % kPanel;
          float* row = values + t * vocabulary_ + side_.first(tile);
          const int64_t wide = side_.panel_width(t / kPanel);
          for (int64_t v = 0; v < side_.entries(tile); ++v) row[v] = z[v * wide];
        }
    });
    return out;
  }

 private:
  /// A gradient of the log-prob of one token.
  struct Single {
    int64_t target, token;
    float slope;
  };

  float* logits(int64_t tile, int64_t panel) {
    return side_.logits_at(logits_.data_ptr<float>(), tile, panel);
  }
  float logit(int64_t target, int64_t token) {
    const int64_t tile = token / TileHead::kTile;
    const int64_t panel = target / kPanel;
    return logits(tile,
                  panel)[(token - side_.first(tile)) * side_.panel_width(panel) + target % kPanel];
  }

  HeadStats statistics(RunSums& sums, int64_t runs) {
    const auto per_target = [&](bool asked) {
      return asked ? at::empty({n_}, in_.hidden.options().dtype(at::kFloat)) : Tensor();
    };
    HeadStats out{.logps = per_target(true),
                  .entropy = per_target(o_.entropy),
                  .log_sum_p2 = per_target(o_.log_sum_p2),
                  .greedy_match = per_target(o_.greedy_match),
                  .mean_logit = per_target(o_.mean_logit)};
    const auto data = [](Tensor& t) { return t.defined() ? t.data_ptr<float>() : nullptr; };
    float *logps = data(out.logps), *entropy = data(out.entropy), *sum_p2 = data(out.log_sum_p2),
          *greedy = data(out.greedy_match), *mean = data(out.mean_logit);
    lse_.assign(static_cast<size_t>(sums.targets), 0);
    entropy_.assign(static_cast<size_t>(n_), 0);
    inverse_p2_.assign(static_cast<size_t>(n_), 0);
    for (int64_t t = 0; t < n_; ++t) {
      RowSums<float> row = sums.of(0, t);
      int32_t best = sums.best[static_cast<size_t>(t)];
      for (int64_t run = 1; run < runs; ++run) {
        const auto more = sums.of(run, t);
        if (more.max > row.max) best = sums.best[static_cast<size_t>(run * sums.targets + t)];
        row = merged(row, more);
      }
      const auto i = static_cast<size_t>(t);
      lse_[i] = log_sum_exp(row);
      entropy_[i] = kernels::entropy(row);
      inverse_p2_[i] = row.exp * row.exp / row.square;
      logps[t] = logit(t, targets_[t]) - lse_[i];
      if (entropy != nullptr) entropy[t] = entropy_[i];
      if (sum_p2 != nullptr) sum_p2[t] = log_sum_p2(row);
      if (greedy != nullptr) greedy[t] = best == targets_[t] ? 1.0F : 0.0F;
      if (mean != nullptr) mean[t] = row.total / static_cast<float>(vocabulary_);
    }
    if (o_.candidates != nullptr) {
      out.candidate_logps = at::empty({candidates_.ids.size(0)}, out.logps.options());
      float* values = out.candidate_logps.data_ptr<float>();
      for_candidates([&](int64_t target, int64_t k, int64_t token) {
        values[k] = logit(target, token) - lse_[static_cast<size_t>(target)];
      });
    }
    if (o_.top_k > 0) take_likeliest(out);
    return out;
  }

  template <class Fn>
  void for_candidates(const Fn& fn) const {
    const Tensor ids = candidates_.ids.contiguous();
    const int64_t* token = ids.const_data_ptr<int64_t>();
    for (int64_t t = 0; t < n_; ++t)
      for (int64_t k = candidates_.offset[static_cast<size_t>(t)];
           k < candidates_.offset[static_cast<size_t>(t) + 1]; ++k)
        fn(t, k, token[k]);
  }

  /// The k largest logits of every target, and of equals the first.
  void take_likeliest(HeadStats& out) {
    const int64_t k = o_.top_k;
    out.top_ids = at::empty({n_, k}, in_.targets.options());
    out.top_logps = at::empty({n_, k}, out.logps.options());
    int64_t* ids = out.top_ids.data_ptr<int64_t>();
    float* logps = out.top_logps.data_ptr<float>();
    at::parallel_for(0, n_, 16, [&](int64_t first, int64_t last) {
      std::vector<std::pair<float, int64_t>> row(static_cast<size_t>(vocabulary_));
      for (int64_t t = first; t < last; ++t) {
        for (int64_t v = 0; v < vocabulary_; ++v) row[static_cast<size_t>(v)] = {-logit(t, v), v};
        std::partial_sort(row.begin(), row.begin() + k, row.end());
        for (int64_t i = 0; i < k; ++i) {
          ids[t * k + i] = row[static_cast<size_t>(i)].second;
          logps[t * k + i] = -row[static_cast<size_t>(i)].first - lse_[static_cast<size_t>(t)];
        }
      }
    });
  }

  /// RowSlopes of every target, and the gradients at single tokens sorted by panel.
  void set_slopes(const HeadGradients& g) {
    const auto read = [](const Tensor& t) {
      return t.defined() ? t.to(at::kFloat).contiguous() : Tensor();
    };
    const auto data = [](const Tensor& t) {
      return t.defined() ? t.const_data_ptr<float>() : nullptr;
    };
    const Tensor logps = read(g.logps), entropy = read(g.entropy), sum_p2 = read(g.log_sum_p2),
                 mean = read(g.mean_logit), candidates = read(g.candidate_logps);
    const float *gp = data(logps), *gh = data(entropy), *gs = data(sum_p2), *gm = data(mean),
                *gc = data(candidates);
    for (auto& array : slopes_) array.assign(lse_.size(), 0);
    auto& [a, b, c, m] = slopes_;
    singles_.clear();
    starts_.assign(1, 0);
    for (int64_t t = 0; t < n_; ++t) {
      const auto i = static_cast<size_t>(t);
      const float h = gh == nullptr ? 0 : gh[t], s = gs == nullptr ? 0 : gs[t];
      a[i] = (h == 0 ? 0 : -h * entropy_[i]) - 2 * s;
      b[i] = -h;
      c[i] = s == 0 ? 0 : 2 * s * inverse_p2_[i];
      m[i] = gm == nullptr ? 0 : gm[t] / static_cast<float>(vocabulary_);
      const auto add = [&](int64_t token, float slope) {
        a[i] -= slope;
        singles_.push_back({t, token, slope});
      };
      if (gp != nullptr) add(targets_[t], gp[t]);
      if (gc != nullptr) {
        const int64_t* ids = candidates_.ids.const_data_ptr<int64_t>();
        for (int64_t k = candidates_.offset[i]; k < candidates_.offset[i + 1]; ++k)
          add(ids[k], gc[k]);
      }
      if ((t + 1) % kPanel == 0 || t + 1 == n_) starts_.push_back(singles_.size());
    }
  }

  HeadInputs in_;
  HeadOptions o_;
  TileHead side_;
  int64_t vocabulary_, n_ = 0;
  const int64_t* targets_ = nullptr;
  Candidates candidates_;
  Tensor logits_;
  std::vector<float> lse_, entropy_, inverse_p2_;
  std::array<std::vector<float>, 4> slopes_;  // a, b, c, m of RowSlopes
  std::vector<Single> singles_;
  std::vector<size_t> starts_;  // [panels + 1]
};

}  // namespace

std::unique_ptr<HeadBackend> cpu_head(const HeadInputs& inputs, const HeadOptions& options) {
  return std::make_unique<CpuHead>(inputs, options);
}

}  // namespace luce

// Exact divergences on the CPU: the logits of both sides by tiles, see head_cpu.cpp.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <tuple>

#include "ops/head_backend.h"
#include "ops/run_sums.h"
#include "ops/tile_gemm.h"
#include "ops/tile_head.h"

namespace luce {
namespace {

using kernels::kPanel;
using kernels::RowSums;

class CpuDivergence : public DivergenceBackend {
 public:
  CpuDivergence(const HeadSide& p, const HeadSide& q, const DivergenceOptions& o)
      : o_(o),
        kind_(static_cast<kernels::DivergenceKind>(o.kind)),
        beta_(static_cast<float>(o.beta)),
        p_(p.hidden, p.weight, p.logits),
        q_(q.hidden, q.weight, q.logits),
        like_(p.hidden) {}

  Tensor forward(int64_t begin, int64_t n) override {
    HeadWorkspace* w = o_.workspace;
    p_.pack(begin, n);
    q_.pack(begin, n);
    const int64_t size = p_.logits_size(n);
    const Tensor both =
        chunk_buffer(w == nullptr ? nullptr : &w->logits, 2 * size, like_, at::kFloat);
    z_p_ = both.narrow(0, 0, size);
    z_q_ = both.narrow(0, size, size);
    const int64_t runs = (p_.tiles() + kRun - 1) / kRun, width = p_.panels() * kPanel;
    RunSums sums_p(runs, width), sums_q(runs, width);
    for_runs(runs, [&](int64_t run, int64_t tile, TileHead::Scratch& scratch) {
      for (const auto& [side, z, sums] :
           {std::tuple{&p_, &z_p_, &sums_p}, std::tuple{&q_, &z_q_, &sums_q}}) {
        side->begin_products(tile, scratch);
        for (int64_t panel = 0; panel < side->panels(); ++panel) {
          float* x = side->logits_at(z->data_ptr<float>(), tile, panel);
          side->product(tile, panel, scratch, x);
          kernels::table().head_sums(x, side->entries(tile), side->panel_width(panel),
                                     side->panel_width(panel), 0, side->map(),
                                     sums->arrays(run, panel * kPanel), nullptr);
        }
      }
    });
    lse_p_ = log_sums(sums_p, runs);
    lse_q_ = log_sums(sums_q, runs);

    std::vector<float> value(static_cast<size_t>(runs * width)), slope(value.size());
    for_runs(runs, [&](int64_t run, int64_t tile, TileHead::Scratch&) {
      for (int64_t panel = 0; panel < p_.panels(); ++panel) {
        const int64_t at = panel * kPanel;
        kernels::table().divergence_sums(
            logits(p_, z_p_, tile, panel), logits(q_, z_q_, tile, panel), p_.entries(tile),
            p_.panel_width(panel), p_.panel_width(panel), lse_p_.data() + at, lse_q_.data() + at,
            kind_, beta_, value.data() + run * width + at, slope.data() + run * width + at);
      }
    });
    Tensor out = at::empty({n}, like_.options().dtype(at::kFloat));
    slope_.assign(static_cast<size_t>(width), 0);
    for (int64_t t = 0; t < width; ++t) {
      double total = 0, slopes = 0;
      for (int64_t run = 0; run < runs; ++run) {
        total += static_cast<double>(value[static_cast<size_t>(run * width + t)]);
        slopes += static_cast<double>(slope[static_cast<size_t>(run * width + t)]);
      }
      if (t < n) out.data_ptr<float>()[t] = static_cast<float>(total);
      slope_[static_cast<size_t>(t)] = static_cast<float>(slopes);
    }
    return out;
  }

  void backward(const Tensor& upstream, Tensor& d_hidden, Tensor& d_weight) override {
    std::vector<float> g(slope_.size());
    const Tensor values = upstream.to(at::kFloat).contiguous();
    std::copy_n(values.const_data_ptr<float>(), values.numel(), g.data());
    add_tile_gradients(
        p_, o_.chunk_bytes,
        [&](int64_t tile, int64_t panel) {
          float* z = logits(p_, z_p_, tile, panel);
          const int64_t at = panel * kPanel;
          kernels::table().divergence_gradient(z, logits(q_, z_q_, tile, panel), p_.entries(tile),
                                               p_.panel_width(panel), p_.panel_width(panel),
                                               lse_p_.data() + at, lse_q_.data() + at, kind_, beta_,
                                               slope_.data() + at, g.data() + at, p_.map());
          return z;
        },
        d_hidden, d_weight);
  }

 private:
  template <class Fn>
  void for_runs(int64_t runs, const Fn& fn) {
    at::parallel_for(0, runs, 1, [&](int64_t first, int64_t last) {
      TileHead::Scratch scratch;
      for (int64_t run = first; run < last; ++run)
        for (int64_t tile = run * kRun; tile < std::min(p_.tiles(), (run + 1) * kRun); ++tile)
          fn(run, tile, scratch);
      tile_gemm_release();
    });
  }
  static float* logits(const TileHead& side, Tensor& z, int64_t tile, int64_t panel) {
    return side.logits_at(z.data_ptr<float>(), tile, panel);
  }
  static std::vector<float> log_sums(RunSums& sums, int64_t runs) {
    std::vector<float> out(static_cast<size_t>(sums.targets));
    for (int64_t t = 0; t < sums.targets; ++t) {
      RowSums<float> row = sums.of(0, t);
      for (int64_t run = 1; run < runs; ++run) row = merged(row, sums.of(run, t));
      out[static_cast<size_t>(t)] = log_sum_exp(row);
    }
    return out;
  }

  DivergenceOptions o_;
  kernels::DivergenceKind kind_;
  float beta_;
  TileHead p_, q_;
  Tensor like_, z_p_, z_q_;
  std::vector<float> lse_p_, lse_q_, slope_;  // slope: Σ p f
};

}  // namespace

std::unique_ptr<DivergenceBackend> cpu_divergence(const HeadSide& p, const HeadSide& q,
                                                  const DivergenceOptions& options) {
  return std::make_unique<CpuDivergence>(p, q, options);
}

}  // namespace luce

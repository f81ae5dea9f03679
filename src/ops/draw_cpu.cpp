// Drawing on the CPU. Products and sums are the head's, tile by tile; logits stay as tiles. A row
// that nothing restricts is drawn from its sums: the run of tiles, the tile, the entry.
#include "ops/draw_cpu.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/attention_rows.h"
#include "ops/head_backend.h"
#include "ops/run_sums.h"
#include "ops/tile_gemm.h"
#include "ops/tile_head.h"

namespace luce::cpu {
namespace {

using kernels::kPanel;
using kernels::RowSums;

static_assert(TileHead::kTile == kernels::kDrawTile);

constexpr int64_t kGroup = 16;  // rows that are taken out of the tiles together

/// Logits of all rows at one temperature: z by tiles, and their sums.
class TileLogits {
 public:
  TileLogits(const TileHead& head, const kernels::LogitMap<float>& map, Tensor* kept, int64_t n,
             const Tensor& like, bool finds_best)
      : head_(head),
        map_(map),
        tiles_(chunk_buffer(kept, head.logits_size(n), like, at::kFloat)),
        targets_(head.panels() * kPanel),
        max_(static_cast<size_t>(head.tiles() * targets_)),
        exp_(max_.size()) {
    if (finds_best) best_.resize(static_cast<size_t>(runs() * targets_));
  }

  float* at(int64_t tile, int64_t panel) {
    return head_.logits_at(tiles_.data_ptr<float>(), tile, panel);
  }
  float value(int64_t row, int64_t id) {
    const int64_t tile = id / TileHead::kTile, panel = row / kPanel;
    return at(tile, panel)[(id - head_.first(tile)) * head_.panel_width(panel) + row % kPanel];
  }

  /// x → z of a tile, which is added to the sums; what its run comes to so far is kept.
  void add(int64_t tile, int64_t panel) {
    const int64_t wide = head_.panel_width(panel), first = panel * kPanel, run = tile / kRun;
    float *max = &max_[index(tile, first)], *exp = &exp_[index(tile, first)];
    if (tile % kRun == 0) {
      std::fill_n(max, wide, -std::numeric_limits<float>::infinity());
      std::fill_n(exp, wide, 0.0F);
    } else {
      std::copy_n(max - targets_, wide, max);
      std::copy_n(exp - targets_, wide, exp);
    }
    kernels::table().head_log_sums(at(tile, panel), head_.entries(tile), wide, wide,
                                   head_.first(tile), map_, max, exp,
                                   best_.empty() ? nullptr : &best_[index(run, first)]);
  }

  /// To be called for a row before the two below: the sums of all runs, as head merges them.
  struct Row {
    RowSums<float> sums;
    int32_t best;
    float lse;
  };
  Row row(int64_t t) {
    Row out{sums(0, t), best_.empty() ? 0 : best_[index(0, t)], 0};
    for (int64_t run = 1; run < runs(); ++run) {
      const auto more = sums(run, t);
      if (!best_.empty() && more.max > out.sums.max) out.best = best_[index(run, t)];
      out.sums = merged(out.sums, more);
    }
    out.lse = log_sum_exp(out.sums);
    return out;
  }

  int64_t draw(int64_t t, const Row& row, double u) {
    const auto part = [&](float max, float exp) {  // of the whole, relative to the largest logit
      return exp > 0 ? static_cast<double>(exp) * std::exp(max - row.sums.max) : 0.0;
    };
    std::vector<double> masses;
    double total = 0;
    for (int64_t run = 0; run < runs(); ++run) {
      const auto sums_of_run = sums(run, t);
      masses.push_back(part(sums_of_run.max, sums_of_run.exp));
      total += masses.back();
    }
    double left = u * total;
    int64_t run = 0, last = 0;  // the last run with any mass, should rounding pass them all
    for (; run < runs(); ++run) {
      const double mass = masses[static_cast<size_t>(run)];
      if (mass > 0) last = run;
      if (left < mass) break;
      left -= mass;
    }
    if (run == runs()) run = last;
    int64_t tile = run * kRun;
    double before = 0;
    for (const int64_t end = std::min(head_.tiles(), tile + kRun); tile < end; ++tile) {
      const double sum = part(max_[index(tile, t)], exp_[index(tile, t)]);
      if (left < sum || tile + 1 == end) break;
      before = sum;
    }
    return draw_from(t, tile, row.sums.max, left - before);
  }

 private:
  int64_t runs() const { return (head_.tiles() + kRun - 1) / kRun; }
  size_t index(int64_t row, int64_t t) const { return static_cast<size_t>(row * targets_ + t); }
  /// Of a run: what its last tile came to.
  RowSums<float> sums(int64_t run, int64_t t) const {
    const size_t i = index(std::min(head_.tiles(), (run + 1) * kRun) - 1, t);
    return {max_[i], exp_[i], 0, 0, 0};
  }

  int64_t draw_from(int64_t t, int64_t tile, float max, double left) {
    const int64_t wide = head_.panel_width(t / kPanel);
    const float* z = at(tile, t / kPanel) + t % kPanel;
    int64_t chosen = head_.first(tile);
    for (int64_t v = 0; v < head_.entries(tile); ++v) {
      const float p = std::exp(z[v * wide] - max);
      if (p > 0) chosen = head_.first(tile) + v;
      left -= p;
      if (left < 0) break;
    }
    return chosen;
  }

  const TileHead& head_;
  kernels::LogitMap<float> map_;
  Tensor tiles_;
  int64_t targets_;
  std::vector<float> max_, exp_;  // [tiles, targets] of a tile's run, up to and with the tile
  std::vector<int32_t> best_;     // [runs, targets] the entry with the largest logit; or empty
};

/// The products of all tiles and what follows them, each weight tile once for all rows.
void multiply(const TileHead& head, TileLogits& logits, TileLogits* tempered) {
  const int64_t runs = (head.tiles() + kRun - 1) / kRun;
  at::parallel_for(0, runs, 1, [&](int64_t first, int64_t last) {
    TileHead::Scratch scratch;
    for (int64_t run = first; run < last; ++run)
      for (int64_t tile = run * kRun; tile < std::min(head.tiles(), (run + 1) * kRun); ++tile) {
        head.begin_products(tile, scratch);
        for (int64_t panel = 0; panel < head.panels(); ++panel) {
          float* x = logits.at(tile, panel);
          head.product(tile, panel, scratch, x);
          if (tempered != nullptr) {
            std::copy_n(x, head.entries(tile) * head.panel_width(panel), tempered->at(tile, panel));
            tempered->add(tile, panel);
          }
          logits.add(tile, panel);
        }
      }
    tile_gemm_release();
  });
}

/// One model's head over the rows.
struct Side {
  TileHead head;
  TileLogits logits;

  Side(const HeadSide& side, Tensor* kept, bool finds_best)
      : head(packed(side)),
        logits(head, head.map(), kept, side.hidden.size(0), side.hidden, finds_best) {}

  static TileHead packed(const HeadSide& side) {
    TileHead head(side.hidden.contiguous(), side.weight.contiguous(), side.logits);
    head.pack(0, side.hidden.size(0));
    return head;
  }
};

/// Rows [first, first + kGroup) of the tiles, [kGroup, tiles · kTile], times a factor; or added.
void take_rows(Side& side, int64_t first, float factor, bool add, float* rows) {
  const int64_t panel = first / kPanel, wide = side.head.panel_width(panel);
  const int64_t stride = side.head.tiles() * TileHead::kTile;
  std::vector<float> more(static_cast<size_t>(add ? kGroup * TileHead::kTile : 0));
  for (int64_t tile = 0; tile < side.head.tiles(); ++tile) {
    const float* z = side.logits.at(tile, panel) + first % kPanel;
    float* to = rows + tile * TileHead::kTile;
    const int64_t entries = (side.head.entries(tile) + 3) / 4 * 4;
    if (!add) {
      kernels::attention_rows().transpose(entries, kGroup, factor, z, wide, to, stride);
      continue;
    }
    kernels::attention_rows().transpose(entries, kGroup, factor, z, wide, more.data(),
                                        TileHead::kTile);
    for (int64_t r = 0; r < kGroup; ++r)
      kernels::attention_rows().add(entries, more.data() + r * TileHead::kTile, to + r * stride);
  }
}

void penalise(const std::vector<int64_t>& seen, double penalty, float* z) {
  std::vector<float> values;
  const auto factor = static_cast<float>(penalty);
  for (const int64_t id : seen) values.push_back(z[id] > 0 ? z[id] / factor : z[id] * factor);
  for (size_t i = 0; i < seen.size(); ++i) z[seen[i]] = values[i];
}

}  // namespace

Drawn draw(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
           const DrawOptions& o, DrawWorkspace& workspace) {
  const int64_t m = first.hidden.size(0), vocabulary = first.weight.size(0);
  const auto count = static_cast<size_t>(m);
  Drawn out{std::vector<int64_t>(count), std::vector<double>(count), std::vector<double>(count),
            std::vector<double>(count)};
  if (m == 0) return out;
  Side side(first, &workspace.logits, o.temperature == 0);
  std::optional<TileLogits> tempered;
  if (o.temperature != 1 && o.temperature != 0) {
    LogitOptions map = first.logits;
    map.temperature = o.temperature;
    tempered.emplace(side.head, TileHead(first.hidden, first.weight, map).map(),
                     &workspace.tempered, m, first.hidden, false);
  }
  multiply(side.head, side.logits, tempered ? &*tempered : nullptr);
  std::optional<Side> other;
  if (second != nullptr) {
    other.emplace(*second, &workspace.second, false);
    multiply(other->head, other->logits, nullptr);
  }
  const bool by_row = o.restricts() || other;
  const int64_t stride = side.head.tiles() * TileHead::kTile;
  if (by_row)
    chunk_buffer(&workspace.rows, at::get_num_threads() * kGroup * stride, first.hidden,
                 at::kFloat);
  const double inverse = o.temperature == 0 ? 1 : 1 / o.temperature;
  at::parallel_for(0, (m + kGroup - 1) / kGroup, 1, [&](int64_t begin, int64_t end) {
    RowDraw row_draw(o);
    float* group = by_row
                       ? workspace.rows.data_ptr<float>() + at::get_thread_num() * kGroup * stride
                       : nullptr;
    for (int64_t t = begin * kGroup; t < std::min(m, end * kGroup); ++t) {
      const auto i = static_cast<size_t>(t);
      if (by_row && t % kGroup == 0) {
        take_rows(side, t, static_cast<float>((1 - o.second_weight) * inverse), false, group);
        if (other) take_rows(*other, t, static_cast<float>(o.second_weight * inverse), true, group);
      }
      const auto plain = side.logits.row(t);
      TileLogits& last = tempered ? *tempered : side.logits;
      const auto row = tempered ? last.row(t) : plain;
      int64_t id = 0;
      if (by_row) {
        float* z = group + t % kGroup * stride;
        if (o.repetition_penalty != 1) penalise(*rows.seen[i], o.repetition_penalty, z);
        const Choice choice = row_draw(z, vocabulary, rows.uniform[i]);
        id = choice.id;
        out.drawn[i] = choice.logp;
      } else {
        id = o.temperature == 0 ? plain.best : last.draw(t, row, rows.uniform[i]);
      }
      out.ids[i] = id;
      out.logps[i] = side.logits.value(t, id) - plain.lse;
      out.tempered[i] = last.value(t, id) - row.lse;
      if (!by_row) out.drawn[i] = o.temperature == 0 ? 0 : out.tempered[i];
    }
  });
  return out;
}

}  // namespace luce::cpu

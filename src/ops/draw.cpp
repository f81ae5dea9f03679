// The checks of drawing, and its definition.
#include "luce/ops/draw.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <limits>

#include "luce/base/error.h"
#include "ops/draw_cpu.h"
#include "ops/draw_cuda.h"

namespace luce {
namespace {

constexpr double kNone = -std::numeric_limits<double>::infinity();

/// Whether kernels of the device that `like` is on read this side.
bool has_kernel(const HeadSide& side, const HeadSide& like) {
  const auto type = side.hidden.scalar_type();
  return side.hidden.device() == like.hidden.device() &&
         (type == at::kFloat || type == at::kBFloat16);
}

void check(const HeadSide& side) {
  expect_dim(side.hidden, 2, "draw", "hidden");
  expect_dim(side.weight, 2, "draw", "weight");
  if (side.hidden.size(1) != side.weight.size(1) ||
      side.hidden.scalar_type() != side.weight.scalar_type())
    throw ArgumentError(cat("[draw] expected hidden [M, D] and weight [V, D] of one dtype; got ",
                            shown(side.hidden), ", ", shown(side.weight)));
  if (side.logits.temperature != 1)
    throw ArgumentError(
        cat("[draw] a side's own temperature must be 1, for DrawOptions has one; got ",
            side.logits.temperature));
}

void check(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
           const DrawOptions& o) {
  check(first);
  if (second != nullptr) check(*second);
  const auto m = static_cast<size_t>(first.hidden.size(0));
  if (second != nullptr && (second->hidden.size(0) != first.hidden.size(0) ||
                            second->weight.size(0) != first.weight.size(0)))
    throw ArgumentError(
        cat("[draw] the second side needs the rows and the vocabulary of the first; "
            "got ",
            shown(second->hidden), ", ", shown(second->weight), " beside ", shown(first.hidden),
            ", ", shown(first.weight)));
  if (rows.uniform.size() != m || (o.repetition_penalty != 1 && rows.seen.size() != m))
    throw ArgumentError(
        cat("[draw] expected a number, and with a penalty the tokens seen, for each "
            "of ",
            m, " rows; got ", rows.uniform.size(), " and ", rows.seen.size()));
  if (!(o.temperature >= 0) || o.top_k < 0 || !(o.top_p > 0) || o.top_p > 1 || !(o.min_p >= 0) ||
      o.min_p >= 1 || !(o.repetition_penalty > 0) || (o.second_weight > 0) != (second != nullptr) ||
      !(o.second_weight >= 0) || o.second_weight > 1)
    throw ArgumentError(
        cat("[draw] expected temperature >= 0, top_k >= 0, 0 < top_p <= 1, 0 <= min_p < 1, "
            "repetition_penalty > 0 and, with a second side, a weight in (0, 1]; got ",
            o.temperature, ", ", o.top_k, ", ", o.top_p, ", ", o.min_p, ", ", o.repetition_penalty,
            " and ", o.second_weight));
}

/// Penalty, temperature, top_k, top_p and min_p on logits z [M, V] in f64.
Tensor restricted(Tensor z, const DrawRows& rows, const DrawOptions& o) {
  if (o.repetition_penalty != 1)
    for (int64_t i = 0; i < z.size(0); ++i) {
      const Tensor ids = at::tensor(*rows.seen[static_cast<size_t>(i)], at::kLong).to(z.device());
      const Tensor at = z[i].index_select(0, ids);
      z[i].index_copy_(0, ids,
                       at::where(at > 0, at / o.repetition_penalty, at * o.repetition_penalty));
    }
  if (o.temperature != 0) z = z / o.temperature;
  // A stable sort: of equals the first counts as likelier.
  const bool ordered = (o.top_k > 0 && o.top_k < z.size(1)) || o.top_p < 1;
  if (ordered) {
    auto [sorted, order] = z.sort(/*stable=*/true, /*dim=*/1, /*descending=*/true);
    if (o.top_k > 0 && o.top_k < z.size(1))
      sorted.narrow(1, o.top_k, z.size(1) - o.top_k).fill_(kNone);
    if (o.top_p < 1) {
      const Tensor p = at::softmax(sorted, 1);
      sorted.masked_fill_((p.cumsum(1) - p).ge(o.top_p), kNone);
    }
    z = at::empty_like(z).scatter_(1, order, sorted);
  }
  if (o.min_p > 0) z = z.masked_fill(z < z.amax(1, true) + std::log(o.min_p), kNone);
  return z;
}

std::vector<double> values(const Tensor& t) {
  const Tensor c = t.to(at::kCPU, at::kDouble).contiguous();
  return {c.const_data_ptr<double>(), c.const_data_ptr<double>() + c.numel()};
}

}  // namespace

Drawn composed::draw(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
                     const DrawOptions& o) {
  const at::NoGradGuard no_grad;
  check(first, second, rows, o);
  if (first.hidden.size(0) == 0) return {};
  const bool tempers = o.temperature != 1 && o.temperature != 0;
  LogitOptions map = first.logits;
  if (tempers) map.temperature = o.temperature;
  const Logits plain = head_logits(first.hidden, first.weight, first.logits);
  const Logits tempered = tempers ? head_logits(first.hidden, first.weight, map) : plain;
  Tensor z = plain.values.to(at::kDouble, /*non_blocking=*/false, /*copy=*/true);
  if (second != nullptr)
    z = (1 - o.second_weight) * z +
        o.second_weight *
            head_logits(second->hidden, second->weight, second->logits).values.to(at::kDouble);
  z = restricted(z, rows, o);
  Tensor ids;
  if (o.temperature == 0) {
    ids = z.argmax(1, true);
  } else {
    const Tensor sums = at::softmax(z, 1).cumsum(1);
    const Tensor u = at::tensor(rows.uniform, at::kDouble).to(z.device()).unsqueeze(1);
    // The first entry whose sum is above u · total: entries without probability never are.
    const Tensor total = sums.narrow(1, sums.size(1) - 1, 1);
    ids = sums.le(u * total).sum(1, true).clamp_max(z.size(1) - 1);
  }
  const auto logps = [&](const Logits& l) {
    return values(l.values.gather(1, ids).squeeze(1) - l.lse);
  };
  const Tensor on_host = ids.to(at::kCPU).contiguous();
  const int64_t* id = on_host.const_data_ptr<int64_t>();
  return {{id, id + on_host.numel()},
          logps(plain),
          logps(tempered),
          o.temperature == 0 ? std::vector<double>(rows.uniform.size())
                             : (o.restricts() || second != nullptr
                                    ? values(at::log_softmax(z, 1).gather(1, ids).squeeze(1))
                                    : logps(tempered))};
}

Drawn draw(const HeadSide& first, const HeadSide* second, const DrawRows& rows,
           const DrawOptions& o, DrawWorkspace& workspace) {
  if (has_kernel(first, first) && (second == nullptr || has_kernel(*second, first))) {
    const at::NoGradGuard no_grad;
    check(first, second, rows, o);
    if (first.hidden.is_cpu()) return cpu::draw(first, second, rows, o, workspace);
#if defined(LUCE_CUDA)
    if (first.hidden.is_cuda()) return cuda_draw(first, second, rows, o, workspace);
#endif
  }
  return composed::draw(first, second, rows, o);
}

}  // namespace luce

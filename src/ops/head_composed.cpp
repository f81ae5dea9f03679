// The head's definition in LibTorch's operators: the oracle of the kernels, and the backend of f64.
#include <ATen/ATen.h>

#include "ops/head_backend.h"

namespace luce {
namespace {

/// Logits in the statistics dtype: [rows, V].
Tensor logits_of(const Tensor& hidden, const Tensor& weight, const LogitOptions& o) {
  Tensor x = at::mm(hidden, weight.t());
  if (o.softcap > 0)
    return x.mul_(o.logit_scale / o.softcap).tanh_().mul_(o.softcap / o.temperature);
  return x.mul_(o.logit_scale / o.temperature);
}

/// dz → dx: the slope of logits_of, told from z.
void unmap(Tensor& dz, const Tensor& z, const LogitOptions& o) {
  if (o.softcap > 0) {
    const double after = o.softcap / o.temperature;
    dz.mul_((1 - (z / after).square()) * (o.logit_scale / o.temperature));
  } else {
    dz.mul_(o.logit_scale / o.temperature);
  }
}

/// For every candidate, the row that it belongs to: [K] i64.
Tensor rows_of(const Candidates& c, const Tensor& like) {
  std::vector<int64_t> rows;
  for (size_t m = 0; m + 1 < c.offset.size(); ++m)
    rows.insert(rows.end(), static_cast<size_t>(c.offset[m + 1] - c.offset[m]),
                static_cast<int64_t>(m));
  return at::tensor(rows, at::kLong).to(like.device());
}

/// Σ x over the vocabulary where 0 · ∞ counts as 0.
Tensor summed(const Tensor& p, const Tensor& x) {
  return at::where(p.eq(0), at::zeros_like(p), p * x).sum(1);
}

class ComposedHead : public HeadBackend {
 public:
  ComposedHead(const HeadInputs& in, const HeadOptions& o)
      : o_(o),
        type_(statistics_type(in.hidden.scalar_type())),
        hidden_(in.hidden.to(type_)),
        weight_(in.weight.to(type_)),
        targets_(in.targets) {}

  HeadStats forward(int64_t begin, int64_t n) override {
    begin_ = begin;
    n_ = n;
    z_ = logits_of(hidden_.narrow(0, begin, n), weight_, o_.logits);
    target_ = targets_.narrow(0, begin, n).unsqueeze(1);
    lse_ = at::logsumexp(z_, 1, true);
    const Tensor log_p = z_ - lse_;
    HeadStats out;
    out.logps = log_p.gather(1, target_).squeeze(1);
    if (o_.entropy) out.entropy = entropy_ = summed(log_p.exp(), log_p).neg_();
    if (o_.log_sum_p2) out.log_sum_p2 = log_sum_p2_ = at::logsumexp(log_p * 2, {1});
    if (o_.greedy_match)
      out.greedy_match =
          n > 0 ? z_.argmax(1).eq(target_.squeeze(1)).to(type_) : at::empty({0}, z_.options());
    if (o_.mean_logit) out.mean_logit = z_.mean(1);
    if (o_.top_k > 0) {
      const auto [values, ids] = z_.topk(o_.top_k, 1);
      out.top_ids = ids;
      out.top_logps = values - lse_;
    }
    if (o_.candidates != nullptr) {
      candidates_ = candidates_of(*o_.candidates, begin, n);
      rows_ = rows_of(candidates_, z_);
      out.candidate_logps = log_p.index({rows_, candidates_.ids});
    }
    return out;
  }

  void backward(const HeadGradients& g, Tensor& d_hidden, Tensor& d_weight) override {
    const Tensor log_p = z_ - lse_, p = log_p.exp();
    Tensor dz = at::zeros_like(z_), mass = at::zeros_like(lse_);  // Σ_k g_k
    if (g.logps.defined()) {
      const Tensor slope = g.logps.to(type_).unsqueeze(1);
      dz.scatter_add_(1, target_, slope);
      mass.add_(slope);
    }
    if (g.candidate_logps.defined()) {
      const Tensor slope = g.candidate_logps.to(type_);
      dz.index_put_({rows_, candidates_.ids}, slope, true);
      mass.squeeze(1).index_add_(0, rows_, slope);
    }
    dz.addcmul_(p, mass, -1);
    if (g.entropy.defined()) {
      const Tensor h = g.entropy.to(type_).unsqueeze(1);
      dz.sub_(h * p * (at::clamp_min(log_p, -1e30) + entropy_.unsqueeze(1)));
    }
    if (g.log_sum_p2.defined()) {
      const Tensor s = g.log_sum_p2.to(type_).unsqueeze(1);
      dz.add_(2 * s * p * (p / log_sum_p2_.exp().unsqueeze(1) - 1));
    }
    if (g.mean_logit.defined())
      dz.add_(g.mean_logit.to(type_).unsqueeze(1) / static_cast<double>(z_.size(1)));
    unmap(dz, z_, o_.logits);
    d_hidden.add_(at::mm(dz, weight_));
    if (d_weight.defined()) d_weight.addmm_(dz.t(), hidden_.narrow(0, begin_, n_));
  }

  Logits logits() const override { return {z_, lse_.squeeze(1)}; }

 private:
  HeadOptions o_;
  at::ScalarType type_;
  Tensor hidden_, weight_, targets_;
  int64_t begin_ = 0, n_ = 0;
  Tensor z_, lse_, target_, entropy_, log_sum_p2_, rows_;
  Candidates candidates_;
};

class ComposedDivergence : public DivergenceBackend {
 public:
  ComposedDivergence(const HeadSide& p, const HeadSide& q, const DivergenceOptions& o)
      : o_(o), type_(statistics_type(p.hidden.scalar_type())), p_(wide(p)), q_(wide(q)) {}

  Tensor forward(int64_t begin, int64_t n) override {
    begin_ = begin;
    n_ = n;
    z_ = logits_of(p_.hidden.narrow(0, begin, n), p_.weight, p_.logits);
    const Tensor z_q = logits_of(q_.hidden.narrow(0, begin, n), q_.weight, q_.logits);
    const Tensor log_p = at::log_softmax(z_, 1), log_q = at::log_softmax(z_q, 1);
    probability_ = log_p.exp();
    const Tensor q = log_q.exp();
    if (o_.kind == Divergence::forward_kl) {
      const Tensor f = log_p - log_q;
      own_ = at::where(probability_.eq(0), at::zeros_like(f), probability_ * f);
      return own_.sum(1);
    }
    if (o_.kind == Divergence::reverse_kl) {
      own_ = q.neg();
      return summed(q, log_q - log_p);
    }
    const Tensor log_m = (o_.beta * q + (1 - o_.beta) * probability_).log();
    const Tensor f = (1 - o_.beta) * (log_p - log_m);
    own_ = at::where(probability_.eq(0), at::zeros_like(f), probability_ * f);
    return o_.beta * summed(q, log_q - log_m) + own_.sum(1);
  }

  void backward(const Tensor& upstream, Tensor& d_hidden, Tensor& d_weight) override {
    Tensor dz = (own_ - probability_ * own_.sum(1, true)) * upstream.to(type_).unsqueeze(1);
    unmap(dz, z_, p_.logits);
    d_hidden.add_(at::mm(dz, p_.weight));
    if (d_weight.defined()) d_weight.addmm_(dz.t(), p_.hidden.narrow(0, begin_, n_));
  }

 private:
  HeadSide wide(const HeadSide& side) const {
    return {side.hidden.to(type_), side.weight.to(type_), side.logits};
  }

  DivergenceOptions o_;
  at::ScalarType type_;
  HeadSide p_, q_;
  int64_t begin_ = 0, n_ = 0;
  Tensor z_, probability_, own_;  // own: p f
};

}  // namespace

std::unique_ptr<HeadBackend> composed_head(const HeadInputs& inputs, const HeadOptions& options) {
  return std::make_unique<ComposedHead>(inputs, options);
}

std::unique_ptr<DivergenceBackend> composed_divergence(const HeadSide& p, const HeadSide& q,
                                                       const DivergenceOptions& options) {
  return std::make_unique<ComposedDivergence>(p, q, options);
}

}  // namespace luce

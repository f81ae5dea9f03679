#include "luce/loss/unpaired.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"

namespace luce {

Tensor UnpairedInputs::log_ratio() const {
  if (!ref_logps.defined())
    throw ArgumentError("[UnpairedInputs] log_ratio needs the reference's log-probs");
  return logps - ref_logps;
}

UnpairedInputs unpaired_inputs(const GroupInputs& x) {
  std::vector<int64_t> judged, mismatched;
  std::vector<double> desirable;
  for (size_t c = 0; c < x.role.size(); ++c) {
    if (x.role[c] == Role::gold) continue;
    if (x.role[c] == Role::ranked)
      throw ArgumentError("[UnpairedLoss] answers must be chosen or rejected; got a ranked one");
    (x.role[c] == Role::mismatched ? mismatched : judged).push_back(static_cast<int64_t>(c));
    if (x.role[c] != Role::mismatched) desirable.push_back(x.role[c] == Role::chosen ? 1 : 0);
  }
  const auto index = [&](const std::vector<int64_t>& of) {
    return at::tensor(of, at::kLong).to(x.logps.values.device());
  };
  const Tensor logps = x.logps.sum();
  UnpairedInputs out;
  out.logps = logps.index_select(0, index(judged));
  out.desirable = at::tensor(desirable, at::kDouble).to(logps.device());
  if (!x.ref_logps) return out;
  const Tensor ref = x.ref_logps->sum();
  out.ref_logps = ref.index_select(0, index(judged));
  out.mismatched_log_ratio = (logps.detach() - ref).index_select(0, index(mismatched));
  return out;
}

Terms UnpairedLoss::operator()(const GroupInputs& x, Metrics& metrics) const {
  const UnpairedInputs answers = unpaired_inputs(x);
  const Tensor value = values(answers, metrics);
  if (!value.defined() || value.sizes() != answers.logps.sizes())
    throw ArgumentError(cat("[UnpairedLoss] a loss must return one value an answer, of shape [",
                            answers.logps.numel(), "]; got ",
                            value.defined() ? shown(value) : "none"));
  return {{value, Per::sequence, 1}};
}

}  // namespace luce

#include <algorithm>
#include <cmath>

#include "loss/check_rows.h"

namespace luce::checks {

std::vector<ExtremeStep> extreme_steps(const SequenceLoss& loss, uint64_t seed) {
  const MadeStep plain = made_step(loss, seed, 0);
  // The plain step with other completions, other numbers at their tokens, or both.
  const auto reshaped = [&](const auto& change) {
    MadeStep step;
    for (const MadeRow& row : plain) {
      Example example = row.example;
      change(example);
      step.push_back(made_row(loss, example, seed, 0));
    }
    return step;
  };
  const auto renumbered = [](MadeStep step, const auto& change) {
    for (MadeRow& row : step)
      for (size_t k = 0; k < row.answers.size(); ++k)
        for (MadeToken& token : row.answers[k]) change(token, k);
    return step;
  };
  const auto all = [&](double logp) {
    return renumbered(plain, [&](MadeToken& token, size_t) {
      token.logp = logp;
      std::fill(token.candidates.begin(), token.candidates.end(), logp);
    });
  };
  const auto one_token = reshaped([](Example& e) {
    for (auto& c : e.completions) c.resize(1);
  });
  // Of one token, so that the log-prob of a token is that of its answer.
  const auto apart = [&](double sign) {
    return renumbered(one_token, [&](MadeToken& token, size_t k) {
      const bool up = (k % 2 == 0) == (sign > 0);
      token.logp = up ? 0 : -1e4;
      token.ref_logp = up ? -1e4 : 0;
    });
  };
  const auto same = reshaped(
      [](Example& e) { e.completions.assign(e.completions.size(), e.completions.front()); });
  const auto tied = reshaped([](Example& e) {
    for (double& score : e.scores) score = std::isnan(score) ? score : 1;
  });
  const auto empty = reshaped([](Example& e) {  // the first, the second or both
    if (e.row % 3 != 1) e.completions.front().clear();
    if (e.row % 3 != 2) e.completions[std::min<size_t>(1, e.completions.size() - 1)].clear();
  });
  const auto longer = reshaped([](Example& e) { e.completions.front().resize(4096, 5); });
  return {{"equal answers",
           renumbered(same, [](MadeToken& token, size_t) { token.logp = token.ref_logp = -1; })},
          {"equal scores", tied},
          {"an empty answer", empty},
          {"answers of one token", one_token},
          {"log-ratios of 10000 nats in favour of the first answer", apart(1)},
          {"log-ratios of 10000 nats against the first answer", apart(-1)},
          {"log-probs of 0", all(0)},
          {"log-probs of -10000", all(-1e4)},
          {"an answer of 4096 tokens", longer}};
}

}  // namespace luce::checks

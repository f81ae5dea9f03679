// Every case of tests/golden/losses.json and losses_free.json: the values and gradients of TRL's
// own code, under the options that it has.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "loss/inputs.h"
#include "luce/base/error.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;
using test::f64;

/// A loss's section of a config from TRL's options.
Json section_of(const Json& c) {
  Json section = {{"type", c["loss"]}};
  Json nll = nullptr;
  for (const auto& [key, value] : c["options"].items()) {
    if (key == "part") continue;  // of TRL's result, not an option
    if (key == "cpo_alpha" && c["loss"] != "cpo")
      nll = value;  // SimPO and AlphaPO are losses of CPOTrainer; here the likelihood is sft's
    else
      section[key] = value;
  }
  if (nll.is_null() || nll == 0) return section;
  return Json::array({section, {{"type", "sft"}, {"weight", nll}}});
}

std::vector<double> numbers(const Json& list) { return list.get<std::vector<double>>(); }

test::Answer answer_of(const Json& pair, const std::string& side, Role role) {
  test::Answer answer{role, numbers(pair[side])};
  answer.ref_logps = numbers(pair["ref_" + side]);
  answer.log_sum_p2 = numbers(pair[side + "_log_sum_sq_probs"]);
  return answer;
}

/// The pair, with its gold answer where the case has gradients of one.
test::Group group_of(const Json& pair, const Json& c) {
  test::Group group{answer_of(pair, "chosen", Role::chosen),
                    answer_of(pair, "rejected", Role::rejected)};
  if (c.contains("grad_gold")) {
    const auto gold = numbers(pair["gold"]);
    const std::vector<double> unused(gold.size(), 0);
    group.push_back({Role::gold, gold, unused, unused});
  }
  return group;
}

bool has_null(const Json& value) {
  if (!value.is_array()) return value.is_null();
  return std::any_of(value.begin(), value.end(), [](const Json& v) { return v.is_null(); });
}

/// Compares a file's cases with ours, and counts them, so that nothing is left out unseen.
class Replay {
 public:
  int cases = 0, values = 0, gradients = 0;
  int infinite = 0;  // values and gradients that are not finite in TRL, and must be here

  explicit Replay(const std::string& file) {
    const Json golden = test::golden_json(file);
    for (const Json& c : golden["cases"]) {
      // The numbers have 9 digits. TRL computes α-divergences and odds in f32.
      const bool f32 = c.contains("dtype");
      absolute_ = f32 ? 1e-6 : 1e-9;
      relative_ = f32 ? 1e-5 : 1e-6;
      const auto loss = test::make_loss(section_of(c));
      if (c.contains("mean")) step(c, *loss, golden["pairs"]);
      for (size_t p = 0; p < golden["pairs"].size(); ++p) {
        SCOPED_TRACE(cat(c["loss"], " ", c["options"], " pair ", p));
        if (c.contains("losses")) pair(c, *loss, golden["pairs"][p], p);
        if (c.contains("losses_chosen"))
          for (const char* side : {"chosen", "rejected"})
            answer(c, *loss, golden["pairs"][p], p, side);
      }
      ++cases;
    }
  }

 private:
  void pair(const Json& c, const SequenceLoss& loss, const Json& golden_pair, size_t p) {
    const GroupInputs x = test::inputs_of({group_of(golden_pair, c)});
    const bool odds_alone = c["options"].value("part", "") == "odds_ratio";
    const Tensor value = odds_alone ? test::values_of(loss, x).sum() : test::loss_of(loss, x);
    compare_value(value, c["losses"][p]);
    const Tensor gradient = test::gradient_of(value, x);
    compare_gradient(gradient, x, 0, c["grad_chosen"][p]);
    compare_gradient(gradient, x, 1, c["grad_rejected"][p]);
    if (c.contains("grad_gold")) compare_gradient(gradient, x, 2, c["grad_gold"][p]);
  }

  /// A loss that sorts the step: the mean over all pairs.
  void step(const Json& c, const SequenceLoss& loss, const Json& golden_pairs) {
    SCOPED_TRACE(cat(c["loss"], " ", c["options"]));
    std::vector<test::Group> groups;
    for (const Json& pair : golden_pairs) groups.push_back(group_of(pair, c));
    const GroupInputs x = test::inputs_of(groups);
    const Tensor value = test::loss_of(loss, x);
    compare_value(value, c["mean"]);
    const Tensor gradient = test::gradient_of(value, x);
    for (size_t p = 0; p < groups.size(); ++p) {
      compare_gradient(gradient, x, 2 * p, c["grad_chosen"][p]);
      compare_gradient(gradient, x, 2 * p + 1, c["grad_rejected"][p]);
    }
  }

  /// An answer by itself, beside the mismatched ones of the step.
  void answer(const Json& c, const SequenceLoss& loss, const Json& golden_pair, size_t p,
              const std::string& side) {
    test::Answer judged =
        answer_of(golden_pair, side, side == "chosen" ? Role::chosen : Role::rejected);
    judged.log_sum_p2.clear();
    test::Group group{judged};
    for (const Json& sums : c.value("mismatched", Json::array()))
      group.push_back({Role::mismatched, {sums[0].get<double>()}, {sums[1].get<double>()}});
    const GroupInputs x = test::inputs_of({group});
    Metrics metrics;
    const Tensor value = reduce(loss(x, metrics), test::totals_in(x));
    compare_value(value, c["losses_" + side][p]);
    const Tensor gradient = test::gradient_of(value, x);
    compare_gradient(gradient, x, 0, c["grad_" + side][p]);
    if (!c.contains("kl")) return;
    EXPECT_NEAR(metrics.mean("kl"), c["kl"].get<double>(), 1e-9);
    const Tensor others = gradient.slice(0, x.logps.offset[1]);
    EXPECT_TRUE(close(others, at::zeros_like(others), 0)) << "z0 takes no gradient";
  }

  void compare_value(const Tensor& got, const Json& want) {
    if (has_null(want)) return expect_finite(got);
    EXPECT_TRUE(close(got, f64({want.get<double>()})[0], absolute_, relative_));
    ++values;
  }

  /// `want`: of each token of the answer, or one number where they are all the same.
  void compare_gradient(const Tensor& tokens, const GroupInputs& x, size_t answer,
                        const Json& want) {
    const Tensor got = tokens.slice(0, x.logps.offset[answer], x.logps.offset[answer + 1]);
    if (has_null(want)) return expect_finite(got);
    const Tensor wanted = want.is_array() ? f64(numbers(want))
                                          : at::full(got.sizes(), want.get<double>(), at::kDouble);
    EXPECT_TRUE(close(got, wanted, absolute_, relative_));
    ++gradients;
  }

  void expect_finite(const Tensor& got) {
    EXPECT_TRUE(at::isfinite(got).all().item<bool>());
    ++infinite;
  }

  double absolute_ = 0, relative_ = 0;
};

TEST(GoldenLosses, WithAReferenceAreThoseOfDpoTrainerAndKtoTrainer) {
  const Replay replay("losses.json");
  // 50 losses of pairs and 6 of a sorted step by DPOTrainer, 5 of both sides by KTOTrainer.
  EXPECT_EQ(replay.cases, 50 + 6 + 5);
  EXPECT_EQ(replay.infinite, 18);  // TRL does not clamp the exponents of discopop and forward_kl
  EXPECT_EQ(replay.values + replay.gradients, 50 * 12 * 3 + 6 * (1 + 24) + 5 * 24 * 2 - 18);
}

TEST(GoldenLosses, WithoutOneAreThoseOfCpoTrainerOrpoTrainerAndTpoTrainer) {
  const Replay replay("losses_free.json");
  EXPECT_EQ(replay.cases, 34);
  EXPECT_EQ(replay.infinite, 0);
  EXPECT_EQ(replay.values, 34 * 12);
  EXPECT_EQ(replay.gradients, 34 * 12 * 2 + 4 * 12);  // 4 cases have gold answers
}

}  // namespace
}  // namespace luce

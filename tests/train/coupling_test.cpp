// Losses are cut where they allow it, and only there.
#include <ATen/ATen.h>

#include <algorithm>

#include "luce/loss/mix.h"
#include "luce/loss/pair.h"
#include "luce/loss/sft.h"
#include "luce/train/offline_task.h"
#include "support/support.h"

namespace luce {
namespace {

/// −log σ(h − h̄) with h̄ the mean over all pairs that it sees: what it is called with matters.
class Centred : public PairLoss {
 public:
  explicit Centred(Coupling couples) : couples_(couples) {}
  Needs needs() const override { return {.couples = couples_}; }
  Tensor values(const PairInputs& pair, Metrics& metrics) const override {
    metrics.add("calls", 1, 0);
    const Tensor h = 0.3 * (pair.logps.chosen - pair.logps.rejected);
    return -at::log_sigmoid(h - h.mean());
  }

 private:
  Coupling couples_;
};

/// Σ log π of every completion, with the coupling that it is given.
class TokenMean : public SequenceLoss {
 public:
  explicit TokenMean(Coupling couples) : couples_(couples) {}
  Needs needs() const override { return {.couples = couples_}; }
  Terms operator()(const GroupInputs& x, Metrics& metrics) const override {
    metrics.add("calls", 1, 0);
    return {{-x.logps.sum(), Per::token, 1}};
  }

 private:
  Coupling couples_;
};

struct Outcome {
  std::vector<Tensor> gradients;
  Metrics metrics;
};

template <class TaskType, class... Args>
Outcome first_step(const OfflineOptions& given, Args&&... args) {
  OfflineOptions options = given;
  options.batch_size = 8;
  options.shuffle = false;
  TaskType task(Policy(test::small_model(at::kDouble)), std::forward<Args>(args)...,
                test::random_pairs(8), std::vector<Example>(), options);
  const Step step = task.next(0);
  Outcome out;
  for (size_t i = 0; i < step.micro_batches.size(); ++i) task.accumulate(step, i, out.metrics);
  for (const auto& p : task.policy().parameters()) out.gradients.push_back(p.grad);
  return out;
}

Outcome preference(std::unique_ptr<SequenceLoss> loss, const OfflineOptions& options) {
  return first_step<PreferenceTask>(options, Frozen{}, std::move(loss));
}

void expect_equal(const Outcome& got, const Outcome& want) {
  for (size_t i = 0; i < want.gradients.size(); ++i)
    EXPECT_LE(test::relative_distance(got.gradients[i], want.gradients[i]), 1e-11) << i;
  EXPECT_NEAR(got.metrics.sum("loss"), want.metrics.sum("loss"), 1e-12);
  for (const char* name : {"logps/chosen", "logits/rejected", "entropy", "mean_token_accuracy"})
    if (want.metrics.has(name)) {
      EXPECT_NEAR(got.metrics.mean(name), want.metrics.mean(name), 1e-12) << name;
    }
}

TEST(Coupling, OfTheStepTakesTwoPhasesAndSeesAllPairsAtOnce) {
  const auto whole = preference(std::make_unique<Centred>(Coupling::group), {});
  EXPECT_EQ(whole.metrics.sum("calls"), 1);
  for (const OfflineOptions& cut :
       {OfflineOptions{}, OfflineOptions{.micro_batch_tokens = 1},
        OfflineOptions{.micro_batch_tokens = 40, .chunk_bytes = 29 * 8 * 3}}) {
    const auto split = preference(std::make_unique<Centred>(Coupling::step), cut);
    EXPECT_EQ(split.metrics.sum("calls"), 1);
    expect_equal(split, whole);
  }
  // The same loss, declared too little: cut into micro-batches it is another loss.
  const auto wrong =
      preference(std::make_unique<Centred>(Coupling::group), {.micro_batch_tokens = 1});
  EXPECT_GT(test::relative_distance(wrong.gradients[0], whole.gradients[0]), 1e-3);
}

TEST(Coupling, OfATokenLetsARowBeCutIntoChunks) {
  const OfflineOptions tight{.chunk_bytes = 29 * 8 * 2};  // two targets a chunk
  const auto whole =
      first_step<SftTask>({}, Frozen{}, std::make_unique<TokenMean>(Coupling::group));
  for (const Coupling coupling : {Coupling::token, Coupling::sequence, Coupling::group}) {
    const auto cut = first_step<SftTask>(tight, Frozen{}, std::make_unique<TokenMean>(coupling));
    expect_equal(cut, whole);
    // Two targets at a time, or a row's whole answers.
    if (coupling == Coupling::token) {
      EXPECT_GT(cut.metrics.sum("calls"), 16);
    }
    if (coupling == Coupling::group) {
      EXPECT_EQ(cut.metrics.sum("calls"), 8);
    }
  }
  const auto sft = first_step<SftTask>(tight, Frozen{}, std::make_unique<Sft>());
  expect_equal(sft, first_step<SftTask>({}, Frozen{}, std::make_unique<Sft>()));
}

TEST(Coupling, OfAMixtureIsThatOfItsWidestPart) {
  std::vector<LossMix::Part> parts;
  parts.push_back({std::make_unique<Sft>(), 1});
  EXPECT_EQ(LossMix(std::move(parts)).needs().couples, Coupling::token);
  parts.clear();
  parts.push_back({std::make_unique<Sft>(), 1});
  parts.push_back({std::make_unique<Centred>(Coupling::step), 1});
  EXPECT_EQ(LossMix(std::move(parts)).needs().couples, Coupling::step);
}

}  // namespace
}  // namespace luce

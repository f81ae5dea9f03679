// Learning from rows that are made of samples: whatever offline training learns from rows of a
// file, it learns from these, with the same losses.
#pragma once

#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "luce/base/schema.h"
#include "luce/train/offline_task.h"
#include "luce/train/rl_task.h"

namespace luce {

/// The names of these algorithms in a config.
inline constexpr const char* kOnlineDpo = "online_dpo";
inline constexpr const char* kRejectionSampling = "rejection_sampling";

/// Pairs of the best and the worst completion of each prompt, for any loss of pairs (online DPO,
/// Guo et al., arXiv:2402.04792).
struct OnlinePairsOptions {
  double missing_eos_penalty = 0;  // off the reward of completions that the length cut short
  int64_t num_iterations = 1;      // passes over the pairs of a rollout
  int64_t minibatches = 1;         // optimizer steps of a pass
};
void describe(Schema& s, OnlinePairsOptions& o);

/// The completions of most reward as demonstrations (rejection sampling; RAFT, Dong et al.,
/// arXiv:2304.06767).
struct RejectionOptions {
  std::string keep = "best";  // best of each prompt, top of the whole rollout, threshold
  int64_t top = 8;            // completions, where keep is top
  double threshold = 0;       // least reward, where keep is threshold
  int64_t num_iterations = 1;
  int64_t minibatches = 1;
};
void describe(Schema& s, RejectionOptions& o);

/// The section "algorithm" of a config that makes rows. `loss` is of pairs alone.
template <class Options>
struct RowAlgorithm {
  std::string type;
  Json loss;
  Options options;
};
template <class Options>
void describe(Schema& s, RowAlgorithm<Options>& o) {
  s.field("type", o.type, "name of the algorithm").required();
  if constexpr (std::is_same_v<Options, OnlinePairsOptions>)
    s.field("loss", o.loss, "a loss of pairs, as in task \"preference\"").required();
  describe(s, o.options);
}
/// Throws UsageError.
template <class Options>
RowAlgorithm<Options> parse_row_algorithm(const Document& document) {
  return parse_options<RowAlgorithm<Options>>(document, "/algorithm", "algorithm");
}

/// A pair for each prompt whose completions earned different rewards: those of the largest and the
/// smallest, the first of equals.
std::vector<Example> pairs_of(const CollectedRollout& rollout, const std::vector<Prompt>& prompts,
                              const OnlinePairsOptions& options);
/// The completions that are kept, in the order of the rollout.
std::vector<Example> demonstrations_of(const CollectedRollout& rollout,
                                       const std::vector<Prompt>& prompts,
                                       const RejectionOptions& options);

/// What rows of an online task come from.
struct OnlineRowSource {
  std::unique_ptr<RolloutStream> rollouts;
  std::unique_ptr<RolloutSource> eval;  // null: no evaluation
  std::function<std::vector<Example>(const CollectedRollout&, const std::vector<Prompt>&)> make;
  int64_t passes = 1, minibatches = 1;
  RolloutLog log = {};
};

/// PreferenceTask or SftTask on rows that a rollout is made into.
template <class Base>
class OnlineRowsTask : public Base {
 public:
  OnlineRowsTask(Policy policy, Frozen frozen, std::unique_ptr<SequenceLoss> loss,
                 const OfflineOptions& options, OnlineRowSource source);

  int64_t steps_per_epoch() const override;
  Step next(int64_t step) override;
  void accumulate(const Step& step, size_t index, Metrics& metrics) override;
  void after_step(int64_t done, Metrics& metrics) override;
  TaskState save() override;
  void load(const TaskState& state) override;
  bool can_evaluate() const override { return source_.eval != nullptr; }
  Metrics evaluate() override;
  Json finish() override;

 private:
  void take(CollectedRollout rollout);

  OnlineRowSource source_;
  CollectedRollout collected_;
  std::vector<Example> made_;  // of the rollout
  Metrics pending_metrics_;    // of the rollout, for its first optimizer step
  bool is_detailed_ = false;
};

using OnlinePairsTask = OnlineRowsTask<PreferenceTask>;
using RejectionTask = OnlineRowsTask<SftTask>;

}  // namespace luce

#include "luce/train/online_rows.h"

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/random.h"

namespace luce {
namespace {

/// A row with the prompt of a group, and no completion yet.
Example row_of(const RolloutGroup& group, const std::vector<Prompt>& prompts) {
  const Prompt& prompt = prompts[static_cast<size_t>(group.prompt)];
  return {.prompt = prompt.ids, .completions = {}, .row = prompt.row};
}

}  // namespace

void describe(Schema& s, OnlinePairsOptions& o) {
  s.field("missing_eos_penalty", o.missing_eos_penalty,
          "taken off the reward of completions that the length cut short")
      .at_least(0);
  s.field("num_iterations", o.num_iterations, "passes over the pairs of a rollout").at_least(1);
  s.field("minibatches", o.minibatches, "optimizer steps of a pass").at_least(1);
}

void describe(Schema& s, RejectionOptions& o) {
  s.field("keep", o.keep,
          "best: the best completion of each prompt; top: so many of the whole rollout; threshold: "
          "all of at least that reward")
      .one_of({"best", "top", "threshold"});
  s.field("top", o.top, "completions that top keeps").at_least(1);
  s.field("threshold", o.threshold, "least reward that threshold keeps");
  s.field("num_iterations", o.num_iterations, "passes over the kept completions").at_least(1);
  s.field("minibatches", o.minibatches, "optimizer steps of a pass").at_least(1);
}

std::vector<Example> pairs_of(const CollectedRollout& rollout, const std::vector<Prompt>& prompts,
                              const OnlinePairsOptions& options) {
  std::vector<Example> out;
  for (const auto& group : rollout.groups) {
    size_t best = SIZE_MAX, worst = SIZE_MAX;
    double most = -INFINITY, least = INFINITY;
    for (size_t i = 0; i < group.samples.size(); ++i) {
      const double earned =
          group.rewards[i] - (group.samples[i].stopped ? 0 : options.missing_eos_penalty);
      if (std::isnan(earned)) continue;
      if (earned > most) std::tie(most, best) = std::pair(earned, i);
      if (earned < least) std::tie(least, worst) = std::pair(earned, i);
    }
    if (!(most > least)) continue;
    Example row = row_of(group, prompts);
    row.completions = {group.samples[best].ids, group.samples[worst].ids};
    row.margin = most - least;
    out.push_back(std::move(row));
  }
  return out;
}

std::vector<Example> demonstrations_of(const CollectedRollout& rollout,
                                       const std::vector<Prompt>& prompts,
                                       const RejectionOptions& options) {
  struct Place {
    double reward;
    size_t group, sample;
  };
  std::vector<Place> kept;
  for (size_t q = 0; q < rollout.groups.size(); ++q) {
    const auto& rewards = rollout.groups[q].rewards;
    const Place* best = nullptr;
    std::vector<Place> all;
    for (size_t i = 0; i < rewards.size(); ++i)
      if (!std::isnan(rewards[i])) all.push_back({rewards[i], q, i});
    for (const Place& place : all)
      if (best == nullptr || place.reward > best->reward) best = &place;
    if (options.keep == "best" && best != nullptr) kept.push_back(*best);
    for (const Place& place : all)
      if (options.keep == "top" ||
          (options.keep == "threshold" && place.reward >= options.threshold))
        kept.push_back(place);
  }
  if (options.keep == "top" && kept.size() > static_cast<size_t>(options.top)) {
    std::stable_sort(kept.begin(), kept.end(),
                     [](const Place& a, const Place& b) { return a.reward > b.reward; });
    kept.resize(static_cast<size_t>(options.top));
    std::sort(kept.begin(), kept.end(), [](const Place& a, const Place& b) {
      return std::pair(a.group, a.sample) < std::pair(b.group, b.sample);
    });
  }
  std::vector<Example> out;
  for (const Place& place : kept) {
    const RolloutGroup& group = rollout.groups[place.group];
    out.push_back(row_of(group, prompts));
    out.back().completions = {group.samples[place.sample].ids};
    out.back().roles = {Role::chosen};
  }
  return out;
}

template <class Base>
OnlineRowsTask<Base>::OnlineRowsTask(Policy policy, Frozen frozen,
                                     std::unique_ptr<SequenceLoss> loss,
                                     const OfflineOptions& options, OnlineRowSource source)
    : Base(std::move(policy), std::move(frozen), std::move(loss), {}, {},
           [&] {
             OfflineOptions later = options;
             later.rows_come_later = true;
             return later;
           }()),
      source_(std::move(source)) {}

template <class Base>
int64_t OnlineRowsTask<Base>::steps_per_epoch() const {
  const RolloutSource& source = source_.rollouts->source();
  const int64_t prompts = source.options().prompts;
  const auto all = static_cast<int64_t>(source.prompts().size());
  return (all + prompts - 1) / prompts * source_.passes * source_.minibatches;
}

template <class Base>
void OnlineRowsTask<Base>::take(CollectedRollout rollout) {
  collected_ = std::move(rollout);
  made_ = source_.make(collected_, source_.rollouts->source().prompts());
}

template <class Base>
Step OnlineRowsTask<Base>::next(int64_t step) {
  const int64_t updates = source_.passes * source_.minibatches, rollout = step / updates;
  if (collected_.index != rollout || collected_.groups.empty()) {
    take(source_.rollouts->next(rollout, Base::policy().model()));
    pending_metrics_ = std::exchange(collected_.metrics, {});
    pending_metrics_.add("rollout/rows", static_cast<double>(made_.size()), 1);
  }
  const auto n = static_cast<int64_t>(made_.size());
  const int64_t part = step % source_.minibatches;
  std::vector<int64_t> order;
  if (source_.minibatches > 1)
    order = Random(Base::options().seed, Purpose::shuffle)
                .permutation(
                    static_cast<uint64_t>(step / source_.minibatches) + (uint64_t{1} << 32), n);
  RowList rows;
  Step out;
  for (int64_t i = n * part / source_.minibatches; i < n * (part + 1) / source_.minibatches; ++i) {
    rows.push_back(&made_[static_cast<size_t>(order.empty() ? i : order[static_cast<size_t>(i)])]);
    out.rows.push_back(rows.back()->row);
  }
  out.is_first = step == 0;
  out.totals = totals_of(rows);
  if (!rows.empty()) out.micro_batches = Base::rows().micro_batches(rows);
  return out;
}

template <class Base>
void OnlineRowsTask<Base>::accumulate(const Step& step, size_t index, Metrics& metrics) {
  is_detailed_ = step.detailed;
  Base::accumulate(step, index, metrics);
}

template <class Base>
void OnlineRowsTask<Base>::after_step(int64_t done, Metrics& metrics) {
  Base::after_step(done, metrics);
  metrics.merge(std::exchange(pending_metrics_, {}));
  if (is_detailed_) source_.log(collected_, source_.rollouts->source(), {}, done);
}

template <class Base>
TaskState OnlineRowsTask<Base>::save() {
  TaskState out = Base::save();
  if (out.values.is_null()) out.values = Json::object();
  out.values["rollouts"] = source_.rollouts->save();
  out.values["collected"] = collected_.save();
  return out;
}

template <class Base>
void OnlineRowsTask<Base>::load(const TaskState& state) {
  Base::load(state);
  if (!state.values.is_object() || !state.values.contains("rollouts") ||
      !state.values.contains("collected"))
    throw DataError("the checkpoint is not one of online training");
  source_.rollouts->load(state.values["rollouts"]);
  take(CollectedRollout::load(state.values["collected"]));
}

template <class Base>
Metrics OnlineRowsTask<Base>::evaluate() {
  source_.rollouts->wait();
  return source_.eval->all().metrics;
}

template <class Base>
Json OnlineRowsTask<Base>::finish() {
  Json sections = Base::finish();
  for (const Json& section : rollout_sections(collected_, source_.rollouts->source().prompts()))
    sections.push_back(section);
  return sections;
}

template class OnlineRowsTask<PreferenceTask>;
template class OnlineRowsTask<SftTask>;

}  // namespace luce

#include "luce/train/rollouts.h"

#include <algorithm>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/estimate.h"
#include "luce/base/file.h"
#include "luce/base/log.h"
#include "luce/base/random.h"
#include "luce/data/training_report.h"
#include "luce/data/utf8.h"

namespace luce {
namespace {

/// Samples of one prompt have neighbouring numbers; more than this many of one would meet the next.
constexpr uint64_t kSamplesAPrompt = 1 << 16;

/// The unbiased standard deviation of the values that are there; 0 of fewer than two.
double deviation_of(const std::vector<double>& values) {
  std::vector<double> there;
  for (const double v : values)
    if (!std::isnan(v)) there.push_back(v);
  const Estimate e = mean_of(there);
  return e.error * std::sqrt(static_cast<double>(e.count));
}

/// A text in one line of so many characters, its end where it is longer.
std::string in_width(const std::string& text, size_t width) {
  std::vector<std::string_view> characters;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t n = std::max<size_t>(1, utf8_length(rest));
    characters.push_back(rest.substr(0, n));
    rest.remove_prefix(n);
  }
  std::string out;
  const size_t n = characters.size();
  if (n > width) out = "…";
  for (size_t i = n > width ? n - width + 1 : 0; i < n; ++i) {
    const bool is_blank = characters[i] == "\n" || characters[i] == "\r" || characters[i] == "\t";
    out += is_blank ? " " : characters[i];
  }
  return out + std::string(n < width ? width - n : 0, ' ');
}

}  // namespace

bool RolloutGroup::is_informative() const {
  double first = NAN;
  for (const double r : rewards) {
    if (std::isnan(r)) continue;
    if (!std::isnan(first) && r != first) return true;
    first = r;
  }
  return false;
}

RolloutSource::RolloutSource(std::vector<Prompt> prompts, std::shared_ptr<Sampler> sampler,
                             std::shared_ptr<Sampler> greedy, std::shared_ptr<Rewards> rewards,
                             std::shared_ptr<const Tokenizer> tokenizer,
                             const RolloutOptions& options)
    : prompts_(std::move(prompts)),
      sampler_(std::move(sampler)),
      greedy_(std::move(greedy)),
      rewards_(std::move(rewards)),
      tokenizer_(std::move(tokenizer)),
      options_(options) {
  if (prompts_.empty()) throw DataError("there are no prompts to sample from");
}

int64_t RolloutSource::place(int64_t taken) const {
  const auto n = static_cast<int64_t>(prompts_.size());
  if (!options_.shuffle) return taken % n;
  // The order of an epoch is asked for prompt by prompt; it is short beside the sampling.
  return Random(options_.seed, Purpose::shuffle)
      .permutation(static_cast<uint64_t>(taken / n), n)[static_cast<size_t>(taken % n)];
}

std::vector<RolloutGroup> RolloutSource::sampled(const std::vector<int64_t>& places,
                                                 int64_t first_number, uint64_t step,
                                                 Metrics& metrics) {
  std::vector<SampleRequest> requests;
  for (const int64_t p : places)
    requests.push_back({.prompt = prompts_[static_cast<size_t>(p)].ids,
                        .num_samples = options_.generations,
                        .first_sample = static_cast<uint64_t>(first_number++) * kSamplesAPrompt});
  auto samples = (*sampler_)(requests, step);
  std::vector<RolloutGroup> groups;
  for (size_t q = 0; q < places.size(); ++q) {
    RolloutGroup group{.prompt = places[q], .samples = std::move(samples[q])};
    if (static_cast<int64_t>(group.samples.size()) < options_.generations)
      metrics.add(
          "sampling/missing",
          static_cast<double>(options_.generations) - static_cast<double>(group.samples.size()), 0);
    if (!group.samples.empty()) groups.push_back(std::move(group));
  }
  if (greedy_) {
    for (auto& request : requests) request.num_samples = 1;
    auto best = (*greedy_)(requests, step);
    std::vector<RolloutGroup> lone;
    for (size_t q = 0; q < places.size(); ++q)
      lone.push_back({.prompt = places[q], .samples = std::move(best[q])});
    Metrics apart;  // the greedy completions are no part of the rollout's means
    reward(lone, apart);
    for (auto& group : groups)
      for (const auto& other : lone)
        if (other.prompt == group.prompt)
          group.greedy_reward = other.rewards.empty() ? NAN : other.rewards.front();
  }
  reward(groups, metrics);
  return groups;
}

void RolloutSource::reward(std::vector<RolloutGroup>& groups, Metrics& metrics) {
  std::vector<RewardInput> inputs;
  for (auto& group : groups) {
    const Prompt& prompt = prompts_[static_cast<size_t>(group.prompt)];
    for (const Sample& sample : group.samples) {
      group.texts.push_back(tokenizer_ ? tokenizer_->decode_completion(prompt.ids, sample.ids)
                                       : "");
      inputs.push_back({.prompt = prompt.text,
                        .completion = group.texts.back(),
                        .prompt_ids = prompt.ids,
                        .completion_ids = sample.ids,
                        .row = &prompt.columns,
                        .truncated = !sample.stopped});
    }
  }
  const RewardedCompletions earned = (*rewards_)(inputs, metrics);
  size_t c = 0;
  for (auto& group : groups)
    for (size_t i = 0; i < group.samples.size(); ++i, ++c) {
      group.rewards.push_back(earned.rewards[c]);
      group.steps.push_back(earned.steps.empty() ? std::vector<StepReward>() : earned.steps[c]);
      group.parts.emplace_back();
      for (const auto& part : earned.parts) group.parts.back().push_back(part[c]);
    }
}

CollectedRollout RolloutSource::collect(int64_t index) {
  CollectedRollout out{.index = index};
  std::vector<RolloutGroup> equal;
  for (int64_t round = 0; round <= options_.dynamic_sampling; ++round) {
    const auto missing = options_.prompts - static_cast<int64_t>(out.groups.size());
    if (missing == 0) break;
    std::vector<int64_t> places;
    const int64_t first = cursor_;
    for (int64_t i = 0; i < missing; ++i) places.push_back(place(cursor_++));
    for (auto& group : sampled(places, first, static_cast<uint64_t>(index), out.metrics)) {
      const bool keep = options_.dynamic_sampling == 0 || group.is_informative();
      (keep ? out.groups : equal).push_back(std::move(group));
    }
  }
  if (options_.dynamic_sampling > 0)
    out.metrics.add("dynamic_sampling/replaced", static_cast<double>(equal.size()), 1);
  if (out.groups.empty()) out.groups = std::move(equal);
  if (out.groups.empty())
    throw Error(Exit::service, "the sampler brought no completion of any prompt");
  record_rollout(out.groups, out.metrics);
  return out;
}

CollectedRollout RolloutSource::all() {
  CollectedRollout out;
  std::vector<int64_t> places;
  for (size_t p = 0; p < prompts_.size(); ++p) places.push_back(static_cast<int64_t>(p));
  out.groups = sampled(places, 0, 0, out.metrics);
  record_rollout(out.groups, out.metrics);
  return out;
}

void record_rollout(const std::vector<RolloutGroup>& groups, Metrics& metrics) {
  double shortest = INFINITY, longest = 0, shortest_ended = INFINITY, longest_ended = 0;
  int64_t completions = 0, ended = 0;
  for (const auto& group : groups) {
    for (const Sample& sample : group.samples) {
      const auto n = static_cast<double>(sample.ids.size());
      ++completions;
      metrics.add("completions/mean_length", n, 1);
      metrics.add("completions/clipped_ratio", sample.stopped ? 0 : 1, 1);
      shortest = std::min(shortest, n);
      longest = std::max(longest, n);
      if (!sample.stopped) continue;
      ++ended;
      metrics.add("completions/mean_terminated_length", n, 1);
      shortest_ended = std::min(shortest_ended, n);
      longest_ended = std::max(longest_ended, n);
    }
    const double deviation = deviation_of(group.rewards);
    double rewarded = 0;
    for (const double r : group.rewards) {
      if (std::isnan(r)) continue;
      metrics.add("reward", r, 1);
      rewarded += 1;
    }
    if (rewarded == 0) continue;
    metrics.add("reward_std", deviation, 1);
    metrics.add("frac_reward_zero_std", deviation == 0 ? rewarded : 0, rewarded);
  }
  if (completions == 0) return;
  metrics.set("completions/min_length", shortest);
  metrics.set("completions/max_length", longest);
  if (ended == 0) return;
  metrics.set("completions/min_terminated_length", shortest_ended);
  metrics.set("completions/max_terminated_length", longest_ended);
}

Rollout CollectedRollout::flat(const std::vector<double>& reward_weights) const {
  Rollout out;
  out.reward_weights = reward_weights;
  out.reward_parts.resize(reward_weights.size());
  for (const auto& group : groups) {
    for (size_t i = 0; i < group.samples.size(); ++i) {
      const Sample& sample = group.samples[i];
      out.offset.push_back(out.offset.back() + static_cast<int64_t>(sample.ids.size()));
      out.truncated.push_back(!sample.stopped);
      out.rewards.push_back(group.rewards[i]);
      for (size_t k = 0; k < reward_weights.size(); ++k)
        out.reward_parts[k].push_back(group.parts[i][k]);
      for (const StepReward& step : group.steps[i]) {
        if (step.end < 1 || step.end > static_cast<int64_t>(sample.ids.size()) ||
            !std::isfinite(step.value))
          throw DataError(cat("a reward gave ", step.value, " for a step that ends after token ",
                              step.end, " of a completion of ", sample.ids.size(), " tokens"));
        out.token_rewards.resize(static_cast<size_t>(out.offset.back()));
        const int64_t begin = out.offset[out.offset.size() - 2];
        out.token_rewards[static_cast<size_t>(begin + step.end - 1)] += step.value;
      }
    }
    out.group.push_back(out.num_completions());
    out.greedy_rewards.push_back(group.greedy_reward);
  }
  if (!out.token_rewards.empty()) out.token_rewards.resize(static_cast<size_t>(out.num_tokens()));
  return out;
}

Json CollectedRollout::save() const {
  Json list = Json::array();
  for (const auto& group : groups) {
    Json samples = Json::array();
    for (size_t i = 0; i < group.samples.size(); ++i) {
      const Sample& s = group.samples[i];
      Json steps = Json::array();
      for (const StepReward& step : group.steps[i])
        steps.push_back(Json::array({step.end, step.value}));
      samples.push_back({{"ids", s.ids},
                         {"logps", s.logps},
                         {"tempered", s.tempered},
                         {"drawn", s.drawn},
                         {"stopped", s.stopped},
                         {"version", s.version},
                         {"text", group.texts[i]},
                         {"reward", group.rewards[i]},  // NaN is written as null
                         {"parts", group.parts[i]},
                         {"steps", steps}});
    }
    list.push_back(
        {{"prompt", group.prompt}, {"greedy_reward", group.greedy_reward}, {"samples", samples}});
  }
  return {{"index", index}, {"groups", list}};
}

CollectedRollout CollectedRollout::load(const Json& json) {
  const auto number = [](const Json& value) { return value.is_null() ? NAN : value.get<double>(); };
  CollectedRollout out;
  try {
    out.index = json.at("index").get<int64_t>();
    for (const Json& entry : json.at("groups")) {
      RolloutGroup group;
      group.prompt = entry.at("prompt").get<int64_t>();
      group.greedy_reward = number(entry.at("greedy_reward"));
      for (const Json& s : entry.at("samples")) {
        group.samples.push_back({.ids = s.at("ids").get<std::vector<int64_t>>(),
                                 .logps = s.at("logps").get<std::vector<double>>(),
                                 .tempered = s.at("tempered").get<std::vector<double>>(),
                                 .drawn = s.at("drawn").get<std::vector<double>>(),
                                 .stopped = s.at("stopped").get<bool>(),
                                 .version = s.at("version").get<int64_t>()});
        group.texts.push_back(s.at("text").get<std::string>());
        group.rewards.push_back(number(s.at("reward")));
        group.parts.emplace_back();
        for (const Json& part : s.at("parts")) group.parts.back().push_back(number(part));
        group.steps.emplace_back();
        for (const Json& step : s.at("steps"))
          group.steps.back().push_back({step.at(0).get<int64_t>(), step.at(1).get<double>()});
      }
      out.groups.push_back(std::move(group));
    }
  } catch (const Json::exception& failure) {
    throw DataError(cat("the checkpoint holds no rollout: ", failure.what()));
  }
  return out;
}

std::string rollout_lines(const CollectedRollout& rollout, const std::vector<Prompt>& prompts,
                          const std::vector<NamedReward>& rewards,
                          const std::vector<double>& advantages, int64_t step) {
  std::string out;
  size_t c = 0;
  for (const auto& group : rollout.groups) {
    const Prompt& prompt = prompts[static_cast<size_t>(group.prompt)];
    for (size_t i = 0; i < group.samples.size(); ++i, ++c) {
      Json line = {{"step", step},
                   {"row", prompt.row},
                   {"prompt", prompt.text},
                   {"completion", group.texts[i]},
                   {"completion_ids", group.samples[i].ids},
                   {"reward", group.rewards[i]}};
      for (size_t k = 0; k < rewards.size(); ++k)
        line["rewards/" + rewards[k].name] = group.parts[i][k];
      if (c < advantages.size()) line["advantage"] = advantages[c];
      line["stopped"] = group.samples[i].stopped;
      out += line.dump() + "\n";
    }
  }
  return out;
}

void RolloutLog::operator()(const CollectedRollout& rollout, const RolloutSource& source,
                            const std::vector<double>& advantages, int64_t step) const {
  if (!folder.empty())
    write_file_atomic(
        folder / cat("step-", step, ".jsonl"),
        rollout_lines(rollout, source.prompts(), source.rewards().functions(), advantages, step));
  if (shown == 0) return;
  const Table table = rollout_table(rollout, source.prompts(), shown);
  std::string text = cat("step ", step, ": completions and what they earned");
  for (const auto& row : table.rows)
    text +=
        cat("\n  ", in_width(row[3], 9), " | ", in_width(row[0], 40), " | ", in_width(row[1], 80));
  log::info(text);
}

Json rollout_sections(const CollectedRollout& rollout, const std::vector<Prompt>& prompts) {
  constexpr int64_t kShown = 20;
  Json sections = Json::array();
  if (rollout.groups.empty()) return sections;
  sections.push_back({{"type", "heading"}, {"text", "Completions of the last rollout"}});
  sections.push_back(report_section(rollout_table(rollout, prompts, kShown)));
  return sections;
}

Table rollout_table(const CollectedRollout& rollout, const std::vector<Prompt>& prompts,
                    int64_t count) {
  Table out{.title = "Completions", .columns = {"prompt", "completion", "tokens", "reward"}};
  for (const auto& group : rollout.groups) {
    if (static_cast<int64_t>(out.rows.size()) == count) break;
    const auto n = group.samples.front().ids.size();
    out.rows.push_back({prompts[static_cast<size_t>(group.prompt)].text, group.texts.front(),
                        cat(n), cat(group.rewards.front())});
  }
  return out;
}

}  // namespace luce

#include "experiment/displacement_runs.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/loss/apo_down.h"
#include "luce/loss/apo_zero.h"
#include "luce/loss/cpo.h"
#include "luce/loss/dpo.h"
#include "luce/loss/ipo.h"
#include "luce/loss/mix.h"
#include "luce/loss/sft.h"
#include "luce/loss/simpo.h"
#include "luce/model/roles.h"
#include "luce/oracle/sequences.h"
#include "luce/train/row_steps.h"

namespace luce {
namespace {

using Language = SynonymLanguage;
using LossPtr = std::unique_ptr<SequenceLoss>;

constexpr double kBeta = 0.1;
constexpr int64_t kSteps = 30;
constexpr double kRate = 1e-3;

LossPtr dpo() { return std::make_unique<Dpo>(DpoOptions{.beta = kBeta}); }

LossPtr dpo_and_sft() {
  std::vector<LossMix::Part> parts;
  parts.push_back({dpo(), 1});
  parts.push_back({std::make_unique<Sft>(), 1});
  return std::make_unique<LossMix>(std::move(parts));
}

/// Ranks 0 … n−1.
std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> rank(values.size());
  for (size_t i = 0; i < order.size(); ++i) rank[order[i]] = static_cast<double>(i);
  return rank;
}

/// A model that has learnt the language.
std::shared_ptr<CausalLM> pretrained(int64_t steps, uint64_t seed) {
  const auto model = tiny_llama(Language::kVocabulary, 8, seed);
  fit(model, std::make_unique<Sft>(), Language(seed).demonstrations(2048),
      {.steps = steps, .batch_size = 64, .learning_rate = 5e-3, .seed = seed});
  return model;
}

bool same_classes(const Language::Answer& a, const Language::Answer& b) {
  return std::equal(a.begin(), a.end(), b.begin(), [](int64_t x, int64_t y) {
    return Language::class_of(x) == Language::class_of(y);
  });
}

/// log π of all answers to a prompt, in the order of all_sequences, from the distributions behind
/// every prefix: [S] f64.
Tensor all_logps(const CausalLM& model, const std::vector<int64_t>& prompt) {
  constexpr int64_t kLast = Language::kLength - 1, kWords = Language::kAnswerTokens;
  auto prefixes = oracle::all_sequences(kWords, kLast, oracle::Ending::length).answers;
  for (auto& prefix : prefixes) prefix.push_back(0);  // any: only what comes before it is read
  const Example row{.prompt = prompt, .completions = prefixes};
  const Batch batch = make_batch({&row});
  const Reference reference(std::shared_ptr<const CausalLM>(&model, [](const CausalLM*) {}));
  const Logits logits = head_logits(reference.hidden(batch), model.head_weight());
  const Tensor log_p = (logits.values - logits.lse.unsqueeze(1))
                           .to(at::kDouble)
                           .view({std::ssize(prefixes), Language::kLength, -1});
  const Tensor words = batch.targets.view({-1, Language::kLength, 1}).slice(1, 0, kLast);
  const Tensor before = log_p.slice(1, 0, kLast).gather(2, words).sum({1, 2});
  return (before.unsqueeze(1) + log_p.select(1, kLast).slice(1, 0, kWords)).reshape({-1});
}

}  // namespace

const std::vector<DisplacementMethod>& displacement_methods() {
  static const std::vector<DisplacementMethod> methods{
      {"dpo", dpo},
      {"ipo", [] { return LossPtr(std::make_unique<Ipo>(IpoOptions{.beta = kBeta})); }},
      {"simpo", [] { return LossPtr(std::make_unique<Simpo>()); }},
      {"apo_zero",
       [] { return LossPtr(std::make_unique<ApoZero>(ApoZeroOptions{.beta = kBeta})); }},
      {"apo_down",
       [] { return LossPtr(std::make_unique<ApoDown>(ApoDownOptions{.beta = kBeta})); }},
      {"cpo", [] { return LossPtr(std::make_unique<Cpo>(CpoOptions{.beta = kBeta})); }},
      {"dpo + sft", dpo_and_sft}};
  return methods;
}

double rank_correlation(const std::vector<double>& a, const std::vector<double>& b) {
  const auto x = ranks(a), y = ranks(b);
  const double middle = static_cast<double>(x.size() - 1) / 2;
  double together = 0, alone = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    together += (x[i] - middle) * (y[i] - middle);
    alone += (x[i] - middle) * (x[i] - middle);
  }
  return together / alone;
}

DisplacementWorld::DisplacementWorld(int64_t pretraining_steps, uint64_t seed)
    : seed_(seed),
      start_(pretrained(pretraining_steps, seed)),
      pairs_(Language(seed).pairs()),
      probe_(*start_, pairs_) {
  for (const Ches& c : ches(*start_, pointers(pairs_))) score_.push_back(c.score);
  for (const double rank : ranks(score_))
    third_.push_back(static_cast<size_t>(3 * rank / static_cast<double>(score_.size())));
}

std::vector<Example> DisplacementWorld::of_third(size_t third) const {
  std::vector<Example> some;
  for (size_t i = 0; i < pairs_.size(); ++i)
    if (third_[i] == third) some.push_back(pairs_[i]);
  return some;
}

std::shared_ptr<CausalLM> DisplacementWorld::trained(
    const DisplacementMethod& method, const std::vector<Example>& rows,
    const std::function<void(const CausalLM&)>& look) const {
  auto model = start_->clone();
  Fit options{.steps = kSteps, .learning_rate = kRate, .seed = seed_};
  if (look) options.after_step = [&](int64_t) { look(*model); };
  fit(model, method.loss(), rows, options);
  return model;
}

void DisplacementWorld::note_shifts(const CausalLM& now, const std::string& name,
                                    Numbers& out) const {
  const auto shifts = probe_.shifts(now);
  std::vector<double> chosen, rejected, both, both_of[3], chosen_of[3];
  for (size_t i = 0; i < shifts.size(); ++i) {
    chosen.push_back(shifts[i].chosen);
    rejected.push_back(shifts[i].rejected);
    both.push_back(shifts[i].both_fell() ? 1 : 0);
    chosen_of[third_[i]].push_back(chosen.back());
    both_of[third_[i]].push_back(both.back());
  }
  const auto note = [&](const std::string& what, const std::vector<double>& values) {
    out[name + "/" + what].push_back(mean_of(values).value);
  };
  note("chosen", chosen);
  note("rejected", rejected);
  note("both_fell", both);
  for (size_t k = 0; k < 3; ++k) {
    note(cat("chosen_third_", k), chosen_of[k]);
    note(cat("both_fell_third_", k), both_of[k]);
  }
  out[name + "/rank_correlation"].push_back(rank_correlation(score_, chosen));
}

void DisplacementWorld::compare_methods(Numbers& out) const {
  for (const auto& method : displacement_methods())
    note_shifts(*trained(method, pairs_), method.name, out);
}

void DisplacementWorld::train_alone(Numbers& out) const {
  std::vector<double> moved, of[3];
  for (size_t i = 0; i < pairs_.size(); ++i) {
    const std::vector<Example> pair{pairs_[i]};
    const auto model = start_->clone();
    fit(model, dpo(), pair, {.steps = 3, .batch_size = 1, .learning_rate = 3e-4, .seed = seed_});
    moved.push_back(answer_logps(*model, pair)[0] - probe_.start_logps()[2 * i]);
    of[third_[i]].push_back(moved.back());
  }
  out["alone/rank_correlation"].push_back(rank_correlation(score_, moved));
  for (size_t k = 0; k < 3; ++k) out[cat("alone/chosen_third_", k)].push_back(mean_of(of[k]).value);
}

void DisplacementWorld::train_thirds(Numbers& out) const {
  for (size_t k = 0; k < 3; ++k) {
    const auto shifts = probe_.shifts(*trained(displacement_methods().front(), of_third(k)));
    std::vector<double> own, others;
    for (size_t i = 0; i < shifts.size(); ++i)
      (third_[i] == k ? own : others).push_back(shifts[i].chosen);
    out[cat("third_", k, "/own")].push_back(mean_of(own).value);
    out[cat("third_", k, "/others")].push_back(mean_of(others).value);
  }
}

void DisplacementWorld::note_mass(const CausalLM& model, const std::string& when, int64_t prompts,
                                  Numbers& out) const {
  const auto all =
      oracle::all_sequences(Language::kAnswerTokens, Language::kLength, oracle::Ending::length)
          .answers;
  for (const size_t k : {size_t{0}, size_t{2}}) {
    std::map<std::string, double> mass;
    int64_t counted = 0;
    for (size_t i = 0; i < pairs_.size() && counted < prompts; ++i) {
      if (third_[i] != k) continue;
      ++counted;
      const auto &chosen = pairs_[i].completions[0], &rejected = pairs_[i].completions[1];
      const Tensor p = all_logps(model, pairs_[i].prompt).exp();
      double total = 0;
      for (size_t s = 0; s < all.size(); ++s) {
        const char* const kind = all[s] == chosen                 ? "chosen"
                                 : all[s] == rejected             ? "rejected"
                                 : same_classes(all[s], chosen)   ? "chosen_synonyms"
                                 : same_classes(all[s], rejected) ? "rejected_synonyms"
                                                                  : "others";
        mass[kind] += p.const_data_ptr<double>()[s];
        total += p.const_data_ptr<double>()[s];
      }
      mass["no_answer"] += 1 - total;
    }
    for (const char* const kind :
         {"chosen", "rejected", "chosen_synonyms", "rejected_synonyms", "others", "no_answer"})
      out[cat("mass_", k, "/", kind, "_", when)].push_back(mass[kind] /
                                                           static_cast<double>(counted));
  }
}

void DisplacementWorld::follow_mass(int64_t prompts, Numbers& out) const {
  const auto model = trained(displacement_methods().front(), pairs_);
  note_mass(*start_, "before", prompts, out);
  note_mass(*model, "after", prompts, out);
  double target = 0, synonym = 0, places = 0;
  for (const PlaceShift& place : probe_.gains(*model, 1)) {
    if (!place.chosen) continue;
    places += 1;
    const int64_t token = place.gains.front().token;
    target += token == place.target ? 1 : 0;
    synonym += token == Language::synonym(place.target) ? 1 : 0;
  }
  out["top/target"].push_back(target / places);
  out["top/synonym"].push_back(synonym / places);
  out["top/other"].push_back(1 - (target + synonym) / places);
}

std::vector<std::vector<double>> DisplacementWorld::course() const {
  std::vector<std::vector<double>> lines(4, {0});
  trained(displacement_methods().front(), pairs_, [&](const CausalLM& now) {
    Numbers at;
    note_shifts(now, "now", at);
    for (size_t k = 0; k < 3; ++k) lines[k].push_back(at[cat("now/chosen_third_", k)].front());
    lines[3].push_back(at["now/rejected"].front());
  });
  return lines;
}

std::vector<std::pair<double, double>> DisplacementWorld::scatter() const {
  const auto shifts = probe_.shifts(*trained(displacement_methods().front(), pairs_));
  std::vector<std::pair<double, double>> points;
  for (size_t i = 0; i < shifts.size(); ++i) points.emplace_back(score_[i], shifts[i].chosen);
  std::sort(points.begin(), points.end());
  return points;
}

}  // namespace luce

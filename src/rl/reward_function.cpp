#include "luce/rl/reward_function.h"

#include <algorithm>

#include "luce/base/error.h"
#include "luce/base/log.h"

namespace luce {
namespace {

constexpr size_t kReasons = 3;  // that the error of a run that stops shows

/// One function's values of some completions; whatever it does wrong becomes their problem.
std::vector<RewardValue> values_of(RewardFunction& function,
                                   const std::vector<RewardInput>& inputs) {
  std::string problem;
  try {
    std::vector<RewardValue> out = function(inputs);
    if (out.size() == inputs.size()) return out;
    problem = cat("it gave ", out.size(), " values for ", inputs.size(), " completions");
  } catch (const std::exception& failure) {
    problem = failure.what();
  } catch (...) {
    problem = "it threw something that is no std::exception";
  }
  return std::vector<RewardValue>(inputs.size(), {.problem = problem});
}

/// What is wrong with a value, or "".
std::string fault_in(const RewardValue& value, const RewardInput& input) {
  if (!value.problem.empty()) return value.problem;
  if (std::isinf(value.value)) return cat("it gave ", value.value, ", which is not finite");
  const auto length = static_cast<int64_t>(input.completion_ids.size());
  for (const auto& step : value.steps) {
    if (step.end < 1 || step.end > length)
      return cat("it gave a step that ends after ", step.end, " tokens of a completion of ",
                 length);
    if (!std::isfinite(step.value)) return cat("it gave a step ", step.value);
  }
  return "";
}

/// Mean, and standard deviation as TRL takes it: unbiased, completions without a value left out.
void log_moments(const std::string& name, const std::vector<double>& values, Metrics& metrics) {
  double n = 0, sum = 0, squares = 0;
  for (const double v : values)
    if (!std::isnan(v)) ++n, sum += v;
  if (n == 0) return;
  metrics.add("rewards/" + name + "/mean", sum, n);
  if (n < 2) return;
  for (const double v : values)
    if (!std::isnan(v)) squares += (v - sum / n) * (v - sum / n);
  metrics.set("rewards/" + name + "/std", std::sqrt(squares / (n - 1)));
}

bool is_power_of_two(int64_t n) { return (n & (n - 1)) == 0; }

}  // namespace

std::vector<RewardValue> RewardLambda::operator()(const std::vector<RewardInput>& inputs) {
  std::vector<RewardValue> out;
  for (const auto& input : inputs) try {
      const std::optional<double> value = value_(input);
      out.push_back({.value = value.value_or(NAN)});
      if (value && std::isnan(*value)) out.back().problem = "it gave NaN";
    } catch (const std::exception& failure) {
      out.push_back({.problem = failure.what()});
    }
  return out;
}

Rewards::Rewards(std::vector<NamedReward> functions, const RewardLimits& options)
    : functions_(std::move(functions)), options_(options) {
  for (size_t k = 0; k < functions_.size(); ++k)
    for (size_t j = 0; j < k; ++j)
      if (functions_[j].name == functions_[k].name)
        throw ArgumentError(
            cat("[Rewards] two reward functions have the name \"", functions_[k].name, "\""));
  if (!(options_.max_failed >= 0 && options_.max_failed <= 1) || options_.window < 1)
    throw ArgumentError(cat("[Rewards] max_failed is ", options_.max_failed, " of ",
                            options_.window, "; expected 0 to 1 of at least 1 completion"));
}

/// Which functions a row is rewarded by.
std::vector<bool> Rewards::wanted(const Json* row) const {
  const Json* column = nullptr;
  if (row != nullptr && row->is_object())
    if (const auto at = row->find("reward"); at != row->end() && !at->is_null()) column = &*at;
  if (column == nullptr) return std::vector<bool>(functions_.size(), true);
  std::vector<bool> out(functions_.size(), false);
  for (const Json& name : column->is_array() ? *column : Json::array({*column})) {
    std::string known;
    bool found = false;
    for (size_t k = 0; k < functions_.size(); ++k) {
      known += (k == 0 ? "" : ", ") + functions_[k].name;
      if (name != functions_[k].name) continue;
      out[k] = found = true;
    }
    if (!found)
      throw DataError(cat("a row's column \"reward\" holds ",
                          shortened(name.dump(-1, ' ', false, Json::error_handler_t::replace)),
                          ", which is no reward of this run; they are: ", known));
  }
  return out;
}

RewardedCompletions Rewards::operator()(const std::vector<RewardInput>& inputs, Metrics& metrics) {
  const size_t n = inputs.size();
  RewardedCompletions out;
  out.rewards.assign(n, NAN);
  out.parts.assign(functions_.size(), std::vector<double>(n, NAN));
  out.steps.resize(n);
  out.problems.resize(n);
  std::vector<std::vector<bool>> wants;
  for (const auto& input : inputs) wants.push_back(wanted(input.row));

  for (size_t k = 0; k < functions_.size(); ++k) {
    const auto& [name, function, weight] = functions_[k];
    std::vector<RewardInput> own;
    std::vector<size_t> at;
    for (size_t c = 0; c < n; ++c)
      if (wants[c][k]) {
        own.push_back(inputs[c]);
        at.push_back(c);
      }
    if (own.empty()) continue;
    const auto values = values_of(*function, own);
    for (size_t i = 0; i < own.size(); ++i) {
      const size_t c = at[i];
      if (const std::string fault = fault_in(values[i], own[i]); !fault.empty()) {
        if (out.problems[c].empty()) out.problems[c] = cat(name, ": ", fault);
        continue;
      }
      out.parts[k][c] = values[i].value;
      if (std::isnan(values[i].value) && values[i].steps.empty()) continue;
      const double value = std::isnan(values[i].value) ? 0 : weight * values[i].value;
      out.rewards[c] = std::isnan(out.rewards[c]) ? value : out.rewards[c] + value;
      for (const auto& step : values[i].steps)
        out.steps[c].push_back({step.end, weight * step.value});
    }
    log_moments(name, out.parts[k], metrics);
  }
  for (size_t c = 0; c < n; ++c) {
    std::stable_sort(out.steps[c].begin(), out.steps[c].end(),
                     [](const auto& a, const auto& b) { return a.end < b.end; });
    if (out.problems[c].empty()) continue;
    out.rewards[c] = NAN;
    out.steps[c].clear();
  }
  const auto failed = std::count_if(out.problems.begin(), out.problems.end(),
                                    [](const auto& problem) { return !problem.empty(); });
  if (n > 0) metrics.add("reward/failed", static_cast<double>(failed), static_cast<double>(n));
  count(out);
  return out;
}

void Rewards::count(const RewardedCompletions& out) {
  for (const auto& problem : out.problems) {
    recent_.push_back(!problem.empty());
    if (static_cast<int64_t>(recent_.size()) > options_.window) recent_.pop_front();
    if (problem.empty()) continue;
    reasons_.erase(std::remove(reasons_.begin(), reasons_.end(), problem), reasons_.end());
    reasons_.push_front(problem);
    if (reasons_.size() > kReasons) reasons_.pop_back();
    if (is_power_of_two(++failed_))
      log::warn("reward: ", failed_, failed_ == 1 ? " completion" : " completions",
                " failed so far; the last reason: ", problem);
  }
  const auto failed = std::count(recent_.begin(), recent_.end(), true);
  const double allowed = options_.max_failed * static_cast<double>(options_.window);
  if (static_cast<double>(failed) <= allowed) return;
  std::string newest;
  for (const auto& reason : reasons_) newest += (newest.empty() ? "" : "; ") + reason;
  throw Error(Exit::service, cat("rewards failed for ", failed, " of the last ", recent_.size(),
                                 " completions, and ", std::floor(allowed), " of ", options_.window,
                                 " are allowed; the newest reasons: ", newest));
}

}  // namespace luce

// Metrics of a run as sums and counts, never as means: the parts of a step may be added in any
// split and any order and the mean is the same.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace luce {

class Metrics {
 public:
  /// Adds `sum` over `count` items (tokens, pairs, …) to the entry `name`. A sum that is NaN is
  /// left out together with its count.
  void add(std::string_view name, double sum, double count);

  /// Adds one plain value of a step (learning_rate, grad_norm): the same as `add(name, value, 1)`.
  void set(std::string_view name, double value) { add(name, value, 1); }

  /// Adds one value of a distribution, which is logged as its mean, `NAME_mean`, its 95th
  /// percentile, `NAME_p95`, and a histogram.
  void sample(std::string_view name, double value);

  /// Adds every entry of `other`, its name after `prefix` ("eval_").
  void merge(const Metrics& other, std::string_view prefix = "");

  /// The sum over the count; NaN where `has(name)` is false.
  double mean(std::string_view name) const;
  /// Whether the entry has a mean: it was added, with a count other than 0.
  bool has(std::string_view name) const;
  /// What was added up so far; 0 where nothing was.
  double sum(std::string_view name) const;
  double count(std::string_view name) const;

  /// Name → mean of every entry that has one, by name; of distributions the mean and percentile.
  std::map<std::string, double> means() const;
  /// The values of distributions, in no order that means anything.
  const std::map<std::string, std::vector<double>, std::less<>>& samples() const {
    return samples_;
  }

  void clear() { *this = {}; }
  bool empty() const { return entries_.empty() && samples_.empty(); }

 private:
  struct Entry {
    double sum = 0, count = 0;
  };
  const Entry* find(std::string_view name) const;

  std::map<std::string, Entry, std::less<>> entries_;
  std::map<std::string, std::vector<double>, std::less<>> samples_;
};

}  // namespace luce

#include "luce/base/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace luce {

void Metrics::add(std::string_view name, double sum, double count) {
  if (std::isnan(sum) || std::isnan(count)) return;
  auto at = entries_.lower_bound(name);
  if (at == entries_.end() || at->first != name) at = entries_.try_emplace(at, std::string(name));
  at->second.sum += sum;
  at->second.count += count;
}

void Metrics::merge(const Metrics& other, std::string_view prefix) {
  std::string name(prefix);
  for (const auto& [key, entry] : other.entries_) {
    name.resize(prefix.size());
    name += key;
    add(name, entry.sum, entry.count);
  }
  for (const auto& [key, values] : other.samples_)
    for (const double value : values) sample(std::string(prefix) + key, value);
}

void Metrics::sample(std::string_view name, double value) {
  if (std::isnan(value)) return;
  auto at = samples_.find(name);
  if (at == samples_.end()) at = samples_.try_emplace(std::string(name)).first;
  at->second.push_back(value);
}

const Metrics::Entry* Metrics::find(std::string_view name) const {
  const auto at = entries_.find(name);
  return at == entries_.end() ? nullptr : &at->second;
}

double Metrics::mean(std::string_view name) const {
  const Entry* entry = find(name);
  return entry && entry->count != 0 ? entry->sum / entry->count
                                    : std::numeric_limits<double>::quiet_NaN();
}

bool Metrics::has(std::string_view name) const {
  const Entry* entry = find(name);
  return entry && entry->count != 0;
}

double Metrics::sum(std::string_view name) const {
  const Entry* entry = find(name);
  return entry ? entry->sum : 0;
}

double Metrics::count(std::string_view name) const {
  const Entry* entry = find(name);
  return entry ? entry->count : 0;
}

std::map<std::string, double> Metrics::means() const {
  std::map<std::string, double> result;
  for (const auto& [name, entry] : entries_)
    if (entry.count != 0) result.emplace_hint(result.end(), name, entry.sum / entry.count);
  for (const auto& [name, values] : samples_) {
    double sum = 0;
    for (const double value : values) sum += value;
    result[name + "_mean"] = sum / static_cast<double>(values.size());
    // The value that 95 % lie at or below: the nearest rank.
    std::vector<double> sorted = values;
    const auto rank = static_cast<size_t>(std::ceil(0.95 * static_cast<double>(sorted.size())));
    const auto place = sorted.begin() + static_cast<std::ptrdiff_t>(std::max<size_t>(rank, 1) - 1);
    std::nth_element(sorted.begin(), place, sorted.end());
    result[name + "_p95"] = *place;
  }
  return result;
}

}  // namespace luce

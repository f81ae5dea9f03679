#include "luce/base/metrics.h"

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
  return result;
}

}  // namespace luce

#include "luce/data/comparisons.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "luce/base/error.h"
#include "luce/data/jsonl.h"

namespace luce {
namespace {

constexpr int64_t kReasons = 20;  // bad rows that an error lists

using Values = std::vector<double>;
using Matrix = std::vector<Values>;

/// A key's value, which must be a string that is not empty.
std::string text_of(const Json& row, const char* key) {
  const auto at = row.find(key);
  if (at == row.end()) throw DataError(cat('"', key, "\" is missing"));
  if (!at->is_string() || at->get_ref<const std::string&>().empty())
    throw DataError(
        cat('"', key, "\" is ", shortened(at->dump()), ", expected a string that is not empty"));
  return at->get<std::string>();
}

/// Adds one row to the table. Throws DataError, and then the table is as it was.
void add_row(const Json& row, ComparisonTable& table) {
  const std::string first = text_of(row, "first"), second = text_of(row, "second");
  const std::string winner = text_of(row, "winner");
  if (first == second)
    throw DataError(
        cat("\"first\" and \"second\" are both \"", shortened(first), "\", expected two names"));
  if (winner != "first" && winner != "second" && winner != "tie")
    throw DataError(cat("\"winner\" is \"", shortened(winner),
                        "\", expected \"first\", \"second\" or \"tie\""));
  const size_t i = table.index_of(first), j = table.index_of(second);
  if (winner == "tie") {
    ++table.ties[i][j];
    ++table.ties[j][i];
  } else {
    ++(winner == "first" ? table.wins[i][j] : table.wins[j][i]);
  }
}

void check_scores(const char* what, const Matrix& scores, const Matrix& proxy) {
  if (scores.size() != proxy.size())
    throw ArgumentError(cat("best_of_n: ", what, " scores of ", scores.size(),
                            " prompts and proxy scores of ", proxy.size(),
                            ", expected as many of each"));
  for (size_t q = 0; q < scores.size(); ++q) {
    if (scores[q].size() != proxy[q].size())
      throw ArgumentError(cat("best_of_n: prompt ", q, " has ", scores[q].size(), " ", what,
                              " and ", proxy[q].size(), " proxy scores, expected as many of each"));
    if (scores[q].empty()) throw ArgumentError(cat("best_of_n: prompt ", q, " has no samples"));
    for (const double score : scores[q])
      if (!std::isfinite(score))
        throw ArgumentError(cat("best_of_n: prompt ", q, " has the ", what, " score ", score,
                                ", expected finite numbers"));
  }
}

/// `scores` in rising order of `proxy`, each run of equal proxy scores replaced by its mean: of
/// those each is selected alike often.
Values sorted_by(const Values& proxy, const Values& scores) {
  std::vector<size_t> order(proxy.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return proxy[a] < proxy[b]; });
  Values sorted(proxy.size());
  for (size_t first = 0, last = 0; first < order.size(); first = last) {
    double sum = 0;
    for (; last < order.size() && proxy[order[last]] == proxy[order[first]]; ++last)
      sum += scores[order[last]];
    std::fill(sorted.begin() + static_cast<int64_t>(first),
              sorted.begin() + static_cast<int64_t>(last), sum / static_cast<double>(last - first));
  }
  return sorted;
}

/// Of S samples in rising order the i-th (from 1) is the best of C(i−1, n−1) of the C(S, n) subsets
/// of n:
///
///   Σ_i C(i−1, n−1)/C(S, n) x_(i),  with the weights n/S at i = S and, going down,
///   C(i−2, n−1) = C(i−1, n−1) (i − n)/(i − 1)
double best_of(const Values& sorted, size_t n) {
  double weight = static_cast<double>(n) / static_cast<double>(sorted.size()), sum = 0;
  for (size_t i = sorted.size(); i >= n; --i) {
    sum += weight * sorted[i - 1];
    if (i == n) break;  // nothing below is the best of n, and i − 1 may be 0
    weight *= static_cast<double>(i - n) / static_cast<double>(i - 1);
  }
  return sum;
}

/// The mean over prompts for each n.
std::vector<Estimate> curve(const Matrix& proxy, const Matrix& scores, size_t most) {
  Matrix sorted;
  for (size_t q = 0; q < proxy.size(); ++q) sorted.push_back(sorted_by(proxy[q], scores[q]));
  std::vector<Estimate> curve;
  for (size_t n = 1; n <= most; ++n) {
    Values means;
    for (const auto& samples : sorted) means.push_back(best_of(samples, n));
    curve.push_back(mean_of(means));
  }
  return curve;
}

}  // namespace

WinRate win_rate(int64_t wins, int64_t ties, int64_t losses) {
  if (wins < 0 || ties < 0 || losses < 0 || wins + ties + losses == 0)
    throw ArgumentError(cat("win_rate: ", wins, " wins, ", ties, " ties and ", losses,
                            " losses, expected none negative and not all 0"));
  // Results are 1, ½ and 0; their mean square is (wins + ties/4) / n.
  const auto won = static_cast<double>(wins), tied = static_cast<double>(ties);
  const auto n = static_cast<double>(wins + ties + losses);
  const double rate = (won + tied / 2) / n;
  const double variance = std::max(0.0, (won + tied / 4) / n - rate * rate);
  return {{rate, std::sqrt(variance / n), wins + ties + losses}, wilson_interval(rate, n)};
}

WinRate win_rate(const Matrix& results) {
  if (results.empty()) throw ArgumentError("win_rate: there are no prompts");
  Values means;
  for (size_t q = 0; q < results.size(); ++q) {
    if (results[q].empty()) throw ArgumentError(cat("win_rate: prompt ", q, " has no results"));
    for (const double result : results[q])
      if (!(result >= 0 && result <= 1))
        throw ArgumentError(cat("win_rate: prompt ", q, " has the result ", result,
                                ", expected a number from 0 (lost) to 1 (won)"));
    means.push_back(mean_of(results[q]).value);
  }
  // A prompt's mean varies no more than a coin that is won as often.
  const Estimate rate = mean_of(means);
  return {rate, wilson_interval(std::clamp(rate.value, 0.0, 1.0), static_cast<double>(rate.count))};
}

size_t ComparisonTable::index_of(const std::string& name) {
  const auto at = std::find(names.begin(), names.end(), name);
  if (at != names.end()) return static_cast<size_t>(at - names.begin());
  names.push_back(name);
  for (Matrix* matrix : {&wins, &ties}) {
    matrix->resize(names.size());
    for (auto& row : *matrix) row.resize(names.size());
  }
  return names.size() - 1;
}

ComparisonTable read_comparisons(const std::filesystem::path& file) {
  JsonlReader reader(file);
  JsonRow row;
  ComparisonTable table;
  int64_t rows = 0, bad = 0;
  std::string reasons;
  while (reader.next(row)) {
    ++rows;
    std::string problem = row.problem;
    try {
      if (problem.empty()) add_row(row.value, table);
    } catch (const DataError& failure) {
      problem = failure.what();
    }
    if (problem.empty() || ++bad > kReasons) continue;
    reasons += cat("\n  ", reader.where(row.number), ": ", problem);
  }
  if (rows == 0) throw DataError(cat(file.string(), " holds no rows"));
  if (bad > kReasons) reasons += cat("\n  and ", bad - kReasons, " more");
  if (bad > 0)
    throw DataError(
        cat(file.string(), ": ", bad, " of ", rows, " rows are no comparisons:", reasons));
  return table;
}

BestOfN best_of_n(const Matrix& proxy, const Matrix& gold) {
  if (proxy.empty()) throw ArgumentError("best_of_n: there are no prompts");
  check_scores("proxy", proxy, proxy);
  if (!gold.empty()) check_scores("gold", gold, proxy);
  size_t most = proxy[0].size();
  for (const auto& samples : proxy) most = std::min(most, samples.size());
  BestOfN result{.proxy = curve(proxy, proxy, most), .gold = {}, .kl = {}};
  if (!gold.empty()) result.gold = curve(proxy, gold, most);
  for (size_t n = 1; n <= most; ++n) result.kl.push_back(best_of_n_kl(static_cast<int64_t>(n)));
  return result;
}

/// Beirami et al., "Theoretical guarantees on the best-of-n alignment policy" (arXiv:2401.01879).
double best_of_n_kl(int64_t n) {
  if (n < 1) throw ArgumentError(cat("best_of_n_kl: n is ", n, ", expected 1 or more"));
  const auto count = static_cast<double>(n);
  return std::log(count) - (count - 1) / count;
}

}  // namespace luce

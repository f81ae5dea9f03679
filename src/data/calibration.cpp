// Expected calibration error: Guo et al., "On Calibration of Modern Neural Networks"
// (arXiv:1706.04599), equation 3 and its bins of equal width, closed above. Their estimate grows
// with bins that hold little; bins of equal mass hold alike.
#include "luce/data/calibration.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "luce/base/error.h"

namespace luce {
namespace {

using Values = std::vector<double>;

void check_within(const char* what, const Values& values) {
  for (size_t i = 0; i < values.size(); ++i)
    if (!(values[i] >= 0 && values[i] <= 1))
      throw DataError(
          cat("calibration: ", what, " ", i, " is ", values[i], ", expected a number from 0 to 1"));
}

void check(const Values& p, const Values& y, int bins) {
  if (p.empty()) throw DataError("calibration: there are no predictions");
  if (p.size() != y.size())
    throw ArgumentError(cat("calibration: ", p.size(), " predictions and ", y.size(),
                            " outcomes, expected as many of each"));
  if (bins < 1) throw ArgumentError(cat("calibration: ", bins, " bins, expected 1 or more"));
  check_within("prediction", p);
  check_within("outcome", y);
}

/// −y log p, 0 where y is 0.
double surprise(double y, double p) { return y == 0 ? 0 : -y * std::log(p); }

/// How much of an outcome lies on the side that p predicts.
double hit(double p, double y) { return p > 0.5 ? y : p < 0.5 ? 1 - y : 0.5; }

/// The bin of sorted predictions p[order[first]] … p[order[last − 1]].
CalibrationBin bin_of(const Values& p, const Values& y, const std::vector<size_t>& order,
                      size_t first, size_t last) {
  CalibrationBin bin;
  bin.count = static_cast<int64_t>(last - first);
  Values outcomes;
  for (size_t i = first; i < last; ++i) {
    bin.predicted += p[order[i]] / static_cast<double>(last - first);
    outcomes.push_back(y[order[i]]);
  }
  bin.observed = mean_of(outcomes);
  return bin;
}

double expected_error(const std::vector<CalibrationBin>& bins, size_t n) {
  double error = 0;
  for (const auto& bin : bins)
    error += static_cast<double>(bin.count) * std::abs(bin.observed.value - bin.predicted);
  return error / static_cast<double>(n);
}

/// Fills in bins over [low, 1] and what is told by them.
void add_bins(const Values& p, const Values& y, int bins, double low, Calibration& result) {
  const auto count = static_cast<size_t>(bins);
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] < p[b]; });
  result.low = low;

  const auto edge = [&](size_t m) { return low + (1 - low) * static_cast<double>(m) / bins; };
  for (size_t m = 0, first = 0; m < count; ++m) {
    size_t last = first;
    while (last < p.size() && (p[order[last]] <= edge(m + 1) || m + 1 == count)) ++last;
    if (last == first) continue;
    result.equal_width.push_back(bin_of(p, y, order, first, last));
    result.equal_width.back().low = edge(m);
    result.equal_width.back().high = edge(m + 1);
    first = last;
  }

  for (size_t m = 1, first = 0; m <= count; ++m) {
    size_t last = std::max(first, m * p.size() / count);
    while (last > first && last < p.size() && p[order[last]] == p[order[last - 1]]) ++last;
    if (last == first) continue;
    result.equal_mass.push_back(bin_of(p, y, order, first, last));
    auto& bin = result.equal_mass.back();
    bin.low = first == 0 ? p[order[0]] : p[order[first - 1]];
    bin.high = p[order[last - 1]];
    first = last;
  }
  result.ece_equal_width = expected_error(result.equal_width, p.size());
  result.ece_equal_mass = expected_error(result.equal_mass, p.size());
}

/// What needs no bins.
Calibration scores(const Values& p, const Values& y) {
  Calibration result;
  result.count = static_cast<int64_t>(p.size());
  Values hits;
  for (size_t i = 0; i < p.size(); ++i) {
    result.brier += (p[i] - y[i]) * (p[i] - y[i]);
    result.log_loss += surprise(y[i], p[i]) + surprise(1 - y[i], 1 - p[i]);
    hits.push_back(hit(p[i], y[i]));
  }
  result.brier /= static_cast<double>(p.size());
  result.log_loss /= static_cast<double>(p.size());
  result.accuracy = mean_of(hits);
  return result;
}

std::string with_error(const Estimate& estimate) {
  const std::string value = format_number(estimate.value, 3);
  return std::isnan(estimate.error) ? value : cat(value, " ± ", format_number(estimate.error, 2));
}

}  // namespace

Calibration calibration(const Values& p, const Values& y, int bins) {
  check(p, y, bins);
  Calibration result = scores(p, y);
  add_bins(p, y, bins, 0, result);
  return result;
}

Calibration preference_calibration(const Values& p, int bins) {
  const Values ones(p.size(), 1.0);
  check(p, ones, bins);
  Calibration result = scores(p, ones);
  Values confidence, right;
  for (const double value : p) {
    confidence.push_back(std::max(value, 1 - value));
    right.push_back(hit(value, 1));
  }
  add_bins(confidence, right, bins, 0.5, result);
  return result;
}

LineChart reliability_chart(const Calibration& calibration, const std::string& title) {
  const double low = calibration.low;
  const bool confidences = low > 0;
  Series diagonal{.name = "calibrated", .x = {low, 1}, .y = {low, 1}, .color = 1};
  Series observed{.name = confidences ? "right" : "observed", .x = {}, .y = {}, .sparse = true};
  for (const auto& bin : calibration.equal_mass) {
    observed.x.push_back(bin.predicted);
    observed.y.push_back(bin.observed.value);
  }
  LineChart chart{.title = title, .series = {observed, diagonal}};
  chart.note = cat(calibration.count, " predictions in bins of equal mass. Expected calibration ",
                   "error ", format_number(calibration.ece_equal_mass, 3), " (in bins of equal ",
                   "width ", format_number(calibration.ece_equal_width, 3), "), Brier score ",
                   format_number(calibration.brier, 3), ", log loss ",
                   format_number(calibration.log_loss, 3), ", accuracy ",
                   with_error(calibration.accuracy), ".");
  chart.x_label = confidences ? "confidence" : "predicted probability";
  chart.smooth = false;
  chart.low = low;
  chart.high = 1;
  return chart;
}

Table reliability_table(const Calibration& calibration, const std::string& title) {
  Table table{.title = title,
              .columns = {"from", "to", "count", "predicted", "observed", "standard error"},
              .rows = {},
              .note = "Bins of equal mass."};
  for (const auto& bin : calibration.equal_mass)
    table.rows.push_back({format_number(bin.low), format_number(bin.high),
                          std::to_string(bin.count), format_number(bin.predicted),
                          format_number(bin.observed.value), format_number(bin.observed.error, 2)});
  return table;
}

}  // namespace luce

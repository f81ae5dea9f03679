// How far predicted probabilities of binary outcomes can be believed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "luce/base/estimate.h"
#include "luce/data/report.h"

namespace luce {

/// Predictions that lie in [low, high] or, unless the bin is the first one, in (low, high].
struct CalibrationBin {
  double low = 0, high = 1;
  int64_t count = 0;
  double predicted = 0;  // mean of the predictions
  Estimate observed;     // mean of their outcomes
};

struct Calibration {
  int64_t count = 0;
  double low = 0;     // of predictions: 0, or ½ where they are confidences
  Estimate accuracy;  // share of outcomes on the predicted side; a prediction of ½ is half right
  double brier = 0;   // mean of (p − y)²
  double log_loss =
      0;  // mean of −y log p − (1 − y) log(1 − p), nats; infinite after a wrong 0 or 1
  double ece_equal_width = 0;  // Σ over bins of count/n |observed − predicted|
  double ece_equal_mass = 0;
  std::vector<CalibrationBin> equal_width, equal_mass;  // bins without a prediction are left out
};

/// The calibration of probabilities p_i for outcomes y_i: 1, 0 or, where labels are soft, between.
/// Bins of equal width cut [0, 1]. Bins of equal mass cut the sorted predictions into `bins` parts
/// that differ by at most one; equal predictions stay together, in the part of the first of them.
/// Throws DataError without a prediction and on values outside [0, 1]; ArgumentError on lists of
/// different lengths and without a bin.
Calibration calibration(const std::vector<double>& p, const std::vector<double>& y, int bins = 10);

/// The calibration of preferences: `p` are the probabilities that the chosen answer is the better
/// one. With the chosen answer first the outcome is always 1, so that bins of p tell nothing. They
/// are made of what does not depend on which answer stands first, the confidence max(p, 1 − p) and
/// whether it is right, p > ½ (p = ½: half), and bins of equal width cut [½, 1]. Brier score and
/// log loss are those of p and 1. Throws like `calibration`.
Calibration preference_calibration(const std::vector<double>& p, int bins = 10);

/// The reliability diagram: outcomes over predictions in bins of equal mass, beside the diagonal.
LineChart reliability_chart(const Calibration& calibration,
                            const std::string& title = "Reliability");

/// The bins of equal mass as a table.
Table reliability_table(const Calibration& calibration, const std::string& title = "Reliability");

}  // namespace luce

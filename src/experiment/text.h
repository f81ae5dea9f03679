// Numbers and tables as text, the same way in every experiment.
#pragma once

#include <string>
#include <vector>

#include "luce/base/estimate.h"
#include "luce/base/json.h"
#include "luce/data/chart.h"
#include "luce/ops/tensor.h"

namespace luce {

/// A number for a cell or a sentence: so many significant digits, "1.2e-23" where it is small or
/// large.
std::string number(double value, int digits = 4);

/// A row of a table: a name and numbers.
std::vector<std::string> row(const std::string& name, const std::vector<double>& values,
                             int digits = 4);

/// "0.642", "−1.50": so many decimals, with a true minus sign.
std::string fixed(double value, int decimals = 3);

/// "0.123 ± 0.004".
std::string shown(const Estimate& estimate, int decimals = 3);

/// What should be 0: "< 1e−12" or "< 1e−5" where it is rounding, whose digits say nothing.
std::string residual(double value);

/// The probabilities of log-probs [S]: "0.642 0.234 0.124".
std::string shares(const Tensor& log_p, int decimals = 3);

/// The numbers of a tensor in f64.
std::vector<double> numbers_of(const Tensor& values);

/// The points of charts, for Findings::figures: title → series → x and y.
Json points(const std::vector<LineChart>& charts);

}  // namespace luce

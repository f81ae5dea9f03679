// Line charts and histograms as SVG inside an HTML <figure>: readable without a script, values on
// hover, colours from the CSS variables of `chart_style()` so that they follow light and dark.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace luce {

/// Points in order of x. A y that is not finite breaks the line.
struct Series {
  std::string name;
  std::vector<double> x, y;
  int color = 0;        // of the 6 of the palette
  bool sparse = false;  // few, separate measurements (an evaluation): dots on a dashed line
  std::vector<double> x_error = {}, y_error = {};  // half the lengths of bars; empty: none
};

struct LineChart {
  std::string title;
  std::vector<Series> series = {};
  std::string note = {};  // a sentence under the title
  std::string x_label = "step";
  bool log_y = false;  // values that are not positive are left out
  bool smooth = true;  // draw a moving average over long series, the raw line faint behind it
  std::optional<double> baseline = {};        // a level to compare with, dashed; always in view
  std::optional<double> low = {}, high = {};  // the range of y at least
};

struct HistogramSample {
  std::string name;
  std::vector<double> values;  // values that are not finite are left out
  int color = 0;
};

/// The share of each sample in bins that all of them have in common, over each other.
struct Histogram {
  std::string title;
  std::vector<HistogramSample> samples = {};
  std::string note = {}, x_label = {};
  int bins = 0;  // 0: by the number of values (Rice's rule, 2 ∛n), between 8 and 48
};

/// A <figure> element. Charts without a point say "no data".
std::string figure(const LineChart& chart);
std::string figure(const Histogram& histogram);

/// The CSS that figures need, once a page.
std::string_view chart_style();

/// About `count` round numbers (1, 2, 2.5 or 5 times a power of ten) that lie within low … high.
std::vector<double> nice_ticks(double low, double high, int count);

/// A centred moving average, taken twice, over index ± a fiftieth of the series; the same length,
/// what is not finite stays so.
std::vector<double> smoothed(const std::vector<double>& values);

/// A number for people: 4 significant digits, "k" and "M" from ten thousand on, powers of ten below
/// a thousandth, a true minus sign.
std::string format_number(double value, int digits = 4);

/// Text for HTML: & < > " ' escaped, control characters but newline and tab left out, invalid UTF-8
/// as U+FFFD.
std::string escape_html(std::string_view text);

}  // namespace luce

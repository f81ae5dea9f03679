#include "luce/data/chart.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>

#include "luce/base/error.h"

namespace luce {
namespace {

// The drawing's own units; the page scales it to the width there is.
constexpr double kWidth = 520, kHeight = 260;
constexpr double kLeft = 54, kRight = 14, kTop = 10, kBottom = 40;
constexpr int kColors = 6;
constexpr size_t kMostPoints = 400, kMostHits = 48, kSmoothFrom = 40;

/// A coordinate: a tenth of a unit is finer than any screen.
std::string at(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

/// Maps values to coordinates.
struct Scale {
  double low, high, from, to;
  bool logarithmic = false;
  double operator()(double value) const {
    const auto t = [this](double v) { return logarithmic ? std::log10(v) : v; };
    return from + (t(value) - t(low)) / (t(high) - t(low)) * (to - from);
  }
};

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -low;
  void add(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return low > high; }
};

/// Ticks at powers of ten; at 1, 2, 5 times them where the range is short; evenly where even those
/// are too few.
std::vector<double> log_ticks(double low, double high) {
  std::vector<double> ticks;
  const int first = static_cast<int>(std::floor(std::log10(low)));
  const int last = static_cast<int>(std::ceil(std::log10(high)));
  const int stride = std::max(1, (last - first) / 6);
  for (int power = first; power <= last; power += stride)
    for (const double digit : {1.0, 2.0, 5.0}) {
      if (digit > 1 && high > 300 * low) break;
      const double tick = digit * std::pow(10.0, power);
      if (tick >= low && tick <= high) ticks.push_back(tick);
    }
  return ticks.size() < 2 ? nice_ticks(low, high, 5) : ticks;
}

/// Labels of one axis: as many decimals as tell neighbours apart.
std::string tick_label(double value, double step) {
  const double size = std::abs(value);
  if (size >= 1e4 || step < 1e-4) return format_number(value, 3);
  const int decimals = std::clamp(static_cast<int>(std::ceil(-std::log10(step) - 1e-9)), 0, 5);
  // 2.5 steps need one digit more than their power of ten says.
  const double scaled = step * std::pow(10.0, decimals);
  const int more = std::abs(scaled - std::round(scaled)) > 1e-6 ? 1 : 0;
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals + more, size);
  return (value < 0 ? "\u2212" : "") + std::string(text);
}

std::string text_at(double x, double y, const char* css, std::string_view text) {
  return cat("<text class=\"", css, "\" x=\"", at(x), "\" y=\"", at(y), "\">", escape_html(text),
             "</text>");
}

std::string line_at(double x1, double y1, double x2, double y2, std::string_view css) {
  return cat("<line class=\"", css, "\" x1=\"", at(x1), "\" y1=\"", at(y1), "\" x2=\"", at(x2),
             "\" y2=\"", at(y2), "\"/>");
}

std::string axes(const Scale& x, const Scale& y, const std::string& x_label, bool log_y,
                 bool percent) {
  std::string svg;
  const auto y_ticks = log_y ? log_ticks(y.low, y.high) : nice_ticks(y.low, y.high, 6);
  for (const double tick : y_ticks) {
    const double step = log_y || y_ticks.size() < 2 ? std::abs(tick) : y_ticks[1] - y_ticks[0];
    const std::string label = percent ? tick_label(100 * tick, 100 * step) + "%"
                              : log_y ? format_number(tick, 2)
                                      : tick_label(tick, step);
    svg += line_at(kLeft, y(tick), kWidth - kRight, y(tick), "c-grid");
    svg += text_at(kLeft - 8, y(tick) + 4, "c-tick c-end", label);
  }
  const auto x_ticks = nice_ticks(x.low, x.high, 6);
  for (const double tick : x_ticks) {
    const double step = x_ticks.size() < 2 ? std::abs(tick) : x_ticks[1] - x_ticks[0];
    svg += line_at(x(tick), kHeight - kBottom, x(tick), kHeight - kBottom + 4, "c-axis");
    svg += text_at(x(tick), kHeight - kBottom + 17, "c-tick c-mid", tick_label(tick, step));
  }
  svg += line_at(kLeft, kHeight - kBottom, kWidth - kRight, kHeight - kBottom, "c-axis");
  if (!x_label.empty())
    svg += text_at((kLeft + kWidth - kRight) / 2, kHeight - 5, "c-tick c-mid", x_label);
  return svg;
}

std::string open_svg(const std::string& title, const std::string& description) {
  return cat("<svg viewBox=\"0 0 ", kWidth, " ", kHeight, "\" role=\"img\" aria-label=\"",
             escape_html(title + ". " + description), "\">");
}

/// `keys` are the finished entries of the legend.
std::string wrap(const std::string& title, const std::string& note, const std::string& keys,
                 const std::string& svg) {
  std::string html = cat("<figure class=\"chart\"><figcaption><h3>", escape_html(title), "</h3>");
  if (!keys.empty()) html += cat("<p class=\"c-keys\">", keys, "</p>");
  if (!note.empty()) html += cat("<p class=\"c-note\">", escape_html(note), "</p>");
  return cat(html, "</figcaption>", svg, "</figure>\n");
}

std::string no_data(const std::string& title, const std::string& note) {
  return wrap(title, note, "", "<p class=\"c-note\">no data</p>");
}

std::string key(const std::string& name, int color, bool sparse, const std::string& value) {
  return cat("<span class=\"c-key", sparse ? " c-sparse k" : " k", color % kColors, "\">",
             escape_html(name), value.empty() ? "" : cat(" <b>", value, "</b>"), "</span>");
}

bool drawable(double y, bool log_y) { return std::isfinite(y) && (!log_y || y > 0); }

/// Points of a line that has more of them than the eye can part: the least and the greatest of each
/// stretch, so that no spike is lost.
std::vector<size_t> thinned(const std::vector<double>& y) {
  std::vector<size_t> kept;
  const size_t stretch = std::max<size_t>(1, (y.size() + kMostPoints - 1) / kMostPoints);
  for (size_t begin = 0; begin < y.size(); begin += stretch) {
    const size_t end = std::min(y.size(), begin + stretch);
    size_t low = begin, high = begin;
    for (size_t i = begin; i < end; ++i) {
      if (y[i] < y[low] || std::isnan(y[low])) low = i;
      if (y[i] > y[high] || std::isnan(y[high])) high = i;
    }
    kept.push_back(std::min(low, high));
    if (low != high) kept.push_back(std::max(low, high));
  }
  return kept;
}

std::string path(const Series& series, const std::vector<double>& y, const LineChart& chart,
                 const Scale& to_x, const Scale& to_y, const std::string& css) {
  std::string d;
  bool pen_down = false;
  for (const size_t i : thinned(y)) {
    const bool draw = drawable(y[i], chart.log_y);
    if (draw) d += cat(pen_down ? "L" : "M", at(to_x(series.x[i])), " ", at(to_y(y[i])));
    pen_down = draw;
  }
  return d.empty() ? "" : cat("<path class=\"", css, "\" d=\"", d, "\"/>");
}

std::string dot(double x, double y, const char* css, int color) {
  return cat("<circle class=\"", css, " k", color % kColors, "\" cx=\"", at(x), "\" cy=\"", at(y),
             "\" r=\"3\"/>");
}

/// Strips over the drawing that show all values near one x when the pointer is over them.
std::string hits(const LineChart& chart, const Scale& to_x, const Scale& to_y) {
  std::vector<double> all;
  for (const auto& series : chart.series) all.insert(all.end(), series.x.begin(), series.x.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::vector<double> chosen;
  const double stride = std::max(1.0, static_cast<double>(all.size()) / kMostHits);
  for (double i = 0; i < static_cast<double>(all.size()); i += stride)
    chosen.push_back(all[static_cast<size_t>(i)]);
  if (chosen.back() != all.back()) chosen.push_back(all.back());

  std::string svg;
  for (size_t k = 0; k < chosen.size(); ++k) {
    const double x = to_x(chosen[k]);
    const double left = k == 0 ? kLeft : (to_x(chosen[k - 1]) + x) / 2;
    const double right = k + 1 == chosen.size() ? kWidth - kRight : (x + to_x(chosen[k + 1])) / 2;
    std::string tip = cat(chart.x_label, " ", format_number(chosen[k], 7)), dots;
    for (const auto& series : chart.series) {
      if (series.x.empty()) continue;
      const auto near = std::lower_bound(series.x.begin(), series.x.end(), chosen[k]);
      size_t i = std::min<size_t>(near - series.x.begin(), series.x.size() - 1);
      if (i > 0 && chosen[k] - series.x[i - 1] < std::abs(series.x[i] - chosen[k])) --i;
      const double here = to_x(series.x[i]);
      if (here < left - 0.5 || here > right + 0.5 || !drawable(series.y[i], chart.log_y)) continue;
      tip += cat("\n", series.name, " ", format_number(series.y[i]));
      dots += dot(here, to_y(series.y[i]), "c-hover", series.color);
    }
    svg += cat("<g class=\"c-hit\"><title>", escape_html(tip), "</title><rect x=\"", at(left),
               "\" y=\"", kTop, "\" width=\"", at(right - left), "\" height=\"",
               kHeight - kTop - kBottom, "\"/>", line_at(x, kTop, x, kHeight - kBottom, "c-rule"),
               dots, "</g>");
  }
  return svg;
}

/// The mean over index ± reach, of what is finite there.
std::vector<double> moving_average(const std::vector<double>& values, size_t reach) {
  const size_t size = values.size();
  std::vector<double> sums(size + 1), counts(size + 1), result(size);
  for (size_t i = 0; i < size; ++i) {
    const bool finite = std::isfinite(values[i]);
    sums[i + 1] = sums[i] + (finite ? values[i] : 0);
    counts[i + 1] = counts[i] + (finite ? 1 : 0);
  }
  for (size_t i = 0; i < size; ++i) {
    const size_t begin = i < reach ? 0 : i - reach, end = std::min(size, i + reach + 1);
    result[i] = std::isfinite(values[i]) ? (sums[end] - sums[begin]) / (counts[end] - counts[begin])
                                         : values[i];
  }
  return result;
}

/// "1.15 ± 0.05": two digits of the error say how many of the mean are worth printing.
std::string with_error(double mean, double error) {
  if (!(error > 0)) return format_number(mean);
  const int decimals = std::clamp(1 - static_cast<int>(std::floor(std::log10(error))), 0, 9);
  char text[80];
  std::snprintf(text, sizeof text, "%.*f \u00b1 %.*f", decimals, std::abs(mean), decimals, error);
  return (mean < 0 ? "\u2212" : "") + std::string(text);
}

double last_finite(const std::vector<double>& values) {
  for (size_t i = values.size(); i-- > 0;)
    if (std::isfinite(values[i])) return values[i];
  return std::numeric_limits<double>::quiet_NaN();
}

}  // namespace

std::string_view chart_style() {
  // Okabe and Ito's palette, which colour-blind readers can tell apart; darker or lighter where the
  // paper needs it. Lines differ by dash and dots as well.
  return R"(:root{--c0:#0b6fb4;--c1:#d1550b;--c2:#06865f;--c3:#b0609a;--c4:#b77c00;--c5:#4aa3d8;
--c-ink:#5f6670;--c-grid:#e7e8ea;--c-axis:#b9bdc3;--c-paper:#fff}
@media screen and (prefers-color-scheme:dark){:root{--c0:#5eb3f0;--c1:#f48a4e;--c2:#3fc79b;--c3:#dd93c6;
--c4:#e6b13c;--c5:#93d0f5;--c-ink:#9aa2ad;--c-grid:#272c33;--c-axis:#4a515b;--c-paper:#14171b}}
.k0{--c:var(--c0)}.k1{--c:var(--c1)}.k2{--c:var(--c2)}.k3{--c:var(--c3)}.k4{--c:var(--c4)}.k5{--c:var(--c5)}
.chart{margin:0;min-width:0}.chart svg{display:block;width:100%;height:auto;overflow:visible}
.chart h3{margin:0;font-size:.95rem;font-weight:600}
.c-note{margin:.3rem 0 0;color:var(--c-ink);font-size:.82rem;line-height:1.45}
.c-keys{margin:.3rem 0 0;font-size:.82rem;color:var(--c-ink);display:flex;flex-wrap:wrap;gap:.1rem 1rem}
.c-key b{font-weight:600;font-variant-numeric:tabular-nums}
.c-key::before{content:"";display:inline-block;width:1rem;margin-right:.4rem;vertical-align:.22em;
border-top:.15rem solid var(--c)}.c-sparse::before{border-top-style:dotted}
.c-tick{font:12px system-ui,sans-serif;fill:var(--c-ink);font-variant-numeric:tabular-nums}
.c-end{text-anchor:end}.c-mid{text-anchor:middle}
.c-grid{stroke:var(--c-grid);stroke-width:1}.c-axis{stroke:var(--c-axis);stroke-width:1}
.c-base{stroke:var(--c-ink);stroke-width:1;stroke-dasharray:2 4}
.c-line{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.c-raw{fill:none;stroke:var(--c);stroke-width:1;opacity:.22;stroke-linejoin:round}
.c-error{stroke:var(--c);stroke-width:1.5;opacity:.6}.c-dashed{stroke-dasharray:2 5}.c-dot{fill:var(--c);stroke:var(--c-paper);stroke-width:1.5}
.c-bars{fill:var(--c);fill-opacity:.3;stroke:var(--c);stroke-width:1.5;stroke-linejoin:round}
.c-mean{stroke:var(--c);stroke-width:1.5;stroke-dasharray:5 4}
.c-hit rect{fill:transparent}.c-rule,.c-hover{visibility:hidden}
.c-rule{stroke:var(--c-axis);stroke-width:1}.c-hover{fill:var(--c);stroke:var(--c-paper)}
.c-hit:hover .c-rule,.c-hit:hover .c-hover{visibility:visible}
)";
}

namespace {

double error_at(const std::vector<double>& errors, size_t i) {
  return i < errors.size() ? errors[i] : 0;
}

std::string error_bars(const Series& series, const LineChart& chart, const Scale& to_x,
                       const Scale& to_y) {
  std::string out;
  for (size_t i = 0; i < series.x.size(); ++i) {
    const double x = series.x[i], y = series.y[i];
    const double dx = error_at(series.x_error, i), dy = error_at(series.y_error, i);
    if (!drawable(y, chart.log_y)) continue;
    const std::string css = cat("c-error k", series.color % kColors);
    if (dx > 0) out += line_at(to_x(x - dx), to_y(y), to_x(x + dx), to_y(y), css);
    if (dy > 0 && drawable(y - dy, chart.log_y))
      out += line_at(to_x(x), to_y(y - dy), to_x(x), to_y(y + dy), css);
  }
  return out;
}

}  // namespace

std::string figure(const LineChart& chart) {
  Range xs, ys;
  for (const auto& series : chart.series) {
    if (series.x.size() != series.y.size())
      throw ArgumentError(cat("series \"", series.name, "\" of chart \"", chart.title, "\" has ",
                              series.x.size(), " x and ", series.y.size(), " y"));
    for (size_t i = 0; i < series.x.size(); ++i)
      if (drawable(series.y[i], chart.log_y)) {
        const double dx = error_at(series.x_error, i), dy = error_at(series.y_error, i);
        for (const double side : {-1.0, 1.0}) {
          xs.add(series.x[i] + side * dx);
          if (drawable(series.y[i] + side * dy, chart.log_y)) ys.add(series.y[i] + side * dy);
        }
      }
  }
  if (ys.empty()) return no_data(chart.title, chart.note);
  for (const auto& level : {chart.baseline, chart.low, chart.high})
    if (level && drawable(*level, chart.log_y)) ys.add(*level);
  if (xs.low == xs.high) xs = {xs.low - 1, xs.high + 1};

  if (chart.log_y) {
    if (ys.low == ys.high) ys = {ys.low / 2, ys.high * 2};
  } else {
    double room = (ys.high - ys.low) * 0.06;
    if (room == 0) room = ys.low == 0 ? 1 : std::abs(ys.low) * 0.1;
    if (!chart.low || ys.low < *chart.low) ys.low -= ys.low >= 0 && ys.low < room ? ys.low : room;
    if (!chart.high || ys.high > *chart.high) ys.high += room;
  }
  const Scale to_x{xs.low, xs.high, kLeft + 4, kWidth - kRight - 4};
  const Scale to_y{ys.low, ys.high, kHeight - kBottom, kTop, chart.log_y};

  std::string keys, lines, description;
  for (const auto& series : chart.series) {
    if (series.x.empty()) continue;
    const std::string color = cat(" k", series.color % kColors);
    const bool smooth = chart.smooth && !series.sparse && series.y.size() >= kSmoothFrom;
    const auto shown = smooth ? smoothed(series.y) : series.y;
    if (smooth) lines += path(series, series.y, chart, to_x, to_y, "c-raw" + color);
    lines += path(series, shown, chart, to_x, to_y,
                  (series.sparse ? "c-line c-dashed" : "c-line") + color);
    lines += error_bars(series, chart, to_x, to_y);
    if (series.sparse || series.x.size() == 1)
      for (const size_t i : thinned(series.y))
        if (drawable(series.y[i], chart.log_y))
          lines += dot(to_x(series.x[i]), to_y(series.y[i]), "c-dot", series.color);
    const std::string last = format_number(last_finite(shown));
    keys += key(series.name, series.color, series.sparse, last);
    description += cat(series.name, " ends at ", last, ". ");
  }
  std::string svg = open_svg(chart.title, description);
  svg += axes(to_x, to_y, chart.x_label, chart.log_y, /*percent=*/false);
  if (chart.baseline && drawable(*chart.baseline, chart.log_y))
    svg += line_at(kLeft, to_y(*chart.baseline), kWidth - kRight, to_y(*chart.baseline), "c-base");
  return wrap(chart.title, chart.note, keys, cat(svg, lines, hits(chart, to_x, to_y), "</svg>"));
}

std::string figure(const Histogram& histogram) {
  Range xs;
  size_t most = 0;
  std::vector<std::vector<double>> samples;
  for (const auto& sample : histogram.samples) {
    auto& values = samples.emplace_back();
    for (const double value : sample.values)
      if (std::isfinite(value)) values.push_back(value), xs.add(value);
    most = std::max(most, values.size());
  }
  if (xs.empty()) return no_data(histogram.title, histogram.note);
  if (xs.low == xs.high) xs = {xs.low - 0.5, xs.high + 0.5};

  const int rice = static_cast<int>(std::ceil(2 * std::cbrt(static_cast<double>(most))));
  const int bins = histogram.bins > 0 ? histogram.bins : std::clamp(rice, 8, 48);
  const double width = (xs.high - xs.low) / bins;
  std::vector<std::vector<double>> shares;
  double top = 0;
  for (const auto& values : samples) {
    auto& share = shares.emplace_back(bins, 0.0);
    for (const double value : values)
      share[std::min(bins - 1, static_cast<int>((value - xs.low) / width))] += 1.0 / values.size();
    top = std::max(top, *std::max_element(share.begin(), share.end()));
  }
  const Scale to_x{xs.low, xs.high, kLeft + 4, kWidth - kRight - 4};
  const Scale to_y{0, top * 1.06, kHeight - kBottom, kTop};

  std::string keys, bars, means, description;
  for (size_t s = 0; s < samples.size(); ++s) {
    if (samples[s].empty()) continue;
    const auto& sample = histogram.samples[s];
    const std::string color = cat(" k", sample.color % kColors);
    double sum = 0, squares = 0;
    for (const double value : samples[s]) sum += value;
    const double n = static_cast<double>(samples[s].size()), mean = sum / n;
    for (const double value : samples[s]) squares += (value - mean) * (value - mean);
    const double error = n > 1 ? std::sqrt(squares / (n - 1) / n) : 0;

    std::string d = cat("M", at(to_x(xs.low)), " ", at(to_y(0)));
    for (int i = 0; i < bins; ++i)
      d += cat("V", at(to_y(shares[s][i])), "H", at(to_x(xs.low + width * (i + 1))));
    bars += cat("<path class=\"c-bars", color, "\" d=\"", d, "V", at(to_y(0)), "Z\"/>");
    means += line_at(to_x(mean), kTop, to_x(mean), kHeight - kBottom, "c-mean" + color);
    const std::string value = cat("mean ", with_error(mean, error));
    keys += key(sample.name, sample.color, false, value);
    description += cat(sample.name, " has ", value, " over ", samples[s].size(), " values. ");
  }
  std::string hover;
  for (int i = 0; i < bins; ++i) {
    const double left = xs.low + width * i;
    std::string tip = cat(format_number(left), " to ", format_number(left + width));
    for (size_t s = 0; s < samples.size(); ++s)
      if (!samples[s].empty())
        tip += cat("\n", histogram.samples[s].name, " ", format_number(100 * shares[s][i], 3), "%");
    hover +=
        cat("<g class=\"c-hit\"><title>", escape_html(tip), "</title><rect x=\"", at(to_x(left)),
            "\" y=\"", kTop, "\" width=\"", at(to_x(left + width) - to_x(left)), "\" height=\"",
            kHeight - kTop - kBottom, "\"/></g>");
  }
  const std::string svg =
      cat(open_svg(histogram.title, description),
          axes(to_x, to_y, histogram.x_label, /*log_y=*/false, /*percent=*/true), bars, means,
          hover, "</svg>");
  return wrap(histogram.title, histogram.note, keys, svg);
}

std::vector<double> nice_ticks(double low, double high, int count) {
  if (!(high > low) || count < 1) return {low};
  const double rough = (high - low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (const double digit : {5.0, 2.5, 2.0, 1.0})
    if (digit * power >= rough * 0.999999) step = digit * power;
  std::vector<double> ticks;
  const double slack = step * 1e-6;
  for (double k = std::ceil((low - slack) / step); k * step <= high + slack; ++k)
    ticks.push_back(k == 0 ? 0 : k * step);  // no minus zero
  return ticks;
}

std::vector<double> smoothed(const std::vector<double>& values) {
  const size_t reach = std::max<size_t>(1, values.size() / 50);
  return moving_average(moving_average(values, reach), reach);
}

std::string format_number(double value, int digits) {
  if (std::isnan(value)) return "\u2013";
  const std::string sign = value < 0 ? "\u2212" : "";
  double size = std::abs(value);
  if (std::isinf(size)) return sign + "\u221e";
  if (size == 0) return "0";

  const char* unit = "";
  const bool power_of_ten = size < 1e-3 || size >= 1e12;
  if (!power_of_ten && size >= std::pow(10.0, std::max(4, digits)))
    for (const char* next : {"k", "M", "G"}) {
      if (size < 999.95) break;
      size /= 1e3;
      unit = next;
    }
  char text[64];
  const int whole = 1 + static_cast<int>(std::floor(std::log10(size)));
  const auto end =
      power_of_ten
          ? std::to_chars(text, text + sizeof text, size, std::chars_format::scientific, digits - 1)
          : std::to_chars(text, text + sizeof text, size, std::chars_format::fixed,
                          std::max(0, digits - whole));
  std::string body(text, end.ptr);
  const size_t e = std::min(body.find('e'), body.size());
  const int exponent = e < body.size() ? std::stoi(body.substr(e + 1)) : 0;
  body.resize(e);
  if (body.find('.') != std::string::npos) {
    body.erase(body.find_last_not_of('0') + 1);
    if (body.back() == '.') body.pop_back();
  }
  if (exponent != 0) body += cat("e", exponent < 0 ? "\u2212" : "", std::abs(exponent));
  return cat(body == "0" ? "" : sign, body, unit);
}

std::string escape_html(std::string_view text) {
  std::string result;
  const auto follows = [&](size_t i, unsigned char low, unsigned char high) {
    return i < text.size() && static_cast<unsigned char>(text[i]) >= low &&
           static_cast<unsigned char>(text[i]) <= high;
  };
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      ++i;
      switch (c) {
        case '&':
          result += "&amp;";
          break;
        case '<':
          result += "&lt;";
          break;
        case '>':
          result += "&gt;";
          break;
        case '"':
          result += "&quot;";
          break;
        case '\'':
          result += "&#39;";
          break;
        default:
          if ((c >= 0x20 && c != 0x7f) || c == '\n' || c == '\t') result += static_cast<char>(c);
      }
      continue;
    }
    // The second byte's range shuts out overlong forms, surrogates and what lies beyond U+10FFFF.
    const size_t length = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    const unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    const unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    bool valid = c >= 0xc2 && c <= 0xf4 && follows(i + 1, low, high);
    for (size_t k = 2; k < length; ++k) valid = valid && follows(i + k, 0x80, 0xbf);
    const bool control = valid && c == 0xc2 && static_cast<unsigned char>(text[i + 1]) < 0xa0;
    if (!valid)
      result += "\ufffd";
    else if (!control)
      result += text.substr(i, length);
    i += valid ? length : 1;
  }
  return result;
}

}  // namespace luce

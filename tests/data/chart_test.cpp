#include "luce/data/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "luce/base/error.h"

namespace luce {
namespace {

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

std::vector<double> ramp(int count, double from, double step) {
  std::vector<double> values;
  for (int i = 0; i < count; ++i) values.push_back(from + step * i);
  return values;
}

TEST(NiceTicks, AreRoundAndInside) {
  EXPECT_EQ(nice_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(nice_ticks(-0.03, 0.98, 4), (std::vector<double>{0, 0.5}));
  EXPECT_EQ(nice_ticks(3, 97, 4), (std::vector<double>{25, 50, 75}));
  EXPECT_EQ(nice_ticks(5, 5, 4), (std::vector<double>{5}));
  for (const double tick : nice_ticks(-1, 1, 4)) EXPECT_FALSE(tick == 0 && std::signbit(tick));
}

TEST(FormatNumber, IsForPeople) {
  EXPECT_EQ(format_number(0), "0");
  EXPECT_EQ(format_number(0.693147), "0.6931");
  EXPECT_EQ(format_number(0.052123, 2), "0.052");
  EXPECT_EQ(format_number(-1.5), "\u22121.5");
  EXPECT_EQ(format_number(400), "400");
  EXPECT_EQ(format_number(9999), "9999");
  EXPECT_EQ(format_number(12400), "12.4k");
  EXPECT_EQ(format_number(12400, 7), "12400");
  EXPECT_EQ(format_number(3.2e6), "3.2M");
  EXPECT_EQ(format_number(1e-6), "1e\u22126");
  EXPECT_EQ(format_number(2.5e13), "2.5e13");
  EXPECT_EQ(format_number(std::nan("")), "\u2013");
  EXPECT_EQ(format_number(-INFINITY), "\u2212\u221e");
}

TEST(EscapeHtml, LeavesNoMarkupAndNoInvalidBytes) {
  EXPECT_EQ(escape_html("<b a=\"1\" c='2'>&amp;"),
            "&lt;b a=&quot;1&quot; c=&#39;2&#39;&gt;&amp;amp;");
  EXPECT_EQ(escape_html("a\tb\nc\x01\x1b\x7f\xc2\x85"
                        "d"),
            "a\tb\ncd");
  EXPECT_EQ(escape_html("é 训 😀"), "é 训 😀");
  EXPECT_EQ(escape_html("\xff"), "\ufffd");
  EXPECT_EQ(escape_html("a\xe4\xb8"), "a\ufffd\ufffd");                    // torn
  EXPECT_EQ(escape_html("\xc0\xaf"), "\ufffd\ufffd");                      // overlong '/'
  EXPECT_EQ(escape_html("\xed\xa0\x80"), "\ufffd\ufffd\ufffd");            // a surrogate
  EXPECT_EQ(escape_html("\xf4\x90\x80\x80"), "\ufffd\ufffd\ufffd\ufffd");  // beyond U+10FFFF
  EXPECT_EQ(escape_html("\xc3<"), "\ufffd&lt;");
}

TEST(Smoothed, KeepsConstantsLinesAndGaps) {
  const auto flat = smoothed(std::vector<double>(100, 2.5));
  for (const double value : flat) EXPECT_DOUBLE_EQ(value, 2.5);
  const auto line = smoothed(ramp(100, 0, 1));
  EXPECT_NEAR(line[50], 50, 1e-12);
  auto gap = ramp(100, 0, 1);
  gap[10] = std::nan("");
  EXPECT_TRUE(std::isnan(smoothed(gap)[10]));
  EXPECT_TRUE(std::isfinite(smoothed(gap)[11]));
  EXPECT_TRUE(smoothed({}).empty());
}

TEST(Smoothed, DampsNoise) {
  std::vector<double> noise;
  for (int i = 0; i < 400; ++i) noise.push_back(i % 2 ? 1 : -1);
  for (const double value : smoothed(noise)) EXPECT_LT(std::abs(value), 0.2);
}

TEST(LineFigure, NamesEverySeriesWithItsLastValue) {
  const std::string html =
      figure(LineChart{.title = "Loss",
                       .series = {{"train", {1, 2, 3}, {3, 2, 1}}, {"eval", {2}, {2.25}, 1, true}},
                       .note = "Nats."});
  EXPECT_TRUE(has(html, "<h3>Loss</h3>"));
  EXPECT_TRUE(has(html, "k0\">train <b>1</b>"));
  EXPECT_TRUE(has(html, "k1\">eval <b>2.25</b>"));
  EXPECT_TRUE(has(html, "<p class=\"c-note\">Nats.</p>"));
  EXPECT_TRUE(has(html, "role=\"img\" aria-label=\"Loss. train ends at 1. eval ends at 2.25. \""));
  EXPECT_TRUE(has(html, "<title>step 2\ntrain 2\neval 2.25</title>"));
}

TEST(LineFigure, PutsPointsWhereTheyBelong) {
  const std::string html = figure(
      LineChart{.title = "", .series = {{"a", {0, 50, 100}, {0, 1, 0}}}, .low = 0, .high = 1});
  EXPECT_TRUE(has(html, "d=\"M58.0 220.0L280.0 10.0L502.0 220.0\"")) << html;
}

TEST(LineFigure, LogAxisSpacesDecadesEvenlyAndLeavesOutZero) {
  const std::string html = figure(
      LineChart{.title = "", .series = {{"a", {0, 1, 2, 3}, {1, 0, 100, 10000}}}, .log_y = true});
  EXPECT_TRUE(has(html, "M58.0 220.0M354.0 115.0L502.0 10.0")) << html;
  EXPECT_TRUE(has(html, ">100</text>"));
  EXPECT_TRUE(has(html, ">10k</text>"));
}

TEST(LineFigure, SmoothsLongSeriesOnly) {
  const LineChart shorter{.title = "", .series = {{"a", ramp(39, 1, 1), ramp(39, 0, 1)}}};
  const LineChart longer{.title = "", .series = {{"a", ramp(40, 1, 1), ramp(40, 0, 1)}}};
  EXPECT_EQ(count(figure(shorter), "class=\"c-raw"), 0);
  EXPECT_EQ(count(figure(longer), "class=\"c-raw"), 1);
}

TEST(LineFigure, NanBreaksTheLineAndInfinityCannotStretchTheAxis) {
  const double inf = std::numeric_limits<double>::infinity();
  const std::string html =
      figure(LineChart{.title = "",
                       .series = {{"a", {0, 1, 2, 3, 4}, {0, std::nan(""), 1, inf, 0.5}}},
                       .low = 0,
                       .high = 1});
  EXPECT_TRUE(has(html, "d=\"M58.0 220.0M280.0 10.0M502.0 115.0\"")) << html;
}

TEST(LineFigure, OneOrNoPointIsNoError) {
  EXPECT_TRUE(
      has(figure(LineChart{.title = "Loss", .series = {{"a", {7}, {0}}}}), "class=\"c-dot k0\""));
  EXPECT_TRUE(has(figure(LineChart{.title = "Loss", .series = {}}), "no data"));
  EXPECT_TRUE(
      has(figure(LineChart{.title = "Loss", .series = {{"a", {1}, {std::nan("")}}}}), "no data"));
}

TEST(LineFigure, KeepsTheSpikesOfALongRunInASmallPage) {
  std::vector<double> y(100000, 1.0);
  y[54321] = 9;
  const std::string html =
      figure(LineChart{.title = "", .series = {{"a", ramp(100000, 1, 1), y}}, .low = 0, .high = 9});
  EXPECT_LT(html.size(), 60000u);
  EXPECT_TRUE(has(html, " 10.0L"));  // the spike, at the upper edge
}

TEST(LineFigure, RefusesSeriesOfUnequalLength) {
  try {
    figure(LineChart{.title = "Loss", .series = {{"train", {1, 2}, {1}}}});
    FAIL();
  } catch (const ArgumentError& error) {
    EXPECT_STREQ(error.what(), "series \"train\" of chart \"Loss\" has 2 x and 1 y");
  }
}

TEST(HistogramFigure, DrawsSharesOverCommonBins) {
  const std::string html =
      figure(Histogram{.title = "Score",
                       .samples = {{"before", {0, 0, 0, 1}}, {"after", {3, 4}, 1}},
                       .note = "",
                       .x_label = "score",
                       .bins = 4});
  EXPECT_TRUE(has(html, "<title>0 to 1\nbefore 75%\nafter 0%</title>")) << html;
  EXPECT_TRUE(has(html, "<title>1 to 2\nbefore 25%\nafter 0%</title>"));
  EXPECT_TRUE(has(html, "<title>3 to 4\nbefore 0%\nafter 100%</title>"));
  EXPECT_TRUE(has(html, "before <b>mean 0.25 \u00b1 0.25</b>"));
  EXPECT_TRUE(has(html, "after <b>mean 3.50 \u00b1 0.50</b>"));
}

TEST(HistogramFigure, LeavesOutWhatIsNotFinite) {
  const std::string html =
      figure(Histogram{.title = "", .samples = {{"a", {1, std::nan(""), 1, INFINITY}}}, .bins = 2});
  EXPECT_TRUE(has(html, "a <b>mean 1</b>"));
  EXPECT_TRUE(has(figure(Histogram{.title = "", .samples = {{"a", {}}}}), "no data"));
}

TEST(Figures, EscapeEveryText) {
  const std::string hostile = "</svg><script>\"'";
  for (const std::string& html : {figure(LineChart{.title = hostile,
                                 .series = {{hostile, {1, 2}, {1, 2}}},
                                 .note = hostile,
                                 .x_label = hostile}),
                                  figure(Histogram{.title = hostile,
                                  .samples = {{hostile, {1, 2}}},
                                  .note = hostile,
                                  .x_label = hostile})}) {
    EXPECT_EQ(count(html, "<script"), 0);
    EXPECT_EQ(count(html, "</svg>"), 1);
  }
}

}  // namespace
}  // namespace luce

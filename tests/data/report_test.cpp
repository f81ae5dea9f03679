#include "luce/data/report.h"

#include <gtest/gtest.h>

#include <set>

#include "luce/base/error.h"

namespace luce {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

/// The first element that is not closed in order, or "".
std::string unbalanced(const std::string& html) {
  static const std::set<std::string> kVoid = {"meta", "!DOCTYPE"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return html.substr(at, 40);
    const bool close = html[at + 1] == '/';
    const size_t name_at = at + 1 + close;
    const std::string name = html.substr(name_at, html.find_first_of(" />", name_at) - name_at);
    if (close) {
      if (open.empty() || open.back() != name) return html.substr(at, 40);
      open.pop_back();
    } else if (html[end - 1] != '/' && !kVoid.count(name)) {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : open.back();
}

Report everything(const std::string& text) {
  Report report;
  report.title = report.lead = text;
  report.facts = {{text, text}};
  report.tiles = {{text, text, text}, {"Steps", "400", ""}};
  report.heading(text);
  report.paragraph(text);
  report.callout(text, true);
  report.key_values({{text, text}});
  report.table({text, {text, "value"}, {{text, "1.5"}, {"b", "\u22122 %"}}, text});
  report.chart({.title = text, .series = {{text, {1, 2, 3}, {1, 2, 3}}}, .note = text});
  report.histogram({.title = text, .samples = {{text, {1, 2, 3}}}, .note = text, .x_label = text});
  report.samples({text, {text, "after"}, {{text, {{text, text}, {"b", ""}}}}, text});
  report.folded(text, {{text, text}});
  return report;
}

TEST(Report, ClosesEveryElementWhateverTheText) {
  EXPECT_EQ(unbalanced(everything("plain").html()), "");
  EXPECT_EQ(unbalanced(everything("</main><script>alert('\"1\"')</script><!--").html()), "");
}

TEST(Report, EscapesEveryText) {
  const std::string html = everything("<script>\xff&\"").html();
  EXPECT_FALSE(has(html, "<script"));
  EXPECT_FALSE(has(html, "\xff"));
  EXPECT_TRUE(has(html, "<h1>&lt;script&gt;\ufffd&amp;&quot;</h1>"));
}

TEST(Report, NeedsNothingElse) {
  const std::string html = everything("plain").html();
  for (const char* outside : {"http:", "https:", "src=", "url(", "@import", "<link", "<script"})
    EXPECT_FALSE(has(html, outside)) << outside;
  EXPECT_EQ(html.rfind("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">", 0), 0u);
}

TEST(Report, NeighbouringChartsShareAGrid) {
  Report report;
  report.chart({.title = "A", .series = {}});
  report.chart({.title = "B", .series = {}});
  report.heading("Then");
  report.chart({.title = "C", .series = {}});
  const std::string html = report.html();
  const size_t first = html.find("<div class=\"grid\">");
  EXPECT_LT(first, html.find("<h3>A</h3>"));
  EXPECT_LT(html.find("<h3>B</h3>"), html.find("</div>", first));
  EXPECT_GT(html.find("<div class=\"grid\">", first + 1), html.find("<h2>Then</h2>"));
}

TEST(Report, ColumnsOfNumbersStandRight) {
  Report report;
  report.table(
      {"", {"name", "value", "mixed"}, {{"7 dwarfs", "1.5", "x"}, {"b", "\u22122 %", "3"}}, ""});
  const std::string html = report.html();
  EXPECT_TRUE(has(html, "<th scope=\"col\">name</th><th scope=\"col\" class=\"n\">value</th>"));
  EXPECT_TRUE(has(html, "<td>7 dwarfs</td><td class=\"n\">1.5</td><td>x</td>"));
}

TEST(Report, RefusesRowsOfAnotherLength) {
  Report report;
  try {
    report.table({"T", {"a", "b"}, {{"1"}}, ""});
    FAIL();
  } catch (const ArgumentError& error) {
    EXPECT_STREQ(error.what(), "table \"T\" has 2 columns and a row of 1 cells");
  }
  try {
    report.samples({"S", {"a"}, {{"p", {}}}, ""});
    FAIL();
  } catch (const ArgumentError& error) {
    EXPECT_STREQ(error.what(), "samples \"S\" have 1 columns and a row of 0 texts");
  }
}

}  // namespace
}  // namespace luce

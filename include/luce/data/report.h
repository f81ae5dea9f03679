// A report: one HTML file that needs nothing else, for people.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "luce/data/chart.h"

namespace luce {

/// A key figure in the head of the report.
struct Tile {
  std::string label, value, note;
};

/// Cells that are numbers stand right-aligned.
struct Table {
  std::string title;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
  std::string note;
};

/// Texts side by side, one column each, and what they continue.
struct SampleTable {
  struct Cell {
    std::string text, note;  // note: a score, a label
  };
  struct Row {
    std::string prompt;
    std::vector<Cell> cells;
  };
  std::string title;
  std::vector<std::string> columns;
  std::vector<Row> rows;
  std::string note;
};

/// Collects sections in order and renders them; any text is escaped, of any bytes.
class Report {
 public:
  using Facts = std::vector<std::pair<std::string, std::string>>;  // name, value

  std::string title, lead;
  Facts facts;  // one line under the title: date, task, model
  std::vector<Tile> tiles;

  void heading(const std::string& text);
  void paragraph(const std::string& text);
  /// A paragraph that must not be missed; a `warning` is coloured.
  void callout(const std::string& text, bool warning = false);
  void key_values(const Facts& rows);
  void table(const Table& table);
  void chart(const LineChart& chart) { add(figure(chart), /*in_grid=*/true); }
  void histogram(const Histogram& histogram) { add(figure(histogram), /*in_grid=*/true); }
  void samples(const SampleTable& samples);
  /// Like `key_values`, folded away behind `summary`.
  void folded(const std::string& summary, const Facts& rows);

  /// The whole page.
  std::string html() const;

 private:
  struct Block {
    std::string html;
    bool in_grid;  // neighbours stand side by side where the page is wide enough
  };
  void add(std::string html, bool in_grid = false) {
    blocks_.push_back({std::move(html), in_grid});
  }

  std::vector<Block> blocks_;
};

}  // namespace luce

#include "experiment/text.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "luce/base/error.h"
#include "luce/experiment/experiment.h"

namespace luce {
namespace {

/// What a reader counts: every byte of UTF-8 that does not continue a character.
size_t width(const std::string& text) {
  return static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) >> 6) != 2; }));
}

/// Where all cells of a column are numbers, they stand right-aligned.
bool holds_numbers(const Table& table, size_t column) {
  return std::all_of(table.rows.begin(), table.rows.end(), [&](const auto& row) {
    const std::string& cell = row[column];
    return cell.find_first_of("0123456789") != std::string::npos &&
           cell.find_first_not_of("0123456789+-.e%, ") == std::string::npos;
  });
}

void check(const Table& table) {
  for (const auto& row : table.rows)
    if (row.size() != table.columns.size())
      throw ArgumentError(cat("table \"", table.title, "\" has ", table.columns.size(),
                              " columns and a row of ", row.size(), " cells"));
}

/// Text of Markdown: a bar would end a cell, stars would make it slanted.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) out += (c == '|' || c == '*' ? "\\" : "") + std::string(1, c);
  return out;
}

std::string markdown_row(const std::vector<std::string>& cells) {
  std::string line = "|";
  for (const auto& cell : cells) line += " " + escaped(cell) + " |";
  return line + "\n";
}

}  // namespace

std::string number(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*g", digits, value);
  return text;
}

std::vector<std::string> row(const std::string& name, const std::vector<double>& values,
                             int digits) {
  std::vector<std::string> cells{name};
  for (const double value : values) cells.push_back(number(value, digits));
  return cells;
}

std::string fixed(double value, int decimals) {
  if (!std::isfinite(value)) return format_number(value);
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", decimals, std::abs(value));
  const bool zero = std::string(text).find_first_not_of("0.") == std::string::npos;
  return (value < 0 && !zero ? "\u2212" : "") + std::string(text);
}

std::string shares(const Tensor& log_p, int decimals) {
  std::string text;
  for (const double p : numbers_of(log_p.exp()))
    text += (text.empty() ? "" : " ") + fixed(p, decimals);
  return text;
}

std::string residual(double value) {
  if (std::abs(value) < 1e-12) return "< 1e\u221212";
  if (std::abs(value) < 1e-5) return "< 1e\u22125";
  return format_number(value, 3);
}

std::string shown(const Estimate& mean, int decimals) {
  return fixed(mean.value, decimals) + " ± " + fixed(mean.error, decimals);
}

std::vector<double> numbers_of(const Tensor& values) {
  const Tensor flat = values.detach().to(at::kDouble).reshape({-1}).contiguous();
  return {flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel()};
}

Json points(const std::vector<LineChart>& charts) {
  Json all = Json::object();
  for (const LineChart& chart : charts)
    for (const Series& line : chart.series)
      all[chart.title][line.name] = {{"x", line.x}, {"y", line.y}};
  return all;
}

std::string markdown(const std::vector<Table>& tables) {
  std::string out;
  for (const Table& table : tables) {
    check(table);
    out += cat(out.empty() ? "" : "\n", "**", escaped(table.title), "**\n\n",
               table.note.empty() ? "" : escaped(table.note) + "\n\n", markdown_row(table.columns),
               "|");
    for (size_t i = 0; i < table.columns.size(); ++i)
      out += holds_numbers(table, i) ? " ---: |" : " --- |";
    out += "\n";
    for (const auto& row : table.rows) out += markdown_row(row);
  }
  return out;
}

std::string plain_text(const std::vector<Table>& tables) {
  std::string out;
  for (const Table& table : tables) {
    check(table);
    out += cat(out.empty() ? "" : "\n", table.title, "\n",
               table.note.empty() ? "" : table.note + "\n", "\n");
    std::vector<size_t> widths;
    for (size_t i = 0; i < table.columns.size(); ++i) {
      widths.push_back(width(table.columns[i]));
      for (const auto& row : table.rows) widths[i] = std::max(widths[i], width(row[i]));
    }
    const auto add = [&](const std::vector<std::string>& cells) {
      std::string line;
      for (size_t i = 0; i < cells.size(); ++i) {
        const std::string space(widths[i] - width(cells[i]), ' ');
        line += "  " + (holds_numbers(table, i) ? space + cells[i] : cells[i] + space);
      }
      out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    };
    add(table.columns);
    for (const auto& row : table.rows) add(row);
  }
  return out;
}

}  // namespace luce

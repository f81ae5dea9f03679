#include "luce/data/metrics_file.h"

#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/json.h"

namespace luce {
namespace {

std::string quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

WriteError cannot_write(const std::filesystem::path& path) {
  return WriteError(cat(path.string(), ": cannot write metrics: ", std::strerror(errno)));
}

/// Throws Json::exception where `line` is no row.
MetricsRow parse_row(std::string_view line) {
  const auto json = Json::parse(line);
  MetricsRow row;
  row.step = json.at("step").get<int64_t>();
  for (const auto& [name, value] : json.items()) {
    const bool null = value.is_null();
    if (!null && !value.is_number()) continue;  // a string is no metric
    const double number = null ? std::numeric_limits<double>::quiet_NaN() : value.get<double>();
    if (name == "epoch")
      row.epoch = number;
    else if (name != "step")
      row.values.emplace(name, number);
  }
  return row;
}

/// Leaves the file empty or ending in a newline, so that the next row starts a line of its own.
void mend_last_line(const std::filesystem::path& path) {
  std::error_code absent;
  if (!std::filesystem::is_regular_file(path, absent)) return;
  const std::string content = read_file(path);
  const size_t end = content.rfind('\n');
  const size_t start = end == std::string::npos ? 0 : end + 1;
  if (start == content.size()) return;
  try {
    parse_row(std::string_view(content).substr(start));
    if (!(std::ofstream(path, std::ios::app | std::ios::binary) << '\n').flush())
      throw cannot_write(path);
  } catch (const Json::exception&) {
    std::error_code failed;
    std::filesystem::resize_file(path, start, failed);
    if (failed) throw WriteError(cat(path.string(), ": cannot write metrics: ", failed.message()));
  }
}

}  // namespace

std::string json_number(double value, int digits) {
  if (!std::isfinite(value)) return "null";
  char text[64];
  const bool whole = value == std::trunc(value) && std::abs(value) < 9007199254740992.0;
  const auto end =
      whole ? std::to_chars(text, text + sizeof text, static_cast<int64_t>(value))
            : std::to_chars(text, text + sizeof text, value, std::chars_format::general, digits);
  return std::string(text, end.ptr);
}

MetricsFile::MetricsFile(std::filesystem::path path, bool append) : path_(std::move(path)) {
  if (append) mend_last_line(path_);
  out_.open(path_, std::ios::binary | (append ? std::ios::app : std::ios::trunc));
  if (!out_) throw cannot_write(path_);
}

void MetricsFile::write(int64_t step, double epoch, const std::map<std::string, double>& values) {
  std::string line = cat("{\"step\": ", step, ", \"epoch\": ", json_number(epoch));
  for (const auto& [name, value] : values)
    line += cat(", ", quoted(name), ": ", json_number(value));
  line += "}\n";
  if (!out_.write(line.data(), static_cast<std::streamsize>(line.size())).flush())
    throw cannot_write(path_);
}

std::vector<MetricsRow> read_metrics(const std::filesystem::path& path) {
  const std::string content = read_file(path);
  std::vector<MetricsRow> rows;
  size_t begin = 0;
  for (int line = 1; begin < content.size(); ++line) {
    const size_t newline = content.find('\n', begin);
    const bool last = newline == std::string::npos;
    const auto text = std::string_view(content).substr(begin, newline - begin);
    begin = last ? content.size() : newline + 1;
    if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    try {
      rows.push_back(parse_row(text));
    } catch (const Json::exception&) {
      if (last) break;  // the run was killed while it wrote, or is writing now
      throw DataError(cat(path.string(), ":", line,
                          ": expected an object with a whole number \"step\", got ",
                          quoted(std::string(text.substr(0, 60)))));
    }
  }
  return rows;
}

}  // namespace luce

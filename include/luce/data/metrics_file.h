// metrics.jsonl: one object a logging step, readable while the run is still going.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace luce {

/// One line: {"step": …, "epoch": …, then name: mean by name}.
struct MetricsRow {
  int64_t step = 0;
  double epoch = 0;
  std::map<std::string, double> values;  // NaN where the file says null
};

/// Appends rows; each reaches the operating system before `write` returns.
class MetricsFile {
 public:
  /// Opens `path`, empty or (`append`) behind the rows that stand in it; a last line that a crash
  /// tore is cut off first. Throws WriteError.
  explicit MetricsFile(std::filesystem::path path, bool append = true);

  /// Numbers are written with 9 significant digits (whole numbers in full), NaN and infinities as
  /// null. Throws WriteError.
  void write(int64_t step, double epoch, const std::map<std::string, double>& values);

  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::ofstream out_;
};

/// The rows of a file, in order; a torn last line is left out. Throws MissingFileError, and
/// DataError "PATH:LINE: …" on any other line that is not an object with a "step".
std::vector<MetricsRow> read_metrics(const std::filesystem::path& path);

/// `value` with `digits` significant digits, in any locale; whole numbers below 2^53 in full,
/// "null" where it is not finite.
std::string json_number(double value, int digits = 9);

}  // namespace luce

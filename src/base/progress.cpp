#include "luce/base/progress.h"

#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iomanip>
#include <iostream>
#include <mutex>

#include "luce/base/error.h"

namespace luce {
namespace {

constexpr double kRateSeconds = 30;
constexpr int kLeastBar = 8, kMostBar = 30, kMostTitle = 24, kGap = 2;
constexpr int kBarRank = 100;
constexpr int kPlainWidth = 1000;  // a file has no edge
constexpr const char* kDim = "\x1b[2m";
constexpr const char* kBlue = "\x1b[36m";
constexpr const char* kReset = "\x1b[0m";
constexpr const char* kEraseLine = "\r\x1b[K";

// Guards every bar: a log line may come from another thread while a bar is drawn.
std::recursive_mutex& mutex() {
  static std::recursive_mutex instance;
  return instance;
}
ProgressBar* shown_bar = nullptr;

double steady_seconds() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

bool utf8_locale() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {  // the first that is set decides
    std::string value = environment(name);
    if (value.empty()) continue;
    for (char& c : value) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

int terminal_width() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string printed(const char* format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

/// Trailing zeros stay, so that the line does not jump about.
std::string four_digits(double value) {
  std::string text = printed("%#.4g", value);
  if (text.back() == '.') text.pop_back();
  return text;
}

/// One character of UTF-8 at the head of `text`: its length and code point. An invalid byte is a
/// character of its own, U+FFFD.
std::pair<size_t, uint32_t> first_character(std::string_view text) {
  const auto byte = [&](size_t i) -> uint32_t {
    return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u;
  };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {1, lead};
  const size_t length = lead >= 0xf0 && lead < 0xf5 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead >= 0xf5) return {1, 0xfffd};
  uint32_t code = lead & (0x7fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {1, 0xfffd};
    code = code << 6 | (byte(i) & 0x3f);
  }
  return {length, code};
}

int columns_of(uint32_t code) {
  if ((code >= 0x300 && code < 0x370) || (code >= 0x200b && code < 0x2010) ||
      (code >= 0xfe00 && code < 0xfe10))
    return 0;  // combining marks, zero-width characters, variation selectors
  const bool wide = (code >= 0x1100 && code < 0x1160) || (code >= 0x2e80 && code < 0xa4d0) ||
                    (code >= 0xac00 && code < 0xd7a4) || (code >= 0xf900 && code < 0xfb00) ||
                    (code >= 0xfe30 && code < 0xfe70) || (code >= 0xff00 && code < 0xff61) ||
                    (code >= 0x1f300 && code < 0x1f650) || (code >= 0x1f900 && code < 0x1fa00) ||
                    (code >= 0x20000 && code < 0x40000);
  return wide ? 2 : 1;
}

/// Valid UTF-8 without control characters, cut to `columns`.
std::string fitted(std::string_view text, int columns) {
  std::string result;
  for (int used = 0; !text.empty();) {
    const auto [length, code] = first_character(text);
    used += columns_of(code);
    if (used > columns) break;
    if (code < 0x20 || code == 0x7f)
      result += ' ';
    else if (code == 0xfffd)
      result += "\xef\xbf\xbd";
    else
      result += text.substr(0, length);
    text.remove_prefix(length);
  }
  return result;
}

}  // namespace

int display_width(std::string_view text) {
  int columns = 0;
  while (!text.empty()) {
    const auto [length, code] = first_character(text);
    columns += columns_of(code);
    text.remove_prefix(length);
  }
  return columns;
}

std::string format_bytes(int64_t bytes) {
  const double mib = static_cast<double>(bytes) / (1 << 20);
  if (mib < 1023.5) return printed("%.0f MiB", mib);
  return printed(mib < 102400 ? "%.1f GiB" : "%.0f GiB", mib / 1024);
}

std::string format_seconds(double seconds) {
  if (!(seconds >= 0 && seconds < 1e9)) return "?";
  const auto whole = static_cast<long>(std::lround(seconds));
  const long days = whole / 86400, hours = whole / 3600 % 24, minutes = whole / 60 % 60;
  char text[64];
  if (days > 0)
    std::snprintf(text, sizeof text, "%ldd %02ld:%02ld:%02ld", days, hours, minutes, whole % 60);
  else if (hours > 0)
    std::snprintf(text, sizeof text, "%ld:%02ld:%02ld", hours, minutes, whole % 60);
  else
    std::snprintf(text, sizeof text, "%ld:%02ld", minutes, whole % 60);
  return text;
}

std::string format_count(double value) {
  static constexpr const char* kUnits[] = {"", "k", "M", "G", "T"};
  size_t unit = 0;
  while (std::abs(value) >= 999.5 && unit + 1 < std::size(kUnits)) value /= 1000, ++unit;
  const double size = std::abs(value);
  const char* format = unit == 0 || size >= 99.95 ? "%.0f" : size >= 9.995 ? "%.1f" : "%.2f";
  return printed(format, value) + kUnits[unit];
}

int64_t resident_bytes() {
  int64_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

int64_t peak_resident_bytes() {
  rusage usage{};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? int64_t{usage.ru_maxrss} * 1024 : 0;
}

void clear_progress_line() {
  const std::lock_guard lock(mutex());
  if (shown_bar) shown_bar->clear();
}

ProgressBar::ProgressBar(std::string title, int64_t total, int64_t first, ProgressOptions options)
    : title_(fitted(title, kMostTitle)),
      total_(total),
      first_(first),
      step_(first),
      options_(std::move(options)) {
  const auto chosen = [](int option, bool found) { return option < 0 ? found : option != 0; };
  terminal_ = chosen(options_.terminal,
                     !options_.out && isatty(STDERR_FILENO) == 1 && environment("TERM") != "dumb");
  color_ = chosen(options_.color, terminal_ && environment("NO_COLOR").empty());
  unicode_ = chosen(options_.unicode, utf8_locale());
  if (!options_.out) options_.out = &std::cerr;
  if (!options_.clock) options_.clock = steady_seconds;
  if (!options_.resident) options_.resident = resident_bytes;
  start_ = drawn_ = options_.clock();
  marks_.push_back({start_, 0});

  const std::lock_guard lock(mutex());
  outer_ = shown_bar;
  if (outer_) outer_->clear();
  shown_bar = this;
}

ProgressBar::~ProgressBar() {
  const std::lock_guard lock(mutex());
  clear();
  if (shown_bar == this) shown_bar = outer_;
}

void ProgressBar::update(int64_t step, int64_t tokens, const ProgressFields& fields, bool logged) {
  const std::lock_guard lock(mutex());
  const double now = options_.clock();
  step_ = step;
  if (!fields.empty()) fields_ = fields;
  marks_.push_back({now, tokens});
  while (marks_.size() > 2 && now - marks_[1].seconds >= kRateSeconds) marks_.pop_front();

  const bool due = now - drawn_ >= (terminal_ ? options_.redraw_seconds : options_.line_seconds);
  if (due || drawn_step_ < 0 || (logged && !terminal_)) {
    drawn_ = now;
    draw();
  }
}

void ProgressBar::finish() {
  const std::lock_guard lock(mutex());
  if (finished_) return;
  if (terminal_ || step_ != drawn_step_) draw();
  if (shown_) *options_.out << '\n' << std::flush;
  shown_ = false;
  finished_ = true;
}

void ProgressBar::clear() {
  const std::lock_guard lock(mutex());
  if (shown_) *options_.out << kEraseLine << std::flush;
  shown_ = false;
}

double ProgressBar::tokens_per_second() const {
  const Mark &from = marks_.front(), &to = marks_.back();
  return to.seconds > from.seconds
             ? static_cast<double>(to.tokens - from.tokens) / (to.seconds - from.seconds)
             : 0;
}

void ProgressBar::draw() {
  if (shown_bar != this || finished_) return;
  // The last column stays free: many terminals wrap when it is written.
  const int width = options_.width > 0 ? options_.width
                    : terminal_        ? terminal_width()
                                       : kPlainWidth;
  if (terminal_)
    *options_.out << kEraseLine << line(std::max(1, width - 1)) << std::flush;
  else
    *options_.out << line(width) << '\n' << std::flush;
  shown_ = terminal_;
  drawn_step_ = step_;
}

std::string ProgressBar::bar(int columns) const {
  const double share = total_ > 0 ? static_cast<double>(step_) / static_cast<double>(total_) : 0;
  const int full = static_cast<int>(std::clamp(share, 0.0, 1.0) * columns);
  std::string done, rest;
  for (int i = 0; i < full; ++i) done += unicode_ ? "━" : "#";
  for (int i = full; i < columns; ++i) rest += unicode_ ? "─" : "-";
  if (!color_) return done + rest;
  return cat(kBlue, done, kReset, kDim, rest, kReset);
}

std::string ProgressBar::line(int columns) const {
  // The parts in the order of the line; what does not fit goes by rank, the highest first.
  struct Part {
    std::string text;
    int rank, columns;
  };
  std::vector<Part> parts;
  const auto add = [&](const std::string& text, int rank) {
    parts.push_back({text, rank, display_width(text)});
  };
  const double elapsed = options_.clock() - start_;
  const int64_t done = step_ - first_;

  if (!title_.empty()) add(title_, 2);
  if (total_ > 0) {
    const std::string step = std::to_string(step_), total = std::to_string(total_);
    add(cat(std::setw(static_cast<int>(total.size())), step, "/", total), 0);
    if (terminal_) parts.push_back({"", kBarRank, kLeastBar});
    add(cat(100 * step_ / total_, "%"), 3);
  } else {
    add(cat("step ", step_), 0);
  }
  int rank = 4;
  for (const auto& [name, value] : fields_)
    add(cat(fitted(name, kMostTitle), " ", four_digits(value)), std::min(rank++, kBarRank - 1));
  if (const double rate = tokens_per_second(); rate > 0)
    add(format_count(rate) + " tok/s", kBarRank + 1);
  if (const int64_t bytes = options_.resident(); bytes > 0) add(format_bytes(bytes), kBarRank + 3);
  add(format_seconds(elapsed), kBarRank + 2);
  if (done > 0 && step_ < total_)
    add("ETA " + format_seconds(elapsed / static_cast<double>(done) *
                                static_cast<double>(total_ - step_)),
        1);

  const auto spare = [&] {
    int used = -kGap;
    for (const auto& part : parts) used += part.columns + kGap;
    return columns - used;
  };
  while (parts.size() > 1 && spare() < 0)
    parts.erase(std::max_element(parts.begin(), parts.end(),
                                 [](const Part& a, const Part& b) { return a.rank < b.rank; }));
  const int room = spare();
  if (room < 0) return fitted(parts[0].text, columns);

  std::string result;
  for (const auto& part : parts) {
    if (!result.empty()) result += std::string(kGap, ' ');
    result += part.rank == kBarRank ? bar(std::min(kMostBar, kLeastBar + room)) : part.text;
  }
  return result;
}

}  // namespace luce

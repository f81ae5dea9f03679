// The progress of a run: one line that is redrawn on a terminal, plain lines where the output is a
// file or a pipe.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace luce {

/// What a bar writes to and how; the defaults ask the terminal behind stderr.
struct ProgressOptions {
  std::ostream* out = nullptr;    // null: stderr
  int terminal = -1;              // 1: redraw one line, 0: plain lines, -1: redraw where stderr is
                                  // a terminal and TERM is not "dumb"
  int color = -1;                 // 1, 0, -1: on a terminal unless NO_COLOR is set
  int unicode = -1;               // 1, 0, -1: where LC_ALL, LC_CTYPE or LANG name UTF-8
  int width = 0;                  // columns; 0: as wide as the terminal is at each redraw
  double redraw_seconds = 0.1;    // a terminal is redrawn at most this often
  double line_seconds = 30;       // without a terminal: a line at least this often
  std::function<double()> clock;  // seconds, monotonic; null: std::chrono::steady_clock
  std::function<int64_t()> resident;  // bytes; null: resident_bytes
};

/// Named values that stand in the line, most important first: {{"loss", 0.6931}, {"margin", 0.01}}.
using ProgressFields = std::vector<std::pair<std::string, double>>;

/// Shows step, bar, fields, tokens a second, memory, elapsed time and time left. What does not fit
/// the width is left out, the least important first. While the bar is on a terminal, lines that go
/// to the same terminal need `clear_progress_line()` before them; a bar made while another is shown
/// hides that one until it ends.
class ProgressBar {
 public:
  /// `total` steps, of which `first` were done before (a resumed run): rates leave those out.
  ProgressBar(std::string title, int64_t total, int64_t first = 0, ProgressOptions = {});
  /// Removes the line unless `finish` was called.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  /// `step` steps are done, and `tokens` tokens since the bar was made (0: no rate is shown). A
  /// `logged` step is a line of its own where there is no terminal. Fields stay until others come.
  void update(int64_t step, int64_t tokens = 0, const ProgressFields& fields = {},
              bool logged = false);

  /// Draws the last state and leaves it standing.
  void finish();

  /// Takes the line off the terminal until the next update. No effect elsewhere.
  void clear();

  /// Tokens a second over the last 30 seconds of updates; 0 until there are two.
  double tokens_per_second() const;

 private:
  struct Mark {
    double seconds;
    int64_t tokens;
  };
  std::string line(int columns) const;
  std::string bar(int columns) const;
  void draw();

  std::string title_;
  int64_t total_, first_, step_, drawn_step_ = -1;
  ProgressOptions options_;
  bool terminal_, color_, unicode_;
  double start_, drawn_;
  bool shown_ = false, finished_ = false;
  std::deque<Mark> marks_;
  ProgressFields fields_;
  ProgressBar* outer_;
};

/// Takes whatever bar stands on the terminal away, so that a line can be printed.
void clear_progress_line();

/// Bytes of physical memory that this process holds now, and held at most; 0 where the system does
/// not say.
int64_t resident_bytes();
int64_t peak_resident_bytes();

/// "412 MiB", "1.9 GiB".
std::string format_bytes(int64_t bytes);
/// "0:07", "12:05", "1:02:33", "2d 03:04:05".
std::string format_seconds(double seconds);
/// Three digits and a unit: "950", "1.24k", "12.4M".
std::string format_count(double value);
/// Columns that UTF-8 text takes on a terminal; an invalid byte takes one.
int display_width(std::string_view text);

}  // namespace luce

#include "luce/base/progress.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <sstream>

namespace luce {
namespace {

/// A bar on a string, with a clock that stands still until it is moved.
class ProgressTest : public testing::Test {
 protected:
  ProgressOptions options(bool terminal, int width = 100) {
    ProgressOptions options;
    options.out = &out_;
    options.terminal = terminal;
    options.color = 0;
    options.unicode = 0;
    options.width = width;
    options.clock = [this] { return now_; };
    options.resident = [] { return int64_t{412} << 20; };
    return options;
  }
  /// What was written since the last call.
  std::string taken() {
    std::string text = out_.str();
    out_.str("");
    return text;
  }

  double now_ = 1000;
  std::ostringstream out_;
};

TEST_F(ProgressTest, RedrawsOneLineOnATerminal) {
  ProgressBar bar("train", 200, 0, options(true, 120));
  now_ += 10;
  bar.update(50, 12400, {{"loss", 0.69314718}, {"margin", -0.0123}});
  EXPECT_EQ(taken(),
            "\r\x1b[Ktrain   50/200  #######-----------------------  25%  loss 0.6931  "
            "margin -0.01230  1.24k tok/s  412 MiB  0:10  ETA 0:30");
}

TEST_F(ProgressTest, NeverReachesTheLastColumnAndKeepsTheStepLongest) {
  for (int width = 2; width < 140; ++width) {
    ProgressBar bar("训练 run", 200, 0, options(true, width));
    now_ += 10;
    bar.update(50, 12400, {{"loss", 0.69314718}, {"margin", -0.0123}});
    std::string line = taken();
    line.erase(0, line.rfind("\x1b[K") + 3);
    EXPECT_LT(display_width(line), width) << line;
    if (width > 8) {
      EXPECT_NE(line.find("50/200"), std::string::npos) << width << ": " << line;
    }
    if (width > 22) {
      EXPECT_NE(line.find("ETA 0:30"), std::string::npos) << width << ": " << line;
    }
    if (width > 46) {
      EXPECT_NE(line.find("loss 0.6931"), std::string::npos) << width << ": " << line;
    }
  }
}

TEST_F(ProgressTest, RedrawsNoMoreOftenThanAsked) {
  ProgressBar bar("train", 10, 0, options(true));
  bar.update(1);
  EXPECT_NE(taken(), "");
  now_ += 0.05;
  bar.update(2, 0, {}, /*logged=*/true);
  EXPECT_EQ(taken(), "");
  now_ += 0.06;
  bar.update(3);
  EXPECT_NE(taken().find(" 3/10"), std::string::npos);
}

TEST_F(ProgressTest, LinesThatComeBetweenFindAFreeLine) {
  ProgressBar bar("train", 10, 0, options(true));
  clear_progress_line();
  EXPECT_EQ(taken(), "");
  bar.update(1);
  taken();
  clear_progress_line();
  EXPECT_EQ(taken(), "\r\x1b[K");
  clear_progress_line();
  EXPECT_EQ(taken(), "");
}

TEST_F(ProgressTest, AnInnerBarHidesTheOuterUntilItEnds) {
  ProgressBar outer("train", 10, 0, options(true));
  outer.update(1);
  taken();
  {
    ProgressBar inner("eval", 4, 0, options(true));
    EXPECT_EQ(taken(), "\r\x1b[K");
    inner.update(2);
    EXPECT_NE(taken().find("eval  2/4"), std::string::npos);
    now_ += 1;
    outer.update(2);
    EXPECT_EQ(taken(), "");
  }
  EXPECT_EQ(taken(), "\r\x1b[K");
  now_ += 1;
  outer.update(3);
  EXPECT_NE(taken().find("train   3/10"), std::string::npos);
}

TEST_F(ProgressTest, FinishLeavesTheLastStateStanding) {
  {
    ProgressBar bar("train", 10, 0, options(true));
    bar.update(9);
    now_ += 0.01;
    bar.update(10);
    taken();
    bar.finish();
    bar.finish();
  }
  const std::string last = taken();
  EXPECT_EQ(last.substr(0, 4), "\r\x1b[K");
  EXPECT_NE(last.find("train  10/10"), std::string::npos);
  EXPECT_NE(last.find("100%"), std::string::npos);
  EXPECT_EQ(last.find("ETA"), std::string::npos);
  EXPECT_EQ(last.find('\n'), last.size() - 1);
}

TEST_F(ProgressTest, WithoutATerminalEachLoggedStepIsAPlainLine) {
  ProgressBar bar("train", 200, 0, options(false, 0));
  now_ += 1;
  bar.update(1, 0, {{"loss", 0.75}});
  EXPECT_EQ(taken(), "train    1/200  0%  loss 0.7500  412 MiB  0:01  ETA 3:19\n");
  bar.update(2);
  EXPECT_EQ(taken(), "");
  bar.update(3, 0, {{"loss", 0.5}}, /*logged=*/true);
  EXPECT_EQ(taken(), "train    3/200  1%  loss 0.5000  412 MiB  0:01  ETA 1:06\n");
  now_ += 31;
  bar.update(4);
  EXPECT_EQ(taken(), "train    4/200  2%  loss 0.5000  412 MiB  0:32  ETA 26:08\n");
  bar.finish();
  EXPECT_EQ(taken(), "");
}

TEST_F(ProgressTest, AResumedRunIsTimedFromWhereItBegan) {
  ProgressBar bar("train", 100, 80, options(false));
  now_ += 10;
  bar.update(90, 5000);
  EXPECT_EQ(taken(), "train   90/100  90%  500 tok/s  412 MiB  0:10  ETA 0:10\n");
}

TEST_F(ProgressTest, WithoutATotalItCounts) {
  ProgressBar bar("pack", 0, 0, options(true));
  bar.update(12);
  EXPECT_EQ(taken(), "\r\x1b[Kpack  step 12  412 MiB  0:00");
}

TEST_F(ProgressTest, RateIsThatOfTheLastHalfMinute) {
  ProgressBar bar("train", 0, 0, options(false));
  EXPECT_EQ(bar.tokens_per_second(), 0);
  for (int second = 1; second <= 100; ++second) {
    now_ += 1;
    bar.update(second, second <= 60 ? second * 1000 : 60000 + (second - 60) * 10);
  }
  EXPECT_DOUBLE_EQ(bar.tokens_per_second(), 10);
}

TEST_F(ProgressTest, ColorAndUnicodeOnlyWhereAsked) {
  auto both = options(true);
  both.color = both.unicode = 1;
  ProgressBar bar("train", 2, 0, both);
  bar.update(1);
  EXPECT_NE(taken().find("\x1b[36m━━━━━━━━━━━━━━━\x1b[0m\x1b[2m───────────────\x1b[0m"),
            std::string::npos);
}

TEST_F(ProgressTest, NoColorAndTheLocaleDecideTheRest) {
  setenv("NO_COLOR", "1", 1);
  setenv("LC_ALL", "C", 1);
  auto asked = options(true);
  asked.color = asked.unicode = -1;
  {
    ProgressBar bar("train", 2, 0, asked);
    bar.update(1);
    EXPECT_NE(taken().find("  ###############---------------  "), std::string::npos);
  }
  unsetenv("NO_COLOR");
  setenv("LC_ALL", "de_DE.UTF-8", 1);
  taken();
  {
    ProgressBar bar("train", 2, 0, asked);
    bar.update(1);
    EXPECT_NE(taken().find("\x1b[36m━"), std::string::npos);
  }
  unsetenv("LC_ALL");
}

TEST_F(ProgressTest, AStringStreamIsNoTerminal) {
  auto asked = options(true);
  asked.terminal = -1;
  ProgressBar bar("train", 2, 0, asked);
  bar.update(1);
  EXPECT_EQ(taken().find('\r'), std::string::npos);
}

TEST_F(ProgressTest, HostileNamesCannotBreakTheLine) {
  ProgressBar bar("a\nb\x1b[2J\xff", 2, 0, options(false));
  bar.update(1, 0, {{"lo\rss", 1}});
  EXPECT_EQ(taken().substr(0, 33), "a b [2J\xef\xbf\xbd  1/2  50%  lo ss 1.000");
}

TEST(DisplayWidth, CountsColumns) {
  EXPECT_EQ(display_width("loss"), 4);
  EXPECT_EQ(display_width("é"), 1);
  EXPECT_EQ(display_width("e\xcc\x81"), 1);
  EXPECT_EQ(display_width("训练"), 4);
  EXPECT_EQ(display_width("\xff\xe4\xb8"), 3);
  EXPECT_EQ(display_width("😀"), 2);
}

TEST(Format, TimesBytesAndCounts) {
  EXPECT_EQ(format_seconds(7.4), "0:07");
  EXPECT_EQ(format_seconds(725), "12:05");
  EXPECT_EQ(format_seconds(3753), "1:02:33");
  EXPECT_EQ(format_seconds(2 * 86400 + 3 * 3600 + 245), "2d 03:04:05");
  EXPECT_EQ(format_seconds(-1), "?");
  EXPECT_EQ(format_bytes(int64_t{412} << 20), "412 MiB");
  EXPECT_EQ(format_bytes(int64_t{1945} << 20), "1.9 GiB");
  EXPECT_EQ(format_bytes(int64_t{200} << 30), "200 GiB");
  EXPECT_EQ(format_count(950), "950");
  EXPECT_EQ(format_count(1240), "1.24k");
  EXPECT_EQ(format_count(12400), "12.4k");
  EXPECT_EQ(format_count(999600), "1.00M");
  EXPECT_EQ(format_count(124e6), "124M");
}

TEST(Memory, PeakIsAtLeastWhatIsHeldNow) {
  EXPECT_GT(resident_bytes(), 1 << 20);
  EXPECT_GE(peak_resident_bytes() + (1 << 20), resident_bytes());
}

}  // namespace
}  // namespace luce

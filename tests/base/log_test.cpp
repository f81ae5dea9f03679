#include "luce/base/log.h"

#include <gtest/gtest.h>

#include <regex>

namespace luce {
namespace {

/// What `log` prints to stderr at `level`, without the time of day.
std::string printed(log::Level level) {
  log::set_level(level);
  testing::internal::CaptureStderr();
  log::debug("d");
  log::info("i");
  log::warn("w");
  log::error("e");
  const std::string out = testing::internal::GetCapturedStderr();
  log::set_level(log::Level::info);
  return std::regex_replace(out, std::regex("(^|\n)[0-9]{2}:[0-9]{2}:[0-9]{2} "), "$1");
}

TEST(Log, PrintsTheLinesFromItsLevelUp) {
  EXPECT_EQ(printed(log::Level::debug), "debug d\ninfo i\nwarning w\nerror e\n");
  EXPECT_EQ(printed(log::Level::info), "info i\nwarning w\nerror e\n");
  EXPECT_EQ(printed(log::Level::warn), "warning w\nerror e\n");
  EXPECT_EQ(printed(log::Level::error), "error e\n");
  EXPECT_EQ(printed(log::Level::off), "");
}

TEST(Log, JoinsItsPartsAndTakesThemAsTheyAre) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  log::info("{} %s ", 3, " ", 0.5, " é");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  const std::string out = testing::internal::GetCapturedStderr();
  EXPECT_TRUE(
      std::regex_match(out, std::regex("[0-9]{2}:[0-9]{2}:[0-9]{2} info \\{\\} %s 3 0\\.5 é\n")))
      << out;
}

}  // namespace
}  // namespace luce

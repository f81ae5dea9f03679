#include "luce/data/metrics_file.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "luce/base/error.h"
#include "luce/base/file.h"

namespace luce {
namespace {

class MetricsFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              cat("metrics_", testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void put(const std::string& content) { std::ofstream(path(), std::ios::binary) << content; }
  std::string content() const { return read_file(path()); }
  std::filesystem::path path() const { return folder_ / "metrics.jsonl"; }

  std::filesystem::path folder_;
};

TEST_F(MetricsFileTest, WritesOneObjectALineThatIsThereAtOnce) {
  MetricsFile file(path());
  file.write(10, 0.25, {{"loss", 0.693147180559945}, {"learning_rate", 1e-6}});
  EXPECT_EQ(content(),
            "{\"step\": 10, \"epoch\": 0.25, \"learning_rate\": 1e-06, \"loss\": 0.693147181}\n");
  file.write(20, 0.5, {{"num_tokens", 12345678901.0}});
  EXPECT_NE(content().find("{\"step\": 20, \"epoch\": 0.5, \"num_tokens\": 12345678901}\n"),
            std::string::npos);
}

TEST_F(MetricsFileTest, NanAndInfinityBecomeNull) {
  const double inf = std::numeric_limits<double>::infinity();
  MetricsFile(path()).write(1, 0, {{"a", inf}, {"b", -inf}, {"c", std::nan("")}});
  EXPECT_EQ(content(), "{\"step\": 1, \"epoch\": 0, \"a\": null, \"b\": null, \"c\": null}\n");
  const auto rows = read_metrics(path());
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_TRUE(std::isnan(rows[0].values.at("a")));
}

TEST_F(MetricsFileTest, AnOddNameStaysValidJson) {
  MetricsFile(path()).write(1, 0, {{"a\"b\n\xff", 2}});
  EXPECT_EQ(read_metrics(path())[0].values.begin()->first, "a\"b\n\xef\xbf\xbd");
}

TEST_F(MetricsFileTest, ReadsBackWhatWasWritten) {
  {
    MetricsFile file(path());
    file.write(1, 0.5, {{"loss", 0.1234567891}});
    file.write(1, 0.5, {{"eval_loss", 2}});
  }
  MetricsFile(path()).write(2, 1, {});
  const auto rows = read_metrics(path());
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].step, 1);
  EXPECT_EQ(rows[0].epoch, 0.5);
  EXPECT_DOUBLE_EQ(rows[0].values.at("loss"), 0.123456789);
  EXPECT_EQ(rows[1].values.at("eval_loss"), 2);
  EXPECT_TRUE(rows[2].values.empty());
}

TEST_F(MetricsFileTest, AFreshFileForgetsTheOldRows) {
  put("{\"step\": 1}\n");
  MetricsFile(path(), /*append=*/false).write(7, 0, {});
  EXPECT_EQ(content(), "{\"step\": 7, \"epoch\": 0}\n");
}

TEST_F(MetricsFileTest, ReaderLeavesOutATornLastLine) {
  put("{\"step\": 1, \"loss\": 2}\n{\"step\": 2, \"lo");
  EXPECT_EQ(read_metrics(path()).size(), 1u);
}

TEST_F(MetricsFileTest, WriterCutsOffATornLastLineAndKeepsAWholeOne) {
  put("{\"step\": 1}\n{\"step\": 2, \"lo");
  MetricsFile(path()).write(2, 0, {});
  EXPECT_EQ(content(), "{\"step\": 1}\n{\"step\": 2, \"epoch\": 0}\n");
  put("{\"step\": 1}");
  MetricsFile(path()).write(2, 0, {});
  EXPECT_EQ(content(), "{\"step\": 1}\n{\"step\": 2, \"epoch\": 0}\n");
}

TEST_F(MetricsFileTest, ABadLineInTheMiddleIsNamed) {
  put("{\"step\": 1}\n\n{\"loss\": 1}\n{\"step\": 2}\n");
  try {
    read_metrics(path());
    FAIL() << "a row without a step was accepted";
  } catch (const DataError& error) {
    EXPECT_EQ(std::string(error.what()),
              path().string() +
                  ":3: expected an object with a whole number \"step\", got \"{\\\"loss\\\": 1}\"");
  }
}

TEST_F(MetricsFileTest, SaysWhyAFileCannotBeWritten) {
  const auto absent = folder_ / "no" / "metrics.jsonl";
  try {
    MetricsFile file(absent);
    FAIL() << "a file in a missing folder was opened";
  } catch (const WriteError& error) {
    EXPECT_EQ(std::string(error.what()),
              absent.string() + ": cannot write metrics: No such file or directory");
  }
  MetricsFile full("/dev/full");
  try {
    full.write(1, 0, {});
    FAIL() << "a full disk went unnoticed";
  } catch (const WriteError& error) {
    EXPECT_STREQ(error.what(), "/dev/full: cannot write metrics: No space left on device");
  }
}

TEST(JsonNumber, KeepsNineDigitsAndWholeNumbers) {
  EXPECT_EQ(json_number(1.0 / 3), "0.333333333");
  EXPECT_EQ(json_number(-0.5), "-0.5");
  EXPECT_EQ(json_number(1e300), "1e+300");
  EXPECT_EQ(json_number(9007199254740991), "9007199254740991");
  EXPECT_EQ(json_number(2.0 / 3, 3), "0.667");
}

}  // namespace
}  // namespace luce

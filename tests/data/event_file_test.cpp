#include "luce/data/event_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <bit>
#include <cmath>
#include <csignal>
#include <cstring>

#include "luce/base/error.h"
#include "luce/base/file.h"

namespace luce {
namespace {

/// The fields of one protocol buffer: number → raw bytes of each occurrence.
using Fields = std::multimap<int, std::string>;

uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.at(0));
    bytes.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if (byte < 0x80) return value;
  }
}

std::string take(std::string_view& bytes, size_t count) {
  const auto part = bytes.substr(0, count);
  if (part.size() != count) throw std::runtime_error("a message ends early");
  bytes.remove_prefix(count);
  return std::string(part);
}

Fields parse(std::string_view bytes) {
  Fields fields;
  while (!bytes.empty()) {
    const uint64_t key = take_varint(bytes);
    std::string value;
    if (const int wire = key & 7; wire == 0) {
      const uint64_t number = take_varint(bytes);
      value.assign(reinterpret_cast<const char*>(&number), sizeof number);
    } else {
      value = take(bytes, wire == 1 ? 8 : wire == 5 ? 4 : take_varint(bytes));
    }
    fields.emplace(static_cast<int>(key >> 3), value);
  }
  return fields;
}

template <class T>
T as(const std::string& bytes) {
  T value;
  if (bytes.size() != sizeof value) throw std::runtime_error("a field has another width");
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

const std::string& only(const Fields& fields, int field) {
  if (fields.count(field) != 1) throw std::runtime_error("a field is absent or stands twice");
  return fields.find(field)->second;
}

/// Bit by bit, where the writer has a table.
uint32_t slow_masked_crc(std::string_view data) {
  uint32_t crc = ~0u;
  for (const char c : data) {
    crc ^= static_cast<unsigned char>(c);
    for (int i = 0; i < 8; ++i) crc = crc & 1 ? crc >> 1 ^ 0x82F63B78u : crc >> 1;
  }
  crc = ~crc;
  return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

std::vector<Fields> read_events(const std::filesystem::path& path) {
  const std::string content = read_file(path);
  std::string_view bytes = content;
  std::vector<Fields> events;
  while (!bytes.empty()) {
    const std::string length = take(bytes, 8);
    EXPECT_EQ(as<uint32_t>(take(bytes, 4)), slow_masked_crc(length));
    const std::string data = take(bytes, as<uint64_t>(length));
    EXPECT_EQ(as<uint32_t>(take(bytes, 4)), slow_masked_crc(data));
    events.push_back(parse(data));
  }
  return events;
}

std::string digits_as_nines(std::string text) {
  for (char& c : text)
    if (c >= '0' && c <= '9') c = '9';
  return text;
}

class EventFileTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              cat("events_", testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::remove_all(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::filesystem::path folder_;
};

TEST(Crc32c, KnownAnswers) {  // RFC 3720, appendix B.4, and the check value of the polynomial
  EXPECT_EQ(crc32c(""), 0u);
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62A8AB43u);
}

TEST(EventTag, SplitsTrainAndEval) {
  EXPECT_EQ(event_tag("loss"), "train/loss");
  EXPECT_EQ(event_tag("rewards/chosen"), "train/rewards/chosen");
  EXPECT_EQ(event_tag("eval_rewards/margins"), "eval/rewards/margins");
  EXPECT_EQ(event_tag("evaluation"), "train/evaluation");
}

TEST_F(EventFileTest, StartsWithTheVersionUnderTheNameThatReadersLookFor) {
  const EventFile first(folder_), second(folder_);
  EXPECT_NE(first.path(), second.path());
  const std::string name = first.path().filename().string();
  EXPECT_EQ(digits_as_nines(name).substr(0, 31), "events.out.tfevents.9999999999.") << name;
  EXPECT_NE(name.find(cat(".", getpid(), ".")), std::string::npos) << name;
  const auto events = read_events(first.path());
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(only(events[0], 3), "brain.Event:2");
  EXPECT_GT(as<double>(only(events[0], 1)), 1.7e9);
}

TEST_F(EventFileTest, ScalarsAreThereBeforeTheFileIsClosed) {
  EventFile file(folder_);
  file.scalars(300, {{"eval_loss", -2.5}, {"loss", 0.1}});
  file.scalars(301, {});
  const auto events = read_events(file.path());
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(as<uint64_t>(only(events[1], 2)), 300u);
  std::map<std::string, float> values;
  const auto summary = parse(only(events[1], 5));
  for (const auto& [field, bytes] : summary) {
    EXPECT_EQ(field, 1);
    const auto value = parse(bytes);
    values[only(value, 1)] = as<float>(only(value, 2));
  }
  EXPECT_EQ(values, (std::map<std::string, float>{{"eval/loss", -2.5f}, {"train/loss", 0.1f}}));
}

TEST_F(EventFileTest, TextIsAStringTensorOfTheTextPlugin) {
  EventFile file(folder_);
  const std::string markdown = "| key | value |\n" + std::string(300, '-');
  file.text("config", markdown);
  const auto value = parse(only(parse(only(read_events(file.path()).at(1), 5)), 1));
  EXPECT_EQ(only(value, 1), "config");
  EXPECT_EQ(only(parse(only(parse(only(value, 9)), 1)), 1), "text");
  const auto tensor = parse(only(value, 8));
  EXPECT_EQ(as<uint64_t>(only(tensor, 1)), 7u);
  EXPECT_EQ(as<uint64_t>(only(parse(only(parse(only(tensor, 2)), 2)), 1)), 1u);
  EXPECT_EQ(only(tensor, 8), markdown);
}

std::vector<double> doubles(const std::string& bytes) {
  std::vector<double> values(bytes.size() / sizeof(double));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(double));
  return values;
}

Fields histogram_of(const std::filesystem::path& path) {
  return parse(only(parse(only(parse(only(read_events(path).at(1), 5)), 1)), 5));
}

TEST_F(EventFileTest, HistogramCountsEveryFiniteValueOnce) {
  EventFile file(folder_);
  file.histogram("weights", {0, 1, 1, 30, std::nan(""), INFINITY}, 4);
  const auto histogram = histogram_of(file.path());
  EXPECT_EQ(as<double>(only(histogram, 1)), 0);
  EXPECT_EQ(as<double>(only(histogram, 2)), 30);
  EXPECT_EQ(as<double>(only(histogram, 3)), 4);
  EXPECT_EQ(as<double>(only(histogram, 4)), 32);
  EXPECT_EQ(as<double>(only(histogram, 5)), 902);
  const auto limits = doubles(only(histogram, 6)), counts = doubles(only(histogram, 7));
  ASSERT_EQ(limits.size(), 30u);
  ASSERT_EQ(counts.size(), 30u);
  EXPECT_EQ(limits.front(), 1);
  EXPECT_EQ(limits.back(), 30);
  EXPECT_EQ(counts[0], 1);
  EXPECT_EQ(counts[1], 2);
  EXPECT_EQ(counts[29], 1);
}

TEST_F(EventFileTest, HistogramOfOneValueIsOneBinAndOfNoneIsNothing) {
  EventFile file(folder_);
  file.histogram("none", {std::nan("")}, 1);
  EXPECT_EQ(read_events(file.path()).size(), 1u);
  file.histogram("one", {2, 2}, 1);
  const auto histogram = histogram_of(file.path());
  EXPECT_EQ(doubles(only(histogram, 6)), std::vector<double>{2});
  EXPECT_EQ(doubles(only(histogram, 7)), std::vector<double>{2});
}

TEST_F(EventFileTest, SaysWhereItCannotWrite) {
  make_folder(folder_);
  std::ofstream(folder_ / "runs") << "a file";
  EXPECT_THROW(EventFile(folder_ / "runs"), WriteError);

  // A limit on the size of files stands in for a full disk.
  EventFile file(folder_);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const rlimit full{64, before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &full);
  std::string message;
  try {
    file.text("config", std::string(1000, 'x'));
  } catch (const WriteError& error) {
    message = error.what();
  }
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(message, file.path().string() + ": cannot write events: File too large");
}

TEST(RunFolder, LiesUnderRunsAndIsNamedByDateAndHost) {
  const auto folder = run_folder("out");
  EXPECT_EQ(folder.parent_path(), std::filesystem::path("out/runs"));
  const std::string name = folder.filename().string();
  EXPECT_EQ(digits_as_nines(name).substr(0, 20), "9999-99-99_99-99-99_") << name;
  EXPECT_GT(name.size(), 20u);
}

}  // namespace
}  // namespace luce

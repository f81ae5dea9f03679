#include "luce/data/event_file.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>

#include "luce/base/error.h"
#include "luce/base/file.h"

namespace luce {
namespace {

constexpr int kHistogramBins = 30;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ (crc & 1 ? 0x82F63B78u : 0u);
    table[byte] = crc;
  }
  return table;
}

/// A little-endian number, as TFRecord frames and protocol buffers both store it.
template <class T>
std::string bytes_of(T value) {
  static_assert(std::endian::native == std::endian::little);
  return std::string(reinterpret_cast<const char*>(&value), sizeof value);
}

uint32_t masked_crc(std::string_view data) { return std::rotr(crc32c(data), 15) + 0xa282ead8u; }

/// A protocol buffer under construction: fields in the order of the calls.
class Message {
 public:
  Message& integer(int field, int64_t value) {
    key(field, 0);
    varint(static_cast<uint64_t>(value));
    return *this;
  }
  Message& number(int field, double value) {
    key(field, 1);
    bytes_ += bytes_of(value);
    return *this;
  }
  Message& number(int field, float value) {
    key(field, 5);
    bytes_ += bytes_of(value);
    return *this;
  }
  Message& string(int field, std::string_view value) {
    key(field, 2);
    varint(value.size());
    bytes_ += value;
    return *this;
  }
  Message& message(int field, const Message& value) { return string(field, value.bytes_); }
  Message& numbers(int field, const std::vector<double>& values) {
    std::string packed;
    for (const double value : values) packed += bytes_of(value);
    return string(field, packed);
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void key(int field, int wire) { varint(static_cast<uint64_t>(field) << 3 | wire); }
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

double now() {
  using namespace std::chrono;
  return duration<double>(system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  char name[256] = "";
  if (gethostname(name, sizeof name - 1) != 0 || !*name) return "localhost";
  return name;
}

}  // namespace

uint32_t crc32c(std::string_view data) {
  static constexpr auto kTable = make_crc_table();
  uint32_t crc = ~0u;
  for (const char c : data) crc = kTable[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

std::string event_tag(std::string_view name) {
  constexpr std::string_view kEval = "eval_";
  if (name.substr(0, kEval.size()) == kEval) return cat("eval/", name.substr(kEval.size()));
  return cat("train/", name);
}

std::filesystem::path run_folder(const std::filesystem::path& output_dir) {
  const std::time_t seconds = std::time(nullptr);
  std::tm local{};
  localtime_r(&seconds, &local);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%d_%H-%M-%S", &local);
  return output_dir / "runs" / cat(date, "_", host_name());
}

EventFile::EventFile(const std::filesystem::path& folder) {
  static std::atomic<int> files{0};  // two files of one second and process keep apart
  make_folder(folder);
  path_ = folder / cat("events.out.tfevents.", static_cast<int64_t>(now()), ".", host_name(), ".",
                       getpid(), ".", files++);
  out_.open(path_, std::ios::binary | std::ios::trunc);
  if (!out_) throw WriteError(cat(path_.string(), ": cannot write events: ", std::strerror(errno)));
  write_record(Message().number(1, now()).string(3, "brain.Event:2").bytes());
}

void EventFile::scalars(int64_t step, const std::map<std::string, double>& values) {
  Message summary;
  for (const auto& [name, value] : values)
    summary.message(1, Message().string(1, event_tag(name)).number(2, static_cast<float>(value)));
  if (!values.empty()) write_event(step, summary.bytes());
}

void EventFile::text(std::string_view tag, std::string_view markdown, int64_t step) {
  constexpr int kString = 7;  // DataType DT_STRING
  const auto shape = Message().message(2, Message().integer(1, 1));
  const auto tensor = Message().integer(1, kString).message(2, shape).string(8, markdown);
  const auto metadata = Message().message(1, Message().string(1, "text"));
  write_event(step,
              Message()
                  .message(1, Message().string(1, tag).message(8, tensor).message(9, metadata))
                  .bytes());
}

void EventFile::histogram(std::string_view tag, const std::vector<double>& values, int64_t step) {
  std::vector<double> finite;
  for (const double value : values)
    if (std::isfinite(value)) finite.push_back(value);
  if (finite.empty()) return;

  const auto [low, high] = std::minmax_element(finite.begin(), finite.end());
  const double least = *low, most = *high, width = (most - least) / kHistogramBins;
  const int bins = width > 0 ? kHistogramBins : 1;
  std::vector<double> limits(bins), counts(bins);
  for (int i = 0; i < bins; ++i) limits[i] = i + 1 == bins ? most : least + width * (i + 1);
  double sum = 0, squares = 0;
  for (const double value : finite) {
    ++counts[width > 0 ? std::min(bins - 1, static_cast<int>((value - least) / width)) : 0];
    sum += value;
    squares += value * value;
  }
  const auto histogram = Message()
                             .number(1, least)
                             .number(2, most)
                             .number(3, static_cast<double>(finite.size()))
                             .number(4, sum)
                             .number(5, squares)
                             .numbers(6, limits)
                             .numbers(7, counts);
  write_event(step, Message().message(1, Message().string(1, tag).message(5, histogram)).bytes());
}

void EventFile::write_event(int64_t step, std::string_view summary) {
  write_record(Message().number(1, now()).integer(2, step).string(5, summary).bytes());
}

void EventFile::write_record(std::string_view data) {
  const std::string length = bytes_of(static_cast<uint64_t>(data.size()));
  const std::string record =
      cat(length, bytes_of(masked_crc(length)), data, bytes_of(masked_crc(data)));
  if (!out_.write(record.data(), static_cast<std::streamsize>(record.size())).flush())
    throw WriteError(cat(path_.string(), ": cannot write events: ", std::strerror(errno)));
}

}  // namespace luce

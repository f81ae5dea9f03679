#include "luce/data/token_cache.h"

#include <cstring>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/log.h"

namespace luce {
namespace {
namespace fs = std::filesystem;

// Magic, key, whole numbers as varints, others as their 8 bytes, and the hash of all of it.
constexpr std::string_view kMagic = "LUCETOK3";

std::string_view view(const Digest& digest) {
  return {reinterpret_cast<const char*>(digest.data()), digest.size()};
}

fs::path path_of(const fs::path& folder, const Digest& key) {
  return folder / (hex(key) + ".tokens");
}

/// One list of what is kept, for writing and for reading.
template <class Archive, class Data>
void transfer(Archive& archive, Data& data) {
  auto& report = data.report;
  archive.text(report.file);
  archive.number(data.type);
  for (auto* count : {&report.rows, &report.kept, &report.bad, &report.too_long, &report.empty,
                      &report.overlong, &report.truncated, &report.boundary, &report.equal_pairs,
                      &report.rated, &report.swapped, &report.tied})
    archive.number(*count);
  archive.number(report.detected);
  archive.list(report.first_reasons, [&](auto& reason) { archive.text(reason); });
  archive.list(report.first_boundary, [&](auto& row) { archive.number(row); });
  archive.list(data.raters, [&](auto& name) { archive.text(name); });
  archive.list(data.examples, [&](auto& example) {
    archive.number(example.row);
    archive.list(example.prompt, [&](auto& id) { archive.number(id); });
    archive.list(example.completions,
                 [&](auto& ids) { archive.list(ids, [&](auto& id) { archive.number(id); }); });
    archive.list(example.roles, [&](auto& role) { archive.number(role); });
    archive.real(example.margin);
    archive.real(example.preference);
    archive.number(example.rater);
    archive.list(example.scores, [&](auto& score) { archive.real(score); });
    archive.list(example.steps, [&](auto& step) {
      archive.number(step.end);
      archive.number(step.right);
    });
  });
}

class Writer {
 public:
  std::string out;
  template <class T>
  void number(const T& value) {
    auto rest = static_cast<uint64_t>(value);
    for (; rest >= 0x80; rest >>= 7) out += static_cast<char>(rest | 0x80);
    out += static_cast<char>(rest);
  }
  void real(double value) { out.append(reinterpret_cast<const char*>(&value), sizeof value); }
  void text(const std::string& value) {
    number(value.size());
    out += value;
  }
  template <class T, class Each>
  void list(const std::vector<T>& values, const Each& each) {
    number(values.size());
    for (const auto& value : values) each(value);
  }
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  template <class T>
  void number(T& value) {
    value = static_cast<T>(varint());
  }
  void real(double& value) {
    if (bytes_.size() < sizeof value) throw DataError("it is cut off");
    std::memcpy(&value, bytes_.data(), sizeof value);
    bytes_.remove_prefix(sizeof value);
  }
  void text(std::string& value) {
    const uint64_t size = length();
    value = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
  }
  template <class T, class Each>
  void list(std::vector<T>& values, const Each& each) {
    values.resize(length());
    for (auto& value : values) each(value);
  }
  bool at_end() const { return bytes_.empty(); }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (bytes_.empty()) throw DataError("it is cut off");
      const auto byte = static_cast<unsigned char>(bytes_[0]);
      bytes_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    throw DataError("a number is too large");
  }
  /// A count of things that take a byte at least: checked before memory is asked for.
  uint64_t length() {
    const uint64_t value = varint();
    if (value > bytes_.size()) throw DataError("a list is longer than the file");
    return value;
  }
  std::string_view bytes_;
};

}  // namespace

Digest cache_key(const fs::path& file, const Tokenizer* tokenizer, const DatasetOptions& options) {
  Hasher hasher;
  hasher.field(kMagic).field(view(hash_file(file)));
  // The name's ending decides how the bytes are read.
  hasher.field(file.stem().extension().string()).field(file.extension().string());
  hasher.field(tokenizer == nullptr ? std::string() : tokenizer->fingerprint());
  hasher.field(options.max_length).field(options.strict).field(options.completion_only_loss);
  hasher.field(options.add_eos).field(options.type);
  hasher.field(options.ratings).field(options.ties).field(options.overlong);
  for (const auto& [ours, theirs] : options.column_map) hasher.field(ours).field(theirs);
  return hasher.digest();
}

std::optional<Dataset> read_cache(const fs::path& folder, const Digest& key) {
  const fs::path path = path_of(folder, key);
  if (!fs::exists(path)) return std::nullopt;
  try {
    const std::string content = read_file(path);
    const size_t head = kMagic.size() + key.size();
    if (content.size() < head + key.size()) throw DataError("it is cut off");
    const std::string_view body = std::string_view(content).substr(0, content.size() - key.size());
    if (std::string_view(content).substr(body.size()) != view(Hasher().bytes(body).digest()))
      throw DataError("its checksum is wrong");
    if (body.substr(0, kMagic.size()) != kMagic ||
        body.substr(kMagic.size(), key.size()) != view(key))
      throw DataError("it belongs to other rows");
    Dataset dataset;
    Reader reader(body.substr(head));
    transfer(reader, dataset);
    if (!reader.at_end()) throw DataError("it has more bytes than it should");
    dataset.report.type = dataset.type;
    return dataset;
  } catch (const Error& failure) {
    log::warn("the cache ", path.string(), " is not used and made anew: ", failure.what());
    return std::nullopt;
  }
}

void write_cache(const fs::path& folder, const Digest& key, const Dataset& dataset) {
  Writer writer;
  writer.out = kMagic;
  writer.out += view(key);
  transfer(writer, dataset);
  writer.out += view(Hasher().bytes(writer.out).digest());
  try {
    make_folder(folder);
    write_file_atomic(path_of(folder, key), writer.out);
  } catch (const WriteError& failure) {
    log::warn("tokenized rows are not cached: ", failure.what());
  }
}

}  // namespace luce

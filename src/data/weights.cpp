#include "luce/data/weights.h"

#include <algorithm>
#include <iomanip>
#include <set>
#include <sstream>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "strict_sax.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr size_t kMaxNames = 1'000'000, kMaxShards = 10'000;
constexpr uint64_t kMaxIndex = uint64_t{256} << 20;

/// `weight_map` of an index: tensor → shard. All else in the file is skipped.
class IndexParser : public StrictSax {
 public:
  explicit IndexParser(std::string name) : StrictSax(std::move(name)) {}

  bool start_object(size_t) override { return open(true); }
  bool start_array(size_t) override { return open(false); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(std::string& key) override {
    if (depth_ == 1) {
      if (key == "weight_map" && std::exchange(has_map_, true))
        fail("weight_map stands twice in the index");
      in_map_ = key == "weight_map";
    } else if (depth_ == 2 && in_map_) {
      if (weight_map.size() == kMaxNames)
        fail(cat("weight_map has more than ", kMaxNames, " tensors"));
      if (weight_map.count(key) != 0) fail(cat("weight_map has tensor ", in_quotes(key), " twice"));
      tensor_ = key;
    }
    return true;
  }
  bool string(std::string& shard) override {
    if (!in_map_ || depth_ != 2) return unexpected(in_quotes(shard));
    check_name(shard);
    const auto at = shards.insert(shard).first;
    if (shards.size() > kMaxShards) fail(cat("weight_map names more than ", kMaxShards, " shards"));
    weight_map.emplace(tensor_, &*at);
    return true;
  }

  void finish() const {
    if (!has_map_) fail("the index has no weight_map");
  }

  std::set<std::string> shards;
  std::map<std::string, const std::string*> weight_map;

 protected:
  bool unexpected(const std::string& got) override {
    if (depth_ == 0) fail(cat("the index must be an object, not ", got));
    if (in_map_ && depth_ == 1) fail(cat("weight_map must be an object, not ", got));
    if (in_map_)
      fail(cat("weight_map: the shard of tensor ", in_quotes(tensor_), " must be a text, not ",
               got));
    return true;
  }

 private:
  bool open(bool object) {
    const char* what = object ? "an object" : "a list";
    if (depth_ == 0 ? !object : in_map_ && !(depth_ == 1 && object)) unexpected(what);
    if (++depth_ > 64) fail("nested deeper than 64 levels");
    return true;
  }
  bool close() {
    --depth_;
    return true;
  }
  void check_name(const std::string& shard) const {
    const auto refuse = [&](const char* why) {
      fail(cat("weight_map: the shard ", in_quotes(shard), " of tensor ", in_quotes(tensor_), " ",
               why, "; a shard is a file of the index's own folder"));
    };
    if (shard.empty()) refuse("has no name");
    if (shard.front() == '/') refuse("is an absolute path");
    if (shard.find('\0') != std::string::npos) refuse("holds a NUL byte");
    if (shard.find('\\') != std::string::npos) refuse("holds a backslash");
    if (shard == "." || shard == ".." || shard.rfind("../", 0) == 0 ||
        shard.find("/..") != std::string::npos)
      refuse("leads out of the folder");
    if (shard.find('/') != std::string::npos) refuse("lies in another folder");
  }

  int depth_ = 0;
  bool has_map_ = false, in_map_ = false;
  std::string tensor_;
};

/// A link that leads nowhere counts, so that opening it says what is wrong.
bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(fs::symlink_status(path, ignored));
}

/// What stands where the weights should be: nothing, or formats that are refused.
[[noreturn]] void no_weights(const fs::path& folder) {
  std::error_code ignored;
  if (!fs::is_directory(folder, ignored))
    throw MissingFileError(cat("no model folder ", folder.string(),
                               is_there(folder) ? ": it is not a folder" : ": it does not exist"));
  for (const char* pickled : {"pytorch_model.bin", "pytorch_model.bin.index.json"})
    if (is_there(folder / pickled))
      throw DataError(
          cat(folder.string(), ": only ", pickled,
              " is there. It is a pickle, which can run code when it is read; convert it once with "
              "python -c \"from transformers import AutoModelForCausalLM as M; "
              "M.from_pretrained('",
              folder.string(), "').save_pretrained('", folder.string(), "-safetensors')\""));
  throw MissingFileError(
      cat("no weights in ", folder.string(), ": neither ", kSingle, " nor ", kIndex, " is there"));
}

std::string shard_name(size_t number, size_t count) {
  std::ostringstream out;
  out << std::setfill('0') << "model-" << std::setw(5) << number << "-of-" << std::setw(5) << count
      << ".safetensors";
  return out.str();
}

bool is_ours(std::string name) {
  for (char& c : name)
    if (c >= '0' && c <= '9') c = '0';
  return name == kSingle || name == kIndex || name == shard_name(0, 0);
}

/// Removes weights of an earlier save, which a reader would mistake for the new ones.
void remove_old(const fs::path& folder, const std::set<std::string>& kept) {
  try {
    std::vector<fs::path> old;
    for (const auto& entry : fs::directory_iterator(folder))
      if (const std::string name = entry.path().filename().string();
          is_ours(name) && kept.count(name) == 0)
        old.push_back(entry.path());
    for (const auto& path : old) fs::remove(path);
  } catch (const fs::filesystem_error& failure) {
    throw WriteError(
        cat("cannot remove old weights from ", folder.string(), ": ", failure.code().message()));
  }
}

}  // namespace

Weights Weights::open(const fs::path& folder) {
  Weights weights;
  weights.folder_ = folder;
  if (is_there(folder / kSingle)) {
    weights.add(SafetensorsFile(folder / kSingle));
    return weights;
  }
  const fs::path index = folder / kIndex;
  if (!is_there(index)) no_weights(folder);

  IndexParser parser(index.string());
  parser.parse(read_file(index, kMaxIndex));
  parser.finish();
  for (const auto& shard : parser.shards) {
    if (!is_there(folder / shard))
      throw MissingFileError(cat("cannot read ", (folder / shard).string(), ": ", index.string(),
                                 " names this shard, but it is not there"));
    weights.add(SafetensorsFile(folder / shard));
  }
  for (const auto& [tensor, shard] : parser.weight_map) {
    const auto found = weights.places_.find(tensor);
    if (found == weights.places_.end() ||
        weights.files_[found->second.file].path().filename() != *shard)
      throw DataError(cat((folder / *shard).string(), ": tensor ", in_quotes(tensor),
                          ": is not in this shard, where ", index.string(), " puts it"));
  }
  return weights;
}

void Weights::add(SafetensorsFile file) {
  for (size_t i = 0; i < file.tensors().size(); ++i) {
    const std::string& name = file.tensors()[i].name;
    const auto [at, is_new] = places_.emplace(name, Place{files_.size(), i});
    if (!is_new)
      throw DataError(cat(file.path().string(), ": tensor ", in_quotes(name), ": is also in ",
                          files_[at->second.file].path().string()));
  }
  files_.push_back(std::move(file));
}

std::vector<std::string> Weights::names() const {
  std::vector<std::string> out;
  for (const auto& place : places_) out.push_back(place.first);
  return out;
}

const TensorInfo* Weights::find(const std::string& name) const {
  const auto at = places_.find(name);
  return at == places_.end() ? nullptr : &files_[at->second.file].tensors()[at->second.tensor];
}

void Weights::read(const std::string& name, void* destination) const {
  const auto at = places_.find(name);
  if (at == places_.end())
    throw DataError(cat(folder_.string(), ": the weights have no tensor ", in_quotes(name)));
  const SafetensorsFile& file = files_[at->second.file];
  file.read(file.tensors()[at->second.tensor], destination);
}

void write_weights(const fs::path& folder, const std::vector<TensorData>& tensors,
                   uint64_t max_shard_bytes) {
  std::vector<std::vector<TensorData>> shards(1);
  uint64_t total = 0, elements = 0, shard_bytes = 0;
  for (const auto& tensor : tensors) {
    const uint64_t bytes = size_of(tensor);
    if (!shards.back().empty() && shard_bytes + bytes > max_shard_bytes) {
      shards.emplace_back();
      shard_bytes = 0;
    }
    shards.back().push_back(tensor);
    shard_bytes += bytes;
    total += bytes;
    elements += bytes / size_of(tensor.dtype);
  }
  if (shards.size() == 1) {
    write_safetensors(folder / kSingle, shards.front());
    remove_old(folder, {kSingle});
    return;
  }
  if (shards.size() > kMaxShards)
    throw ArgumentError(cat("cannot write ", folder.string(), ": ", shards.size(),
                            " shards of at most ", max_shard_bytes, " bytes; at most ", kMaxShards,
                            " are accepted"));

  std::map<std::string, std::string> weight_map;
  std::set<std::string> written = {kIndex};
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = shard_name(i + 1, shards.size());
    for (const auto& tensor : shards[i])
      if (!weight_map.emplace(tensor.name, name).second)
        throw ArgumentError(cat("cannot write ", folder.string(), ": tensor ",
                                in_quotes(tensor.name), " is given twice"));
    write_safetensors(folder / name, shards[i]);
    written.insert(name);
  }
  const Json index = {{"metadata", {{"total_parameters", elements}, {"total_size", total}}},
                      {"weight_map", weight_map}};
  write_file_atomic(folder / kIndex, index.dump(2) + "\n");
  remove_old(folder, written);
}

}  // namespace luce

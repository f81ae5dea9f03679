// The weights of a model folder: `model.safetensors`, or the shards that
// `model.safetensors.index.json` lists.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "luce/data/safetensors.h"

namespace luce {

/// All tensors of a model folder, found by name, read on demand.
class Weights {
 public:
  /// Opens and checks every file. Throws MissingFileError where the folder, the weights or a shard
  /// are not there, DataError where a file or the index breaks a rule, or where the folder has
  /// nothing but pickled weights.
  static Weights open(const std::filesystem::path& folder);

  /// Sorted.
  std::vector<std::string> names() const;
  /// Null where there is no such tensor.
  const TensorInfo* find(const std::string& name) const;
  /// Copies the tensor's bytes to `destination`. Throws DataError where there is no such tensor,
  /// and as SafetensorsFile::read does.
  void read(const std::string& name, void* destination) const;

 private:
  struct Place {
    size_t file, tensor;
  };
  void add(SafetensorsFile file);

  std::filesystem::path folder_;
  std::vector<SafetensorsFile> files_;
  std::map<std::string, Place> places_;
};

/// Writes `model.safetensors`, or, where the tensors hold more than `max_shard_bytes`, shards in
/// the given order and their index; then removes weights of an earlier save from the folder. A
/// tensor is never cut. Throws as write_safetensors does.
void write_weights(const std::filesystem::path& folder, const std::vector<TensorData>& tensors,
                   uint64_t max_shard_bytes = 5'000'000'000);

}  // namespace luce

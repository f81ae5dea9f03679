#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "luce/data/safetensors.h"

namespace luce {

/// What the header of a safetensors file says.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;
  std::vector<size_t> by_name;
  std::map<std::string, std::string> metadata;
};

/// Parses and checks a header that describes `data_size` bytes; `name` stands for the file in
/// errors. Work and memory are linear in the text. Throws DataError.
SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_size,
                                           const std::string& name);

/// Bytes of `shape` elements of `dtype`, or nothing where a size is negative or 64 bits overflow.
std::optional<uint64_t> byte_count(DType dtype, const std::vector<int64_t>& shape);

}  // namespace luce

// The safetensors file format (github.com/huggingface/safetensors): an untrusted file in, checked
// before anything is allocated for it, and a file out that is the official writer's byte for byte.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace luce {

/// The element types that are read and written.
enum class DType { f64, f32, f16, bf16, i64, i32, i16, i8, u8, boolean };

/// Bytes of one element.
size_t size_of(DType dtype);
/// The format's name: "F32", "BF16", "BOOL".
std::string name_of(DType dtype);

/// One tensor of a file, row-major.
struct TensorInfo {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // byte range in the data part of the file
};

/// An open safetensors file whose whole header has been checked. Copies share the open file.
class SafetensorsFile {
 public:
  /// Throws MissingFileError where the file cannot be read or is not a regular file, DataError
  /// where it breaks a rule of the format: header length, JSON, dtype, shape × dtype = byte range,
  /// no overlap, no hole, no byte left over.
  explicit SafetensorsFile(const std::filesystem::path& path);

  /// In the order of their bytes in the file.
  const std::vector<TensorInfo>& tensors() const { return tensors_; }
  /// Null where there is no such tensor.
  const TensorInfo* find(const std::string& name) const;
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  const std::filesystem::path& path() const { return path_; }

  /// Copies the `end − begin` bytes of one of `tensors()` to `destination`; threads may do so at
  /// the same time. Throws DataError where the file became shorter, MissingFileError on a disk
  /// error.
  void read(const TensorInfo& tensor, void* destination) const;

 private:
  struct Descriptor;
  std::filesystem::path path_;
  std::shared_ptr<Descriptor> file_;
  uint64_t data_begin_ = 0;
  std::vector<TensorInfo> tensors_;
  std::vector<size_t> by_name_;  // indices of tensors_, sorted by name
  std::map<std::string, std::string> metadata_;
};

/// One tensor to write: row-major memory of the caller's.
struct TensorData {
  std::string name;
  DType dtype = DType::f32;
  std::vector<int64_t> shape;
  const void* data = nullptr;
};

/// Bytes of the tensor's memory. Throws ArgumentError on a negative size or an overflow.
uint64_t size_of(const TensorData& tensor);

/// Writes a file through a temporary sibling and a rename, straight from the caller's memory, in
/// the official writer's order: wide elements first, then by name. Throws WriteError on a disk
/// error, ArgumentError on tensors that no file can hold (two of one name, a name that is not
/// UTF-8, …).
void write_safetensors(const std::filesystem::path& path, std::vector<TensorData> tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace luce

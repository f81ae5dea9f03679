#include "safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "strict_sax.h"

namespace luce {
namespace {

constexpr size_t kMaxTensors = 1'000'000, kMaxMetadata = 100'000, kMaxRank = 16, kMaxName = 4096;
constexpr std::array kDTypes = {DType::f64, DType::f32, DType::f16, DType::bf16, DType::i64,
                                DType::i32, DType::i16, DType::i8,  DType::u8,   DType::boolean};

std::string list_of(const std::vector<int64_t>& shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i) out += cat(i == 0 ? "" : ", ", shape[i]);
  return out + "]";
}

class HeaderParser : public StrictSax {
 public:
  HeaderParser(const std::string& name, SafetensorsHeader& header)
      : StrictSax(name), header_(header) {}

  bool start_object(size_t) override {
    if (at_ == At::start) {
      at_ = At::top;
    } else if (at_ == At::top && key_ == "__metadata__") {
      at_ = At::metadata;
    } else if (at_ == At::top) {
      if (header_.tensors.size() == kMaxTensors)
        fail(cat("the header describes more than ", kMaxTensors, " tensors"));
      at_ = At::tensor;
      header_.tensors.emplace_back().name = key_;
      has_dtype_ = has_shape_ = false;
      offsets_.clear();
    } else {
      return unexpected("an object");
    }
    return true;
  }

  bool key(std::string& key) override {
    if (at_ == At::top) {
      if (key.size() > kMaxName)
        fail(cat("a tensor's name holds ", key.size(), " bytes; at most ", kMaxName,
                 " are accepted"));
      if (key == "__metadata__" && std::exchange(has_metadata_, true))
        fail("__metadata__ stands twice in the header");
    } else if (at_ == At::metadata) {
      if (header_.metadata.size() == kMaxMetadata)
        fail(cat("__metadata__ has more than ", kMaxMetadata, " entries"));
      if (header_.metadata.count(key) != 0)
        fail(cat("__metadata__ has ", in_quotes(key), " twice"));
    } else {
      field_ = key;
      if (key != "dtype" && key != "shape" && key != "data_offsets")
        fail_tensor(
            cat("unknown key ", in_quotes(key), "; the keys are dtype, shape, data_offsets"));
      if (key == "dtype" ? has_dtype_ : key == "shape" ? has_shape_ : !offsets_.empty())
        fail_tensor(cat("the key ", in_quotes(key), " stands twice"));
    }
    if (at_ != At::tensor) key_ = key;
    return true;
  }

  bool start_array(size_t) override {
    if (at_ != At::tensor || field_ == "dtype") return unexpected("a list");
    if (field_ == "shape") has_shape_ = true;
    at_ = field_ == "shape" ? At::shape : At::offsets;
    return true;
  }

  bool end_array() override {
    if (at_ == At::offsets && offsets_.size() != 2)
      fail_tensor(cat("data_offsets has ", offsets_.size(), " entries, not 2"));
    at_ = At::tensor;
    return true;
  }

  bool string(std::string& value) override {
    if (at_ == At::metadata) {
      header_.metadata.emplace(key_, std::move(value));
    } else if (at_ == At::tensor && field_ == "dtype") {
      const auto found = std::find_if(kDTypes.begin(), kDTypes.end(),
                                      [&](DType dtype) { return name_of(dtype) == value; });
      if (found == kDTypes.end()) {
        std::string known;
        for (const DType dtype : kDTypes) known += " " + name_of(dtype);
        fail_tensor(cat("the dtype ", in_quotes(value), " is not supported; supported are", known));
      }
      tensor().dtype = *found;
      has_dtype_ = true;
    } else {
      return unexpected(in_quotes(value));
    }
    return true;
  }

  bool number_unsigned(uint64_t value) override {
    if (at_ == At::shape) {
      if (tensor().shape.size() == kMaxRank)
        fail_tensor(cat("the shape has more than ", kMaxRank, " dimensions"));
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()))
        fail_tensor(cat("the shape has a dimension of ", value, ", more than 63 bits can count"));
      tensor().shape.push_back(static_cast<int64_t>(value));
    } else if (at_ == At::offsets) {
      if (offsets_.size() == 2) fail_tensor("data_offsets has more than 2 entries");
      offsets_.push_back(value);
    } else {
      return unexpected(cat(value));
    }
    return true;
  }

  bool end_object() override {
    if (at_ == At::tensor) finish_tensor();
    at_ = at_ == At::top ? At::done : At::top;
    return true;
  }

 protected:
  bool unexpected(const std::string& got) override {
    switch (at_) {
      case At::start:
      case At::done:
        fail(cat("the header must be an object, not ", got));
      case At::top:
        fail(key_ == "__metadata__"
                 ? cat("__metadata__ must be an object of texts, not ", got)
                 : cat("tensor ", in_quotes(key_), ": must be described by an object, not ", got));
      case At::metadata:
        fail(cat("__metadata__: the value of ", in_quotes(key_), " must be a text, not ", got));
      case At::tensor:
        fail_tensor(
            cat(field_, " must be ", field_ == "dtype" ? "a text" : "a list", ", not ", got));
      case At::shape:
      case At::offsets:
        fail_tensor(cat(field_, " must hold whole numbers from 0, not ", got));
    }
    return false;
  }

 private:
  enum class At { start, top, metadata, tensor, shape, offsets, done };

  TensorInfo& tensor() { return header_.tensors.back(); }
  [[noreturn]] void fail_tensor(const std::string& what) {
    fail(cat("tensor ", in_quotes(tensor().name), ": ", what));
  }

  void finish_tensor() {
    TensorInfo& t = tensor();
    if (!has_dtype_ || !has_shape_ || offsets_.empty())
      fail_tensor(cat(!has_dtype_   ? "dtype"
                      : !has_shape_ ? "shape"
                                    : "data_offsets",
                      " is missing"));
    t.begin = offsets_[0];
    t.end = offsets_[1];
    const std::string range = cat("data_offsets [", t.begin, ", ", t.end, "]");
    if (t.begin > t.end) fail_tensor(cat(range, " run backwards"));
    const std::string what = cat("shape ", list_of(t.shape), " of ", name_of(t.dtype));
    const auto bytes = byte_count(t.dtype, t.shape);
    if (!bytes) fail_tensor(cat(what, " has more bytes than 64 bits can count"));
    if (*bytes != t.end - t.begin)
      fail_tensor(cat(what, " needs ", *bytes, " bytes, but ", range, " span ", t.end - t.begin));
  }

  SafetensorsHeader& header_;
  At at_ = At::start;
  std::string key_, field_;  // the last key of the header or of __metadata__; of a tensor
  bool has_metadata_ = false, has_dtype_ = false, has_shape_ = false;
  std::vector<uint64_t> offsets_;
};

/// The tensors, sorted by their bytes, must cover the data without overlap or hole.
void check_layout(const std::vector<TensorInfo>& tensors, uint64_t data_size,
                  const std::string& name) {
  const auto fail = [&](const auto&... parts) { throw DataError(cat(name, ": ", parts...)); };
  uint64_t end = 0;
  for (size_t i = 0; i < tensors.size(); ++i) {
    const TensorInfo& t = tensors[i];
    if (t.begin < end)
      fail("tensor ", in_quotes(t.name), ": its bytes, from ", t.begin,
           ", overlap those of tensor ", in_quotes(tensors[i - 1].name), ", which end at ", end);
    if (t.begin > end)
      fail("tensor ", in_quotes(t.name), ": starts at byte ", t.begin, " of the data, but bytes ",
           end, " to ", t.begin, " belong to no tensor");
    end = t.end;
  }
  if (end > data_size)
    fail("tensor ", in_quotes(tensors.back().name), ": ends at byte ", end,
         " of the data, but the file has only ", data_size, ": it is cut short");
  if (end < data_size) fail(data_size - end, " bytes after the last tensor belong to no tensor");
}

}  // namespace

std::optional<uint64_t> byte_count(DType dtype, const std::vector<int64_t>& shape) {
  uint64_t bytes = size_of(dtype);
  for (const int64_t n : shape)
    if (n < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(n), &bytes)) return {};
  return bytes;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, uint64_t data_size,
                                           const std::string& name) {
  if (text.empty() || text.front() != '{')
    throw DataError(cat(name, ": the header does not start with '{': not a safetensors file"));
  SafetensorsHeader header;
  HeaderParser(name, header).parse(text);
  auto& tensors = header.tensors;
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  header.by_name.resize(tensors.size());
  std::iota(header.by_name.begin(), header.by_name.end(), size_t{0});
  std::sort(header.by_name.begin(), header.by_name.end(),
            [&](size_t a, size_t b) { return tensors[a].name < tensors[b].name; });
  for (size_t i = 1; i < tensors.size(); ++i)
    if (const auto& twice = tensors[header.by_name[i]].name;
        twice == tensors[header.by_name[i - 1]].name)
      throw DataError(cat(name, ": tensor ", in_quotes(twice), ": stands twice in the header"));
  check_layout(tensors, data_size, name);
  return header;
}

}  // namespace luce

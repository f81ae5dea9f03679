// How much memory tensors of this thread take.
#pragma once

#include <cstdint>
#include <memory>

namespace luce {

/// Counts tensors that are allocated on the CPU while the object lives.
class TensorMemory {
 public:
  TensorMemory();
  ~TensorMemory();
  TensorMemory(const TensorMemory&) = delete;
  TensorMemory& operator=(const TensorMemory&) = delete;
  /// The most bytes that were held at once.
  int64_t peak() const;

 private:
  struct Counter;
  struct Guard;
  std::shared_ptr<Counter> counter_;
  std::unique_ptr<Guard> guard_;
};

}  // namespace luce

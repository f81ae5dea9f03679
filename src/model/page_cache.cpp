#include "model/page_cache.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace luce {
namespace {

/// The most that is taken before it is needed.
constexpr int64_t kExpectedBytes = int64_t{1} << 30;

}  // namespace

PageCache::PageCache(const CausalLM& model)
    : options_(at::TensorOptions().dtype(model.options().dtype).device(model.options().device)) {
  const auto& c = model.config();
  key_shape_ = {c.num_hidden_layers, c.num_key_value_heads, c.head_dim, kPagePositions};
  value_shape_ = {c.num_hidden_layers, c.num_key_value_heads, kPagePositions, c.head_dim};
}

void PageCache::reserve(int64_t count) {
  const auto grown = [&](const Tensor& old, std::vector<int64_t> shape) {
    shape.insert(shape.begin(), count);
    Tensor made = at::empty(shape, options_);
    if (old.defined()) made.narrow(0, 0, old.size(0)).copy_(old);
    return made;
  };
  keys_ = grown(keys_, key_shape_);
  values_ = grown(values_, value_shape_);
}

void PageCache::copy(int64_t from, int64_t to) {
  keys_[to].copy_(keys_[from]);
  values_[to].copy_(values_[from]);
}

Pages PageCache::block(size_t index) const {
  const auto i = static_cast<int64_t>(index);
  return {keys_.select(1, i), values_.select(1, i)};
}

int64_t PageCache::page_bytes() const {
  return 2 * c10::multiply_integers(key_shape_) * static_cast<int64_t>(options_.dtype().itemsize());
}

void PageLedger::expect(int64_t pages) {
  reserve(std::min(pages, std::max<int64_t>(16, kExpectedBytes / page_bytes())));
}

void PageLedger::reserve(int64_t pages) {
  room_ = pages;
  for (auto& cache : caches_) cache.reserve(pages);
}

int64_t PageLedger::take() {
  int64_t page = 0;
  if (free_.empty()) {
    page = static_cast<int64_t>(uses_.size());
    if (page == room_) reserve(std::max<int64_t>(16, room_ + room_ / 2));
    uses_.push_back(0);
  } else {
    page = free_.back();
    free_.pop_back();
  }
  for (auto& cache : caches_) cache.open(page);
  uses_[static_cast<size_t>(page)] = 1;
  peak_ = std::max(peak_, in_use());
  return page;
}

void PageLedger::release(int64_t page) {
  if (--uses_[static_cast<size_t>(page)] == 0) free_.push_back(page);
}

int64_t PageLedger::copy_of(int64_t page) {
  const int64_t copy = take();
  for (auto& cache : caches_) cache.copy(page, copy);
  return copy;
}

int64_t PageLedger::page_bytes() const {
  int64_t bytes = 0;
  for (const auto& cache : caches_) bytes += cache.page_bytes();
  return bytes;
}

int64_t PageLedger::peak_bytes() const { return peak_ * page_bytes(); }

}  // namespace luce

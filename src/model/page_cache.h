// The paged key-value cache of a sampler: which pages are whose, and what lies in them.
#pragma once

#include <vector>

#include "luce/model/causal_lm.h"
#include "luce/ops/paged_attention.h"

namespace luce {

/// Keys and values of all blocks of one model, by pages of kPagePositions.
class PageCache {
 public:
  explicit PageCache(const CausalLM& model);

  /// Makes room for pages [0, count); what is there stays.
  void reserve(int64_t count);
  /// To be called when a page changes hands: what its values hold is read, with weight 0.
  void open(int64_t page) { values_[page].zero_(); }
  void copy(int64_t from, int64_t to);
  /// The pages of one block.
  Pages block(size_t index) const;
  int64_t page_bytes() const;

 private:
  std::vector<int64_t> key_shape_, value_shape_;  // [blocks, K, ...]
  at::TensorOptions options_;
  Tensor keys_, values_;  // [P, blocks, K, d, kPagePositions], [P, blocks, K, kPagePositions, d]
};

/// Pages in use, counted by the sequences that they belong to, in the caches of all models alike.
class PageLedger {
 public:
  explicit PageLedger(std::vector<PageCache>& caches) : caches_(caches) {}

  /// Makes room for so many pages, within reason: to grow later takes a copy of what is there.
  /// Memory of a CPU that nothing was written to is not there yet, and costs nothing.
  void expect(int64_t pages);

  /// A page of one's own.
  int64_t take();
  void share(int64_t page) { ++uses_[static_cast<size_t>(page)]; }
  void release(int64_t page);
  /// A page of one's own that holds what another does.
  int64_t copy_of(int64_t page);

  int64_t in_use() const { return static_cast<int64_t>(uses_.size() - free_.size()); }
  /// Most pages that were in use, and their bytes.
  int64_t peak_bytes() const;

 private:
  void reserve(int64_t pages);
  int64_t page_bytes() const;

  std::vector<PageCache>& caches_;
  std::vector<int64_t> uses_;  // of every page there is
  std::vector<int64_t> free_;  // the last freed is taken first
  int64_t room_ = 0, peak_ = 0;
};

}  // namespace luce

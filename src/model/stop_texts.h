// Texts that end a completion, looked for in what its tokens say.
#pragma once

#include <string>
#include <vector>

#include "luce/data/tokenizer.h"

namespace luce {

class StopTexts {
 public:
  /// `tokenizer` may be null where there are no texts.
  StopTexts(const Tokenizer* tokenizer, const std::vector<std::string>& texts);

  /// Whether the last of `tokens` completes one of the texts in the completion, which begins behind
  /// the first `prompt` tokens. To be asked at every token: what earlier ones completed is not
  /// looked for.
  bool completed(const std::vector<int64_t>& tokens, size_t prompt) const;

 private:
  const Tokenizer* tokenizer_;
  std::vector<std::string> texts_;
  size_t longest_ = 0;
};

}  // namespace luce

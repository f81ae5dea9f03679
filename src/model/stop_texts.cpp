#include "model/stop_texts.h"

#include <algorithm>

namespace luce {

StopTexts::StopTexts(const Tokenizer* tokenizer, const std::vector<std::string>& texts)
    : tokenizer_(tokenizer), texts_(texts) {
  for (const auto& text : texts_) longest_ = std::max(longest_, text.size());
}

bool StopTexts::completed(const std::vector<int64_t>& tokens, size_t prompt) const {
  if (texts_.empty()) return false;
  constexpr size_t kContext = 16, kCharacter = 4;
  const auto part = [&](size_t begin, size_t end) {
    return std::vector<int64_t>(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                                tokens.begin() + static_cast<std::ptrdiff_t>(end));
  };
  // As few of the last tokens as the longest text needs. What a token says depends on those before
  // it (a space at the beginning, bytes of one character): some of them are decoded with it.
  for (size_t count = 4;; count *= 2) {
    const size_t begin = tokens.size() - std::min(count, tokens.size() - prompt);
    size_t from = begin - std::min(begin, kContext);
    while (from > 0 && tokenizer_->decode(part(from, begin)).empty())
      from -= std::min(from, kContext);
    const auto context = part(from, begin);
    const std::string text = tokenizer_->decode_completion(context, part(begin, tokens.size()));
    for (const auto& stop : texts_)
      if (text.find(stop) != std::string::npos) return true;
    if (begin == prompt) return false;
    const std::string older =
        tokenizer_->decode_completion(context, part(begin, tokens.size() - 1));
    if (older.size() >= longest_ + kCharacter * 3) return false;
  }
}

}  // namespace luce

// Text to token ids and back, with the tokenizer of a Hugging Face model folder.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace luce {

/// One loaded SentencePiece tokenizer. Its const methods may run in several threads at once.
///
/// Ids are those of transformers' LlamaTokenizer, except where that one differs from SentencePiece
/// itself (repeated spaces, and a text that starts with a space): there they are SentencePiece's,
/// which the model was trained with.
class Tokenizer {
 public:
  /// Reads `tokenizer.model` and, where they are present, `tokenizer_config.json`,
  /// `special_tokens_map.json` and `added_tokens.json` of a folder. Without a config Llama's
  /// defaults hold: `<s>` before each text, `</s>` ends it.
  /// Throws MissingFileError; DataError on a file that is broken, hostile or of another kind.
  static std::shared_ptr<const Tokenizer> load(const std::filesystem::path& model_folder);

  ~Tokenizer();

  /// Token ids of a text. Special tokens that are spelled out in it (`</s>`) become their ids.
  /// `add_bos`: put the BOS token first, if there is one. Stops when there are `max_tokens`, which
  /// are then the first ones of the whole.
  /// Throws DataError on a stretch of more than 4 MiB that cannot be tokenized in parts (a word, or
  /// a whole text where the tokenizer rewrites spaces).
  std::vector<int64_t> encode(std::string_view text, bool add_bos,
                              int64_t max_tokens = std::numeric_limits<int64_t>::max()) const;

  /// Text of token ids, always valid UTF-8: a byte that belongs to no character becomes U+FFFD.
  /// `skip_special`: leave special tokens out. Throws DataError on an id outside the vocabulary.
  std::string decode(const std::vector<int64_t>& ids, bool skip_special = true) const;

  /// The text that `completion` adds to `prompt`: decode(prompt + completion) minus decode(prompt).
  /// A character whose bytes are split between the two belongs to the completion. Ids without a
  /// token, which a model with more rows than there are tokens may sample, have no text.
  std::string decode_completion(const std::vector<int64_t>& prompt,
                                const std::vector<int64_t>& completion) const;

  /// One more than the largest id.
  int64_t vocab_size() const;
  std::optional<int64_t> bos() const;
  std::optional<int64_t> eos() const;
  std::optional<int64_t> unk() const;
  /// The text that encodes to eos(), "" where there is none.
  std::string eos_text() const;
  /// Whether texts start with BOS, as tokenizer_config.json says (Llama's default: yes).
  bool add_bos() const;
  /// The piece of an id as it stands in the vocabulary ("▁the"). Throws DataError on other ids.
  std::string piece(int64_t id) const;
  /// Hash of everything that decides about ids, 32 hexadecimal digits: for cache keys.
  std::string fingerprint() const;

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<const Impl> impl);
  std::unique_ptr<const Impl> impl_;
};

}  // namespace luce

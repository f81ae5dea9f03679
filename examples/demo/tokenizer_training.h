// A SentencePiece tokenizer made from texts.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace luce::demo {

struct TokenizerTrainingOptions {
  int vocab_size = 896;  // with 3 special tokens and 256 bytes among them
};

/// Trains a BPE tokenizer with byte fallback (so that any text can be encoded; `<unk>` 0, `<s>` 1,
/// `</s>` 2) and writes tokenizer.model and tokenizer_config.json into a folder, which is made
/// where it is missing. The same texts give the same bytes. Throws ArgumentError where
/// SentencePiece refuses: too few texts for the vocabulary, for one; WriteError.
void train_tokenizer(const std::vector<std::string>& texts,
                     const std::filesystem::path& model_folder,
                     const TokenizerTrainingOptions& options = {});

}  // namespace luce::demo

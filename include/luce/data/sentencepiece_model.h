// The content of a SentencePiece model file (`tokenizer.model`), read by a parser of our own that
// checks everything before the SentencePiece library sees any of it: the library trusts its input.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace luce {

/// Kinds of pieces, with the numbers that the file uses.
enum class PieceType {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

/// Kinds of models, with the numbers that the file uses.
enum class PieceModelType { unigram = 1, bpe = 2, word = 3, character = 4 };

struct SentencePieceModel {
  struct Piece {
    std::string text;
    float score = 0;
    PieceType type = PieceType::normal;
  };
  std::vector<Piece> pieces;  // a piece's index is its id
  PieceModelType type = PieceModelType::unigram;
  bool byte_fallback = false;
  bool treat_whitespace_as_suffix = false;
  std::string bos_piece = "<s>", eos_piece = "</s>";
  std::string charsmap;  // normalization rules, compiled to a trie and its strings
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool escape_whitespaces = true;
};

/// Limits of what is accepted. Pieces are kept far shorter than any real one because the library
/// recurses over their characters.
struct SentencePieceLimits {
  static constexpr uint64_t kFile = uint64_t{64} << 20;  // bytes
  static constexpr size_t kPieces = 1'000'000;
  static constexpr size_t kPiece = 4096;         // bytes
  static constexpr size_t kTrieUnits = 1 << 20;  // of the normalization rules
  static constexpr size_t kReplacement = 64;     // bytes that one rule may produce
  static constexpr size_t kNestedRules = 32;     // rules that apply at one place
};

/// Parses and checks the bytes of a model file; `name` opens each error. Throws DataError naming
/// the byte or the piece and the rule that it breaks.
SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& name);

/// Writes the checked content anew, in the smallest form that the library understands. Pieces that
/// the library must not search for (user-defined ones, which the tokenizer cuts out of the text
/// itself, and in a unigram model those with a NUL, which its trie cannot hold) become control
/// pieces. `dummy_prefix`: whether encoding puts a space before the text.
std::string library_model(const SentencePieceModel& model, bool dummy_prefix);

}  // namespace luce

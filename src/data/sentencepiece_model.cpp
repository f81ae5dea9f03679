#include "luce/data/sentencepiece_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <unordered_set>

#include "luce/base/error.h"
#include "luce/data/utf8.h"

namespace luce {
namespace {

using Limits = SentencePieceLimits;

/// Reads one protobuf message, field by field.
class Message {
 public:
  Message(std::string_view bytes, const std::string& name, size_t offset = 0)
      : bytes_(bytes), name_(name), offset_(offset) {}

  /// Moves to the next field; false at the end.
  bool next() {
    if (at_ == bytes_.size()) return false;
    start_ = at_;
    const uint64_t tag = varint();
    field_ = tag >> 3;
    wire_ = static_cast<int>(tag & 7);
    if (field_ == 0 || tag > 0xFFFFFFFF) fail("a field without a valid number");
    number_ = 0;
    content_ = {};
    switch (wire_) {
      case 0:
        number_ = varint();
        break;
      case 1:
        content_ = take(8);
        break;
      case 2: {
        const uint64_t length = varint();
        if (length > bytes_.size() - at_) fail("a field reaches beyond the end");
        content_ = take(length);
        break;
      }
      case 5:
        content_ = take(4);
        break;
      default:
        fail("a field of an unknown wire type");
    }
    return true;
  }
  uint64_t field() const { return field_; }

  /// The current field as …
  int64_t integer() {
    expect(0);
    return static_cast<int64_t>(number_);
  }
  bool boolean() { return integer() != 0; }
  std::string_view string() {
    expect(2);
    return content_;
  }
  float real() {
    expect(5);
    uint32_t bits = 0;
    for (size_t i = 0; i < 4; ++i)
      bits |= static_cast<uint32_t>(static_cast<unsigned char>(content_[i])) << (8 * i);
    float value = 0;
    std::memcpy(&value, &bits, 4);
    return value;
  }
  Message message() {
    return Message(string(), name_, offset_ + static_cast<size_t>(content_.data() - bytes_.data()));
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(
        cat(name_, ": not a SentencePiece model: ", what, ", at byte ", offset_ + start_));
  }

 private:
  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (at_ == bytes_.size()) fail("a number is cut off");
      const auto byte = static_cast<unsigned char>(bytes_[at_++]);
      if (shift == 63 && byte > 1) break;
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    fail("a number of more than 64 bits");
  }
  std::string_view take(uint64_t length) {
    if (length > bytes_.size() - at_) fail("a field reaches beyond the end");
    const auto out = bytes_.substr(at_, length);
    at_ += length;
    return out;
  }
  void expect(int wire) const {
    if (wire_ != wire) fail(cat("field ", field_, " has another type than it should"));
  }

  std::string_view bytes_;
  const std::string& name_;
  size_t offset_, at_ = 0, start_ = 0;
  uint64_t field_ = 0, number_ = 0;
  int wire_ = 0;
  std::string_view content_;
};

SentencePieceModel::Piece read_piece(Message message, size_t id) {
  SentencePieceModel::Piece piece;
  while (message.next()) {
    if (message.field() == 1) {
      const auto text = message.string();
      if (text.size() > Limits::kPiece)
        message.fail(cat("piece ", id, " has ", text.size(), " bytes, more than ", Limits::kPiece));
      piece.text = text;
    } else if (message.field() == 2) {
      piece.score = message.real();
    } else if (message.field() == 3) {
      const int64_t type = message.integer();
      if (type < 1 || type > 6) message.fail(cat("piece ", id, " has the unknown type ", type));
      piece.type = static_cast<PieceType>(type);
    }
  }
  if (piece.text.empty()) message.fail(cat("piece ", id, " is empty"));
  if (!is_utf8(piece.text)) message.fail(cat("piece ", id, " is not valid UTF-8"));
  if (!std::isfinite(piece.score)) message.fail(cat("the score of piece ", id, " is not finite"));
  return piece;
}

void read_trainer(Message message, SentencePieceModel& model) {
  while (message.next()) {
    if (message.field() == 3) {
      const int64_t type = message.integer();
      if (type < 1 || type > 4) message.fail(cat("unknown model type ", type));
      model.type = static_cast<PieceModelType>(type);
    } else if (message.field() == 24) {
      model.treat_whitespace_as_suffix = message.boolean();
    } else if (message.field() == 35) {
      model.byte_fallback = message.boolean();
    } else if (message.field() == 46) {
      model.bos_piece = message.string();
    } else if (message.field() == 47) {
      model.eos_piece = message.string();
    }
  }
}

void read_normalizer(Message message, SentencePieceModel& model) {
  while (message.next()) {
    if (message.field() == 2) model.charsmap = message.string();
    if (message.field() == 3) model.add_dummy_prefix = message.boolean();
    if (message.field() == 4) model.remove_extra_whitespaces = message.boolean();
    if (message.field() == 5) model.escape_whitespaces = message.boolean();
  }
}

bool is_byte_piece(const std::string& text, int& byte) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  if (text.size() != 6 || text.rfind("<0x", 0) != 0 || text[5] != '>') return false;
  const int high = digit(text[3]), low = digit(text[4]);
  byte = high * 16 + low;
  return high >= 0 && low >= 0;
}

void check_pieces(const SentencePieceModel& model, const std::string& name) {
  const auto fail = [&](const auto&... what) {
    throw DataError(cat(name, ": not a SentencePiece model: ", what...));
  };
  if (model.pieces.empty()) fail("it holds no pieces");
  std::unordered_set<std::string_view> searched, reserved;
  std::array<bool, 256> bytes{};
  size_t unknowns = 0, normal = 0;
  for (size_t id = 0; id < model.pieces.size(); ++id) {
    const auto& piece = model.pieces[id];
    const bool is_searched = piece.type == PieceType::normal || piece.type == PieceType::unused ||
                             piece.type == PieceType::user_defined;
    if (!(is_searched ? searched : reserved).insert(piece.text).second)
      fail("piece ", id, " (\"", piece.text, "\") stands twice");
    normal += piece.type == PieceType::normal;
    unknowns += piece.type == PieceType::unknown;
    if (piece.type == PieceType::byte) {
      int byte = 0;
      if (!model.byte_fallback)
        fail("piece ", id, " is a byte, but the model has no byte fallback");
      if (!is_byte_piece(piece.text, byte))
        fail("piece ", id, " (\"", piece.text, "\") is of type byte, expected a text like <0x0A>");
      bytes[static_cast<size_t>(byte)] = true;
    }
  }
  if (unknowns != 1) fail("it has ", unknowns, " unknown pieces, expected exactly one");
  if (normal == 0) fail("it has no normal piece");
  const auto missing = std::count(bytes.begin(), bytes.end(), false);
  if (model.byte_fallback && missing > 0)
    fail(missing, " of the 256 byte pieces are missing, but it says that it has byte fallback");
}

/// Walks the trie of the normalization rules as the library does for any text: from `base` it reads
/// the unit at `base ^ byte` for each next byte of the text, and where that unit carries the byte
/// as its label it goes on at that unit's offset.
class CharsmapCheck {
 public:
  CharsmapCheck(std::string_view charsmap, const std::string& name) : name_(name) {
    if (charsmap.size() < 4) fail("they are cut off");
    const uint64_t trie_bytes = word(charsmap, 0);
    if (trie_bytes < 4 || trie_bytes % 4 != 0 || trie_bytes + 4 >= charsmap.size())
      fail(cat("a trie of ", trie_bytes, " bytes does not fit ", charsmap.size(), " bytes"));
    trie_ = charsmap.substr(4, trie_bytes);
    strings_ = charsmap.substr(4 + trie_bytes);
    units_ = trie_.size() / 4;
    if (units_ > Limits::kTrieUnits)
      fail(cat("a trie of more than ", Limits::kTrieUnits, " units"));
    if (strings_.back() != '\0') fail("the last string does not end");
  }

  void run() {
    // Depth first without recursion. rules_[base]: the most rules that one text can meet from
    // there.
    constexpr uint16_t kNew = 0xFFFF, kOpen = 0xFFFE;
    rules_.assign(units_, kNew);
    struct Frame {
      uint32_t base, byte;
      uint16_t most;
    };
    std::vector<Frame> stack;
    const auto enter = [&](uint32_t base) {
      if ((base | 0xFF) >= units_) fail(cat("unit ", base, " lies outside the trie"));
      if (rules_[base] == kOpen) fail("the trie runs in a circle");
      if (rules_[base] != kNew) return;
      rules_[base] = kOpen;
      stack.push_back({base, 0, 0});
    };
    enter(offset(unit(0)));
    while (!stack.empty()) {
      Frame& frame = stack.back();
      if (frame.byte == 256) {
        rules_[frame.base] = frame.most;
        stack.pop_back();
        continue;
      }
      const uint32_t at = frame.base ^ frame.byte, found = unit(at);
      if ((found & 0x800000FFu) != frame.byte) {
        ++frame.byte;
        continue;
      }
      const uint32_t child = at ^ offset(found);
      if (child >= units_ || rules_[child] >= kOpen) {
        enter(child);  // and come back to this byte afterwards
        continue;
      }
      const bool is_rule = (found >> 8 & 1) != 0;
      if (is_rule) check_string(unit(child) & 0x7FFFFFFFu);
      frame.most = std::max<uint16_t>(frame.most, static_cast<uint16_t>(rules_[child] + is_rule));
      if (frame.most > Limits::kNestedRules)
        fail(cat("more than ", Limits::kNestedRules, " rules apply at one place"));
      ++frame.byte;
    }
  }

 private:
  static uint32_t word(std::string_view bytes, size_t at) {
    uint32_t value = 0;
    for (size_t i = 0; i < 4; ++i)
      value |= static_cast<uint32_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
    return value;
  }
  uint32_t unit(size_t index) const { return word(trie_, index * 4); }
  static uint32_t offset(uint32_t unit) { return (unit >> 10) << ((unit & (1u << 9)) >> 6); }
  void check_string(size_t begin) const {
    if (begin >= strings_.size()) fail(cat("string ", begin, " lies outside"));
    if (strings_.find('\0', begin) - begin > Limits::kReplacement)
      fail(cat("a rule produces more than ", Limits::kReplacement, " bytes"));
  }
  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(
        cat(name_, ": not a SentencePiece model: its normalization rules are broken: ", what));
  }

  const std::string& name_;
  std::string_view trie_, strings_;
  size_t units_ = 0;
  std::vector<uint16_t> rules_;
};

/// Writes protobuf fields.
class Writer {
 public:
  Writer& integer(uint32_t field, uint64_t value) {
    varint(field << 3);
    varint(value);
    return *this;
  }
  Writer& real(uint32_t field, float value) {
    varint(field << 3 | 5);
    uint32_t bits = 0;
    std::memcpy(&bits, &value, 4);
    for (int i = 0; i < 4; ++i) out_ += static_cast<char>(bits >> (8 * i));
    return *this;
  }
  Writer& string(uint32_t field, std::string_view value) {
    varint(field << 3 | 2);
    varint(value.size());
    out_ += value;
    return *this;
  }
  const std::string& out() const { return out_; }

 private:
  void varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) out_ += static_cast<char>(value | 0x80);
    out_ += static_cast<char>(value);
  }
  std::string out_;
};

}  // namespace

SentencePieceModel parse_sentencepiece_model(std::string_view bytes, const std::string& name) {
  if (bytes.size() > Limits::kFile)
    throw DataError(cat(name, " holds ", bytes.size(), " bytes; at most ", Limits::kFile,
                        " are accepted for a SentencePiece model"));
  SentencePieceModel model;
  Message message(bytes, name);
  while (message.next()) {
    if (message.field() == 1) {
      if (model.pieces.size() == Limits::kPieces)
        message.fail(cat("more than ", Limits::kPieces, " pieces"));
      model.pieces.push_back(read_piece(message.message(), model.pieces.size()));
    } else if (message.field() == 2) {
      read_trainer(message.message(), model);
    } else if (message.field() == 3) {
      read_normalizer(message.message(), model);
    } else if (message.field() == 5) {
      SentencePieceModel denormalizer;
      read_normalizer(message.message(), denormalizer);
      if (!denormalizer.charsmap.empty())
        throw DataError(cat(name, ": rules that change decoded text are not supported"));
    }
  }
  check_pieces(model, name);
  if (!model.charsmap.empty()) CharsmapCheck(model.charsmap, name).run();
  return model;
}

std::string library_model(const SentencePieceModel& model, bool dummy_prefix) {
  Writer out;
  for (const auto& piece : model.pieces) {
    const bool nul =
        model.type == PieceModelType::unigram && piece.text.find('\0') != std::string::npos;
    const bool hide = piece.type == PieceType::user_defined ||
                      (nul && (piece.type == PieceType::normal || piece.type == PieceType::unused));
    const PieceType type = hide ? PieceType::control : piece.type;
    out.string(1, Writer()
                      .string(1, piece.text)
                      .real(2, piece.score)
                      .integer(3, static_cast<uint64_t>(type))
                      .out());
  }
  out.string(2, Writer()
                    .integer(3, static_cast<uint64_t>(model.type))
                    .integer(4, model.pieces.size())
                    .integer(24, model.treat_whitespace_as_suffix)
                    .integer(35, model.byte_fallback)
                    .out());
  Writer normalizer;
  if (!model.charsmap.empty()) normalizer.string(2, model.charsmap);
  normalizer.integer(3, dummy_prefix)
      .integer(4, model.remove_extra_whitespaces)
      .integer(5, model.escape_whitespaces);
  out.string(3, normalizer.out());
  return out.out();
}

}  // namespace luce

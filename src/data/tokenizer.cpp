#include "luce/data/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <shared_mutex>
#include <unordered_map>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/json.h"
#include "luce/base/log.h"
#include "luce/data/hash.h"
#include "luce/data/sentencepiece_model.h"
#include "luce/data/utf8.h"

namespace luce {
namespace {
namespace fs = std::filesystem;

constexpr std::string_view kSpaceMark = "\xE2\x96\x81";  // ▁, the space inside pieces
constexpr size_t kLongestStretch = size_t{4} << 20;      // bytes that the library gets at once

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
         static_cast<unsigned char>(c) >= 0x80;
}

/// SentencePiece's processor for texts with or without the space before them, and the ids of words
/// that it has seen: real text repeats its words, and the library takes microseconds for each.
class Encoder {
 public:
  Encoder(const SentencePieceModel& model, bool dummy_prefix, const std::string& name) {
    try {
      const auto status = processor_.LoadFromSerializedProto(library_model(model, dummy_prefix));
      if (!status.ok())
        throw DataError(cat(name, ": SentencePiece refuses this model: ", status.ToString()));
    } catch (const Error&) {
      throw;
    } catch (const std::exception& failure) {
      throw DataError(cat(name, ": SentencePiece refuses this model: ", failure.what()));
    }
  }

  void encode(std::string_view text, bool remember, std::vector<int64_t>& ids) const {
    if (text.empty()) return;
    if (text.size() > kLongestStretch)
      throw DataError(cat("a stretch of ", text.size(),
                          " bytes that cannot be tokenized in parts, more than ", kLongestStretch));
    remember = remember && text.size() <= 64;
    std::vector<int> found;
    if (remember) {
      const std::shared_lock lock(mutex_);
      if (const auto it = seen_.find(text); it != seen_.end()) {
        ids.insert(ids.end(), it->second.begin(), it->second.end());
        return;
      }
    }
    const auto status = processor_.Encode(text, &found);
    if (!status.ok())
      throw DataError(cat("SentencePiece cannot encode a text: ", status.ToString()));
    ids.insert(ids.end(), found.begin(), found.end());
    if (remember) {
      const std::unique_lock lock(mutex_);
      if (seen_.size() < 65536) seen_.emplace(text, std::move(found));
    }
  }

 private:
  struct Hash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  sentencepiece::SentencePieceProcessor processor_;
  mutable std::shared_mutex mutex_;
  mutable std::unordered_map<std::string, std::vector<int>, Hash, std::equal_to<>> seen_;
};

/// A token that is cut out of the text before SentencePiece sees it.
struct AddedToken {
  std::string text;
  int64_t id = 0;
  bool special = true;
  bool lstrip = false, rstrip = false;  // takes the white space on that side with it
  bool single_word = false;             // only where no letter, digit or _ touches it
};

/// What the JSON files of a tokenizer say.
struct Settings {
  std::optional<std::string> bos, eos, unk;
  bool add_bos = true;
  bool prefix_space = true;                 // a space before the text
  bool prefix_always = false;               // and before each stretch that follows a special token
  bool lists_special = false;               // the special tokens beyond the model's are listed
  std::map<std::string, AddedToken> added;  // by text; id −1: that of the piece with this text
};

Json read_object(const fs::path& path) {
  Json json = parse_json(read_file(path, uint64_t{1} << 24), path.string());
  if (!json.is_object()) throw DataError(cat(path.string(), ": expected an object { … }"));
  return json;
}

bool flag(const Json& object, const std::string& key, bool otherwise, const std::string& name) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return otherwise;
  if (!it->is_boolean()) throw DataError(cat(name, ": \"", key, "\" must be true or false"));
  return it->get<bool>();
}

/// A token in either spelling: its text, or an object with "content" and flags.
AddedToken read_token(const Json& json, const std::string& key, const std::string& name) {
  AddedToken token;
  token.id = -1;
  const bool is_object = json.is_object() && json.contains("content");
  const Json& text = is_object ? json["content"] : json;
  if (!text.is_string() || text.get_ref<const std::string&>().empty())
    throw DataError(
        cat(name, ": \"", key, "\" must be a token's text, or an object with its \"content\""));
  token.text = text.get<std::string>();
  if (is_object) {
    token.lstrip = flag(json, "lstrip", false, name);
    token.rstrip = flag(json, "rstrip", false, name);
    token.single_word = flag(json, "single_word", false, name);
    token.special = flag(json, "special", true, name);
  }
  return token;
}

/// Keeps the first definition of a token, which is the more explicit one; a later one may add the
/// id.
void add_token(Settings& settings, const AddedToken& token) {
  const auto [it, is_new] = settings.added.emplace(token.text, token);
  if (!is_new && it->second.id < 0) it->second.id = token.id;
}

void read_special_tokens(const Json& json, const std::string& name, Settings& settings) {
  const auto single = [&](const std::string& key, std::optional<std::string>* where) {
    const auto it = json.find(key);
    if (it == json.end()) return;
    if (it->is_null()) {
      if (where != nullptr) where->reset();
      return;
    }
    const AddedToken token = read_token(*it, key, name);
    add_token(settings, token);
    if (where != nullptr) *where = token.text;
  };
  single("bos_token", &settings.bos);
  single("eos_token", &settings.eos);
  single("unk_token", &settings.unk);
  for (const char* key : {"pad_token", "sep_token", "cls_token", "mask_token"})
    single(key, nullptr);
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const auto it = json.find(key);
    if (it == json.end() || it->is_null() || it->empty()) continue;
    if (!it->is_structured())
      throw DataError(cat(name, ": \"", key, "\" must be a list of tokens"));
    for (const auto& entry : *it) add_token(settings, read_token(entry, key, name));
    settings.lists_special = true;
  }
}

/// Returns whether the config lists the added tokens with their ids.
bool read_config(const fs::path& path, Settings& settings) {
  const Json json = read_object(path);
  const std::string name = path.string();
  if (const auto it = json.find("tokenizer_class"); it != json.end() && !it->is_null())
    if (*it != "LlamaTokenizer" && *it != "LlamaTokenizerFast")
      throw DataError(cat(name, ": tokenizers of the class ", it->dump(),
                          " are not supported; expected \"LlamaTokenizer\""));
  const auto decoder = json.find("added_tokens_decoder");
  const bool lists_added = decoder != json.end() && !decoder->is_null();
  if (lists_added) {
    if (!decoder->is_object())
      throw DataError(cat(name, ": \"added_tokens_decoder\" must be an object"));
    for (const auto& [key, value] : decoder->items()) {
      AddedToken token = read_token(value, "added_tokens_decoder", name);
      if (key.empty() || key.size() > 8 || key.find_first_not_of("0123456789") != std::string::npos)
        throw DataError(
            cat(name, ": \"added_tokens_decoder\" has the key \"", key, "\", expected a token id"));
      token.id = std::stoll(key);
      add_token(settings, token);
    }
  }
  read_special_tokens(json, name, settings);
  settings.add_bos = flag(json, "add_bos_token", true, name);
  settings.prefix_space = flag(json, "add_prefix_space", true, name);
  settings.prefix_always = flag(json, "legacy", false, name);
  if (flag(json, "add_eos_token", false, name))
    log::warn(name, ": \"add_eos_token\" is not applied: rows of data get one EOS, at their end");
  return lists_added;
}

void read_added_tokens(const fs::path& path, Settings& settings) {
  const Json json = read_object(path);
  for (const auto& [text, id] : json.items()) {
    if (text.empty() || !id.is_number_unsigned() || id.get<uint64_t>() > 99'999'999)
      throw DataError(cat(path.string(), ": \"", text, "\" must have a token id"));
    AddedToken token;
    token.text = text;
    token.id = id.get<int64_t>();
    add_token(settings, token);
  }
}

std::optional<std::string> find_piece(const SentencePieceModel& model, const std::string& text) {
  for (const auto& piece : model.pieces)
    if (piece.text == text && piece.type == PieceType::control) return text;
  return std::nullopt;
}

}  // namespace

struct Tokenizer::Impl {
  SentencePieceModel model;
  std::string name, fingerprint;
  std::unique_ptr<Encoder> prefixed, plain;  // puts a space before the text, or does not
  bool prefix_first = false;                 // that space stands before the text,
  bool prefix_later = false;                 // and before what follows a special token
  bool splittable = false;                   // words can be encoded one by one
  bool add_bos = true;
  std::optional<int64_t> bos, eos, unk;
  std::string eos_text;
  std::vector<AddedToken> added;                         // longest first
  std::array<std::vector<size_t>, 256> added_by_byte;    // indices into `added`
  std::unordered_map<int64_t, const AddedToken*> by_id;  // of the added tokens
  int64_t vocab_size = 0;

  void resolve(const Settings& settings);
  void make_encoders(const Settings& settings);
  bool has(int64_t id) const;
  void check(int64_t id) const;
  const AddedToken* added_at(std::string_view text, size_t at) const;
  void encode_stretch(std::string_view text, bool prefix, size_t max,
                      std::vector<int64_t>& ids) const;
};

/// Gives every added token its id and finds BOS, EOS and the unknown token.
void Tokenizer::Impl::resolve(const Settings& settings) {
  std::unordered_map<std::string_view, int64_t> ids;
  for (size_t i = 0; i < model.pieces.size(); ++i) {
    const auto [it, is_new] = ids.emplace(model.pieces[i].text, static_cast<int64_t>(i));
    // One text may be a searched piece and a reserved one: the reserved one has the name.
    const auto type = model.pieces[i].type;
    if (!is_new && type != PieceType::normal && type != PieceType::unused)
      it->second = static_cast<int64_t>(i);
    if (type == PieceType::unknown) unk = static_cast<int64_t>(i);
  }
  vocab_size = static_cast<int64_t>(model.pieces.size());

  std::map<std::string, AddedToken> tokens;
  const auto insert = [&](AddedToken token) {
    const auto it = ids.find(token.text);
    if (token.id < 0 && it != ids.end()) token.id = it->second;
    // Without an id the token has no row in any model (a padding token that only a config names).
    if (token.id < 0) return;
    if (it != ids.end() && it->second != token.id)
      throw DataError(cat(name, ": the token \"", token.text, "\" has the id ", token.id,
                          " by the config, but is piece ", it->second));
    if (token.id < static_cast<int64_t>(model.pieces.size()) && it == ids.end())
      throw DataError(cat(name, ": the added token \"", token.text, "\" has the id ", token.id,
                          ", which is piece \"", model.pieces[static_cast<size_t>(token.id)].text,
                          "\""));
    tokens.emplace(token.text, token);
  };
  for (const auto& [text, token] : settings.added) insert(token);
  for (const auto& text : {settings.bos, settings.eos, settings.unk}) {
    if (!text || settings.added.count(*text) != 0) continue;
    AddedToken token;
    token.text = *text;
    token.id = -1;
    insert(token);
  }
  for (const auto& piece : model.pieces) {
    const bool special = piece.type == PieceType::control;
    // A config that lists special tokens replaces the model's own list of them.
    if (piece.type == PieceType::user_defined || (special && !settings.lists_special)) {
      AddedToken token;
      token.text = piece.text;
      token.id = -1;
      token.special = special;
      insert(token);
    }
  }
  const auto named = [&](const std::optional<std::string>& text,
                         const char* what) -> std::optional<int64_t> {
    if (!text) return std::nullopt;
    const auto token = tokens.find(*text);
    if (token != tokens.end()) return token->second.id;
    if (const auto it = ids.find(*text); it != ids.end()) return it->second;
    throw DataError(cat(name, ": the ", what, " token \"", *text, "\" is not in the vocabulary"));
  };
  bos = named(settings.bos, "BOS");
  eos = named(settings.eos, "EOS");
  if (settings.unk) unk = named(settings.unk, "unknown");
  if (eos) eos_text = *settings.eos;
  add_bos = settings.add_bos && bos;

  for (auto& [text, token] : tokens) added.push_back(token);
  std::stable_sort(added.begin(), added.end(),
                   [](const auto& a, const auto& b) { return a.text.size() > b.text.size(); });
  for (size_t i = 0; i < added.size(); ++i) {
    added_by_byte[static_cast<unsigned char>(added[i].text[0])].push_back(i);
    if (!by_id.emplace(added[i].id, &added[i]).second)
      throw DataError(cat(name, ": two added tokens have the id ", added[i].id));
    vocab_size = std::max(vocab_size, added[i].id + 1);
  }
}

void Tokenizer::Impl::make_encoders(const Settings& settings) {
  prefix_first = model.add_dummy_prefix && settings.prefix_space;
  prefix_later = prefix_first && settings.prefix_always;
  plain = std::make_unique<Encoder>(model, false, name);
  if (prefix_first) prefixed = std::make_unique<Encoder>(model, true, name);

  // BPE merges only into pieces. Where no piece has a space after another character, no merge
  // crosses the place before a space that follows one, and the words are independent.
  splittable = model.type == PieceModelType::bpe && model.charsmap.empty() &&
               model.escape_whitespaces && !model.remove_extra_whitespaces &&
               !model.treat_whitespace_as_suffix;
  for (const auto& piece : model.pieces) {
    if (!splittable || piece.type == PieceType::unused) {
      splittable = false;  // an unused piece is undone by its latest merge anywhere in the text
      break;
    }
    std::string_view text = piece.text;
    while (text.substr(0, 3) == kSpaceMark) text.remove_prefix(3);
    if (piece.type == PieceType::normal && text.find(kSpaceMark) != std::string_view::npos)
      splittable = false;
  }

  Hasher hasher;
  hasher.field(library_model(model, prefix_first)).field(prefix_later);
  hasher.field(add_bos).field(bos.value_or(-1)).field(eos.value_or(-1)).field(eos_text);
  for (const auto& token : added) {
    hasher.field(token.text).field(token.id);
    hasher.field(token.lstrip).field(token.rstrip).field(token.single_word);
  }
  fingerprint = hex(hasher.digest());
}

bool Tokenizer::Impl::has(int64_t id) const {
  return id >= 0 && (id < static_cast<int64_t>(model.pieces.size()) || by_id.count(id) != 0);
}

void Tokenizer::Impl::check(int64_t id) const {
  if (has(id)) return;
  throw DataError(
      cat("token id ", id, " is not in the vocabulary of ", name, " (", vocab_size, " tokens)"));
}

/// The longest added token that stands at `at`, or null.
const AddedToken* Tokenizer::Impl::added_at(std::string_view text, size_t at) const {
  for (const size_t i : added_by_byte[static_cast<unsigned char>(text[at])]) {
    const AddedToken& token = added[i];
    if (text.compare(at, token.text.size(), token.text) != 0) continue;
    const size_t end = at + token.text.size();
    if (token.single_word &&
        ((at > 0 && is_word(text[at - 1])) || (end < text.size() && is_word(text[end]))))
      continue;
    return &token;
  }
  return nullptr;
}

/// Encodes text without added tokens, until there are `max` ids.
void Tokenizer::Impl::encode_stretch(std::string_view text, bool prefix, size_t max,
                                     std::vector<int64_t>& ids) const {
  const Encoder* encoder = prefix ? prefixed.get() : plain.get();
  size_t begin = 0;
  for (size_t i = 1; splittable && i < text.size() && ids.size() < max; ++i) {
    if (text[i] != ' ' || text[i - 1] == ' ') continue;
    if (i >= 3 && text.substr(i - 3, 3) == kSpaceMark) continue;
    encoder->encode(text.substr(begin, i - begin), true, ids);
    encoder = plain.get();  // the next word has its own space
    begin = i;
  }
  if (ids.size() < max) encoder->encode(text.substr(begin), splittable, ids);
}

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

std::shared_ptr<const Tokenizer> Tokenizer::load(const fs::path& folder) {
  const fs::path file = folder / "tokenizer.model";
  if (!fs::exists(file)) {
    const bool json = fs::exists(folder / "tokenizer.json");
    throw MissingFileError(cat(folder.string(), " holds no tokenizer.model",
                               json ? "; its tokenizer.json alone is not supported" : ""));
  }
  auto impl = std::make_unique<Impl>();
  impl->name = file.string();
  impl->model = parse_sentencepiece_model(read_file(file, SentencePieceLimits::kFile), impl->name);

  Settings settings;
  for (const auto& piece : impl->model.pieces)
    if (piece.type == PieceType::unknown) settings.unk = piece.text;
  settings.bos = find_piece(impl->model, impl->model.bos_piece);
  settings.eos = find_piece(impl->model, impl->model.eos_piece);
  const fs::path config = folder / "tokenizer_config.json";
  const bool lists_added = fs::exists(config) && read_config(config, settings);
  if (!lists_added) {  // older folders say it in files of their own
    const fs::path map = folder / "special_tokens_map.json", added = folder / "added_tokens.json";
    if (fs::exists(map)) read_special_tokens(read_object(map), map.string(), settings);
    if (fs::exists(added)) read_added_tokens(added, settings);
  }
  impl->resolve(settings);
  impl->make_encoders(settings);
  return std::shared_ptr<const Tokenizer>(new Tokenizer(std::move(impl)));
}

std::vector<int64_t> Tokenizer::encode(std::string_view text, bool add_bos,
                                       int64_t max_tokens) const {
  const size_t max = static_cast<size_t>(std::max<int64_t>(max_tokens, 0));
  std::vector<int64_t> ids;
  if (add_bos && impl_->bos) ids.push_back(*impl_->bos);
  size_t begin = 0;  // of the stretch that waits for its end
  const auto flush = [&](size_t end) {
    if (end > begin)
      impl_->encode_stretch(text.substr(begin, end - begin),
                            begin == 0 ? impl_->prefix_first : impl_->prefix_later, max, ids);
  };
  for (size_t at = 0; at < text.size() && ids.size() < max;) {
    const AddedToken* token = impl_->added_at(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t end = at;
    while (token->lstrip && end > begin && is_space(text[end - 1])) --end;
    flush(end);
    ids.push_back(token->id);
    at += token->text.size();
    while (token->rstrip && at < text.size() && is_space(text[at])) ++at;
    begin = at;
  }
  if (ids.size() < max) flush(text.size());
  if (ids.size() > max) ids.resize(max);
  return ids;
}

std::string Tokenizer::decode(const std::vector<int64_t>& ids, bool skip_special) const {
  std::string out, bytes;  // bytes: byte pieces that may form a character together
  const auto flush = [&] {
    for (std::string_view rest = bytes; !rest.empty();) {
      const size_t length = utf8_length(rest);
      out += length > 0 ? rest.substr(0, length) : std::string_view("\xEF\xBF\xBD");
      rest.remove_prefix(std::max<size_t>(length, 1));
    }
    bytes.clear();
  };
  for (const int64_t id : ids) {
    impl_->check(id);
    const auto added = impl_->by_id.find(id);
    if (added != impl_->by_id.end()) {
      if (added->second->special && skip_special) continue;
      flush();
      out += added->second->text;
      continue;
    }
    const auto& piece = impl_->model.pieces[static_cast<size_t>(id)];
    const bool special = piece.type == PieceType::control || piece.type == PieceType::unknown;
    if (special && skip_special) continue;
    if (piece.type == PieceType::byte) {
      bytes += static_cast<char>(std::stoi(piece.text.substr(3, 2), nullptr, 16));
      continue;
    }
    flush();
    for (std::string_view rest = piece.text; !rest.empty();) {
      const bool space = rest.substr(0, 3) == kSpaceMark;
      out += space ? ' ' : rest[0];
      rest.remove_prefix(space ? 3 : 1);
    }
  }
  flush();
  if (impl_->prefix_first && !out.empty() && out[0] == ' ') out.erase(0, 1);
  return out;
}

std::string Tokenizer::decode_completion(const std::vector<int64_t>& prompt,
                                         const std::vector<int64_t>& completion) const {
  std::vector<int64_t> all = prompt;
  for (const int64_t id : completion)
    if (impl_->has(id)) all.push_back(id);
  const std::string before = decode(prompt), after = decode(all);
  // They part early where the prompt ends inside a character, whose bytes alone decode to U+FFFD.
  size_t same = static_cast<size_t>(
      std::mismatch(before.begin(), before.end(), after.begin(), after.end()).first -
      before.begin());
  while (same > 0 && same < after.size() &&
         (static_cast<unsigned char>(after[same]) & 0xC0) == 0x80)
    --same;
  return after.substr(same);
}

int64_t Tokenizer::vocab_size() const { return impl_->vocab_size; }
std::optional<int64_t> Tokenizer::bos() const { return impl_->bos; }
std::optional<int64_t> Tokenizer::eos() const { return impl_->eos; }
std::optional<int64_t> Tokenizer::unk() const { return impl_->unk; }
std::string Tokenizer::eos_text() const { return impl_->eos_text; }
bool Tokenizer::add_bos() const { return impl_->add_bos; }
std::string Tokenizer::fingerprint() const { return impl_->fingerprint; }

std::string Tokenizer::piece(int64_t id) const {
  impl_->check(id);
  const auto added = impl_->by_id.find(id);
  return added != impl_->by_id.end() ? added->second->text
                                     : impl_->model.pieces[static_cast<size_t>(id)].text;
}

}  // namespace luce

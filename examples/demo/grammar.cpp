#include "grammar.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <sstream>

#include "luce/base/error.h"

namespace luce::demo {
namespace {

std::string_view trim(std::string_view text) {
  const size_t begin = text.find_first_not_of(" \n");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \n") + 1 - begin);
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (;;) {
    const size_t end = text.find(separator);
    parts.emplace_back(trim(text.substr(0, end)));
    if (end == std::string_view::npos) return parts;
    text.remove_prefix(end + 1);
  }
}

bool begins_with_any(std::string_view text, const std::vector<std::string>& beginnings) {
  for (const auto& beginning : beginnings)
    if (text.starts_with(beginning)) return true;
  return false;
}

}  // namespace

Grammar::Grammar(std::string_view rules) {
  read(rules);
  // From the bottom up, so that the rules a rule draws from are finished before it.
  for (size_t i = rules_.size(); i-- > 0;) {
    Rule& rule = rules_[i];
    find_beginnings(rule);
    for (const auto& alternative : rule.alternatives) {
      double nats = -std::log(alternative.probability);
      for (const auto& piece : alternative.pieces)
        if (piece.kind == Piece::Kind::draw) nats += rules_[piece.rule].entropy;
      rule.entropy += alternative.probability * nats;
    }
  }
  std::set<size_t> drawn;
  check_repeats(0, drawn);
}

void Grammar::read(std::string_view rules) {
  std::vector<std::string> bodies;
  std::istringstream lines{std::string(rules)};
  for (std::string line; std::getline(lines, line);) {
    if (trim(line).empty()) continue;
    if (line.front() == ' ' && !bodies.empty()) {
      bodies.back() += " " + std::string(trim(line));
      continue;
    }
    const size_t colon = line.find(':');
    if (colon == std::string::npos)
      throw ArgumentError(cat("grammar: \"", line, "\" has no colon after the name of a rule"));
    const std::string name(trim(std::string_view(line).substr(0, colon)));
    for (const auto& other : rules_)
      if (other.name == name)
        throw ArgumentError(cat("grammar: there are two rules named \"", name, "\""));
    rules_.push_back({.name = name, .alternatives = {}});
    bodies.push_back(line.substr(colon + 1));
  }
  if (rules_.empty()) throw ArgumentError("grammar: there is no rule in it");

  std::vector<std::vector<std::string>> texts;
  for (size_t i = 0; i < rules_.size(); ++i) {
    double total = 0;
    for (std::string& text : texts.emplace_back(split(bodies[i], '|'))) {
      Alternative alternative{.probability = 1, .pieces = {}, .forms = {}, .beginnings = {}};
      if (const size_t star = text.find('*'); star != std::string::npos) {
        alternative.probability = std::strtod(text.c_str(), nullptr);
        text = trim(std::string_view(text).substr(star + 1));
      }
      if (!(alternative.probability > 0) || text.empty())
        throw ArgumentError(cat("grammar: rule \"", rules_[i].name,
                                "\" has an alternative that is empty or whose weight is no "
                                "positive number"));
      if (text.find('/') != std::string::npos) alternative.forms = split(text, '/');
      total += alternative.probability;
      rules_[i].alternatives.push_back(std::move(alternative));
    }
    for (auto& alternative : rules_[i].alternatives) alternative.probability /= total;
  }
  for (size_t i = 0; i < rules_.size(); ++i)
    for (size_t j = 0; j < texts[i].size(); ++j) {
      Alternative& alternative = rules_[i].alternatives[j];
      if (alternative.forms.size() != rules_[i].alternatives.front().forms.size())
        throw ArgumentError(cat("grammar: \"", texts[i][j], "\" of rule \"", rules_[i].name,
                                "\" has another number of forms than the first alternative"));
      alternative.pieces =
          read_pieces(i, alternative.forms.empty() ? texts[i][j] : alternative.forms.front());
    }
}

std::vector<Grammar::Piece> Grammar::read_pieces(size_t rule, std::string_view text) const {
  std::vector<Piece> pieces;
  while (!text.empty()) {
    const size_t open = text.find_first_of("<[");
    if (open != 0) pieces.push_back({Piece::Kind::literal, std::string(text.substr(0, open))});
    if (open == std::string_view::npos) break;
    const bool is_draw = text[open] == '<';
    const size_t close = text.find(is_draw ? '>' : ']', open);
    if (close == std::string_view::npos)
      throw ArgumentError(
          cat("grammar: rule \"", rules_[rule].name, "\": \"", text, "\" lacks its bracket"));
    const auto slot = split(text.substr(open + 1, close - open - 1), '.');
    const size_t target = find(rule, slot.front());
    if (is_draw && target <= rule)
      throw ArgumentError(cat("grammar: rule \"", rules_[rule].name, "\" draws from \"",
                              slot.front(), "\", which does not stand below it"));
    pieces.push_back({is_draw ? Piece::Kind::draw : Piece::Kind::repeat, "", target,
                      slot.size() == 1 ? 0 : find_form(rule, target, slot[1])});
    text.remove_prefix(close + 1);
  }
  return pieces;
}

size_t Grammar::find(size_t user, std::string_view name) const {
  for (size_t i = 0; i < rules_.size(); ++i)
    if (rules_[i].name == name) return i;
  throw ArgumentError(
      cat("grammar: rule \"", rules_[user].name, "\" names \"", name, "\", which is no rule"));
}

size_t Grammar::find_form(size_t user, size_t rule, std::string_view form) const {
  const auto& forms = rules_[rule].alternatives.front().forms;
  for (size_t i = 0; i < forms.size(); ++i)
    if (forms[i] == form) return i;
  throw ArgumentError(cat("grammar: rule \"", rules_[user].name, "\" names the form \"", form,
                          "\", which rule \"", rules_[rule].name, "\" does not have"));
}

void Grammar::find_beginnings(Rule& rule) const {
  std::vector<std::string> all;
  for (auto& alternative : rule.alternatives) {
    const Piece& first = alternative.pieces.front();
    if (first.kind == Piece::Kind::draw) {
      for (const auto& below : rules_[first.rule].alternatives)
        alternative.beginnings.insert(alternative.beginnings.end(), below.beginnings.begin(),
                                      below.beginnings.end());
    } else {
      alternative.beginnings = {first.text};  // of a repetition: nothing, since it is not known
    }
    for (const auto& ours : alternative.beginnings)
      for (const auto& other : all)
        if (ours.starts_with(other) || other.starts_with(ours))
          throw ArgumentError(cat("grammar: rule \"", rule.name,
                                  "\" has alternatives that begin with \"", other, "\" and \"",
                                  ours, "\": a reader could not tell which one a text uses"));
    all.insert(all.end(), alternative.beginnings.begin(), alternative.beginnings.end());
  }
}

// Adds the rule, and those that every one of its alternatives draws from, to `drawn`.
void Grammar::check_repeats(size_t rule, std::set<size_t>& drawn) const {
  std::set<size_t> always;
  bool is_first = true;
  for (const auto& alternative : rules_[rule].alternatives) {
    std::set<size_t> after = drawn;
    for (const auto& piece : alternative.pieces) {
      if (piece.kind == Piece::Kind::draw) check_repeats(piece.rule, after);
      if (piece.kind == Piece::Kind::repeat && !after.contains(piece.rule))
        throw ArgumentError(cat("grammar: rule \"", rules_[rule].name, "\" repeats \"",
                                rules_[piece.rule].name, "\" before it is drawn"));
    }
    if (is_first) always = after;
    std::erase_if(always, [&](size_t one) { return !after.contains(one); });
    is_first = false;
  }
  drawn = std::move(always);
  drawn.insert(rule);
}

// Walks one derivation. The chooser picks an alternative of each rule, takes each stretch of text
// and says with its return value whether to go on; `text` is all that it has taken.
template <class Chooser>
void Grammar::derive(size_t rule, Chooser& chooser, Memory& memory) const {
  const size_t begin = chooser.text.size();
  const Alternative* alternative = chooser.choose(rules_[rule]);
  if (alternative == nullptr) return;
  chooser.log_probability += std::log(alternative->probability);
  for (const auto& piece : alternative->pieces) {
    if (chooser.has_failed) return;
    if (piece.kind == Piece::Kind::draw) {
      derive(piece.rule, chooser, memory);
    } else if (piece.kind == Piece::Kind::literal) {
      chooser.take(piece.text);
    } else {
      chooser.take(memory.at(piece.rule)[piece.form]);
    }
  }
  memory[rule] = alternative->forms;
  if (alternative->forms.empty()) memory[rule] = {chooser.text.substr(begin)};
}

struct Grammar::Sampler {
  const Random& random;
  uint64_t index;
  uint32_t position = 0;
  std::string text = {};
  double log_probability = 0;
  static constexpr bool has_failed = false;

  const Alternative* choose(const Rule& rule) {
    const auto& all = rule.alternatives;
    if (all.size() == 1) return &all.front();
    double left = random.uniform(0, index, position++);
    for (const auto& alternative : all)
      if ((left -= alternative.probability) < 0) return &alternative;
    return &all.back();  // rounding
  }
  void take(const std::string& stretch) { text += stretch; }
};

struct Grammar::Parser {
  std::string_view rest;
  std::string text = {};
  double log_probability = 0;
  bool has_failed = false;

  const Alternative* choose(const Rule& rule) {
    for (const auto& alternative : rule.alternatives)
      if (begins_with_any(rest, alternative.beginnings)) return &alternative;
    has_failed = true;
    return nullptr;
  }
  void take(const std::string& stretch) {
    if (!rest.starts_with(stretch)) {
      has_failed = true;
      return;
    }
    text += stretch;
    rest.remove_prefix(stretch.size());
  }
};

Grammar::Text Grammar::sample(const Random& random, uint64_t index) const {
  Sampler sampler{.random = random, .index = index};
  Memory memory;
  derive(0, sampler, memory);
  return {std::move(sampler.text), sampler.log_probability};
}

double Grammar::log_probability(std::string_view text) const {
  Parser parser{.rest = text};
  Memory memory;
  derive(0, parser, memory);
  return parser.has_failed || !parser.rest.empty() ? -std::numeric_limits<double>::infinity()
                                                   : parser.log_probability;
}

}  // namespace luce::demo

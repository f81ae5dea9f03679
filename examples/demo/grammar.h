// A probabilistic grammar over texts whose probabilities are exact: it samples a text, tells the
// probability of any text, and knows its entropy in closed form.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "luce/base/random.h"

namespace luce::demo {

/// Rules, one `name: alternative | alternative | …` after the other; an indented line continues the
/// rule above it. The first rule is the start. In an alternative
///   `3*` at its beginning is its weight (else 1): its share among the alternatives of the rule;
///   `<rule>` draws from a rule further down, so that nothing is recursive;
///   `[rule]` repeats what was last drawn from it;
///   `[rule.she]` repeats another form of it: an alternative of that rule lists its forms as
///   `Tom/he/his`, and a form goes by its name in the rule's first alternative, `Lily/she/her`.
///
/// A text has at most one derivation, because the constructor refuses a grammar in which reading
/// from left to right would leave a choice: the beginnings of a rule's alternatives (the letters
/// before anything else is drawn or repeated) must differ before either of them ends.
class Grammar {
 public:
  /// Throws ArgumentError naming the rule and what is wrong with it.
  explicit Grammar(std::string_view rules);

  struct Text {
    std::string text;
    double log_probability = 0;  // nats
  };
  /// Text `index`: a pure function of (random, index).
  Text sample(const Random& random, uint64_t index) const;

  /// Log-probability of a text in nats, −infinity where the grammar does not make it.
  double log_probability(std::string_view text) const;

  /// Expected −log-probability of a text, in nats.
  double entropy() const { return rules_.front().entropy; }

 private:
  struct Piece {
    enum class Kind { literal, draw, repeat } kind;
    std::string text;  // of a literal
    size_t rule = 0, form = 0;
  };
  struct Alternative {
    double probability = 0;
    std::vector<Piece> pieces;
    std::vector<std::string> forms;  // empty where it has one only
    std::vector<std::string> beginnings;
  };
  struct Rule {
    std::string name;
    std::vector<Alternative> alternatives;
    double entropy = 0;
  };
  using Memory = std::map<size_t, std::vector<std::string>>;  // rule → forms last drawn

  struct Sampler;
  struct Parser;
  template <class Chooser>
  void derive(size_t rule, Chooser& chooser, Memory& memory) const;
  void read(std::string_view rules);
  std::vector<Piece> read_pieces(size_t rule, std::string_view text) const;
  size_t find(size_t user, std::string_view name) const;
  size_t find_form(size_t user, size_t rule, std::string_view form) const;
  void find_beginnings(Rule& rule) const;
  void check_repeats(size_t rule, std::set<size_t>& drawn) const;

  std::vector<Rule> rules_;
};

}  // namespace luce::demo

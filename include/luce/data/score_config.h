// What config.json says of a model that scores answers. transformers reads the folder as
// …ForSequenceClassification (one score an answer, at its last token) or …ForTokenClassification
// (scores at every token); what it does not know stands under the key "luce".
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "luce/base/json.h"

namespace luce {

/// What a score model tells.
enum class ScoreKind : uint8_t {
  reward,   // how good an answer is: at its last token, K heads beside each other
  outcome,  // log-odds that the answer will turn out right: at every token of it
  process,  // logits of (wrong, right): at the last token of each step
};
std::string name_of(ScoreKind kind);

/// Mean and standard deviation.
struct Moments {
  double mean = 0, deviation = 1;
};

struct ScoreConfig {
  ScoreKind kind = ScoreKind::reward;
  std::string head = "linear";  // linear | mlp: a hidden layer of the model's width, tanh
  int64_t count = 1;            // heads of a reward model
  std::optional<int64_t> pad_token_id = {};  // an id that no row uses: transformers looks for it
  std::optional<Moments> scores = {};        // of the scores that it tells on rows of its kind
  std::optional<Moments> targets = {};       // of the scores it learnt to predict (regression)

  /// Numbers that the head gives at a place: K, 1 or 2.
  int64_t outputs() const { return kind == ScoreKind::process ? 2 : count; }
};

/// What config.json tells of a head of scores; nothing where it is that of another kind of model.
/// `name` stands for the file in errors. Throws DataError on a value that makes no sense.
std::optional<ScoreConfig> parse_score_config(const Json& config, const std::string& name);

/// Writes the head into a model's config.json: class name, labels, pad_token_id, "luce".
void add_score_config(Json& config, const ScoreConfig& score, const std::string& class_prefix);

}  // namespace luce

// A decoder with a head of scores where a language model has its vocabulary: reward, outcome and
// process models, and later the value model of an online run.
#pragma once

#include "luce/batch.h"
#include "luce/data/score_config.h"
#include "luce/model/decoder.h"

namespace luce {

/// Where the answers of a batch are scored.
struct ScorePlaces {
  Tensor rows;                  // [R] i64 of the batch's stream
  std::vector<int64_t> offset;  // [C+1] answer c owns rows [offset[c], offset[c+1])
};

/// The last token of each answer (reward), all of its tokens (outcome), or the ends of its steps
/// (process). The batch must have been made with own_rows.
ScorePlaces score_places(const Batch& batch, ScoreKind kind);

class ScoreModel : public Decoder {
 public:
  /// Reads a folder with a head of scores. Throws DataError where it has none, and as CausalLM
  /// does.
  static std::shared_ptr<ScoreModel> load(const std::filesystem::path& folder,
                                          const ModelOptions& options = {});
  /// The start of a training run: the trunk of any folder, and its head where that is the wanted
  /// one; a language model's output matrix is left behind and a fresh head is drawn by `seed`,
  /// normal(0, 1/√(D+1)). Throws DataError where the folder has a head of another kind or shape.
  static std::shared_ptr<ScoreModel> start(const std::filesystem::path& folder,
                                           const ScoreConfig& wanted, uint64_t seed,
                                           const ModelOptions& options = {});
  std::shared_ptr<ScoreModel> clone() const;

  const ScoreConfig& score_config() const { return score_; }
  /// For what is known only when a run ends: moments of the scores, an id for padding.
  ScoreConfig& score_config() { return score_; }

  /// Scores at rows of the trunk's output: [R, D] → [R, outputs], f32 (f64 for f64 models), raw.
  /// Differentiable in `hidden` and the head's weights.
  Tensor scores(const Tensor& hidden) const;

 private:
  ScoreModel(ModelConfig config, ScoreConfig score, ModelOptions options);
  Json config_json(const std::string& dtype) const override;
  std::vector<std::string> ignored() const override;
  Tensor layer(const Linear& linear, const Tensor& x) const;

  ScoreConfig score_;
  std::optional<Linear> hidden_;  // of an mlp head
  Linear out_;
};

}  // namespace luce

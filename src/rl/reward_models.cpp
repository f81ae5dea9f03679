#include "luce/rl/reward_models.h"

#include <algorithm>
#include <limits>

#include "luce/base/error.h"
#include "luce/data/examples.h"
#include "luce/data/model_config.h"

namespace luce {
namespace {

std::vector<std::string> folders_of(const Json& path) {
  const bool is_list = path.is_array() && !path.empty();
  const Json list = is_list ? path : Json::array({path});
  std::vector<std::string> out;
  for (const Json& folder : list) {
    if (!folder.is_string() || folder.get<std::string>().empty())
      throw UsageError(cat("path must be the folder of a model, or a list of folders; got ",
                           shortened(path.dump())));
    out.push_back(folder.get<std::string>());
  }
  return out;
}

/// Null where the folder has none.
std::shared_ptr<const Tokenizer> tokenizer_of(const std::string& folder) {
  if (!std::filesystem::exists(std::filesystem::path(folder) / "tokenizer.model")) return nullptr;
  return Tokenizer::load(folder);
}

bool is_same(const Tokenizer* a, const Tokenizer* b) {
  return a == nullptr || b == nullptr ? a == b : a->fingerprint() == b->fingerprint();
}

/// Scores the inputs that can be asked about; the others keep their problem.
template <class Ask, class Score>
std::vector<RewardValue> scored(const std::vector<RewardInput>& inputs, const Ask& ask,
                                const Score& score) {
  std::vector<RewardValue> out(inputs.size());
  std::vector<Example> rows;
  std::vector<size_t> at;
  for (size_t i = 0; i < inputs.size(); ++i) try {
      rows.push_back(ask(inputs[i]));
      at.push_back(i);
    } catch (const DataError& failure) {
      out[i].problem = failure.what();
    }
  if (rows.empty()) return out;
  const std::vector<double> values = score(rows);
  for (size_t k = 0; k < at.size(); ++k) {
    out[at[k]].value = values[k];
    if (std::isnan(values[k])) out[at[k]].problem = "the model gave NaN";
  }
  return out;
}

}  // namespace

void describe(Schema& s, ModelReward::Options& o) {
  s.field("path", o.path, "folder of a reward or outcome model, or a list of folders: an ensemble")
      .required();
  s.field("combine", o.scorer.ensemble.combine,
          "one score of an ensemble: mean, min, mean - kappa std, mean - kappa var")
      .one_of({"mean", "min", "lower_bound", "variance_penalty"});
  s.field("kappa", o.scorer.ensemble.kappa, "of lower_bound and variance_penalty").at_least(0);
  s.field("reduce", o.scorer.reduce, "one score of an outcome model's, which has one a token")
      .one_of({"last", "min", "mean", "product", "sum"});
  s.field("normalise", o.scorer.normalise, "(score - mean) / std, by the moments saved with it");
}

RewardInfo ModelReward::info() {
  return {.name = "model",
          .title = "The score of a reward model, or of an ensemble of them",
          .notes =
              "Scores tokens as they were sampled where the tokenizer is the policy's, else "
              "their texts."};
}

ModelReward::ModelReward(const Options& o, const RewardContext& context) {
  const auto folders = folders_of(o.path);
  const auto tokenizer = tokenizer_of(folders.front());
  std::vector<std::shared_ptr<const ScoreModel>> models;
  context_ = vocabulary_ = std::numeric_limits<int64_t>::max();
  for (const auto& folder : folders) {
    if (!is_same(tokenizer_of(folder).get(), tokenizer.get()))
      throw UsageError(cat(folder, ": its tokenizer is not that of ", folders.front(),
                           "; the members of an ensemble must read the same tokens"));
    models.push_back(ScoreModel::load(folder, context.model));
    const ScoreKind kind = models.back()->score_config().kind;
    if (kind == ScoreKind::process)
      throw UsageError(cat(folder,
                           ": a process model scores steps, which completions do not "
                           "mark; a reward or outcome model is needed here"));
    if (kind == ScoreKind::reward && o.scorer.reduce != "last")
      throw UsageError(cat(folder,
                           ": a reward model scores an answer once; reduce is for outcome "
                           "models"));
    context_ = std::min(context_, models.back()->config().max_position_embeddings);
    vocabulary_ = std::min(vocabulary_, models.back()->config().vocab_size);
  }
  if (tokenizer != nullptr && !is_same(tokenizer.get(), context.tokenizer)) {
    if (context.tokenizer == nullptr)
      throw UsageError(cat(folders.front(),
                           ": this model has a tokenizer and the policy has none, "
                           "so that there are no texts to score"));
    tokenizer_ = tokenizer;
  }
  RewardScorerOptions scorer = o.scorer;
  scorer.micro_batch_tokens = context.micro_batch_tokens;
  scorer_ = std::make_unique<RewardScorer>(std::move(models), scorer);
}

Example ModelReward::row_of(const RewardInput& input) const {
  Example row = {.prompt = input.prompt_ids, .completions = {input.completion_ids}};
  if (tokenizer_ != nullptr) {
    DatasetOptions options;
    options.max_length = std::numeric_limits<int32_t>::max();
    options.add_eos = !input.truncated;
    RowTexts texts;
    texts.prompt = input.prompt;
    texts.completions = {input.completion};
    RowTokens made = tokenize_row(texts, RowType::ranked, tokenizer_.get(), options);
    row = made.fate == RowTokens::Fate::kept ? std::move(made.example) : Example{};
  }
  if (row.prompt.empty() || row.completions.empty() || row.completions[0].empty())
    throw DataError("a completion without a token cannot be scored");
  const auto length = static_cast<int64_t>(row.prompt.size() + row.completions[0].size());
  if (length > context_)
    throw DataError(
        cat("prompt and completion have ", length, " tokens; the model's context is ", context_));
  for (const auto* ids : {&row.prompt, &row.completions[0]})
    for (const int64_t id : *ids)
      if (id < 0 || id >= vocabulary_)
        throw DataError(
            cat("the token id ", id, " is not in the model's vocabulary of ", vocabulary_));
  return row;
}

std::vector<RewardValue> ModelReward::operator()(const std::vector<RewardInput>& inputs) {
  return scored(
      inputs, [&](const RewardInput& input) { return row_of(input); },
      [&](const std::vector<Example>& rows) {
        std::vector<const Example*> pointers;
        for (const auto& row : rows) pointers.push_back(&row);
        std::vector<double> out;
        for (const auto& score : (*scorer_)(pointers)) out.push_back(score.value);
        return out;
      });
}

void describe(Schema& s, JudgeReward::Options& o) {
  s.field("path", o.path, "folder of the language model that judges").required();
  s.field("template", o.questions,
          "JSON file with the question, {\"template\": …, \"verdicts\": [good, bad]}")
      .required();
}

RewardInfo JudgeReward::info() {
  return {.name = "judge",
          .title = "Log-odds that a language model calls the completion good",
          .notes = "log P(first verdict) - log P(second verdict), of a pointwise template."};
}

JudgeReward::JudgeReward(const Options& o, const RewardContext& context) {
  const ModelConfig config = read_model_config(o.path);
  if (parse_score_config(config.source, o.path + "/config.json"))
    throw UsageError(
        cat(o.path, ": this model has a head of scores; a language model is needed here"));
  const auto questions = JudgeTemplate::read(o.questions);
  if (questions.is_pairwise())
    throw UsageError(cat(o.questions,
                         ": this template compares two answers; scores of single ones need "
                         "{answer}"));
  judge_ = std::make_unique<Judge>(CausalLM::load(o.path, context.model), Tokenizer::load(o.path),
                                   questions, context.micro_batch_tokens);
}

std::vector<RewardValue> JudgeReward::operator()(const std::vector<RewardInput>& inputs) {
  return scored(
      inputs,
      [&](const RewardInput& input) { return judge_->question(input.prompt, {input.completion}); },
      [&](const std::vector<Example>& rows) { return judge_->log_odds(rows); });
}

}  // namespace luce

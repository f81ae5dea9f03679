#include "scoring.h"

#include <limits>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/data/model_config.h"

namespace luce::cli {
namespace {

std::shared_ptr<const Tokenizer> tokenizer_of(const std::string& folder) {
  if (!std::filesystem::exists(std::filesystem::path(folder) / "tokenizer.model")) return nullptr;
  return Tokenizer::load(folder);
}

/// Throws where two folders would read one text as different tokens.
void expect_same_tokens(const std::string& a, const std::string& b) {
  const auto file = [](const std::string& folder) {
    const auto path = std::filesystem::path(folder) / "tokenizer.model";
    return std::filesystem::exists(path) ? read_file(path) : "";
  };
  if (file(a) != file(b))
    throw UsageError(cat(b, ": its tokenizer is not that of ", a,
                         "; models that score the same rows must read the same tokens"));
}

void check_sources(const ScorerArgs& args) {
  if (!args.reference.empty() && !args.judge.empty())
    throw UsageError(
        "--reference makes MODEL a policy and --judge makes it a judge; give one of them");
  const char* other = !args.reference.empty() ? "--reference" : "--judge";
  if (args.reference.empty() && args.judge.empty()) return;
  if (!args.with.empty())
    throw UsageError(
        cat("--with adds reward models to an ensemble; it cannot stand beside ", other));
  const RewardScorerOptions plain, &o = args.options;
  if (o.dense || o.normalise || o.reduce != plain.reduce ||
      o.ensemble.combine != plain.ensemble.combine || o.ensemble.kappa != plain.ensemble.kappa)
    throw UsageError(
        cat("--combine, --kappa, --reduce, --dense and --normalise are for models "
            "with a head of scores; they cannot stand beside ",
            other));
}

}  // namespace

void add_scorer_options(CLI::App& verb, ScorerArgs& args, bool only_pairs) {
  auto& o = args.options;
  verb.add_option("--with", args.with, "A further reward model: an ensemble; may be repeated")
      ->allow_extra_args(false);
  verb.add_option("--combine", o.ensemble.combine,
                  "One score of an ensemble: mean, min, lower_bound (mean - kappa std) or "
                  "variance_penalty (mean - kappa var)")
      ->capture_default_str();
  verb.add_option("--kappa", o.ensemble.kappa, "Of lower_bound and variance_penalty")
      ->capture_default_str();
  verb.add_option("--reduce", o.reduce,
                  "One score of an outcome or process model: last, min, mean, product or sum")
      ->capture_default_str();
  if (!only_pairs) {
    verb.add_flag("--dense", o.dense, "Print the probabilities of tokens or steps, too");
    verb.add_flag("--normalise", o.normalise,
                  "(score - mean) / std, by the moments saved with the model");
  }
  verb.add_option("--reference", args.reference,
                  "The model is a policy and this its reference: scores are beta (log pi - log "
                  "pi_ref)");
  verb.add_option("--beta", args.beta, "Of scores by --reference")->capture_default_str();
  verb.add_option("--judge", args.judge,
                  "The model is a judge, asked by this template (JSON): scores are log-odds");
  verb.add_option("--max-length", args.max_length,
                  "Most tokens of prompt and answer; the model's context unless given")
      ->check(CLI::Range(int64_t{2}, int64_t{std::numeric_limits<int32_t>::max()}));
  verb.add_option("--dtype", args.dtype, "float32, float64 or bfloat16")->capture_default_str();
  verb.add_option("--device", args.device, "auto, cpu or cuda")->capture_default_str();
  verb.add_option("--micro-batch-tokens", o.micro_batch_tokens, "Tokens run at once")
      ->capture_default_str();
}

ModelOptions model_options(const ScorerArgs& args) {
  return {.dtype = dtype_of(args.dtype, "--dtype"), .device = device_of(args.device, "--device")};
}

void expect_policy(const std::string& folder) {
  const ModelConfig config = read_model_config(folder);
  if (parse_score_config(config.source, folder + "/config.json"))
    throw UsageError(cat(folder,
                         ": this model has a head of scores; a language model is needed "
                         "here"));
}

RowScorer::RowScorer(const ScorerArgs& args) {
  check_sources(args);
  const ModelOptions options = model_options(args);
  const auto tokens = args.options.micro_batch_tokens;
  const auto limits = [&](const Decoder& model) {
    const int64_t context = model.config().max_position_embeddings;
    if (args.max_length > context)
      throw UsageError(
          cat("--max-length is ", args.max_length, "; the model's context is ", context));
    max_length_ = args.max_length > 0 ? args.max_length : context;
    limit_ = args.max_length > 0 ? "--max-length" : "the model's context";
    vocabulary_ = model.config().vocab_size;
  };
  if (!args.judge.empty()) {
    expect_policy(args.model);
    const auto model = CausalLM::load(args.model, options);
    limits(*model);
    if (args.max_length > 0)
      throw UsageError("--max-length cannot stand beside --judge: a question is never cut");
    judge_ = std::make_shared<Judge>(model, Tokenizer::load(args.model),
                                     JudgeTemplate::read(args.judge), tokens);
    return;
  }
  tokenizer_ = tokenizer_of(args.model);
  if (!args.reference.empty()) {
    expect_policy(args.model);
    expect_policy(args.reference);
    expect_same_tokens(args.model, args.reference);
    const auto policy = CausalLM::load(args.model, options);
    limits(*policy);
    scorer_ = std::make_unique<ImplicitScorer>(policy, CausalLM::load(args.reference, options),
                                               args.beta, tokens);
    return;
  }
  std::vector<std::shared_ptr<const ScoreModel>> models = {ScoreModel::load(args.model, options)};
  for (const auto& folder : args.with) {
    models.push_back(ScoreModel::load(folder, options));
    expect_same_tokens(args.model, folder);
  }
  const ScoreConfig& score = models.front()->score_config();
  limits(*models.front());
  if (score.kind == ScoreKind::reward && (args.options.dense || args.options.reduce != "last"))
    throw UsageError(cat(args.model,
                         ": a reward model scores an answer once; --dense and --reduce are for "
                         "outcome and process models"));
  needs_steps_ = score.kind == ScoreKind::process;
  log_odds_ = score.kind == ScoreKind::reward;
  for (const auto& model : models) log_odds_ = log_odds_ && !model->score_config().targets;
  members_ = 0;
  for (const auto& model : models)
    members_ += score.kind == ScoreKind::reward ? model->score_config().count : 1;
  scorer_ = std::make_unique<RewardScorer>(std::move(models), args.options);
}

Example RowScorer::tokens(const TextRow& row) const {
  const auto fail = [&](const std::string& problem) {
    throw DataError(cat(row.where, ": ", problem));
  };
  if (needs_steps_ && row.type != RowType::stepwise)
    fail("a process model scores steps; its rows have prompt, completions and labels");
  if (row.type != RowType::input_ids && tokenizer_ == nullptr)
    fail("the model's folder has no tokenizer.model, so rows must hold input_ids");
  DatasetOptions options;
  options.max_length = std::numeric_limits<int32_t>::max();
  RowTokens tokens;
  try {
    tokens = tokenize_row(row.texts, row.type, tokenizer_.get(), options);
  } catch (const DataError& failure) {
    fail(failure.what());
  }
  if (tokens.fate != RowTokens::Fate::kept) fail("an answer without a token cannot be scored");
  const auto check = [&](const std::vector<int64_t>& ids) {
    for (const int64_t id : ids)
      if (id >= vocabulary_)
        fail(cat("the token id ", id, " is not in the model's vocabulary of ", vocabulary_));
  };
  check(tokens.example.prompt);
  for (const auto& completion : tokens.example.completions) {
    check(completion);
    const auto length = static_cast<int64_t>(tokens.example.prompt.size() + completion.size());
    if (length > max_length_) fail(cat(length, " tokens; ", limit_, " is ", max_length_));
  }
  return std::move(tokens.example);
}

std::vector<AnswerScore> RowScorer::judged(const std::vector<TextRow>& rows) const {
  std::vector<Example> questions;
  for (const auto& row : rows)
    for (const auto& answer : answers_of(row)) try {
        questions.push_back(judge_->question(row.texts.prompt, {answer}));
      } catch (const DataError& failure) {
        throw DataError(cat(row.where, ": ", failure.what()));
      }
  std::vector<AnswerScore> out;
  for (const double value : judge_->log_odds(questions)) out.push_back({.value = value});
  return out;
}

std::vector<std::vector<AnswerScore>> RowScorer::scores(const std::vector<TextRow>& rows) const {
  std::vector<AnswerScore> flat;
  std::vector<size_t> counts;
  if (judge_) {
    flat = judged(rows);
    for (const auto& row : rows) counts.push_back(answers_of(row).size());
  } else {
    std::vector<Example> examples;
    for (const auto& row : rows) {
      examples.push_back(tokens(row));
      counts.push_back(examples.back().completions.size());
    }
    std::vector<const Example*> pointers;
    for (const auto& example : examples) pointers.push_back(&example);
    flat = (*scorer_)(pointers);
  }
  std::vector<std::vector<AnswerScore>> out;
  auto at = flat.begin();
  for (const size_t count : counts) {
    out.emplace_back(at, at + static_cast<int64_t>(count));
    at += static_cast<int64_t>(count);
  }
  return out;
}

JudgedPairs RowScorer::judge(const std::vector<TextRow>& rows) const {
  std::vector<AnswerPair> pairs;
  for (const auto& row : rows) {
    const auto answers = answers_of(row);
    if (row.type != RowType::preference)
      throw DataError(cat(row.where,
                          ": this template compares two answers; the row has no chosen "
                          "and rejected one"));
    pairs.push_back({row.texts.prompt, answers[0], answers[1]});
    try {
      judge_->question(row.texts.prompt, {answers[0], answers[1]});
    } catch (const DataError& failure) {
      throw DataError(cat(row.where, ": ", failure.what()));
    }
  }
  return judge_->judge(pairs);
}

}  // namespace luce::cli

#include "luce/rl/judge.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "luce/base/error.h"
#include "luce/data/examples.h"
#include "rl/batches.h"

namespace luce {
namespace {

const std::set<std::string> kSlots = {"prompt", "first", "second", "answer", "verdict"};

bool is_word(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  });
}

std::string text_at(const Json& json, const char* key, const std::string& name) {
  const auto at = json.find(key);
  if (at == json.end()) throw UsageError(cat(name, ": \"", key, "\" is missing"));
  if (!at->is_string())
    throw UsageError(cat(name, ": \"", key, "\" is ", shortened(at->dump()), ", expected a text"));
  return at->get<std::string>();
}

std::vector<std::string> verdicts_of(const Json& json, const std::string& name) {
  const auto at = json.find("verdicts");
  if (at == json.end()) throw UsageError(cat(name, ": \"verdicts\" is missing"));
  const bool good = at->is_array() && at->size() == 2 && (*at)[0].is_string() &&
                    (*at)[1].is_string() && (*at)[0] != (*at)[1] && (*at)[0] != "" &&
                    (*at)[1] != "";
  if (!good)
    throw UsageError(cat(name, ": \"verdicts\" is ", shortened(at->dump()),
                         ", expected two different texts such as [\"A\", \"B\"]"));
  return at->get<std::vector<std::string>>();
}

}  // namespace

JudgeTemplate::JudgeTemplate(const Json& json, const std::string& name) : name_(name) {
  if (!json.is_object()) throw UsageError(cat(name, ": a judge's template is a JSON object"));
  for (const auto& [key, value] : json.items())
    if (key != "template" && key != "verdicts")
      throw UsageError(
          cat(name, ": unknown key \"", key, "\"; a judge has \"template\" and \"verdicts\""));
  const std::string text = text_at(json, "template", name);
  verdicts_ = verdicts_of(json, name);

  std::set<std::string> found;
  Part part;
  for (size_t at = 0; at < text.size();) {
    const size_t close = text[at] == '{' ? text.find('}', at) : std::string::npos;
    const std::string slot = close == std::string::npos ? "" : text.substr(at + 1, close - at - 1);
    if (!is_word(slot)) {
      part.text += text[at++];
      continue;
    }
    if (!kSlots.contains(slot))
      throw UsageError(
          cat(name, ": unknown slot {", slot,
              "}; there are {prompt}, {first} and {second} or {answer}, and {verdict}"));
    if (slot == "verdict" && close + 1 != text.size())
      throw UsageError(cat(name, ": {verdict} stands inside the template; it must end it"));
    found.insert(slot);
    part.slot = slot;
    parts_.push_back(std::move(part));
    part = {};
    at = close + 1;
  }
  if (!found.contains("verdict"))
    throw UsageError(cat(name, ": the template must end with the slot {verdict}"));
  pairwise_ = found.contains("first") || found.contains("second");
  if (pairwise_ && found.contains("answer"))
    throw UsageError(cat(name,
                         ": the template has {answer} beside {first} or {second}; it asks about "
                         "two answers or about one"));
  for (const std::string& slot : pairwise_ ? std::vector<std::string>{"prompt", "first", "second"}
                                           : std::vector<std::string>{"prompt", "answer"})
    if (!found.contains(slot))
      throw UsageError(cat(name, ": the slot {", slot, "} is missing from the template"));
}

JudgeTemplate JudgeTemplate::read(const std::filesystem::path& file) {
  return JudgeTemplate(Document::read(file.string()).value(), file.string());
}

std::string JudgeTemplate::question(const std::string& prompt,
                                    const std::vector<std::string>& answers) const {
  if (answers.size() != (pairwise_ ? 2 : 1))
    throw ArgumentError(cat("[JudgeTemplate] a ", pairwise_ ? "pairwise" : "pointwise",
                            " template takes ", pairwise_ ? "2 answers" : "1 answer", ", got ",
                            answers.size()));
  std::string out;
  for (const auto& [text, slot] : parts_) {
    out += text;
    if (slot == "prompt") out += prompt;
    if (slot == "first" || slot == "answer") out += answers.front();
    if (slot == "second") out += answers.back();
  }
  return out;
}

std::vector<double> JudgedPairs::preferences() const {
  std::vector<double> out;
  for (const double x : log_odds) out.push_back(1 / (1 + std::exp(-x)));
  return out;
}

Judge::Judge(std::shared_ptr<const CausalLM> model, std::shared_ptr<const Tokenizer> tokenizer,
             JudgeTemplate questions, int64_t micro_batch_tokens)
    : model_(std::move(model)),
      tokenizer_(std::move(tokenizer)),
      questions_(std::move(questions)),
      micro_batch_tokens_(micro_batch_tokens) {
  const Example empty = question("", std::vector<std::string>(questions_.is_pairwise() ? 2 : 1));
  const auto& verdicts = questions_.verdicts();
  if (empty.completions[0].front() == empty.completions[1].front())
    throw UsageError(cat(questions_.name(), ": the verdicts \"", verdicts[0], "\" and \"",
                         verdicts[1], "\" begin with the same token of this model, \"",
                         tokenizer_->piece(empty.completions[0].front()),
                         "\"; choose words that differ from their first token on"));
}

Example Judge::question(const std::string& prompt, const std::vector<std::string>& answers) const {
  DatasetOptions options;
  options.max_length = std::numeric_limits<int32_t>::max();
  options.add_eos = false;
  RowTexts texts;
  texts.prompt = questions_.question(prompt, answers);
  texts.completions = questions_.verdicts();
  RowTokens tokens = tokenize_row(texts, RowType::ranked, tokenizer_.get(), options);
  if (tokens.fate != RowTokens::Fate::kept)
    throw UsageError(cat(questions_.name(), ": a verdict has no token of its own in this model"));
  Example& out = tokens.example;
  const size_t length =
      out.prompt.size() + std::max(out.completions[0].size(), out.completions[1].size());
  if (static_cast<int64_t>(length) > model_->config().max_position_embeddings)
    throw DataError(cat("the question about it has ", length, " tokens; the judge's context is ",
                        model_->config().max_position_embeddings));
  return std::move(out);
}

std::vector<double> Judge::log_odds(const std::vector<Example>& questions) const {
  const at::NoGradGuard no_grad;
  RowList rows;
  for (const auto& question : questions) rows.push_back(&question);
  std::vector<double> out;
  for_batches(rows, micro_batch_tokens_, {}, [&](const Batch& batch) {
    const Tensor logps = completion_logps(*model_, batch);
    const double* at = logps.const_data_ptr<double>();
    for (int64_t c = 0; c + 1 < logps.size(0); c += 2) out.push_back(at[c] - at[c + 1]);
  });
  return out;
}

JudgedPairs Judge::judge(const std::vector<AnswerPair>& pairs) const {
  if (!questions_.is_pairwise())
    throw UsageError(cat(questions_.name(),
                         ": this template asks about one answer; pairs need {first} and {second}"));
  std::vector<Example> asked;
  for (const auto& [prompt, first, second] : pairs) {
    asked.push_back(question(prompt, {first, second}));
    asked.push_back(question(prompt, {second, first}));
  }
  const std::vector<double> odds = log_odds(asked);
  JudgedPairs out;
  for (size_t i = 0; i < odds.size(); i += 2) {
    out.log_odds.push_back((odds[i] - odds[i + 1]) / 2);
    out.order_gap.push_back(odds[i] + odds[i + 1]);
  }
  return out;
}

JudgeScorer::JudgeScorer(std::shared_ptr<const Judge> judge) : judge_(std::move(judge)) {
  if (judge_->questions().is_pairwise())
    throw UsageError(cat(judge_->questions().name(),
                         ": this template compares two answers; scores of single ones need "
                         "{answer}"));
}

std::vector<AnswerScore> JudgeScorer::operator()(const RowList& rows) const {
  std::vector<Example> questions;
  for (const Example* row : rows) {
    const std::string prompt = judge_->tokenizer().decode(row->prompt);
    for (const auto& answer : row->completions)
      questions.push_back(
          judge_->question(prompt, {judge_->tokenizer().decode_completion(row->prompt, answer)}));
  }
  std::vector<AnswerScore> out;
  for (const double value : judge_->log_odds(questions)) out.push_back({.value = value});
  return out;
}

}  // namespace luce

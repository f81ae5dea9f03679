// A language model as a judge: it is asked about answers in words, and what it would say is read
// from its log-probs, so that a verdict costs one forward pass and no sampling.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "luce/base/json.h"
#include "luce/data/tokenizer.h"
#include "luce/rl/scorer.h"

namespace luce {

/// A question with slots and the two verdicts that may end it. Pairwise: {prompt}, {first},
/// {second}; the first verdict says that {first} is the better answer. Pointwise: {prompt},
/// {answer}; the first verdict says that the answer is good. {verdict} ends the template. Braces
/// around anything but a word are text.
class JudgeTemplate {
 public:
  /// Reads {"template": TEXT, "verdicts": [TEXT, TEXT]}; `name` stands for it in errors. Throws
  /// UsageError on a slot that is missing, unknown or out of place and on other keys or verdicts.
  JudgeTemplate(const Json& json, const std::string& name);
  /// Reads a JSON file, with comments. Throws MissingFileError, UsageError.
  static JudgeTemplate read(const std::filesystem::path& file);

  bool is_pairwise() const { return pairwise_; }
  const std::vector<std::string>& verdicts() const { return verdicts_; }
  /// The question with its slots filled, up to the verdict. `answers`: {first, second} or {answer}.
  /// Throws ArgumentError on another number of answers.
  std::string question(const std::string& prompt, const std::vector<std::string>& answers) const;
  /// What stands for it in errors.
  const std::string& name() const { return name_; }

 private:
  struct Part {
    std::string text, slot;  // the slot follows the text
  };
  std::string name_;
  std::vector<Part> parts_;
  std::vector<std::string> verdicts_;
  bool pairwise_ = false;
};

/// A prompt and two answers to it.
struct AnswerPair {
  std::string prompt, first, second;
};

/// What a pairwise judge holds of pairs, each asked in both orders.
struct JudgedPairs {
  std::vector<double> log_odds;   // that the first answer is the better one; mean of both orders
  std::vector<double> order_gap;  // log-odds of `first` standing first less standing second:
                                  // above 0 where the judge favours what it reads first
  std::vector<double> preferences() const;  // σ(log_odds)
};

class Judge {
 public:
  /// Throws UsageError where the verdicts begin with the same token, so that the judge could not
  /// tell them apart at once.
  Judge(std::shared_ptr<const CausalLM> model, std::shared_ptr<const Tokenizer> tokenizer,
        JudgeTemplate questions, int64_t micro_batch_tokens = 16384);

  /// A question as a row: its completions are the verdicts, without an end of sequence. Throws
  /// DataError where it does not fit into the model's context.
  Example question(const std::string& prompt, const std::vector<std::string>& answers) const;
  /// log P(first verdict) − log P(second verdict) of each question, by the log-probs of the whole
  /// verdicts at temperature 1: those of their tokens, summed.
  std::vector<double> log_odds(const std::vector<Example>& questions) const;
  /// Throws UsageError where the template is pointwise.
  JudgedPairs judge(const std::vector<AnswerPair>& pairs) const;

  const JudgeTemplate& questions() const { return questions_; }
  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  std::shared_ptr<const CausalLM> model_;
  std::shared_ptr<const Tokenizer> tokenizer_;
  JudgeTemplate questions_;
  int64_t micro_batch_tokens_;
};

/// A pointwise judge where any scorer may stand: the score is the log-odds that an answer is good.
/// Rows are in the judge's tokens, as for every scorer, and are read back as texts.
class JudgeScorer : public Scorer {
 public:
  /// Throws UsageError where the template is pairwise.
  explicit JudgeScorer(std::shared_ptr<const Judge> judge);
  std::vector<AnswerScore> operator()(const std::vector<const Example*>& rows) const override;

 private:
  std::shared_ptr<const Judge> judge_;
};

}  // namespace luce

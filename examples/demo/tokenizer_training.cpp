#include "tokenizer_training.h"

#include <sentencepiece_trainer.h>

#include <unordered_map>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/json.h"

namespace luce::demo {
namespace {

class Texts : public sentencepiece::SentenceIterator {
 public:
  explicit Texts(const std::vector<std::string>& texts) : at_(texts.begin()), end_(texts.end()) {}
  bool done() const override { return at_ == end_; }
  void Next() override { ++at_; }
  const std::string& value() const override { return *at_; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string>::const_iterator at_, end_;
};

}  // namespace

void train_tokenizer(const std::vector<std::string>& texts,
                     const std::filesystem::path& model_folder,
                     const TokenizerTrainingOptions& options) {
  // Llama's settings: the text is kept as it is, byte for byte.
  const std::unordered_map<std::string, std::string> settings = {
      {"model_type", "bpe"},
      {"vocab_size", std::to_string(options.vocab_size)},
      {"byte_fallback", "true"},
      {"character_coverage", "1.0"},
      {"normalization_rule_name", "identity"},
      {"remove_extra_whitespaces", "false"},
      {"num_threads", "1"},
      {"minloglevel", "2"},
  };
  Texts iterator(texts);
  std::string model;
  const auto status = sentencepiece::SentencePieceTrainer::Train(settings, &iterator, &model);
  if (!status.ok())
    throw ArgumentError(cat("tokenizer training on ", texts.size(), " texts for ",
                            options.vocab_size, " pieces: ", status.ToString()));

  const Json config = {{"tokenizer_class", "LlamaTokenizer"},
                       {"add_bos_token", true},
                       {"add_eos_token", false},
                       {"bos_token", "<s>"},
                       {"eos_token", "</s>"},
                       {"unk_token", "<unk>"}};
  make_folder(model_folder);
  write_file_atomic(model_folder / "tokenizer.model", model);
  write_file_atomic(model_folder / "tokenizer_config.json", config.dump(2) + "\n");
}

}  // namespace luce::demo

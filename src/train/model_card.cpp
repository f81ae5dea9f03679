#include "luce/train/model_card.h"

#include <algorithm>
#include <vector>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/data/model_folder.h"
#include "luce/data/tokenizer.h"
#include "luce/model/score_model.h"
#include "luce/version.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

/// The class of transformers that reads the folder, and what the hub calls its use.
std::pair<std::string, std::string> reader_of(const Decoder& model) {
  const auto* scores = dynamic_cast<const ScoreModel*>(&model);
  if (scores == nullptr) return {"AutoModelForCausalLM", "text-generation"};
  if (scores->score_config().kind == ScoreKind::reward)
    return {"AutoModelForSequenceClassification", "text-classification"};
  return {"AutoModelForTokenClassification", "token-classification"};
}

/// A head that transformers does not know.
std::string own_head(const Decoder& model) {
  const auto* scores = dynamic_cast<const ScoreModel*>(&model);
  if (scores == nullptr || scores->score_config().head == "linear") return "";
  return "Its head has a hidden layer, which transformers does not know: it reads the trunk and "
         "draws "
         "a new head. `luce score` reads all of it.\n\n";
}

std::string card(const Decoder& model, const fs::path& model_source, const Json& config) {
  const std::string task = config.value("task", "");
  const auto [reader, use] = reader_of(model);
  return cat("---\nlibrary_name: transformers\npipeline_tag: ", use, "\ntags:\n- luce\n- ", task,
             "\n---\n\n# ", fs::path(config.value("output_dir", "model")).filename().string(),
             "\n\nA ", model.config().model_type, " model of ", model.num_parameters(),
             " parameters, trained with Luce ", kVersion, " (task `", task, "`) from `",
             model_source.string(), "`.\n\n", own_head(model),
             "```python\nfrom transformers import ", reader, ", ",
             "AutoTokenizer\nmodel = ", reader, ".from_pretrained(\"PATH\")\n",
             "tokenizer = AutoTokenizer.from_pretrained(\"PATH\")\n```\n\nThe config of the "
             "run:\n\n```json\n",
             config.dump(2), "\n```\n");
}

/// Tells transformers' tokenizer what to pad with, where its config does not: a reward model pools
/// at the last id that is not the padding's.
void add_pad_token(const Decoder& model, const fs::path& folder) {
  const auto* scores = dynamic_cast<const ScoreModel*>(&model);
  const fs::path path = folder / "tokenizer_config.json";
  if (scores == nullptr || !scores->score_config().pad_token_id || !fs::exists(path)) return;
  Json config = parse_json(read_file(path, 1 << 24), path.string());
  if (config.contains("pad_token") && !config["pad_token"].is_null()) return;
  config["pad_token"] = Tokenizer::load(folder)->piece(*scores->score_config().pad_token_id);
  write_file_atomic(path, config.dump(2) + "\n");
}

}  // namespace

void save_model(const fs::path& folder, const Decoder& model, const fs::path& model_source,
                const Json& config) {
  const fs::path staged = folder / "model.new";
  write_folder_atomic(staged, [&](const fs::path& temporary) {
    model.save(temporary);
    copy_tokenizer_files(model_source, temporary);
    add_pad_token(model, temporary);
    write_file_atomic(temporary / "README.md", card(model, model_source, config));
  });
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(staged)) files.push_back(entry.path().filename());
  std::sort(files.begin(), files.end(), [](const fs::path& a, const fs::path& b) {
    const bool a_last = a == "config.json", b_last = b == "config.json";
    return a_last != b_last ? b_last : a < b;
  });
  try {
    for (const auto& file : files) fs::rename(staged / file, folder / file);
    fs::remove(staged);
  } catch (const fs::filesystem_error& failure) {
    throw WriteError(cat("cannot write the model to ", folder.string(), ": ",
                         failure.code().message(), "; it is complete in ", staged.string()));
  }
}

}  // namespace luce

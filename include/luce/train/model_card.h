// The final model of a run, as a folder that others can load.
#pragma once

#include <filesystem>

#include "luce/base/json.h"
#include "luce/model/decoder.h"

namespace luce {

/// Writes config.json, weights, tokenizer and a model card (README.md) into `folder`, where other
/// files may stand. Everything is first written and synced beside it, then renamed into place file
/// by file, the weights before config.json. Tokenizer files come from `model_source`; `config` is
/// the resolved config of the run. Throws WriteError.
void save_model(const std::filesystem::path& folder, const Decoder& model,
                const std::filesystem::path& model_source, const Json& config);

}  // namespace luce

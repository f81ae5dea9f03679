// Small models of scores for tests of verbs.
#pragma once

#include <algorithm>

#include "luce/model/score_model.h"
#include "program.h"

namespace luce::cli_test {

/// A folder with the tiny model's trunk and tokenizer and a head of scores: the golden one of
/// reward_tiny.json, or one drawn by a seed.
inline std::string score_folder(const Workspace& at, const std::string& name,
                                const ScoreConfig& config = {}, uint64_t seed = 0,
                                std::optional<Moments> moments = {}) {
  const auto model = ScoreModel::start(golden("tiny"), config, seed == 0 ? 1 : seed);
  if (seed == 0) {
    const auto head = golden_json("reward_tiny.json")["start_head"].get<std::vector<float>>();
    std::copy(head.begin(), head.end(), model->parameters().back().work.data_ptr<float>());
  }
  model->score_config().scores = moments;
  const auto folder = at / name;
  std::filesystem::create_directory(folder);
  model->save(folder);
  for (const char* file : {"tokenizer.model", "tokenizer_config.json"})
    std::filesystem::copy_file(golden("tiny") + "/" + file, folder / file);
  return folder.string();
}

/// The first rows of a golden file, as a file of its own.
inline std::string first_rows(const Workspace& at, const std::string& name, size_t count) {
  const std::string text = read_file(golden(name));
  size_t end = 0;
  for (size_t i = 0; i < count; ++i) end = text.find('\n', end) + 1;
  return at.file("first_" + name, text.substr(0, end));
}

}  // namespace luce::cli_test

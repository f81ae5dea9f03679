#include "luce/model/score_model.h"

#include <ATen/ATen.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/base/log.h"

namespace luce {

ScorePlaces score_places(const Batch& batch, ScoreKind kind) {
  if (!batch.own_rows.defined())
    throw ArgumentError("[score_places] the batch was made without BatchOptions::own_rows");
  std::vector<int64_t> index;  // into own_rows
  std::vector<int64_t> offset{0};
  for (size_t c = 0; c < batch.completions.size(); ++c) {
    const int64_t begin = batch.offset[c], end = batch.offset[c + 1];
    if (begin == end) throw ArgumentError("[score_places] an answer has no token to score");
    if (kind == ScoreKind::reward)
      index.push_back(end - 1);
    else if (kind == ScoreKind::outcome)
      for (int64_t m = begin; m < end; ++m) index.push_back(m);
    else
      for (const auto& step : batch.columns.steps[c]) index.push_back(begin + step.end - 1);
    offset.push_back(static_cast<int64_t>(index.size()));
  }
  const Tensor at_index = at::tensor(index, at::kLong).to(batch.own_rows.device());
  return {batch.own_rows.index_select(0, at_index), offset};
}

ScoreModel::ScoreModel(ModelConfig config, ScoreConfig score, ModelOptions options)
    : Decoder(std::move(config), options), score_(std::move(score)) {
  const int64_t d = config_.hidden_size;
  const bool bias = score_.kind != ScoreKind::reward;  // as transformers' two classes have it
  if (score_.head == "mlp") {
    hidden_ = declare_linear("score.dense.weight", d, d, true);
    out_ = declare_linear("score.out.weight", score_.outputs(), d, bias);
  } else {
    out_ = declare_linear("score.weight", score_.outputs(), d, bias);
  }
}

std::shared_ptr<ScoreModel> ScoreModel::load(const std::filesystem::path& folder,
                                             const ModelOptions& options) {
  ModelConfig config = read_model_config(folder);
  const auto score = parse_score_config(config.source, (folder / "config.json").string());
  if (!score)
    throw DataError(cat(folder.string(),
                        ": this model has no head of scores; a reward model is what `luce train` "
                        "makes with task \"reward\""));
  const std::shared_ptr<ScoreModel> model(new ScoreModel(std::move(config), *score, options));
  model->read_new(folder);
  return model;
}

std::shared_ptr<ScoreModel> ScoreModel::start(const std::filesystem::path& folder,
                                              const ScoreConfig& wanted, uint64_t seed,
                                              const ModelOptions& options) {
  ModelConfig config = read_model_config(folder);
  const auto found = parse_score_config(config.source, (folder / "config.json").string());
  const auto told = [](const ScoreConfig& s) {
    return cat(s.head, " head of ", s.outputs(), s.outputs() == 1 ? " score" : " scores", " (",
               name_of(s.kind), ")");
  };
  if (found && (found->kind != wanted.kind || found->head != wanted.head ||
                found->outputs() != wanted.outputs()))
    throw DataError(cat(folder.string(), " has a ", told(*found), " and the config asks for a ",
                        told(wanted),
                        "; start from the language model, or change loss.type, head.kind or "
                        "head.count"));
  const std::shared_ptr<ScoreModel> model(
      new ScoreModel(std::move(config), found ? *found : wanted, options));
  const size_t first = model->hidden_ ? model->hidden_->weight : model->out_.weight;
  std::vector<size_t> head;
  for (size_t i = first; i < model->parameters_.size(); ++i) head.push_back(i);
  model->read_new(folder, found ? std::vector<size_t>() : head);
  if (!found) {
    const auto d = static_cast<double>(model->config_.hidden_size);
    model->draw(first, 1 / std::sqrt(d + 1), seed);
    log::info(folder.string(), ": the ", told(wanted), " is new, drawn by seed ", seed);
  }
  return model;
}

std::shared_ptr<ScoreModel> ScoreModel::clone() const {
  const std::shared_ptr<ScoreModel> copy(new ScoreModel(config_, score_, options_));
  copy->copy_weights(*this);
  return copy;
}

Tensor ScoreModel::layer(const Linear& linear, const Tensor& x) const {
  if (options_.dtype != at::kBFloat16) return apply(linear, x);
  const auto wide = [&](size_t parameter) { return parameters_[parameter].work.to(at::kFloat); };
  return at::linear(x, wide(linear.weight), linear.bias ? wide(*linear.bias) : Tensor());
}

Tensor ScoreModel::scores(const Tensor& hidden) const {
  Tensor x = hidden.to(statistics_type(hidden.scalar_type()));
  if (hidden_) x = layer(*hidden_, x).tanh();
  return layer(out_, x);
}

Json ScoreModel::config_json(const std::string& dtype) const {
  Json out = to_json(config_, dtype);
  add_score_config(out, score_, architecture_of(config_).class_prefix);
  return out;
}

std::vector<std::string> ScoreModel::ignored() const { return {architecture_of(config_).head}; }

}  // namespace luce

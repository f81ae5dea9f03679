#include "luce/data/score_config.h"

#include <cmath>

#include "luce/base/error.h"

namespace luce {
namespace {

constexpr int64_t kMaxHeads = 1024;

[[noreturn]] void fail(const std::string& name, const std::string& what) {
  throw DataError(cat(name, ": ", what));
}

std::optional<Moments> moments(const Json& own, const char* key, const std::string& name) {
  const auto at = own.find(key);
  if (at == own.end()) return std::nullopt;
  Moments out;
  const bool good = at->is_object() && at->contains("mean") && at->contains("std") &&
                    (*at)["mean"].is_number() && (*at)["std"].is_number();
  if (good) out = {(*at)["mean"].get<double>(), (*at)["std"].get<double>()};
  if (!good || !std::isfinite(out.mean) || !(out.deviation > 0))
    fail(name, cat("luce.", key, " must be {\"mean\": a number, \"std\": a number above 0}, got ",
                   shortened(at->dump())));
  return out;
}

/// How many labels the head has, as transformers reads it: two unless something else is said.
int64_t labels_of(const Json& config, const std::string& name) {
  if (const auto at = config.find("id2label"); at != config.end() && at->is_object())
    return static_cast<int64_t>(at->size());
  const auto at = config.find("num_labels");
  if (at == config.end() || at->is_null()) return 2;
  if (!at->is_number_integer() || at->get<int64_t>() < 1 || at->get<int64_t>() > kMaxHeads)
    fail(name, cat("num_labels must be a whole number from 1 to ", kMaxHeads, ", got ",
                   shortened(at->dump())));
  return at->get<int64_t>();
}

}  // namespace

std::string name_of(ScoreKind kind) {
  return kind == ScoreKind::reward ? "reward" : kind == ScoreKind::outcome ? "outcome" : "process";
}

std::optional<ScoreConfig> parse_score_config(const Json& config, const std::string& name) {
  const auto classes = config.find("architectures");
  if (classes == config.end() || !classes->is_array() || classes->empty() ||
      !classes->front().is_string())
    return std::nullopt;
  const auto class_name = classes->front().get<std::string>();
  const bool per_token = class_name.ends_with("ForTokenClassification");
  if (!per_token && !class_name.ends_with("ForSequenceClassification")) return std::nullopt;

  ScoreConfig out;
  const int64_t labels = labels_of(config, name);
  if (labels < 1 || labels > kMaxHeads)
    fail(name, cat("id2label must name 1 to ", kMaxHeads, " labels, it names ", labels));
  if (!per_token) {
    out.count = labels;
  } else if (labels == 1 || labels == 2) {
    out.kind = labels == 1 ? ScoreKind::outcome : ScoreKind::process;
  } else {
    fail(name, cat("a model that scores tokens has 1 label (is the answer right?) or 2 (is the "
                   "step wrong, is it right?); this one has ",
                   labels));
  }
  if (const auto pad = config.find("pad_token_id");
      pad != config.end() && pad->is_number_integer() && pad->get<int64_t>() >= 0)
    out.pad_token_id = pad->get<int64_t>();
  const auto own = config.find("luce");
  if (own == config.end()) return out;
  if (!own->is_object()) fail(name, "luce must be an object");
  if (const auto head = own->find("head"); head != own->end()) {
    if (*head != "linear" && *head != "mlp")
      fail(name, cat("luce.head must be \"linear\" or \"mlp\", got ", shortened(head->dump())));
    out.head = head->get<std::string>();
  }
  out.scores = moments(*own, "scores", name);
  out.targets = moments(*own, "targets", name);
  return out;
}

void add_score_config(Json& config, const ScoreConfig& score, const std::string& class_prefix) {
  const bool per_token = score.kind != ScoreKind::reward;
  config["architectures"] = Json::array(
      {class_prefix + (per_token ? "ForTokenClassification" : "ForSequenceClassification")});
  config.erase("num_labels");  // transformers keeps the number of labels as their names
  config["id2label"] = config["label2id"] = Json::object();
  for (int64_t i = 0; i < score.outputs(); ++i) {
    const std::string label = score.kind == ScoreKind::process ? (i == 0 ? "wrong" : "right")
                              : score.kind == ScoreKind::outcome
                                  ? "right"
                                  : (score.count == 1 ? "score" : cat("score_", i));
    config["id2label"][std::to_string(i)] = label;
    config["label2id"][label] = i;
  }
  if (score.pad_token_id) config["pad_token_id"] = *score.pad_token_id;
  if (per_token) config["classifier_dropout"] = 0.0;
  Json own = {{"kind", name_of(score.kind)}, {"head", score.head}};
  const auto add = [&](const char* key, const std::optional<Moments>& m) {
    if (m) own[key] = {{"mean", m->mean}, {"std", m->deviation}};
  };
  add("scores", score.scores);
  add("targets", score.targets);
  config["luce"] = own;
}

}  // namespace luce

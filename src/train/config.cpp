#include "luce/train/config.h"

#include "luce/base/error.h"
#include "luce/loss/plugin.h"
#include "train/online_checks.h"

namespace luce {

double RunConfig::learning_rate() const {
  return train.learning_rate.value_or(task == "sft" ? 2e-5 : task == "reward" ? 1e-4 : 1e-6);
}

double RunConfig::num_train_epochs() const {
  return train.num_train_epochs.value_or(task == "reward" ? 1 : 3);
}

std::string RunConfig::overlong() const {
  return data.overlong.value_or(task == "reward" ? "drop" : "cut");
}

void describe(Schema& s, ModelSection& o) {
  s.field("path", o.path, "a Hugging Face model folder").required();
  s.field("dtype", o.dtype, "dtype of weights and activations; statistics and gradients stay f32")
      .one_of({"float32", "float64", "bfloat16"});
  s.field("device", o.device, "auto takes a GPU where one can be used")
      .one_of({"auto", "cpu", "cuda"});
  s.field("batch_invariant", o.batch_invariant,
          "log-probs have the same bits whatever the batch, in trainer and sampler; float32 on the "
          "CPU");
}

void describe(Schema& s, ReferenceSection& o) {
  s.field("path", o.path, "folder of the reference model; null is a frozen copy of the start");
  s.field("precompute", o.precompute,
          "compute the reference's log-probs once, keep them on disk and drop the model")
      .alias("precompute_ref_log_probs");
  s.field("sync_steps", o.sync_steps,
          "steps between moves of the reference towards the policy (TR-DPO); 0 keeps it")
      .at_least(0)
      .alias("ref_model_sync_steps");
  s.field("mixup_alpha", o.mixup_alpha,
          "share of the policy in such a move; sync_steps 1 and a small share is an average over "
          "time (EMA)")
      .above(0)
      .at_most(1)
      .alias("ref_model_mixup_alpha");
}

void describe(Schema& s, DataSection& o) {
  s.field("train", o.train, "rows to train on: .jsonl, .jsonl.gz or .json").required();
  s.field("eval", o.eval, "rows to evaluate on");
  s.field("eval_fraction", o.eval_fraction,
          "share of the training rows held out where eval is null")
      .at_least(0)
      .below(1);
  s.field("type", o.type, "form of the rows")
      .one_of({"auto", "preference", "unpaired", "scored", "ranked", "stepwise", "text",
               "prompt_completion", "input_ids"});
  s.field("column_map", o.column_map, "names of columns in the file: {\"chosen\": \"better\", …}");
  s.field("max_length", o.max_length, "tokens of prompt and answer together").at_least(2);
  s.field("overlong", o.overlong,
          "what becomes of longer rows: cut (they lose their end) or drop; null is cut, and for "
          "reward drop")
      .one_of({"cut", "drop"});
  s.field("shuffle", o.shuffle, "a new order each epoch; false keeps the file's");
  s.field("strict", o.strict, "stop at the first bad row instead of dropping and counting it");
  s.field("cache_dir", o.cache_dir,
          "folder for tokenized rows and reference log-probs; null is output_dir/cache");
  s.field("completion_only_loss", o.completion_only_loss,
          "sft on prompt/completion rows: score the completion alone");
  s.field(
       "ratings", o.ratings,
       "what the rating (-2 to 2) of a pair becomes: a margin of 1 or 1/3, a wide_margin of 3 or "
       "1, or a label that is .95, .75 or .5 sure")
      .one_of({"ignore", "margin", "wide_margin", "label"});
  s.field("ties", o.ties, "pairs rated 0: drop them, or count them half for either side")
      .one_of({"drop", "half"});
  s.field("score_mean", o.score_mean,
          "scores are standardised with it; null takes the training rows' mean");
  s.field("score_std", o.score_std, "the same for their standard deviation").above(0);
}

void describe(Schema& s, TrainSection& o) {
  s.field("max_steps", o.max_steps, "optimizer steps; -1 follows num_train_epochs").at_least(-1);
  s.field("num_train_epochs", o.num_train_epochs,
          "passes over the rows; null is 3, and 1 for reward")
      .above(0);
  s.field("batch_size", o.batch_size, "rows of the file in one optimizer step; rl: prompts")
      .at_least(1);
  s.field("micro_batch_tokens", o.micro_batch_tokens,
          "tokens run at once; changes memory and speed, not the gradient")
      .at_least(1);
  s.field("prefix_sharing", o.prefix_sharing, "run a prompt once for all its answers");
  s.field("learning_rate", o.learning_rate,
          "null is the task's default: sft 2e-5, preference and rl 1e-6, reward 1e-4")
      .at_least(0);
  s.field("lr_scheduler_type", o.lr_scheduler_type, "shape of the learning rate over the run")
      .one_of({"constant", "constant_with_warmup", "linear", "cosine"});
  s.field("min_lr", o.min_lr, "where linear and cosine end, as an absolute learning rate")
      .at_least(0);
  s.field("warmup_steps", o.warmup_steps,
          "steps from 0 to the full rate; below 1, a share of the run")
      .at_least(0);
  s.field("weight_decay", o.weight_decay, "decoupled decay; skips norms and biases").at_least(0);
  s.field("adam_beta1", o.adam_beta1, "decay of the first moment").at_least(0).below(1);
  s.field("adam_beta2", o.adam_beta2, "decay of the second moment").at_least(0).below(1);
  s.field("adam_epsilon", o.adam_epsilon, "added to the root of the second moment").at_least(0);
  s.field("max_grad_norm", o.max_grad_norm, "clip the gradient to this norm; 0 is no clipping")
      .at_least(0);
  s.field("seed", o.seed, "seed of everything random").at_least(0);
  s.field("logging_steps", o.logging_steps, "steps between lines of metrics").at_least(1);
  s.field("eval_steps", o.eval_steps, "steps between evaluations; 0 is after each epoch")
      .at_least(0);
  s.field("eval_on_start", o.eval_on_start, "evaluate before the first step too");
  s.field("save_steps", o.save_steps, "steps between checkpoints; 0 saves only the final model")
      .at_least(0);
  s.field("save_total_limit", o.save_total_limit, "checkpoints kept, the best one not counted")
      .at_least(1);
  s.field("load_best_model_at_end", o.load_best_model_at_end,
          "keep the weights of the best evaluation and end with them");
  s.field("metric_for_best_model", o.metric_for_best_model, "what best means");
  s.field("greater_is_better", o.greater_is_better, "null: false for losses, true for the rest");
  s.field(
       "resume", o.resume,
       "\"auto\" continues from the newest checkpoint of output_dir where there is one; else the "
       "folder of a checkpoint")
      .alias("resume_from_checkpoint");
}

void describe(Schema& s, HeadSection& o) {
  s.field("chunk_mb", o.chunk_mb,
          "most logits held at once, in MiB; \"auto\" is 64 on a CPU and 1536 on a GPU, and grows "
          "with the largest unit of the loss to at most 512 and 4096");
  s.field("kind", o.kind, "reward: the head of scores, one matrix or a hidden layer before it")
      .one_of({"linear", "mlp"});
  s.field("count", o.count, "reward: heads beside each other on one trunk, an ensemble")
      .at_least(1)
      .at_most(1024);
  s.field("subsample", o.subsample,
          "reward: share of the rows that each of several heads learns from")
      .above(0)
      .at_most(1);
}

void describe(Schema& s, DisplacementSection& o) {
  s.field(
       "probe_rows", o.probe_rows,
       "pairs, of the evaluation rows where there are any, whose log-probs are compared with the "
       "start's at each logging step and evaluation; 0 watches none")
      .at_least(0);
  s.field("top_tokens", o.top_tokens,
          "gainers at each place of the watched answers, for the report")
      .at_least(1);
  s.field("ches", o.ches, "measure CHES of every training pair before the first step: ches.jsonl");
  s.field("ches_keep", o.ches_keep,
          "share of the training pairs that is kept, those of the least length-normalised CHES")
      .above(0)
      .at_most(1);
}

void describe(Schema& s, RunConfig& o) {
  s.field("task", o.task, "what is trained")
      .one_of({"sft", "preference", "reward", "rl"})
      .required();
  s.section("model", o.model, "the model that is trained");
  s.section("reference", o.reference, "what the policy is held against");
  s.section("data", o.data, "rows");
  s.field("loss", o.loss,
          "a loss {\"type\": …, its options}, or a list of them; sft and reward have a default");
  s.field("algorithm", o.algorithm,
          "rl: {\"type\": …, its options}, what is learnt from samples (docs/algorithms.md)");
  s.section("rollout", o.rollout, "rl: how completions are sampled");
  s.field("reward", o.reward,
          "rl: {\"type\": …, its options} or a list of them (docs/online_rewards.md)");
  s.section("value", o.value, "rl: the value model of algorithms that have one");
  s.section("train", o.train, "the optimizer and its steps");
  s.section("head", o.head, "the output layer");
  s.section("displacement", o.displacement, "what becomes of the answers' log-probs");
  s.field("plugins", o.plugins, "shared objects with losses of your own: [\"./libmy_loss.so\"]");
  s.field("output_dir", o.output_dir, "folder for the trained model, metrics and the report")
      .required();
}

namespace {

/// Whether the reference that the config describes can serve the loss.
template <class Fail>
void check_reference(const RunConfig& config, const Needs& needs, const Fail& fail) {
  const auto& reference = config.reference;
  if (!needs.reference && (reference.path || reference.precompute || reference.sync_steps > 0))
    fail("/reference", "this loss uses no reference model; leave \"reference\" out");
  if (!needs.logps && !reference.path)
    fail("/reference", "this loss learns from a teacher: name its folder in reference.path");
  if (reference.precompute && !needs.divergences.empty())
    fail("/reference/precompute",
         "this loss needs the reference's whole distribution, which log-probs do not hold; leave "
         "reference.precompute out");
  if (reference.precompute && needs.mismatched)
    fail("/reference/precompute",
         "this loss scores answers under other rows' prompts, which are not known before; leave "
         "reference.precompute out");
  if (reference.precompute && reference.sync_steps > 0)
    fail("/reference/sync_steps",
         "a reference that moves cannot be computed before; leave reference.precompute out");
}

/// Whether heads and sections fit a loss of scores.
template <class Fail>
void check_reward(const RunConfig& config, const RewardLoss& loss, const Fail& fail) {
  const auto& head = config.head;
  const auto& reference = config.reference;
  if (reference.path || reference.precompute || reference.sync_steps > 0)
    fail("/reference", "a reward model has no reference; leave \"reference\" out");
  if (head.chunk_mb != "auto")
    fail("/head/chunk_mb", "a reward model makes no logits; leave head.chunk_mb out");
  if (head.count < loss.least_heads())
    fail("/head/count",
         cat("this loss needs head.count of ", loss.least_heads(), " or more, got ", head.count));
  if (head.count > 1 && loss.kind() != ScoreKind::reward)
    fail("/head/count", cat("several heads are for reward models; the loss trains a model of kind ",
                            name_of(loss.kind()), ", which has one"));
  if (head.subsample < 1 && !loss.subsamples())
    fail("/head/subsample",
         "this loss finds out by itself which head learns from which rows; leave head.subsample "
         "out");
  if (head.subsample < 1 && head.count == 1)
    fail("/head/subsample",
         "a share of the rows for each head makes sense with several heads; set head.count");
}

}  // namespace

void load_plugins(Registry& registry, const Document& document) {
  const auto plugins = parse_options<RunConfig>(document).plugins;
  for (size_t i = 0; i < plugins.size(); ++i)
    load_plugin(registry, plugins[i], document.where(cat("/plugins/", i)));
}

RunConfig parse_run_config(const Document& document, const Registry& registry) {
  auto config = parse_options<RunConfig>(document);
  const auto fail = [&](const std::string& pointer, const std::string& sentence) {
    throw UsageError(cat(document.where(pointer), ": ", sentence));
  };
  if (config.output_dir.empty()) fail("/output_dir", "output_dir must name a folder; got \"\"");
  for (const auto& [key, value] : config.data.column_map.items())
    if (!value.is_string())
      fail("/data/column_map/" + key, "data.column_map must map names to names");
  if (config.loss.is_null() && config.task == "preference")
    fail("", "task \"preference\" needs a \"loss\", for example {\"type\": \"dpo\"}");
  const auto& displacement = config.displacement;
  if (displacement.probe_rows > 0 || displacement.ches || displacement.ches_keep < 1) {
    if (config.task != "preference" || registry.make_loss(document)->rows() != Rows::pairs)
      fail("/displacement",
           "displacement is measured on pairs; it needs task \"preference\" and a "
           "loss of pairs");
  }
  check_online(config, document, registry);
  if (config.task == "reward") {
    check_reward(config, *registry.make_reward_loss(document), fail);
  } else {
    const HeadSection plain;
    if (config.head.kind != plain.kind || config.head.count != plain.count ||
        config.head.subsample != plain.subsample)
      fail("/head",
           "kind, count and subsample describe a head of scores; they need task \"reward\"");
    if (!config.loss.is_null()) {
      const auto loss = registry.make_loss(document);
      if (config.task == "sft" && loss->rows() != Rows::any)
        fail("/loss", "this loss compares answers; it needs task \"preference\"");
      check_reference(config, loss->needs(), fail);
    }
  }
  const Json& chunk = config.head.chunk_mb;
  if (chunk != "auto" && !(chunk.is_number_integer() && chunk.get<int64_t>() >= 1 &&
                           chunk.get<int64_t>() <= int64_t{1} << 20))
    fail("/head/chunk_mb", cat("head.chunk_mb must be \"auto\" or a whole number from 1 to ",
                               int64_t{1} << 20, "; got ", chunk.dump()));
  if (config.train.greater_is_better && !config.train.load_best_model_at_end)
    fail("/train/greater_is_better",
         "greater_is_better does nothing without load_best_model_at_end");
  if (config.train.load_best_model_at_end && !config.data.eval && config.data.eval_fraction == 0)
    fail("/train/load_best_model_at_end",
         "load_best_model_at_end needs rows to evaluate on: set data.eval or data.eval_fraction");
  if (config.train.eval_on_start && !config.data.eval && config.data.eval_fraction == 0)
    fail("/train/eval_on_start",
         "eval_on_start needs rows to evaluate on: set data.eval or data.eval_fraction");
  if (config.data.eval && config.data.eval_fraction > 0)
    fail("/data/eval_fraction", "give data.eval or data.eval_fraction, not both");
  if (config.train.min_lr > config.learning_rate())
    fail("/train/min_lr", cat("min_lr lies above the learning rate, ", config.learning_rate()));
  return config;
}

Json resolved(const RunConfig& config, const Document& document, const Registry& registry) {
  RunConfig copy = config;
  copy.train.learning_rate = config.learning_rate();
  copy.train.num_train_epochs = config.num_train_epochs();
  copy.data.overlong = config.overlong();
  if (config.task == "rl") {
    copy.algorithm = resolved_algorithm(document, registry);
    copy.reward = resolved_rewards(document, registry);
  } else if (config.task == "reward")
    copy.loss = registry.resolve_reward_loss(document);
  else if (copy.loss.is_null())
    copy.loss = {{"type", "sft"}, {"weight", 1.0}};
  else
    copy.loss = registry.resolve_loss(document);
  Schema schema;
  describe(schema, copy);
  return schema.dump();
}

}  // namespace luce

#include "luce/train/online_config.h"

namespace luce {

void describe(Schema& s, RolloutSection& o) {
  s.field("num_generations", o.num_generations, "completions of each prompt").at_least(1);
  s.field("max_completion_length", o.max_completion_length, "tokens of a completion at most")
      .at_least(1);
  s.field("max_prompt_length", o.max_prompt_length,
          "prompts of more tokens are left out; null: as long as the context leaves room for "
          "max_completion_length")
      .at_least(1);
  s.field("temperature", o.temperature,
          "divides the logits, when sampling and in the policy's log-probs")
      .above(0);
  s.field("top_k", o.top_k, "sample among the k likeliest tokens; 0 is all").at_least(0);
  s.field("top_p", o.top_p, "sample among the likeliest tokens that reach this mass")
      .above(0)
      .at_most(1);
  s.field("min_p", o.min_p,
          "sample among tokens of at least this share of the likeliest one's probability")
      .at_least(0)
      .below(1);
  s.field("repetition_penalty", o.repetition_penalty,
          "logits of tokens that were there already are divided by it where positive, else "
          "multiplied")
      .above(0);
  s.field("stop", o.stop, "texts that end a completion");
  s.field("max_batch", o.max_batch, "sequences decoded at once").at_least(1);
  s.field("mixture_path", o.mixture_path,
          "folder of a second model that samples are drawn with; null is none");
  s.field("mixture_weight", o.mixture_weight, "its share of the logits").above(0).at_most(1);
  s.field("dynamic_sampling", o.dynamic_sampling,
          "prompts whose completions all earn the same are replaced by further ones, so many times "
          "at most; 0 keeps them (DAPO)")
      .at_least(0);
  s.field("one_step_off", o.one_step_off,
          "sample for the next step while this one trains, from a copy of the weights");
  s.field("importance_sampling_correction", o.importance_sampling_correction,
          "weighs the policy's loss by π/π_sampler where the two differ: token or sequence ratios, "
          "clamped (truncate) or set to 0 (mask) outside the bounds")
      .one_of({"off", "token_truncate", "token_mask", "sequence_truncate", "sequence_mask"});
  s.field("importance_sampling_min", o.importance_sampling_min, "lower bound of these ratios")
      .at_least(0);
  s.field("importance_sampling_max", o.importance_sampling_max, "upper bound of these ratios")
      .above(0);
  s.field("max_staleness", o.max_staleness,
          "updates that the weights of a sample may lie behind; older samples are left out")
      .at_least(0);
  s.field("max_failed_rewards", o.max_failed_rewards,
          "share of the last 200 completions whose reward may fail before the run stops")
      .at_least(0)
      .at_most(1);
  s.field("log_completions", o.log_completions,
          "completions shown in the log at each logging step; all of the step's are in "
          "output_dir/completions")
      .at_least(0);
  s.field("eval_generations", o.eval_generations, "completions of each evaluation prompt")
      .at_least(1);
  s.field("eval_temperature", o.eval_temperature, "0 takes the likeliest tokens").at_least(0);
  s.field("server", o.server,
          "an OpenAI-compatible server to sample from, {\"url\": …}; null samples in this process");
}

void describe(Schema& s, ValueSection& o) {
  s.field("path", o.path,
          "folder that the value model starts from: any model; null is the policy's folder");
  s.field("share_trunk", o.share_trunk,
          "the value model is a head on the policy's own trunk instead of a model");
  s.field("learning_rate", o.learning_rate, "null is the policy's").above(0);
}

}  // namespace luce

// Controlled sentiment in miniature: docs/demo.md tells what happens here and what the figures
// mean.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cmath>
#include <iomanip>
#include <iostream>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/log.h"
#include "luce/data/metrics_file.h"
#include "luce/data/training_report.h"
#include "luce/train/run.h"
#include "measure.h"
#include "rows.h"
#include "stories.h"
#include "story_score.h"
#include "tokenizer_training.h"

namespace luce::demo {
namespace {

namespace fs = std::filesystem;

struct Sizes {
  int64_t story_steps, story_batch = 32;  // pre-training
  int64_t pairs, pair_epochs = 2;         // preference training
  int64_t held_out, fresh;                // pairs to evaluate on; samples to judge by
  int64_t prompts, online_steps;          // to sample from in the online run
};

Sizes sizes_at(double scale) {
  const auto scaled = [&](double full, int64_t least) {
    return std::max(least, static_cast<int64_t>(std::llround(full * scale)));
  };
  return {.story_steps = scaled(550, 100),
          .pairs = scaled(1500, 150),
          .held_out = scaled(500, 50),
          .fresh = scaled(1000, 100),
          .prompts = scaled(1000, 100),
          .online_steps = scaled(60, 6)};
}

/// Where the stories of each purpose begin, so that none is used twice.
enum First : uint64_t {
  kTrain = 0,
  kHeldOut = 1'000'000,
  kPairs = 2'000'000,
  kEvalPairs = 3'000'000,
  kFresh = 4'000'000,
  kPrompts = 5'000'000
};

std::vector<std::string> texts(const Random& random, uint64_t first, int64_t count) {
  std::vector<std::string> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(sample_story(random, first + static_cast<uint64_t>(i)).text());
  return out;
}

std::vector<std::string> prompts(const Random& random, uint64_t first, int64_t count) {
  std::vector<std::string> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(sample_story(random, first + static_cast<uint64_t>(i)).prompt);
  return out;
}

/// A config, written where `luce train` can run it again, and run here.
void train_with(const fs::path& file, const Json& config) {
  write_file_atomic(file, config.dump(2) + "\n");
  const Document document = Document::read(file.string());
  const Registry registry = Registry::with_builtins();
  train(parse_run_config(document, registry), document, registry);
}

Json pretraining(const fs::path& out, const Sizes& sizes, uint64_t seed) {
  return {{"task", "sft"},
          {"model", {{"path", (out / "start").string()}}},
          {"data",
           {{"train", (out / "data/stories.jsonl").string()},
            {"eval", (out / "data/held_out.jsonl").string()},
            {"max_length", 128}}},
          {"train",
           {{"max_steps", sizes.story_steps},
            {"batch_size", sizes.story_batch},
            {"learning_rate", 3e-3},
            {"lr_scheduler_type", "cosine"},
            {"warmup_steps", 0.1},
            {"adam_beta2", 0.95},
            {"seed", seed}}},
          {"output_dir", (out / "sft").string()}};
}

Json preference(const fs::path& out, const Sizes& sizes, uint64_t seed) {
  return {{"task", "preference"},
          {"model", {{"path", (out / "sft").string()}}},
          {"data",
           {{"train", (out / "data/pairs.jsonl").string()},
            {"eval", (out / "data/pairs_held_out.jsonl").string()},
            {"max_length", 192}}},
          {"loss", {{"type", "dpo"}, {"beta", 0.3}}},
          {"train",
           {{"num_train_epochs", sizes.pair_epochs},
            {"batch_size", 32},
            {"learning_rate", 1e-4},
            {"warmup_steps", 0.1},
            {"logging_steps", 2},
            {"eval_on_start", true},
            {"seed", seed}}},
          {"output_dir", (out / "dpo").string()}};
}

Json reward_model(const fs::path& out, uint64_t seed) {
  return {{"task", "reward"},
          {"model", {{"path", (out / "sft").string()}}},
          {"data",
           {{"train", (out / "data/pairs.jsonl").string()},
            {"eval", (out / "data/pairs_held_out.jsonl").string()},
            {"max_length", 192}}},
          {"loss", {{"type", "bradley_terry"}}},
          {"train",
           {{"num_train_epochs", 2},
            {"batch_size", 32},
            {"learning_rate", 3e-4},
            {"warmup_steps", 0.1},
            {"logging_steps", 2},
            {"seed", seed}}},
          {"output_dir", (out / "reward").string()}};
}

Json online(const fs::path& out, const Sizes& sizes, uint64_t seed) {
  return {
      {"task", "rl"},
      {"model", {{"path", (out / "sft").string()}}},
      {"data", {{"train", (out / "data/prompts.jsonl").string()}}},
      {"algorithm", {{"type", "rloo"}, {"beta", 0.05}}},
      {"reward", {{"type", "model"}, {"path", (out / "reward").string()}}},
      {"rollout", {{"num_generations", 4}, {"max_completion_length", 96}, {"log_completions", 0}}},
      {"train",
       {{"max_steps", sizes.online_steps},
        {"batch_size", 16},
        {"learning_rate", 1e-4},
        {"lr_scheduler_type", "constant"},
        {"logging_steps", 2},
        {"seed", seed}}},
      {"output_dir", (out / "rloo").string()}};
}

/// Two continuations of each prompt, the better one of which is chosen as Bradley and Terry say.
void write_pairs(const fs::path& file, const CausalLM& model, const Tokenizer& tokenizer,
                 const Random& random, uint64_t first, int64_t count, uint64_t seed) {
  const auto starts = prompts(random, first, count);
  const auto written = write(model, tokenizer, starts, 2, seed);
  std::vector<Json> rows;
  for (size_t i = 0; i < starts.size(); ++i) {
    const std::string &a = written.completions[2 * i], &b = written.completions[2 * i + 1];
    if (a == b) continue;
    const bool a_wins =
        prefers_first(random, first + i, hidden_score(starts[i] + a), hidden_score(starts[i] + b));
    rows.push_back(preference_row(starts[i], a_wins ? a : b, a_wins ? b : a));
  }
  write_rows(file, rows);
}

/// What was seen of one model on the fresh prompts.
struct Judged {
  Written written;
  std::vector<double> scores;
  double stories = 0;  // share that is a text of the language
};

Judged judge(const CausalLM& model, const Tokenizer& tokenizer,
             const std::vector<std::string>& starts, uint64_t seed) {
  Judged out;
  out.written = write(model, tokenizer, starts, 1, seed);
  for (size_t i = 0; i < starts.size(); ++i) {
    const std::string text = starts[i] + out.written.completions[i];
    out.scores.push_back(hidden_score(text));
    out.stories +=
        std::isfinite(log_probability(text)) ? 1.0 / static_cast<double>(starts.size()) : 0;
  }
  return out;
}

std::string number(double value, int digits = 2) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(digits) << value;
  return out.str();
}
std::string with_error(const Estimate& e, int digits = 2) {
  return number(e.mean, digits) + " ± " + number(e.error, digits);
}

/// A continuation begins with the space that separates it from its prompt.
std::string shown(const std::string& continuation) {
  return continuation.starts_with(' ') ? continuation.substr(1) : continuation;
}

struct Results {
  double loss = 0, accuracy = 0, reward_accuracy = 0;
  Judged before, after, online;
  Estimate kl, online_kl;
  std::vector<std::string> starts;

  Estimate score_before() const { return estimate(before.scores); }
  Estimate score_after() const { return estimate(after.scores); }
  Estimate score_online() const { return estimate(online.scores); }
  /// The rise to a score, in standard errors.
  double gain_in_errors(const Estimate& score) const {
    return (score.mean - score_before().mean) / std::hypot(score_before().error, score.error);
  }
  std::vector<std::vector<std::string>> table() const {
    return {
        {"pre-training loss", number(loss) + " nats a story",
         "entropy " + number(entropy()) + ", " + number(100 * (loss / entropy() - 1), 1) +
             " % above it"},
        {"hidden score before", with_error(score_before()),
         std::to_string(before.scores.size()) + " fresh samples"},
        {"hidden score after", with_error(score_after()),
         "DPO: up by " + number(gain_in_errors(score_after()), 1) + " standard errors"},
        {"preference accuracy", number(100 * accuracy, 1) + " %", "held-out pairs"},
        {"KL to the reference", with_error(kl) + " nats", "mean of summed log-ratios over samples"},
        {"reward model accuracy", number(100 * reward_accuracy, 1) + " %", "held-out pairs"},
        {"score after RLOO", with_error(score_online()),
         "up by " + number(gain_in_errors(score_online()), 1) + " standard errors"},
        {"KL after RLOO", with_error(online_kl) + " nats",
         "it saw the reward model's scores of its own samples"},
        {"stories before, after",
         number(100 * before.stories, 1) + " %, " + number(100 * after.stories, 1) + " %",
         "samples that are texts of the language; " + number(100 * online.stories, 1) +
             " % after RLOO"}};
  }
};

Json report(const Results& r, const fs::path& out) {
  Json rows = Json::array(), samples = Json::array();
  for (const auto& row : r.table()) rows.push_back(row);
  for (size_t i = 0; i < std::min<size_t>(6, r.starts.size()); ++i)
    samples.push_back({{"prompt", r.starts[i]},
                       {"cells",
                        {{{"text", shown(r.before.written.completions[i])},
                          {"note", "score " + number(r.before.scores[i], 1)}},
                         {{"text", shown(r.after.written.completions[i])},
                          {"note", "score " + number(r.after.scores[i], 1)}},
                         {{"text", shown(r.online.written.completions[i])},
                          {"note", "score " + number(r.online.scores[i], 1)}}}}});
  const auto curve = [&](const char* stage, const char* metric) {
    std::vector<double> steps, values;
    for (const auto& row : read_metrics(out / stage / "metrics.jsonl"))
      if (const auto it = row.values.find(metric); it != row.values.end()) {
        steps.push_back(static_cast<double>(row.step));
        values.push_back(it->second);
      }
    return Json{{"name", metric}, {"x", steps}, {"y", values}};
  };
  return {
      {"title", "Controlled sentiment in miniature"},
      {"lead",
       "A model of about a million parameters learnt a small language of stories, then learnt "
       "from noisy "
       "preferences what its readers like: by DPO on pairs, and by RLOO on the scores of a reward "
       "model. Everything here was made by this run: the language, "
       "whose "
       "entropy is known exactly, the tokenizer, the model, the preferences, and the hidden "
       "score they "
       "were drawn from."},
      {"tiles",
       {{{"label", "Hidden score"},
         {"value", "+" + number(r.score_after().mean - r.score_before().mean)},
         {"note", with_error(r.score_before()) + " → " + with_error(r.score_after())}},
        {{"label", "Preference accuracy"},
         {"value", number(100 * r.accuracy, 1) + " %"},
         {"note", "on held-out pairs"}},
        {{"label", "KL to the reference"},
         {"value", number(r.kl.mean, 1) + " nats"},
         {"note", "± " + number(r.kl.error)}},
        {{"label", "Hidden score, RLOO"},
         {"value", "+" + number(r.score_online().mean - r.score_before().mean)},
         {"note", number(r.online_kl.mean, 1) + " nats from the reference"}},
        {{"label", "Above the entropy"},
         {"value", number(100 * (r.loss / entropy() - 1), 1) + " %"},
         {"note", number(r.loss) + " of at least " + number(entropy()) + " nats a story"}}}},
      {"sections",
       {{{"type", "table"},
         {"title", "What happened"},
         {"columns", {"", "figure", "remark"}},
         {"rows", rows}},
        {{"type", "histogram"},
         {"title", "Hidden score of fresh samples"},
         {"x_label", "score"},
         {"samples",
          {{{"name", "before"}, {"values", r.before.scores}},
           {{"name", "after DPO"}, {"values", r.after.scores}},
           {{"name", "after RLOO"}, {"values", r.online.scores}}}}},
        {{"type", "lines"},
         {"title", "Pre-training loss, nats a token"},
         {"x_label", "step"},
         {"series", {curve("sft", "loss")}}},
        {{"type", "lines"},
         {"title", "RLOO: the reward model's score of its samples"},
         {"x_label", "step"},
         {"series", {curve("rloo", "reward")}}},
        {{"type", "samples"},
         {"title", "The same prompts, before and after"},
         {"columns", {"before", "after DPO", "after RLOO"}},
         {"rows", samples}}}}};
}

Results run(const fs::path& out, double scale, uint64_t seed) {
  const Sizes sizes = sizes_at(scale);
  const Random random(seed, Purpose::demo);
  make_folder(out / "data");
  make_folder(out / "configs");

  log::info("making ", sizes.story_steps * sizes.story_batch,
            " stories, a tokenizer and a new model");
  const auto stories = texts(random, kTrain, sizes.story_steps * sizes.story_batch);
  const auto held_out = texts(random, kHeldOut, sizes.held_out);
  for (const auto& [name, rows] :
       {std::pair{"stories", &stories}, std::pair{"held_out", &held_out}}) {
    std::vector<Json> json;
    for (const auto& text : *rows) json.push_back(text_row(text));
    write_rows(out / "data" / (std::string(name) + ".jsonl"), json);
  }
  train_tokenizer({stories.begin(),
                   stories.begin() + std::min<int64_t>(3000, static_cast<int64_t>(stories.size()))},
                  out / "start");
  const auto tokenizer = Tokenizer::load(out / "start");
  ModelConfig config;
  config.vocab_size = tokenizer->vocab_size();
  config.hidden_size = 128;
  config.intermediate_size = 352;
  config.num_hidden_layers = config.num_attention_heads = config.num_key_value_heads = 4;
  config.head_dim = 32;
  config.max_position_embeddings = 256;
  config.initializer_range = 0.06;
  config.tie_word_embeddings = true;
  CausalLM::init(config, seed)->save(out / "start");

  train_with(out / "configs/sft.json", pretraining(out, sizes, seed));
  const std::shared_ptr<const CausalLM> reference = CausalLM::load(out / "sft");
  Results r;
  r.loss = nats_per_text(reference, *tokenizer, held_out);
  r.starts = prompts(random, kFresh, sizes.fresh);
  r.before = judge(*reference, *tokenizer, r.starts, seed + 1);

  log::info("sampling ", sizes.pairs, " pairs and labelling them by the hidden score");
  write_pairs(out / "data/pairs.jsonl", *reference, *tokenizer, random, kPairs, sizes.pairs,
              seed + 2);
  write_pairs(out / "data/pairs_held_out.jsonl", *reference, *tokenizer, random, kEvalPairs,
              sizes.held_out, seed + 3);
  train_with(out / "configs/dpo.json", preference(out, sizes, seed));

  const auto policy = CausalLM::load(out / "dpo");
  r.after = judge(*policy, *tokenizer, r.starts, seed + 4);
  r.kl = estimate(log_ratios(r.after.written, reference));
  for (const auto& row : read_metrics(out / "dpo/metrics.jsonl"))
    if (const auto it = row.values.find("eval_rewards/accuracies"); it != row.values.end())
      r.accuracy = it->second;

  train_with(out / "configs/reward.json", reward_model(out, seed));
  for (const auto& row : read_metrics(out / "reward/metrics.jsonl"))
    if (const auto it = row.values.find("eval_accuracy"); it != row.values.end())
      r.reward_accuracy = it->second;
  std::vector<Json> rows;
  for (const auto& prompt : prompts(random, kPrompts, sizes.prompts))
    rows.push_back(prompt_row(prompt));
  write_rows(out / "data/prompts.jsonl", rows);
  train_with(out / "configs/rloo.json", online(out, sizes, seed));
  r.online = judge(*CausalLM::load(out / "rloo"), *tokenizer, r.starts, seed + 5);
  r.online_kl = estimate(log_ratios(r.online.written, reference));
  return r;
}

}  // namespace
}  // namespace luce::demo

int main(int argc, char** argv) {
  using namespace luce;
  mallopt(M_MMAP_MAX, 0);  // see src/cli/main.cpp
  mallopt(M_TRIM_THRESHOLD, -1);
  mallopt(M_TOP_PAD, 64 << 20);
  CLI::App app("Teaches a small language model to write stories, then what its readers like",
               "luce-demo");
  std::string folder = "out/demo";
  double scale = 1;
  uint64_t seed = 42;
  app.add_option("OUT", folder, "Folder for everything that is made")->capture_default_str();
  app.add_option("--scale", scale, "Share of the full size of everything")
      ->check(CLI::Range(0.01, 10.0))
      ->capture_default_str();
  app.add_option("--seed", seed, "Seed of everything")->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  try {
    const auto begin = std::chrono::steady_clock::now();
    const std::filesystem::path out = folder;
    const auto results = demo::run(out, scale, seed);
    write_file_atomic(
        out / "dpo/report.json",
        demo::report(results, out).dump(1, ' ', false, Json::error_handler_t::replace));
    write_file_atomic(out / "report.html", training_report(out / "dpo").html());
    std::cout << "\n";
    for (const auto& row : results.table())
      std::cout << std::left << std::setw(24) << row[0] << std::setw(26) << row[1] << row[2]
                << "\n";
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    std::cout << std::left << std::setw(24) << "all of it took" << demo::number(seconds, 0)
              << " s\n\n"
              << (out / "report.html").string() << "\n";
    return 0;
  } catch (const Error& failure) {
    std::cerr << "luce-demo: " << failure.what() << "\n";
    return static_cast<int>(failure.code());
  } catch (const std::exception& failure) {
    std::cerr << "luce-demo: a bug in Luce: " << failure.what() << "\n";
    return static_cast<int>(Exit::bug);
  }
}

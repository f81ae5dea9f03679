// Exposure bias: what a model trained on true texts does with its own (Welleck et al.,
// arXiv:1908.04319). Letters:
//   rep-n  1 − distinct n-grams / n-grams of one continuation, mean over continuations
//   distinct-n  distinct n-grams / n-grams of all continuations together
#include <cmath>
#include <set>

#include "experiment/experiments.h"
#include "experiment/text.h"
#include "experiment/tiny_llama.h"
#include "experiment/trail_language.h"
#include "luce/base/error.h"
#include "luce/loss/dpo.h"
#include "luce/loss/mix.h"
#include "luce/loss/sft.h"
#include "luce/loss/unlikelihood.h"

namespace luce {
namespace {

using Texts = std::vector<std::vector<int64_t>>;
using LossPtr = std::unique_ptr<SequenceLoss>;

constexpr int64_t kTokens = 32, kEdges = 6, kLength = 40, kPrompt = 4, kNew = kLength - kPrompt;

struct Size {
  int64_t texts = 1024, held_out = 64, pairs = 512, pretraining = 150, steps = 100;
};

std::set<std::vector<int64_t>> ngrams(const std::vector<int64_t>& text, int64_t n) {
  std::set<std::vector<int64_t>> found;
  for (auto at = text.begin(); text.end() - at >= n; ++at) found.insert({at, at + n});
  return found;
}

double repeated(const Texts& texts, int64_t n) {
  double sum = 0;
  for (const auto& text : texts)
    sum += 1 - static_cast<double>(ngrams(text, n).size()) /
                   static_cast<double>(std::ssize(text) - n + 1);
  return sum / static_cast<double>(texts.size());
}

double distinct(const Texts& texts, int64_t n) {
  std::set<std::vector<int64_t>> found;
  double all = 0;
  for (const auto& text : texts) {
    found.merge(ngrams(text, n));
    all += static_cast<double>(std::ssize(text) - n + 1);
  }
  return static_cast<double>(found.size()) / all;
}

/// Texts of the language as rows: the first tokens are the prompt.
std::vector<Example> rows_of_language(const TrailLanguage& language, uint64_t seed, int64_t first,
                                      int64_t count) {
  const Random random(seed, Purpose::sample);
  std::vector<Example> rows;
  for (int64_t i = first; i < first + count; ++i) {
    const auto text = language.sample(random, static_cast<uint64_t>(i), kLength);
    rows.push_back({.prompt = {text.begin(), text.begin() + kPrompt},
                    .completions = {{text.begin() + kPrompt, text.end()}},
                    .row = i + 1,
                    .roles = {Role::chosen}});
  }
  return rows;
}

/// What the model writes after the prompts of rows.
Texts written(const CausalLM& model, const std::vector<Example>& rows, double temperature,
              uint64_t seed) {
  Texts prompts;
  for (const auto& row : rows) prompts.push_back(row.prompt);
  return continuations(model, prompts, kNew, temperature, seed);
}

/// The true continuation, preferred to the model's own greedy one.
std::vector<Example> against_itself(const CausalLM& model, std::vector<Example> rows,
                                    uint64_t seed) {
  const Texts own = written(model, rows, 0, seed);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].completions.push_back(own[i]);
    rows[i].roles = {Role::chosen, Role::rejected};
  }
  return rows;
}

struct Method {
  std::string name;
  bool pairs = false;
  LossPtr (*loss)() = nullptr;
};

LossPtr dpo() { return std::make_unique<Dpo>(DpoOptions{.beta = 0.1}); }

const std::vector<Method>& methods() {
  static const std::vector<Method> all{
      {"maximum likelihood, further", false, [] { return LossPtr(std::make_unique<Sft>()); }},
      {"unlikelihood, token", false,
       [] {
         return LossPtr(std::make_unique<Unlikelihood>(UnlikelihoodOptions{.form = "token"}));
       }},
      {"unlikelihood, sequence", true,
       [] { return LossPtr(std::make_unique<Unlikelihood>(UnlikelihoodOptions{})); }},
      {"dpo", true, dpo},
      {"dpo + sft", true, [] {
         std::vector<LossMix::Part> parts;
         parts.push_back({dpo(), 1});
         parts.push_back({std::make_unique<Sft>(), 1});
         return LossPtr(std::make_unique<LossMix>(std::move(parts)));
       }}};
  return all;
}

/// What is measured on held-out rows of the language.
struct Measured {
  double rep1 = 0, rep2 = 0, rep4 = 0, distinct2 = 0, distinct4 = 0;  // of continuations
  double known = 0, fresh = 0;  // shares of their steps: along an edge, along an unused one
  double perplexity = NAN, sampled_rep2 = NAN;

  Measured(const TrailLanguage& language, const std::vector<Example>& held_out, const Texts& texts)
      : rep1(repeated(texts, 1)),
        rep2(repeated(texts, 2)),
        rep4(repeated(texts, 4)),
        distinct2(distinct(texts, 2)),
        distinct4(distinct(texts, 4)) {
    const auto n = static_cast<double>(texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      auto text = held_out[i].prompt;
      text.insert(text.end(), texts[i].begin(), texts[i].end());
      const auto steps = language.steps(text, kPrompt);
      known += steps.known / n;
      fresh += steps.fresh / n;
    }
  }

  Json json() const {
    return {{"rep_1", rep1},
            {"rep_2", rep2},
            {"rep_4", rep4},
            {"distinct_2", distinct2},
            {"distinct_4", distinct4},
            {"known", known},
            {"fresh", fresh},
            {"perplexity", perplexity},
            {"sampled_rep_2", sampled_rep2}};
  }
};

Measured measure(const CausalLM& model, const TrailLanguage& language,
                 const std::vector<Example>& held_out, uint64_t seed) {
  Measured m(language, held_out, written(model, held_out, 0, seed));
  double sum = 0;
  for (const double logp : answer_logps(model, held_out)) sum -= logp;
  m.perplexity = std::exp(sum / static_cast<double>(kNew * std::ssize(held_out)));
  m.sampled_rep2 = repeated(written(model, held_out, 1, seed), 2);
  return m;
}

/// The language's own texts, and the perplexity that no model can beat.
Measured truth(const TrailLanguage& language, const std::vector<Example>& held_out) {
  Texts texts;
  double sum = 0;
  for (const auto& row : held_out) {
    texts.push_back(row.completions[0]);
    auto text = row.prompt;
    text.insert(text.end(), texts.back().begin(), texts.back().end());
    sum -= language.log_probability(text, kPrompt);
  }
  Measured m(language, held_out, texts);
  m.perplexity = std::exp(sum / static_cast<double>(kNew * std::ssize(held_out)));
  m.sampled_rep2 = m.rep2;
  return m;
}

std::string answer_of(const Json& f) {
  const auto at = [&](const char* name, const char* what, int decimals = 2) {
    return fixed(f[name][what].get<double>(), decimals);
  };
  return cat(
      "The language never repeats two neighbours, and a model trained on it by maximum likelihood "
      "hardly does when it is sampled (rep-2 ",
      at("start", "sampled_rep_2"), "), yet its greedy continuations repeat ", at("start", "rep_2"),
      " of theirs: they walk in circles, while perplexity, ", at("start", "perplexity"), " where ",
      at("truth", "perplexity"), " is the floor, tells nothing of it. ",
      "After the same number of further steps rep-2 is ",
      at("maximum likelihood, further", "rep_2"), " by maximum likelihood, ",
      at("unlikelihood, token", "rep_2"), " by token unlikelihood and ",
      at("unlikelihood, sequence", "rep_2"), " by its sequence form, at perplexities of ",
      at("maximum likelihood, further", "perplexity"), ", ",
      at("unlikelihood, token", "perplexity"), " and ", at("unlikelihood, sequence", "perplexity"),
      ". DPO with the model's own greedy text as the rejected answer leaves it at ",
      at("dpo", "rep_2"), " and costs a perplexity of ", at("dpo", "perplexity"),
      ": it only has to make the old loop less likely than the true text. With maximum likelihood "
      "beside it the two are ",
      at("dpo + sft", "rep_2"), " and ", at("dpo + sft", "perplexity"), ".");
}

LineChart chart_of(const std::vector<std::pair<std::string, Texts>>& all) {
  LineChart chart{"Repeated n-grams under greedy decoding",
                  {},
                  "Share of a continuation's n-grams that stood in it before.",
                  "n"};
  chart.smooth = false;
  for (const auto& [name, texts] : all) {
    Series line{name, {}, {}, static_cast<int>(chart.series.size()) % 6};
    for (int64_t n = 1; n <= 6; ++n) {
      line.x.push_back(static_cast<double>(n));
      line.y.push_back(repeated(texts, n));
    }
    chart.series.push_back(line);
  }
  return chart;
}

Findings run(const ExperimentOptions& options) {
  const Size size = options.quick ? Size{.pretraining = 80, .steps = 60} : Size{};
  const uint64_t seed = options.seed;
  const TrailLanguage language(kTokens, kEdges, seed);
  const auto train = rows_of_language(language, seed, 0, size.texts);
  const auto held_out = rows_of_language(language, seed, size.texts, size.held_out);
  const std::vector<Example> some(train.begin(), train.begin() + size.pairs);

  const auto start = tiny_llama(kTokens, kLength, seed);
  fit(start, std::make_unique<Sft>(), train,
      {.steps = size.pretraining, .learning_rate = 3e-3, .seed = seed});
  const auto pairs = against_itself(*start, some, seed);

  Findings found;
  Table repetition{
      "Repetition under greedy decoding",
      {"trained by", "rep-1", "rep-2", "rep-4", "distinct-2", "distinct-4"},
      {},
      cat(kNew, " tokens after each of ", size.held_out, " held-out prompts of ", kPrompt, "; ",
          size.pretraining, " steps of maximum likelihood, then ", size.steps, " of each loss.")};
  Table quality{"What it costs",
                {"trained by", "perplexity", "steps along an edge", "along an unused edge",
                 "rep-2 when sampled"},
                {},
                "Perplexity of held-out texts; shares of the steps of greedy continuations that "
                "the language knows, and that it allows at that place."};
  std::vector<std::pair<std::string, Texts>> texts;
  const auto add = [&](const std::string& name, const std::string& said, const Measured& m) {
    repetition.rows.push_back({said, fixed(m.rep1), fixed(m.rep2), fixed(m.rep4),
                               fixed(m.distinct2), fixed(m.distinct4)});
    quality.rows.push_back(
        {said, fixed(m.perplexity, 2), fixed(m.known), fixed(m.fresh), fixed(m.sampled_rep2)});
    found.figures[name] = m.json();
  };
  const auto add_model = [&](const std::string& name, const std::string& said,
                             const CausalLM& model) {
    add(name, said, measure(model, language, held_out, seed));
    texts.emplace_back(said, written(model, held_out, 0, seed));
  };
  add("truth", "(the language itself)", truth(language, held_out));
  add_model("start", "maximum likelihood", *start);
  for (const Method& method : methods()) {
    const auto model = start->clone();
    fit(model, method.loss(), method.pairs ? pairs : some,
        {.steps = size.steps, .learning_rate = 1e-3, .seed = seed});
    add_model(method.name, method.name, *model);
  }
  found.tables = {repetition, quality};
  found.charts = {chart_of(texts)};
  found.answer = answer_of(found.figures);
  return found;
}

}  // namespace

Experiment exposure_bias() {
  return {"exposure-bias", "Exposure bias and repetition",
          "A model that fits the texts well repeats itself under greedy decoding: which losses "
          "change that, and at what cost?",
          run};
}

}  // namespace luce

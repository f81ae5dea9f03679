// A task whose answers can be checked: sums of two numbers below ten, in words. The policy is shown
// the format with random answers; what the answers are it learns from rewards alone.
#include <algorithm>
#include <chrono>

#include "experiment/experiments.h"
#include "experiment/online_runs.h"
#include "experiment/text.h"
#include "experiment/tiny_llama.h"
#include "luce/base/error.h"
#include "luce/base/random.h"
#include "luce/loss/sft.h"
#include "luce/model/engine.h"

namespace luce {
namespace {

/// zero … eighteen are the ids 0 … 18.
enum Word : int64_t { kPlus = 19, kIs, kBegin, kEnd, kVocabulary };

constexpr int64_t kNumbers = 10;  // operands are below
constexpr int64_t kSums = 2 * kNumbers - 1;

const char* const kNames[] = {"zero",    "one",     "two",       "three",    "four",
                              "five",    "six",     "seven",     "eight",    "nine",
                              "ten",     "eleven",  "twelve",    "thirteen", "fourteen",
                              "fifteen", "sixteen", "seventeen", "eighteen"};

std::vector<std::vector<int64_t>> problems() {
  std::vector<std::vector<int64_t>> out;
  for (int64_t a = 0; a < kNumbers; ++a)
    for (int64_t b = 0; b < kNumbers; ++b) out.push_back({kBegin, a, kPlus, b, kIs});
  return out;
}

bool is_right(const std::vector<int64_t>& problem, const std::vector<int64_t>& answer) {
  return answer.size() == 2 && answer[0] == problem[1] + problem[3] && answer[1] == kEnd;
}

/// Every problem several times, with an answer drawn from all sums.
std::vector<Example> random_answers(int64_t times, uint64_t seed) {
  const Random random(seed, Purpose::demo);
  std::vector<Example> out;
  for (int64_t i = 0; i < times; ++i)
    for (const auto& problem : problems()) {
      const double u = random.uniform(0, out.size(), 0);
      const auto answer = std::min(kSums - 1, static_cast<int64_t>(u * kSums));
      out.push_back({.prompt = problem,
                     .completions = {{answer, kEnd}},
                     .row = static_cast<int64_t>(out.size()) + 1,
                     .roles = {Role::chosen}});
    }
  return out;
}

/// The likeliest answer to every problem.
std::vector<std::vector<int64_t>> greedy_answers(const CausalLM& model) {
  std::vector<std::vector<int64_t>> out;
  for (auto& s : sample(model, problems(), {.max_new_tokens = 2, .temperature = 0}))
    out.push_back(std::move(s.ids));
  return out;
}

double accuracy(const std::vector<std::vector<int64_t>>& answers) {
  const auto all = problems();
  double right = 0;
  for (size_t i = 0; i < all.size(); ++i) right += is_right(all[i], answers[i]) ? 1 : 0;
  return right / static_cast<double>(all.size());
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Course {
  double before = 0, after = 0, seconds = 0;
  int64_t samples = 0;
  std::vector<double> steps, accuracies;
  std::vector<std::vector<int64_t>> first, last;  // greedy answers
};

Course learn(uint64_t seed, int64_t steps) {
  const auto model = small_llama(kVocabulary, 8, kEnd, seed);
  fit(model, std::make_unique<Sft>(), random_answers(8, seed),
      {.steps = 200, .batch_size = 64, .learning_rate = 2e-3, .seed = seed});
  Course out;
  out.first = greedy_answers(*model);
  out.before = accuracy(out.first);
  out.steps.push_back(0);
  out.accuracies.push_back(out.before);
  OnlineRun run{.algorithm = {{"type", "rloo"}, {"kl", "off"}},
                .prompts = 50,
                .generations = 8,
                .new_tokens = 2,
                .steps = steps,
                .learning_rate = 2e-3,
                .seed = seed};
  const int64_t every = std::max<int64_t>(1, steps / 40);
  run.after_step = [&](int64_t done) {
    if (done % every != 0 && done != steps) return;
    out.steps.push_back(static_cast<double>(done));
    out.accuracies.push_back(accuracy(greedy_answers(*model)));
  };
  const double begin = seconds_now();
  train_online(
      model, prompts_of(problems()),
      [](const std::vector<int64_t>& problem, const std::vector<int64_t>& answer) {
        return is_right(problem, answer) ? 1.0 : 0.0;
      },
      run);
  out.seconds = seconds_now() - begin;
  out.samples = run.prompts * run.generations * steps;
  out.last = greedy_answers(*model);
  out.after = accuracy(out.last);
  return out;
}

std::string in_words(const std::vector<int64_t>& answer) {
  std::string out;
  for (const int64_t id : answer) {
    if (id == kEnd) break;
    out += (out.empty() ? "" : " ") + std::string(id < kSums    ? kNames[id]
                                                  : id == kPlus ? "plus"
                                                  : id == kIs   ? "is"
                                                                : "<s>");
  }
  return out;
}

Findings run(const ExperimentOptions& options) {
  const int64_t steps = options.quick ? 150 : 600;
  const uint64_t seeds = options.quick ? 1 : 5;
  std::vector<Course> courses;
  for (uint64_t i = 0; i < seeds; ++i) courses.push_back(learn(options.seed + i, steps));

  Table table{.title = "Greedy answers to all 100 problems that are right",
              .columns = {"seed", "before", "after", "samples", "seconds"},
              .rows = {},
              .note = "Seconds of the online part alone; they vary with the machine."};
  LineChart chart{
      .title = "Greedy accuracy over all problems", .smooth = false, .low = 0.0, .high = 1.0};
  Json runs = Json::array();
  int64_t above = 0;
  for (size_t i = 0; i < courses.size(); ++i) {
    const Course& c = courses[i];
    const std::string seed = std::to_string(options.seed + i);
    above += c.after > 0.8 ? 1 : 0;
    table.rows.push_back({seed, fixed(c.before, 2), fixed(c.after, 2), std::to_string(c.samples),
                          fixed(c.seconds, 1)});
    chart.series.push_back(
        {.name = "seed " + seed, .x = c.steps, .y = c.accuracies, .color = static_cast<int>(i)});
    runs.push_back({{"seed", options.seed + i},
                    {"before", c.before},
                    {"after", c.after},
                    {"samples", c.samples},
                    {"seconds", c.seconds},
                    {"steps", c.steps},
                    {"accuracy", c.accuracies}});
  }
  Table answers{.title = "What one of them answers",
                .columns = {"problem", "before", "after"},
                .rows = {},
                .note = ""};
  const auto all = problems();
  for (size_t i = 0; i < all.size(); i += 13)
    answers.rows.push_back({cat(kNames[all[i][1]], " plus ", kNames[all[i][3]]),
                            in_words(courses[0].first[i]), in_words(courses[0].last[i])});
  return {
      .answer = cat("Yes. After the warm-up the likeliest answer is right for at most ",
                    fixed(std::max_element(
                              courses.begin(), courses.end(),
                              [](const Course& a, const Course& b) { return a.before < b.before; })
                              ->before,
                          2),
                    " of the problems; after ", steps,
                    " steps of RLOO more than 0.80 are right on ", above, " of ", seeds, " seeds."),
      .tables = {table, answers},
      .charts = {chart},
      .figures = {{"runs", runs}}};
}

}  // namespace

Experiment sums() {
  return {.name = "sums",
          .title = "Sums in words",
          .question =
              "Can a policy that knows only the format of an answer learn to add, from nothing "
              "but a verifier that says right or wrong?",
          .run = run};
}

}  // namespace luce

// Displacement: CHES by its definition, shifts and gains of a model whose distributions are known.
#include "luce/train/displacement.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/data/metrics_file.h"
#include "luce/train/run.h"
#include "support/support.h"

namespace luce {
namespace {

namespace fs = std::filesystem;

/// Hidden states of one text, [n, D].
Tensor hidden_of(const CausalLM& model, const std::vector<int64_t>& ids) {
  const at::NoGradGuard no_grad;
  const auto n = static_cast<int64_t>(ids.size());
  return model.trunk(model.embed(at::tensor(ids, at::kLong)), at::arange(n, at::kLong),
                     {{0, n, 0, 0}});
}

/// log-probs of the tokens of a prompt's answer, [length, V].
Tensor logps_of(const CausalLM& model, const std::vector<int64_t>& prompt,
                const std::vector<int64_t>& answer) {
  std::vector<int64_t> ids = prompt;
  ids.insert(ids.end(), answer.begin(), answer.end());
  const Tensor h = hidden_of(model, ids);
  return h.narrow(0, static_cast<int64_t>(prompt.size()) - 1, static_cast<int64_t>(answer.size()))
      .matmul(model.head_weight().t())
      .log_softmax(1);
}

TEST(Ches, IsItsDefinitionOnEveryPair) {
  const auto model = test::small_model(at::kDouble);
  const auto rows = test::random_pairs(6);
  const auto got = ches(*model, test::pointers(rows), 20);
  ASSERT_EQ(got.size(), rows.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const auto sum = [&](size_t k) {
      std::vector<int64_t> ids = rows[i].prompt;
      ids.insert(ids.end(), rows[i].completions[k].begin(), rows[i].completions[k].end());
      const auto first = static_cast<int64_t>(rows[i].prompt.size()) - 1;
      return hidden_of(*model, ids)
          .narrow(0, first, static_cast<int64_t>(rows[i].completions[k].size()))
          .sum(0);
    };
    const Tensor w = sum(0), l = sum(1);
    const double wl = w.dot(l).item<double>(), ww = w.dot(w).item<double>();
    const auto n = static_cast<double>(rows[i].completions[0].size());
    const auto m = static_cast<double>(rows[i].completions[1].size());
    EXPECT_NEAR(got[i].score, wl - ww, 1e-9);
    EXPECT_NEAR(got[i].normalised, wl / (n * m) - ww / (n * n), 1e-9);
  }
  EXPECT_NEAR(ches(*model, {&rows[2]})[0].score, got[2].score, 1e-9);
  Example lone{.prompt = {1}, .completions = {{2}}, .row = 3};
  lone.roles = {Role::chosen};
  EXPECT_EQ(test::message_of<ArgumentError>([&] { ches(*model, {&lone}); }),
            "[displacement] row 3 is no pair of a chosen and a rejected answer");
}

TEST(DisplacementProbe, TellsShiftsAndGainsOfTwoModels) {
  const auto start = test::small_model(at::kDouble, true, 1),
             now = test::small_model(at::kDouble, true, 2);
  const auto rows = test::random_pairs(5);
  const DisplacementProbe probe(*start, rows, 30);
  const auto shifts = probe.shifts(*now);
  const auto places = probe.gains(*now, 3);
  size_t place = 0;
  double both = 0;
  for (size_t i = 0; i < rows.size(); ++i)
    for (const size_t k : {size_t{0}, size_t{1}}) {
      const auto& answer = rows[i].completions[k];
      const Tensor before = logps_of(*start, rows[i].prompt, answer),
                   after = logps_of(*now, rows[i].prompt, answer);
      const Tensor ids = at::tensor(answer, at::kLong).unsqueeze(1);
      const double shift = (after - before).gather(1, ids).sum().item<double>();
      EXPECT_NEAR(k == 0 ? shifts[i].chosen : shifts[i].rejected, shift, 1e-9);
      for (size_t t = 0; t < answer.size(); ++t, ++place) {
        const auto at = static_cast<int64_t>(t);
        const PlaceShift& got = places[place];
        EXPECT_EQ(got.row, rows[i].row);
        EXPECT_EQ(got.chosen, k == 0);
        EXPECT_EQ(got.target, answer[t]);
        EXPECT_NEAR(got.before, before[at][answer[t]].exp().item<double>(), 1e-12);
        EXPECT_NEAR(got.after, after[at][answer[t]].exp().item<double>(), 1e-12);
        const Tensor gain = after[at].exp() - before[at].exp();
        ASSERT_EQ(got.gains.size(), 3);
        EXPECT_EQ(got.gains[0].token, gain.argmax().item<int64_t>());
        EXPECT_NEAR(got.gains[0].after - got.gains[0].before, gain.max().item<double>(), 1e-12);
        EXPECT_GE(got.gains[1].after - got.gains[1].before,
                  got.gains[2].after - got.gains[2].before);
      }
      both += k == 1 && shifts[i].chosen < 0 && shifts[i].rejected < 0 ? 1 : 0;
    }
  EXPECT_EQ(place, places.size());
  Metrics metrics;
  probe.record(*now, metrics);
  EXPECT_NEAR(metrics.sum("displacement/both_fell"), both, 1e-12);
  EXPECT_EQ(metrics.count("displacement/chosen"), 5);
}

Json pair_config(const test::TemporaryFolder& folder) {
  return {{"task", "preference"},
          {"model", {{"path", test::golden("tiny").string()}}},
          {"data", {{"train", test::golden("pairs_tiny.jsonl").string()}, {"max_length", 64}}},
          {"loss", {{"type", "dpo"}}},
          {"train",
           {{"batch_size", 8}, {"max_steps", 4}, {"logging_steps", 2}, {"learning_rate", 1e-3}}},
          {"output_dir", (folder.path() / "out").string()}};
}

void run_config(const Json& config) {
  const auto document = Document::of(config, "dpo.json");
  const auto registry = Registry::with_builtins();
  train(parse_run_config(document, registry), document, registry, {.progress = false});
}

TEST(Displacement, OfARunIsLoggedAndReported) {
  const test::TemporaryFolder folder;
  Json config = pair_config(folder);
  config["loss"] = {{"type", "simpo"}};  // no reference: the probe keeps the start itself
  config["displacement"] = {{"probe_rows", 6}, {"ches", true}};
  run_config(config);
  const auto rows = read_metrics(folder.path() / "out/metrics.jsonl");
  EXPECT_NE(rows[1].values.at("displacement/chosen"), 0);
  const std::string page = read_file(folder.path() / "out/report.html");
  EXPECT_NE(page.find("Likelihood displacement"), std::string::npos);
  EXPECT_NE(page.find("Who gained where rejected answers stood"), std::string::npos);
  const auto trained = CausalLM::load(folder.path() / "out"),
             start = CausalLM::load(test::golden("tiny"));
  const auto document = Document::of(config, "test");
  const auto registry = Registry::with_builtins();
  RunSetup setup = set_up(parse_run_config(document, registry), document, registry);
  std::vector<Example> watched(setup.train.examples.begin(), setup.train.examples.begin() + 6);
  Metrics metrics;
  DisplacementProbe(*start, watched).record(*trained, metrics);
  // The last logged value was measured before the last update; both lie on the way.
  EXPECT_LT(std::abs(rows[1].values.at("displacement/chosen")),
            3 * std::abs(metrics.mean("displacement/chosen")) + 1);
}

TEST(Displacement, IsReadOffAReferenceThatIsTheStart) {
  const test::TemporaryFolder folder;
  const Json config = pair_config(folder);
  run_config(config);
  const auto rows = read_metrics(folder.path() / "out/metrics.jsonl");
  for (size_t i = 0; i < 2; ++i)
    for (const std::string side : {"chosen", "rejected"})  // rewards are β times the shift
      EXPECT_NEAR(rows[i].values.at("displacement/" + side),
                  rows[i].values.at("rewards/" + side) / 0.1, 1e-6);
}

TEST(Displacement, LeavesOutThePairsOfTheLargestChes) {
  const test::TemporaryFolder folder;
  Json config = pair_config(folder);
  config["displacement"] = {{"ches_keep", 0.5}};
  const auto document = Document::of(config, "test");
  const auto registry = Registry::with_builtins();
  const RunSetup setup = set_up(parse_run_config(document, registry), document, registry);
  const auto all = static_cast<int64_t>(setup.train.examples.size());
  EXPECT_EQ(setup.task->steps_per_epoch(), (std::llround(0.5 * static_cast<double>(all)) + 7) / 8);
  const auto model = CausalLM::load(test::golden("tiny"));
  const auto scores = ches(*model, test::pointers(setup.train.examples));
  double largest_kept = -INFINITY;
  std::vector<bool> used(static_cast<size_t>(all));
  for (int64_t step = 0; step < setup.task->steps_per_epoch(); ++step)
    for (const auto& some : setup.task->next(step).micro_batches)
      for (const Example* row : some)
        for (size_t i = 0; i < used.size(); ++i)
          if (setup.train.examples[i].row == row->row) {
            used[i] = true;
            largest_kept = std::max(largest_kept, scores[i].normalised);
          }
  for (size_t i = 0; i < used.size(); ++i) {
    if (used[i]) continue;
    EXPECT_GE(scores[i].normalised, largest_kept) << i;
  }
  EXPECT_TRUE(fs::exists(folder.path() / "out/ches.jsonl"));
}

TEST(Displacement, NeedsPairs) {
  const test::TemporaryFolder folder;
  Json config = pair_config(folder);
  config["displacement"] = {{"probe_rows", 6}};
  config["loss"] = {{"type", "kto"}};
  EXPECT_EQ(test::message_of<UsageError>([&] { run_config(config); }),
            "dpo.json: displacement is measured on pairs; it needs task \"preference\" and a loss "
            "of pairs");
}

}  // namespace
}  // namespace luce

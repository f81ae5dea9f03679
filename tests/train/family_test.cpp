// Every loss in the trainer: cut, ordered and laid out in any way, and against finite differences.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "luce/base/error.h"
#include "luce/loss/registry.h"
#include "luce/train/offline_task.h"
#include "luce/train/optimizer.h"
#include "support/support.h"

namespace luce {
namespace {

/// Rows that serve every loss of pairs: margins, preferences between 0 and 1, raters, gold answers.
std::vector<Example> judged_pairs(bool sure) {
  auto rows = test::random_pairs(8);
  const auto gold = test::random_pairs(8, 11);
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].completions.push_back(gold[i].completions[0]);
    rows[i].roles = {Role::chosen, Role::rejected, Role::gold};
    rows[i].margin = i % 3 == 0 ? 0.5 : 0;
    rows[i].preference = !sure && i % 4 == 1 ? 0.75 : 1;
    rows[i].rater = static_cast<int64_t>(i % 2);
  }
  return rows;
}

std::vector<Example> ranked_rows() {
  auto rows = test::random_pairs(8);
  const auto more = test::random_pairs(8, 13);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (i % 3 != 0) rows[i].completions.push_back(more[i].completions[1]);
    rows[i].roles.assign(rows[i].completions.size(), Role::ranked);
    for (size_t k = 0; k < rows[i].completions.size(); ++k)
      rows[i].scores.push_back(static_cast<double>((k * 7 + i) % 3) - 0.4);
  }
  return rows;
}

std::vector<Example> rows_for(const SequenceLoss& loss) {
  if (loss.rows() == Rows::ranked || loss.rows() == Rows::scored) return ranked_rows();
  auto rows = judged_pairs(loss.needs().couples == Coupling::step);
  if (loss.needs().gold) return rows;
  for (auto& row : rows) {
    row.completions.pop_back();
    row.roles.pop_back();
  }
  return rows;
}

struct Training {
  std::unique_ptr<PreferenceTask> task;
  explicit Training(const Json& config, OfflineOptions options = {},
                    const std::function<void(std::vector<Example>&)>& change = {},
                    at::ScalarType dtype = at::kDouble) {
    auto loss = Registry::with_builtins().make_loss(Document::of({{"loss", config}}, "test"));
    auto rows = rows_for(*loss);
    if (change) change(rows);
    Frozen frozen;
    if (loss->needs().reference) frozen.model = Reference(test::small_model(dtype, true, 2));
    frozen.is_start = false;
    options.batch_size = 8;
    options.shuffle = false;
    task = std::make_unique<PreferenceTask>(Policy(test::small_model(dtype)), std::move(frozen),
                                            std::move(loss), rows, rows, options);
  }
  std::vector<Tensor> gradients() {
    task->policy().zero_gradients();
    const Step step = task->next(0);
    Metrics metrics;
    for (size_t i = 0; i < step.micro_batches.size(); ++i) task->accumulate(step, i, metrics);
    std::vector<Tensor> out;
    for (const auto& p : task->policy().parameters()) out.push_back(p.grad.clone());
    return out;
  }
};

/// Every built-in loss with its defaults, and the forms and modifiers that take another path.
std::vector<Json> all_losses() {
  std::vector<Json> out;
  const auto registry = Registry::with_builtins();
  for (const auto& info : registry.losses()) out.push_back(Json{{"type", info.name}});
  for (const char* text :
       {R"({"type": "unlikelihood", "form": "token"})",
        R"({"type": "unlikelihood", "form": "plain"})", R"({"type": "dpo", "use_weighting": true})",
        R"({"type": "dpo", "ld_alpha": 0.3})",
        R"({"type": "ipo", "f_divergence_type": "forward_kl"})",
        R"({"type": "dpo", "reference_free": true, "rpo_alpha": 0.4})",
        R"({"type": "distillation", "divergence": "reverse_kl", "temperature": 2})",
        R"([{"type": "dpo"}, {"type": "unlikelihood", "form": "token", "weight": 0.3},
            {"type": "distillation", "weight": 0.5}])",
        R"([{"type": "kto"}, {"type": "generative", "weight": 0.2},
            {"type": "unlikelihood", "form": "token", "weight": 0.1}])"})
    out.push_back(Json::parse(text));
  return out;
}

class EveryLoss : public ::testing::TestWithParam<Json> {
 protected:
  static void expect_equal(const std::vector<Tensor>& got, const std::vector<Tensor>& want) {
    double largest = 0, norm = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      largest = std::max(largest, test::relative_distance(got[i], want[i]));
      norm += want[i].norm().item<double>();
    }
    EXPECT_LE(largest, 1e-11);
    EXPECT_GT(norm, 1e-6) << "no gradient: this test would say nothing";
  }
};

TEST_P(EveryLoss, DoesNotDependOnMicroBatchesOrTheHeadsBudget) {
  const auto want = Training(GetParam()).gradients();
  expect_equal(Training(GetParam(), {.micro_batch_tokens = 1}).gradients(), want);
  expect_equal(Training(GetParam(), {.micro_batch_tokens = 40}).gradients(), want);
  expect_equal(Training(GetParam(), {.chunk_bytes = 29 * 8 * 3}).gradients(), want);
  expect_equal(Training(GetParam(), {.batch = {.prefix_sharing = false}}).gradients(), want);
}

TEST_P(EveryLoss, DoesNotDependOnTheOrderOfTheRows) {
  Training run(GetParam());
  if (run.task->loss().needs().mismatched)
    GTEST_SKIP() << "which answer stands in for another row's follows the order";
  expect_equal(Training(GetParam(), {},
                        [](std::vector<Example>& rows) { std::reverse(rows.begin(), rows.end()); })
                   .gradients(),
               run.gradients());
}

TEST_P(EveryLoss, HasTheGradientOfItsEvaluatedValue) {
  Training run(GetParam());
  const Needs needs = run.task->loss().needs();
  if (needs.mismatched || needs.log_sum_p2 || !run.task->loss().state().is_null())
    GTEST_SKIP() << "part of the value is held constant in the gradient";
  const auto gradients = run.gradients();
  for (size_t i : {size_t{0}, size_t{3}, gradients.size() - 1}) {
    auto& p = run.task->policy().parameters()[i];
    const at::NoGradGuard no_grad;
    Tensor place = p.work.detach().flatten();
    const double keep = place[0].item<double>(), h = 1e-5;
    const auto loss_at = [&](double x) {
      place[0].fill_(x);
      return run.task->evaluate().mean("loss");
    };
    const double slope = (loss_at(keep + h) - loss_at(keep - h)) / (2 * h);
    place[0].fill_(keep);
    EXPECT_NEAR(gradients[i].flatten()[0].item<double>(), slope,
                1e-6 * std::max(1.0, std::abs(slope)))
        << p.name;
  }
}

INSTANTIATE_TEST_SUITE_P(Losses, EveryLoss, ::testing::ValuesIn(all_losses()), [](const auto& one) {
  std::string name = std::to_string(one.index) + "_";
  const Json& loss = one.param;
  for (const char c : loss.is_array() ? "mixture_of_losses" : loss.dump())
    if (std::isalnum(static_cast<unsigned char>(c)) || c == '_') name += c;
  return name;
});

TEST(Kto, ScoresTheAnswerOfTheRowBeforeAndGivesItNoGradient) {
  Training run({{"type", "kto"}, {"beta", 0.3}});
  const Step step = run.task->next(0);
  // z₀ by hand: each answer beside the prompt of the next row, in the order of the step.
  std::vector<Example> wrong;
  const auto& rows = step.micro_batches.at(0);
  for (size_t i = 0; i < rows.size(); ++i)
    for (size_t k = 0; k < 2; ++k)
      wrong.push_back({.prompt = rows[i]->prompt,
                       .completions = {rows[(i + rows.size() - 1) % rows.size()]->completions[k]},
                       .row = 1});
  const auto sum = [&](const CausalLM& model) {
    const at::NoGradGuard no_grad;
    const Batch batch = make_batch(test::pointers(wrong));
    const Tensor hidden = model.trunk(model.embed(batch.tokens), batch.positions, batch.segments())
                              .index_select(0, batch.head_rows);
    return TokenValues{head(hidden, model.head_weight(), batch.targets, {}).logps, batch.offset}
        .sum();
  };
  const double z0 = std::max(
      0.0, (sum(*test::small_model(at::kDouble)) - sum(*test::small_model(at::kDouble, true, 2)))
               .mean()
               .item<double>());
  Metrics metrics;
  run.task->accumulate(step, 0, metrics);
  EXPECT_NEAR(metrics.mean("kl"), z0, 1e-12);
}

TEST(Kto, CutsAnAnswerThatIsTooLongBehindAnotherPrompt) {
  Training run({{"type", "kto"}}, {.max_length = 10}, [](std::vector<Example>& rows) {
    for (auto& row : rows)
      for (auto& answer : row.completions)
        answer.resize(std::min(answer.size(), 10 - row.prompt.size()));
  });
  EXPECT_NO_THROW(run.gradients());
}

TEST(Distillation, IsZeroAtTheTeacherAndLearnsFromIt) {
  Training run(Json{{"type", "distillation"}});
  Metrics before = run.task->evaluate();
  EXPECT_GT(before.mean("loss"), 1e-4);
  EXPECT_NEAR(before.mean("loss"), before.mean("divergence"), 1e-12);
  AdamW optimizer(run.task->policy().parameters(), {});
  for (int step = 0; step < 60; ++step) {
    run.gradients();
    optimizer.step(3e-3);
  }
  EXPECT_LT(run.task->evaluate().mean("loss"), 0.5 * before.mean("loss"));
}

TEST(ReferenceSync, MovesTheReferenceByTheShareEverySoManySteps) {
  Training run({{"type", "dpo"}}, {.sync_steps = 2, .mixup_alpha = 0.25});
  const auto weight = [&](const TaskState& state) { return state.tensors.at(0).second.clone(); };
  const Tensor start = weight(run.task->save());
  Metrics metrics;
  run.task->after_step(1, metrics);
  EXPECT_TRUE(at::equal(weight(run.task->save()), start));
  run.task->after_step(2, metrics);
  const Tensor policy = run.task->policy().parameters()[0].work.detach();
  EXPECT_TRUE(test::close(weight(run.task->save()), 0.25 * policy + 0.75 * start, 1e-15));
  Training other({{"type", "dpo"}}, {.sync_steps = 2});
  other.task->load(run.task->save());
  EXPECT_EQ(other.gradients()[1].sum().item<double>(), run.gradients()[1].sum().item<double>());
  TaskState wrong = run.task->save();
  wrong.tensors.erase(wrong.tensors.begin());
  EXPECT_EQ(test::message_of<DataError>([&] { other.task->load(wrong); }),
            "the checkpoint holds the weights of another reference model: "
            "\"model.embed_tokens.weight\" is missing or of another shape");
}

TEST(ReferenceSync, NeedsAModelThatIsNotConstant) {
  const std::shared_ptr<const CausalLM> constant = test::small_model(at::kFloat);
  Reference reference(constant);
  const Policy policy(test::small_model(at::kFloat));
  EXPECT_EQ(test::message_of<ArgumentError>([&] { reference.follow(policy, 0.5); }),
            "[Reference] a model that is given as a constant cannot follow a policy");
}

TEST(ReferenceSync, KeepsSmallSharesOfABf16Model) {
  Reference reference(test::small_model(at::kBFloat16, true, 2));
  const Policy policy(test::small_model(at::kBFloat16));
  const Tensor start = reference.weights()[0].second.clone();
  for (int i = 0; i < 100; ++i) reference.follow(policy, 1e-4);
  const Tensor moved = reference.weights()[0].second - start;
  const Tensor want =
      (policy.model().parameters()[0].master - start) * (1 - std::pow(1 - 1e-4, 100));
  EXPECT_TRUE(test::close(moved, want, 1e-5));  // a hundred roundings; bf16 alone would not move
}

}  // namespace
}  // namespace luce

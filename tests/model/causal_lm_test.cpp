#include "luce/model/causal_lm.h"

#include <ATen/ATen.h>

#include <fstream>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/model/roles.h"
#include "luce/model/sampler.h"
#include "support/support.h"

namespace luce {
namespace {

using test::close;

/// Log-probs of tokens 1 … n−1.
Tensor logps_of(const std::shared_ptr<CausalLM>& model, const std::vector<int64_t>& ids) {
  const Example e{.prompt = {ids.front()}, .completions = {{ids.begin() + 1, ids.end()}}, .row = 1};
  const Reference reference(model);
  const Batch batch = make_batch({&e});
  return head(reference.hidden(batch), reference.head_weight(), batch.targets, {}).logps;
}

struct Golden {
  std::string file, folder;
  bool extra;  // needs LUCE_TEST_DATA
};

std::ostream& operator<<(std::ostream& out, const Golden& golden) { return out << golden.folder; }

class Logps : public ::testing::TestWithParam<Golden> {
 protected:
  std::filesystem::path folder() const {
    return GetParam().extra ? *test::test_data() / GetParam().folder
                            : test::golden(GetParam().folder);
  }
  void SetUp() override {
    if (GetParam().extra && !test::test_data()) GTEST_SKIP() << "LUCE_TEST_DATA is not set";
  }
};

TEST_P(Logps, LieWithin2em4OfTransformersInF64) {
  const auto model = CausalLM::load(folder());
  for (const auto& row : test::golden_json(GetParam().file)["rows"]) {
    const auto ids = row["input_ids"].get<std::vector<int64_t>>();
    if (ids.size() < 2) continue;
    const auto want = row["logps"].get<std::vector<double>>();
    EXPECT_TRUE(close(logps_of(model, ids), at::tensor(want, at::kDouble), 2e-4)) << row["label"];
  }
}

TEST_P(Logps, OfAnF64ModelAreExactButForTheFrequenciesRounding) {
  const auto model = CausalLM::load(folder(), {.dtype = at::kDouble});
  for (const auto& row : test::golden_json(GetParam().file)["rows"]) {
    const auto ids = row["input_ids"].get<std::vector<int64_t>>();
    if (ids.size() < 2) continue;
    const auto want = row["exact_logps"].get<std::vector<double>>();
    EXPECT_TRUE(close(logps_of(model, ids), at::tensor(want, at::kDouble), 2e-8)) << row["label"];
  }
}

TEST_P(Logps, OfABf16ModelStayNear) {
  const auto model = CausalLM::load(folder(), {.dtype = at::kBFloat16});
  for (const auto& row : test::golden_json(GetParam().file)["rows"]) {
    const auto ids = row["input_ids"].get<std::vector<int64_t>>();
    if (ids.size() < 2) continue;
    const auto want = at::tensor(row["logps"].get<std::vector<double>>(), at::kDouble);
    const Tensor difference = (logps_of(model, ids).to(at::kDouble) - want).abs();
    EXPECT_LT(difference.mean().item<double>(), 0.05) << row["label"];
  }
}

INSTANTIATE_TEST_SUITE_P(
    Models, Logps,
    ::testing::Values(Golden{"logprobs_tiny.json", "tiny", false},
                      Golden{"logprobs_tiny_untied.json", "tiny-untied", false},
                      Golden{"logprobs_stories260k.json", "models/stories260k", true}),
    [](const auto& test_case) {
      std::string name = test_case.param.folder;
      std::replace_if(
          name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
      return name;
    });

TEST(CausalLM, SavesWhatItLoadedByteForByte) {
  for (const char* name : {"tiny", "tiny-untied"}) {
    const auto model = CausalLM::load(test::golden(name));
    const test::TemporaryFolder out;
    model->save(out.path());
    const auto again = CausalLM::load(out.path());
    ASSERT_EQ(again->parameters().size(), model->parameters().size());
    for (size_t i = 0; i < model->parameters().size(); ++i)
      EXPECT_TRUE(at::equal(again->parameters()[i].work, model->parameters()[i].work));
    EXPECT_EQ(again->config().source["architectures"], model->config().source["architectures"]);
  }
}

TEST(CausalLM, StartsFromTheSeedAlone) {
  const auto a = test::small_model(at::kFloat, false, 5),
             b = test::small_model(at::kFloat, false, 5),
             c = test::small_model(at::kFloat, false, 6);
  EXPECT_TRUE(at::equal(a->parameters()[0].work, b->parameters()[0].work));
  EXPECT_FALSE(at::equal(a->parameters()[0].work, c->parameters()[0].work));
  const Tensor& w = a->parameters()[0].work;
  EXPECT_NEAR(w.to(at::kDouble).std().item<double>(), 0.3, 0.03);
  for (const auto& p : a->parameters())
    if (p.name.find("norm") != std::string::npos) {
      EXPECT_TRUE(close(p.work, at::ones_like(p.work), 0)) << p.name;
      EXPECT_FALSE(p.decay) << p.name;
    }
}

TEST(CausalLM, SaysWhichTensorIsMissingOrOfAnotherShape) {
  const test::TemporaryFolder out;
  test::small_model(at::kFloat)->save(out.path());
  const auto config_path = out.path() / "config.json";
  const auto rewrite = [&](const std::string& key, const Json& value) {
    Json json = parse_json(read_file(config_path), "config.json");
    json[key] = value;
    write_file_atomic(config_path, json.dump());
  };
  rewrite("num_hidden_layers", 3);
  EXPECT_EQ(test::message_of<DataError>([&] { CausalLM::load(out.path()); }),
            out.path().string() +
                ": the weights hold no tensor \"model.layers.2.input_layernorm.weight\", "
                "which config.json asks for");
  rewrite("num_hidden_layers", 2);
  rewrite("intermediate_size", 25);
  EXPECT_EQ(test::message_of<DataError>([&] { CausalLM::load(out.path()); }),
            out.path().string() +
                ": the tensor \"model.layers.0.mlp.gate_proj.weight\" has shape [24, 16]; "
                "config.json asks for [25, 16]");
}

TEST(CausalLM, ComparesShapesBeforeItTakesMemory) {
  const test::TemporaryFolder out;
  test::small_model(at::kFloat)->save(out.path());
  const auto config_path = out.path() / "config.json";
  Json json = parse_json(read_file(config_path), "config.json");
  json["vocab_size"] = json["intermediate_size"] = 1 << 24;  // two petabytes of weights
  json["num_hidden_layers"] = 4096;
  write_file_atomic(config_path, json.dump());
  const auto message = test::message_of<DataError>([&] { CausalLM::load(out.path()); });
  EXPECT_NE(message.find("config.json asks for [16777216, 16]"), std::string::npos) << message;
}

template <class T>
concept Trainable = requires(T role) {
  role.parameters();
};

TEST(Reference, HasNoParametersSoThatTrainingItDoesNotCompile) {
  EXPECT_FALSE(Trainable<Reference>);
  EXPECT_TRUE(Trainable<Policy>);
}

TEST(Sampler, ContinuesGreedilyAsTransformersDoes) {
  for (const char* name : {"tiny", "tiny-untied"}) {
    std::string file = std::string("greedy_") + name + ".json";
    std::replace(file.begin(), file.end(), '-', '_');
    const Json golden = test::golden_json(file);
    const auto model = CausalLM::load(test::golden(name));
    for (const auto& row : golden["rows"]) {
      SampleOptions o{.max_new_tokens = static_cast<int64_t>(row["new_ids"].size()),
                      .temperature = 0};
      const auto got = sample(*model, {row["prompt_ids"].get<std::vector<int64_t>>()}, o);
      EXPECT_EQ(got[0].ids, row["new_ids"].get<std::vector<int64_t>>()) << name;
    }
  }
}

TEST(Sampler, ContinuesOnceUponATimeAsTheModelWasSeenTo) {
  LUCE_NEEDS_TEST_DATA(data);
  const Json golden = test::golden_json("greedy_stories260k.json");
  const auto model = CausalLM::load(*data / "models/stories260k");
  for (const auto& row : golden["rows"]) {
    SampleOptions o{.max_new_tokens = static_cast<int64_t>(row["new_ids"].size()),
                    .temperature = 0};
    const auto got = sample(*model, {row["prompt_ids"].get<std::vector<int64_t>>()}, o);
    EXPECT_EQ(got[0].ids, row["new_ids"].get<std::vector<int64_t>>());
  }
}

TEST(Sampler, GivesLogProbsOfTheTrainingForward) {
  const auto model = test::small_model(at::kFloat);
  const std::vector<std::vector<int64_t>> prompts{{1, 5, 9}, {3}, {4, 4, 8, 20, 11}};
  const SampleOptions o{
      .max_new_tokens = 20, .temperature = 0.8, .top_k = 20, .top_p = 0.95, .num_samples = 3};
  const auto samples = sample(*model, prompts, o);
  ASSERT_EQ(samples.size(), 9u);
  for (size_t i = 0; i < samples.size(); ++i) {
    auto ids = prompts[i / 3];
    const auto skip = static_cast<int64_t>(ids.size()) - 1;
    ids.insert(ids.end(), samples[i].ids.begin(), samples[i].ids.end());
    const Tensor logps = logps_of(model, ids);
    EXPECT_TRUE(close(logps.narrow(0, skip, logps.numel() - skip),
                      at::tensor(samples[i].logps, at::kDouble), 1e-4));
  }
}

TEST(Sampler, DrawsTheSameWhateverTheBatch) {
  const auto model = test::small_model(at::kDouble);
  const std::vector<std::vector<int64_t>> prompts{{1, 5, 9}, {3}, {4, 4, 8, 20, 11}};
  SampleOptions o{.max_new_tokens = 12, .num_samples = 2};
  const auto together = sample(*model, prompts, o);
  o.max_batch = 1;
  const auto alone = sample(*model, prompts, o);
  for (size_t i = 0; i < together.size(); ++i) EXPECT_EQ(together[i].ids, alone[i].ids) << i;
  EXPECT_NE(together[0].ids, together[1].ids);
}

TEST(Sampler, DrawsTokensAsOftenAsTheModelSays) {
  const auto model = test::small_model(at::kDouble);
  const SampleOptions o{.max_new_tokens = 1, .temperature = 0.7, .num_samples = 20000};
  const auto samples = sample(*model, {{7, 3}}, o);
  std::vector<double> logits(29), counts(29);
  for (int64_t v = 0; v < 29; ++v)
    logits[static_cast<size_t>(v)] = logps_of(model, {7, 3, v})[1].item<double>();
  const Tensor p = at::softmax(at::tensor(logits, at::kDouble) / 0.7, 0);
  for (const auto& s : samples) counts[static_cast<size_t>(s.ids[0])] += 1.0 / 20000;
  EXPECT_TRUE(close(at::tensor(counts, at::kDouble), p, 0.015));  // 4 standard errors
}

TEST(Sampler, KeepsToTopKAndTopP) {
  const auto model = test::small_model(at::kDouble);
  std::vector<double> logits(29);
  for (int64_t v = 0; v < 29; ++v)
    logits[static_cast<size_t>(v)] = logps_of(model, {7, 3, v})[1].item<double>();
  const Tensor order = at::tensor(logits, at::kDouble).argsort(0, true);
  const auto rank = [&](int64_t id) { return order.eq(id).nonzero().item<int64_t>(); };
  for (const auto& s :
       sample(*model, {{7, 3}}, {.max_new_tokens = 1, .top_k = 3, .num_samples = 300}))
    EXPECT_LT(rank(s.ids[0]), 3);
  double mass = 0;
  int64_t kept = 0;
  while (mass < 0.5) mass += std::exp(logits[static_cast<size_t>(order[kept++].item<int64_t>())]);
  for (const auto& s :
       sample(*model, {{7, 3}}, {.max_new_tokens = 1, .top_p = 0.5, .num_samples = 300}))
    EXPECT_LT(rank(s.ids[0]), kept);
}

TEST(Sampler, StopsAtTheContextAndAtEndOfSequence) {
  const auto model = test::small_model(at::kFloat);
  for (const auto& s : sample(*model, {{3}}, {.max_new_tokens = 500, .num_samples = 20})) {
    EXPECT_LE(s.ids.size(), 63u);
    EXPECT_EQ(s.stopped, s.ids.back() == 2);
    EXPECT_TRUE(s.stopped || s.ids.size() == 63u);
    EXPECT_EQ(std::count(s.ids.begin(), s.ids.end() - 1, 2), 0);
  }
}

TEST(Sampler, SaysWhatIsWrongWithItsInputs) {
  const auto model = test::small_model(at::kFloat);
  EXPECT_EQ(test::message_of<DataError>([&] {
              sample(*model, {{1}, {}}, {});
            }),
            "prompt 2 is empty: it needs a token");
  EXPECT_EQ(test::message_of<DataError>([&] { sample(*model, {{29}}, {}); }),
            "prompt 1 holds the token id 29; the model's vocabulary has 29");
  EXPECT_EQ(
      test::message_of<DataError>([&] { sample(*model, {std::vector<int64_t>(64, 1)}, {}); }),
      "prompt 1 has 64 tokens; the model's context is 64, which leaves no room for an answer");
  EXPECT_EQ(test::message_of<UsageError>([&] { sample(*model, {{1}}, {.top_p = 0}); }),
            "sampling needs temperature >= 0, top_k >= 0, 0 < top_p <= 1, at least one sample and "
            "one new "
            "token; got temperature 1, top_k 0, top_p 0, samples 1, new tokens 128");
}

TEST(CausalLM, RunsItsLastBlockWhereItIsReadAlone) {
  for (const bool invariant : {false, true}) {
    const auto type = invariant ? at::kFloat : at::kDouble;
    const auto made = test::small_model(type);
    const test::TemporaryFolder folder;
    made->save(folder.path());
    const auto model = CausalLM::load(folder.path(), {.dtype = type, .batch_invariant = invariant});
    const auto rows = test::random_pairs(4);
    const Batch batch = make_batch(test::pointers(rows));
    // Out of order, one row twice, a prompt's last row with answers behind it.
    const int64_t n = batch.tokens.numel();
    const Tensor wanted =
        at::tensor({n - 1, int64_t{2}, batch.prompts[1].begin + 1, int64_t{2}}, at::kLong);
    const auto run = [&](bool at_rows) {
      Policy policy(model->clone());
      policy.zero_gradients();
      Tensor embedded = policy.model().embed(batch.tokens).requires_grad_(true);
      const Tensor out =
          at_rows ? policy.model().trunk_at(wanted, embedded, batch.positions, batch.segments())
                  : policy.model()
                        .trunk(embedded, batch.positions, batch.segments())
                        .index_select(0, wanted);
      Tensor weights = at::arange(out.numel(), out.options()).sin().view(out.sizes());
      (out * weights).sum().backward();
      std::vector<Tensor> all{out.detach(), embedded.grad()};
      for (const auto& p : policy.parameters())
        if (p.work.grad().defined()) all.push_back(p.work.grad());
      return all;
    };
    const auto want = run(false), got = run(true);
    ASSERT_EQ(got.size(), want.size());
    EXPECT_TRUE(!invariant || at::equal(got[0], want[0]));
    for (size_t i = 0; i < got.size(); ++i)
      EXPECT_LE(test::relative_distance(got[i], want[i]), invariant ? 1e-5 : 1e-12) << i;
  }
}

}  // namespace
}  // namespace luce

#include "luce/model/engine.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "luce/base/error.h"
#include "luce/data/tokenizer.h"
#include "luce/model/roles.h"
#include "support/support.h"

namespace luce {
namespace {

using test::message_of;

/// The small model with room for several pages.
std::shared_ptr<CausalLM> long_model(const ModelOptions& options, uint64_t seed = 1) {
  ModelConfig config = test::small_model(at::kFloat)->config();
  config.max_position_embeddings = 400;
  config.initializer_range = 0.3;
  return CausalLM::init(config, seed, options);
}

std::vector<int64_t> ids(int64_t n, int64_t first) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < n; ++i) out.push_back(3 + (first + 7 * i * i + i) % 26);
  return out;
}

/// Prompts of less than a page, of whole pages and of pages and a part.
std::vector<SampleRequest> some_requests() {
  std::vector<SampleRequest> out;
  uint64_t first = 0;
  for (const auto& [length, samples] :
       {std::pair<int64_t, int64_t>{5, 3}, {64, 2}, {1, 1}, {130, 4}, {63, 2}, {128, 1}, {20, 5}}) {
    out.push_back({ids(length, length), samples, first});
    first += static_cast<uint64_t>(samples);
  }
  return out;
}

/// log π of every token of a completion at a temperature, as the trainer's forward pass has it.
std::vector<double> trained(const std::shared_ptr<CausalLM>& model,
                            const std::vector<int64_t>& prompt, const std::vector<int64_t>& ids,
                            double temperature) {
  Example row;
  row.prompt = prompt;
  row.completions = {ids};
  const Policy policy(model);
  const Tensor logps = policy.score(make_batch({&row}), {.logits = {.temperature = temperature}})
                           .logps.to(at::kDouble)
                           .contiguous();
  return {logps.const_data_ptr<double>(), logps.const_data_ptr<double>() + logps.numel()};
}

double largest_gap(const std::vector<double>& a, const std::vector<double>& b) {
  EXPECT_EQ(a.size(), b.size());
  double out = 0;
  for (size_t i = 0; i < a.size(); ++i) out = std::max(out, std::abs(a[i] - b[i]));
  return out;
}

TEST(Engine, GivesTheTrainersLogProbsPlainAndTempered) {
  const auto requests = some_requests();
  for (const auto& [options, most] : {std::pair<ModelOptions, double>{{.dtype = at::kFloat}, 1e-4},
                                      {{.dtype = at::kDouble}, 1e-10},
                                      {{.batch_invariant = true}, 0}})
    for (const double temperature : {1.0, 0.6}) {
      const auto model = long_model(options);
      const auto got = Engine(model)(
          requests, {.max_new_tokens = 90, .temperature = temperature, .max_batch = 6});
      size_t tokens = 0;
      for (size_t i = 0; i < requests.size(); ++i) {
        EXPECT_EQ(got[i].size(), static_cast<size_t>(requests[i].num_samples));
        for (const Sample& s : got[i]) {
          tokens += s.ids.size();
          EXPECT_LE(largest_gap(s.logps, trained(model, requests[i].prompt, s.ids, 1)), most);
          EXPECT_LE(largest_gap(s.tempered, trained(model, requests[i].prompt, s.ids, temperature)),
                    most);
          EXPECT_EQ(s.drawn, s.tempered);
        }
      }
      EXPECT_GE(tokens, 300u);  // so that pages were crossed
    }
}

TEST(Engine, DrawsTheSameWhateverTheBatchAndTheOrder) {
  const auto requests = some_requests();
  for (const bool invariant : {false, true}) {
    const auto model =
        long_model({.dtype = invariant ? at::kFloat : at::kDouble, .batch_invariant = invariant});
    const Engine engine(model);
    SampleOptions o{.max_new_tokens = 70, .top_p = 0.9, .repetition_penalty = 1.1, .step = 3};
    const auto want = engine(requests, o);
    const auto expect_same = [&](const Sample& a, const Sample& b) {
      EXPECT_EQ(a.ids, b.ids);
      EXPECT_EQ(a.stopped, b.stopped);
      EXPECT_LE(largest_gap(a.logps, b.logps), invariant ? 0 : 1e-12);
      EXPECT_LE(largest_gap(a.drawn, b.drawn), invariant ? 0 : 1e-12);
    };
    for (const int64_t batch : {1, 3, 7}) {
      o.max_batch = batch;
      auto reversed = requests;
      std::reverse(reversed.begin(), reversed.end());
      const auto got = engine(reversed, o);
      for (size_t i = 0; i < want.size(); ++i)
        for (size_t j = 0; j < want[i].size(); ++j)
          expect_same(got[want.size() - 1 - i][j], want[i][j]);
    }
    // Every sample asked for by itself.
    for (size_t i = 0; i < requests.size(); ++i)
      for (size_t j = 0; j < want[i].size(); ++j)
        expect_same(engine({{requests[i].prompt, 1, requests[i].first_sample + j}}, o)[0][0],
                    want[i][j]);
    o.step = 4;
    EXPECT_NE(engine(requests, o)[0][0].ids, want[0][0].ids);
  }
}

TEST(Engine, DrawsSequencesAsOftenAsTheirProbabilitySays) {
  const auto model = long_model({}, 5);
  const std::vector<int64_t> prompt{7, 3};
  const SampleOptions o{.max_new_tokens = 2,
                        .temperature = 0.8,
                        .top_k = 12,
                        .top_p = 0.9,
                        .min_p = 0.02,
                        .repetition_penalty = 1.3,
                        .max_batch = 2000};
  constexpr int64_t kTimes = 100000;
  const auto samples = Engine(model)({{prompt, kTimes, 0}}, o)[0];
  // What is drawn from is checked against loops elsewhere; here it is what the engine says of it.
  std::map<std::vector<int64_t>, std::pair<double, double>> seen;  // count, probability
  for (const Sample& s : samples) {
    double logp = 0;
    for (const double x : s.drawn) logp += x;
    auto& [count, p] = seen[s.ids];
    ++count;
    p = std::exp(logp);
  }
  double chi2 = 0, freedom = -1, mass = 0, rare = 0, rare_count = 0;
  for (const auto& [sequence, value] : seen) {
    const auto& [count, p] = value;
    mass += p;
    if (p * kTimes < 10) {
      rare += p;
      rare_count += count;
      continue;
    }
    chi2 += (count - p * kTimes) * (count - p * kTimes) / (p * kTimes);
    ++freedom;
  }
  EXPECT_LE(mass, 1 + 1e-4);
  EXPECT_GE(mass, 0.99);
  EXPECT_NEAR(rare_count, rare * kTimes, 4 * std::sqrt(rare * kTimes) + 0.01 * kTimes);
  EXPECT_GE(freedom, 20);
  EXPECT_LE(chi2, freedom + 4 * std::sqrt(2 * freedom));
}

TEST(Engine, PenalisesTokensOfThePromptAndOfTheCompletion) {
  const auto model = long_model({.dtype = at::kDouble});
  const auto got =
      Engine(model)({{{7, 3, 7}, 4, 0}},
                    {.max_new_tokens = 30, .temperature = 0.9, .repetition_penalty = 1.7})[0];
  const auto row = [&](const std::vector<int64_t>& tokens) {
    const auto n = static_cast<int64_t>(tokens.size());
    const Tensor hidden = model->trunk(model->embed(at::tensor(tokens, at::kLong)),
                                       at::arange(n, at::kLong), {{0, n, 0, 0}});
    return at::mv(model->head_weight(), hidden[n - 1]);
  };
  for (const Sample& s : got) {
    std::vector<int64_t> tokens{7, 3, 7};
    for (size_t i = 0; i < s.ids.size(); ++i) {
      Tensor z = row(tokens).clone();
      for (int64_t v = 0; v < z.size(0); ++v)
        if (std::find(tokens.begin(), tokens.end(), v) != tokens.end())
          z[v] *= z[v].item<double>() > 0 ? 1 / 1.7 : 1.7;
      const Tensor want = at::log_softmax(z / 0.9, 0)[s.ids[i]];
      EXPECT_NEAR(s.drawn[i], want.item<double>(), 1e-10);
      tokens.push_back(s.ids[i]);
    }
  }
}

TEST(Engine, HoldsThePagesThatAreInUseAndNoMore) {
  const auto model = long_model({.dtype = at::kDouble});
  const auto& c = model->config();
  const int64_t page = 2 * c.num_hidden_layers * c.num_key_value_heads * c.head_dim * 64 * 8;
  const Engine engine(model);
  EngineUse use;
  const auto run = [&](const std::vector<SampleRequest>& requests, SampleOptions o) {
    engine(requests, o, &use);
  };
  // Two pages of the prompt for all, and one for each sample.
  run({{ids(128, 0), 8, 0}}, {.max_new_tokens = 3, .stop_tokens = {}});
  EXPECT_EQ(use.cache_bytes, (2 + 8) * page);
  EXPECT_EQ(use.prompt_tokens, 128);
  // A part of a page: a copy for each sample but one.
  run({{ids(130, 0), 8, 0}}, {.max_new_tokens = 3});
  EXPECT_EQ(use.cache_bytes, (2 + 8) * page);
  // One after another: what a sequence leaves is taken by the next.
  std::vector<SampleRequest> many;
  for (uint64_t i = 0; i < 20; ++i) many.push_back({ids(40, static_cast<int64_t>(i)), 1, i});
  run(many, {.max_new_tokens = 20, .max_batch = 1});
  EXPECT_EQ(use.cache_bytes, page);
  EXPECT_EQ(use.prompt_tokens, 20 * 40);
  run(many, {.max_new_tokens = 20, .max_batch = 5});
  EXPECT_EQ(use.cache_bytes, 5 * page);
}

TEST(Engine, CountsWhatItDid) {
  const auto model = long_model({.dtype = at::kDouble});
  EngineUse use;
  const auto got = Engine(model)({{ids(9, 0), 2, 0, 4}, {ids(5, 1), 1, 2, 1}}, {}, &use);
  int64_t tokens = 0;
  for (const auto& samples : got)
    for (const auto& s : samples) tokens += static_cast<int64_t>(s.ids.size());
  EXPECT_EQ(use.new_tokens, tokens);
  EXPECT_EQ(use.prompt_tokens, 14);
  EXPECT_EQ(use.decode_steps,
            static_cast<int64_t>(std::max(got[0][0].ids.size(), got[0][1].ids.size())) - 1);
}

TEST(Engine, EndsWhereItIsTold) {
  const auto model = long_model({.dtype = at::kDouble});
  const auto got =
      Engine(model)({{ids(9, 0), 20, 0, 11}, {ids(5, 1), 20, 20}, {ids(398, 1), 9, 40}},
                    {.max_new_tokens = 25, .stop_tokens = {4, 9}});
  for (size_t i = 0; i < 3; ++i)
    for (const Sample& s : got[i]) {
      const auto ends = [](int64_t id) { return id == 2 || id == 4 || id == 9; };
      EXPECT_EQ(std::count_if(s.ids.begin(), s.ids.end(), ends), s.stopped ? 1 : 0);
      EXPECT_EQ(ends(s.ids.back()), s.stopped);
      const size_t most = i == 0 ? 11 : i == 1 ? 25 : 2;  // the last: the context's end
      EXPECT_LE(s.ids.size(), most);
      EXPECT_TRUE(s.stopped || s.ids.size() == most);
    }
}

TEST(Engine, StopsAtTheTokenThatCompletesAText) {
  const auto model = CausalLM::load(test::golden("tiny"), {.dtype = at::kDouble});
  const auto tokenizer = Tokenizer::load(test::golden("tiny"));
  const Engine engine(model);
  const std::vector<int64_t> prompt = tokenizer->encode("the cat", true);
  SampleOptions o{.max_new_tokens = 40, .tokenizer = tokenizer.get()};
  const auto free = engine({{prompt, 12, 0}}, o)[0];
  size_t across = 0, stopped = 0;
  for (size_t i = 0; i < free.size(); ++i) {
    const std::string text = tokenizer->decode_completion(prompt, free[i].ids);
    for (size_t at = 3; at + 3 < text.size(); at += 5) {
      o.stop = {"never said at all", text.substr(at, 3)};
      // The fewest tokens whose text holds it.
      std::vector<int64_t> want;
      std::string so_far;
      for (const int64_t id : free[i].ids) {
        want.push_back(id);
        so_far = tokenizer->decode_completion(prompt, want);
        if (so_far.find(o.stop[1]) != std::string::npos) break;
      }
      const std::string last = tokenizer->decode({want.back()});
      across += last.find(o.stop[1]) == std::string::npos ? 1 : 0;
      const auto got = engine({{prompt, 1, i}}, o)[0][0];
      EXPECT_EQ(got.ids, want) << o.stop[1];
      EXPECT_TRUE(got.stopped);
      ++stopped;
    }
  }
  EXPECT_GE(stopped, 20u);
  EXPECT_GE(across, 10u);
}

TEST(Engine, MixesASecondModel) {
  const auto first = long_model({.dtype = at::kDouble}, 1),
             second = long_model({.dtype = at::kDouble}, 2);
  const auto requests = some_requests();
  const SampleOptions o{.max_new_tokens = 30, .temperature = 0.8, .max_batch = 5};
  const auto whole = Engine(first, {second, 1.0})(requests, o), other = Engine(second)(requests, o);
  const auto half = Engine(first, {second, 0.4})(requests, o);
  const auto score = [&](const std::shared_ptr<CausalLM>& model, const std::vector<int64_t>& prompt,
                         const Sample& s) { return trained(model, prompt, s.ids, 0.8); };
  for (size_t i = 0; i < requests.size(); ++i)
    for (size_t j = 0; j < whole[i].size(); ++j) {
      EXPECT_EQ(whole[i][j].ids, other[i][j].ids);
      EXPECT_LE(largest_gap(whole[i][j].drawn, other[i][j].drawn), 1e-10);
      EXPECT_LE(largest_gap(whole[i][j].tempered, score(first, requests[i].prompt, whole[i][j])),
                1e-10);
      EXPECT_LE(largest_gap(half[i][j].tempered, score(first, requests[i].prompt, half[i][j])),
                1e-10);
    }
  // The first token of a mixture, from both models' log-probs of every token.
  std::vector<double> mixed;
  for (int64_t v = 0; v < 29; ++v)
    mixed.push_back(0.6 * trained(first, requests[0].prompt, {v}, 1)[0] +
                    0.4 * trained(second, requests[0].prompt, {v}, 1)[0]);
  const Tensor logps = at::log_softmax(at::tensor(mixed, at::kDouble) / 0.8, 0);
  for (const Sample& s : half[0]) EXPECT_NEAR(s.drawn[0], logps[s.ids[0]].item<double>(), 1e-10);
}

TEST(Engine, ReadsTheWeightsAsTheyAre) {
  const auto model = long_model({.batch_invariant = true});
  const Engine engine(model);
  const SampleOptions o{.max_new_tokens = 20};
  const auto before = engine({{ids(9, 0), 1, 0}}, o)[0][0];
  for (auto& p : model->parameters()) p.work.detach().mul_(1.1);
  const auto after = engine({{ids(9, 0), 1, 0}}, o)[0][0];
  EXPECT_NE(before.logps, after.logps);
  EXPECT_EQ(after.logps, trained(model, ids(9, 0), after.ids, 1));
}

TEST(Engine, SaysWhatIsWrongWithItsInputs) {
  const auto model = test::small_model(at::kFloat);
  const Engine engine(model);
  const auto options = [&](const SampleOptions& o) {
    return message_of<UsageError>([&] { engine({{{1}, 1, 0}}, o); });
  };
  EXPECT_EQ(options({.min_p = 1}), "sampling needs 0 <= min_p < 1; got 1");
  EXPECT_EQ(options({.min_p = -0.5}), "sampling needs 0 <= min_p < 1; got -0.5");
  EXPECT_EQ(options({.repetition_penalty = 0}),
            "sampling needs a repetition_penalty above 0, 1 for none; got 0");
  EXPECT_EQ(options({.max_batch = 0}),
            "sampling needs max_batch of at least 1 sequence at once; got 0");
  EXPECT_EQ(options({.stop_tokens = {29}}),
            "stop_tokens must be ids of the model's vocabulary of 29; got 29");
  EXPECT_EQ(
      options({.stop = {"x"}}),
      "sampling with stop texts needs the model's tokenizer, which tells what its tokens say");
  const auto tokenizer = Tokenizer::load(test::golden("tiny"));
  EXPECT_EQ(options({.stop = {""}, .tokenizer = tokenizer.get()}),
            "a stop text is empty, which every completion would hold at once");
  EXPECT_EQ(message_of<UsageError>([&] {
              engine({{{1}, 1, 0}, {{1}, 0, 0}}, {});
            }),
            "prompt 2 needs at least one sample and one new token; got 0 and 1");
  EXPECT_EQ(message_of<UsageError>([&] {
              engine({{{1}, 1, 0, 0}}, {});
            }),
            "prompt 1 needs at least one sample and one new token; got 1 and 0");
  ModelConfig larger = model->config();
  larger.vocab_size = 30;
  EXPECT_EQ(message_of<DataError>([&] {
              Engine(model, {CausalLM::init(larger, 1), 0.5});
            }),
            "the second model of a mixture has a vocabulary of 30; the first has one of 29");
  EXPECT_EQ(message_of<UsageError>([&] {
              Engine(model, {model, 0});
            }),
            "the weight of a mixture's second model must be above 0 and at most 1; got 0");
}

}  // namespace
}  // namespace luce

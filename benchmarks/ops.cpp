// Times ops and passes of the model in one process, each beside what it is held against, in turn.
//
// usage: luce_bench [--rounds N] [ROW...] [step LOSS.json]     prints one JSON object a row
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <iostream>
#include <map>

#include "luce/base/error.h"
#include "luce/base/json.h"
#include "luce/base/progress.h"
#include "luce/loss/dpo.h"
#include "luce/loss/registry.h"
#include "luce/model/engine.h"
#include "luce/ops/device.h"
#include "luce/train/offline_task.h"
#include "luce/train/optimizer.h"

namespace luce {
namespace {

int rounds = 15;

/// Seconds of every side, in turn, after two warm-ups: the median of each.
std::vector<double> timed(const std::vector<std::function<void()>>& sides) {
  std::vector<std::vector<double>> seconds(sides.size());
  for (int round = -2; round < rounds; ++round)
    for (size_t i = 0; i < sides.size(); ++i) {
      const auto begin = std::chrono::steady_clock::now();
      sides[i]();
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
      if (round >= 0) seconds[i].push_back(took.count());
    }
  std::vector<double> out;
  for (auto& s : seconds) {
    std::nth_element(s.begin(), s.begin() + static_cast<int64_t>(s.size() / 2), s.end());
    out.push_back(s[s.size() / 2]);
  }
  return out;
}

double rounded(double x) { return std::round(x * 1e4) / 1e4; }

struct HeadInputs {
  Tensor hidden, weight, targets, d_hidden, d_weight;
  HeadWorkspace workspace;
  std::vector<int64_t> units;

  HeadInputs(int64_t m, int64_t d, int64_t v, at::ScalarType type)
      : hidden(at::randn({m, d}).to(type)),
        weight((at::randn({v, d}) * 0.05).to(type)),
        targets(at::randint(v, {m}, at::kLong)),
        d_hidden(at::zeros({m, d})),
        d_weight(at::zeros({v, d})) {
    for (int64_t i = 0; i < m; i += 47) units.push_back(i);
    units.push_back(m);
  }
  void forward_backward() {
    head_backward(
        hidden, weight, targets, units, {.workspace = &workspace},
        [](const HeadStats& s, Range) { return HeadGradients{.logps = at::ones_like(s.logps)}; },
        d_hidden, d_weight);
  }
};

/// The square product that rates are held against.
struct Square {
  Tensor a, b, c;
  explicit Square(at::ScalarType type)
      : a(at::randn({2048, 2048}).to(type)), b(at::randn({2048, 2048}).to(type)), c(a.clone()) {}
  static constexpr double kFlop = 2.0 * 2048 * 2048 * 2048;
  void operator()() { at::mm_out(c, a, b.t()); }
};

Json gemm_row(at::ScalarType type) {
  Square square(type);
  const auto s = timed({[&] { square(); }});
  return {{"gflops", rounded(Square::kFlop / s[0] * 1e-9)}};
}

/// Head op, forward and backward, beside three bare products of the same shapes and chunks.
Json head_row(at::ScalarType type) {
  Json out = Json::array();
  for (const auto& [m, d, v] : {std::array<int64_t, 3>{376, 288, 32000}, {1024, 576, 49152}}) {
    HeadInputs in(m, d, v, type);
    Square square(type);
    const int64_t step = (int64_t{64} << 20) / (v * 4);
    const Tensor logits = at::empty({std::min(step, m), v}, in.hidden.options());
    Tensor dx = at::empty({m, d}, in.hidden.options()), dw = at::empty({v, d}, dx.options());
    const HeadOptions statistics{
        .entropy = true, .greedy_match = true, .mean_logit = true, .workspace = &in.workspace};
    const auto s = timed({[&] { square(); }, [&] { in.forward_backward(); },
                          [&] {
                            for (int64_t row = 0; row < m; row += step) {
                              const int64_t n = std::min(step, m - row);
                              Tensor z = logits.narrow(0, 0, n), x = dx.narrow(0, row, n);
                              const Tensor h = in.hidden.narrow(0, row, n);
                              at::mm_out(z, h, in.weight.t());
                              at::mm_out(dw, z.t(), h);
                              at::mm_out(x, z, in.weight);
                            }
                          },
                          [&] { head(in.hidden, in.weight, in.targets, statistics); }});
    const double flop = 2.0 * static_cast<double>(m * d * v), rate = Square::kFlop / s[0];
    out.push_back({{"M", m},
                   {"D", d},
                   {"V", v},
                   {"gemm_gflops", rounded(rate * 1e-9)},
                   {"ms", rounded(s[1] * 1e3)},
                   {"of_gemm_rate", rounded(3 * flop / s[1] / rate)},
                   {"of_bare_products", rounded(s[2] / s[1])},
                   {"forward_entropy_ms", rounded(s[3] * 1e3)},
                   {"forward_of_gemm_rate", rounded(flop / s[3] / rate)}});
  }
  return out;
}

ModelConfig llama15m() {
  return parse_model_config(
      parse_json(R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "vocab_size": 32000, "hidden_size": 288, "intermediate_size": 768, "num_hidden_layers": 6,
        "num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": 2048,
        "tie_word_embeddings": true, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "initializer_range": 0.02, "bos_token_id": 1, "eos_token_id": 2})",
                 "config.json"),
      "config.json");
}

std::vector<int64_t> random_ids(int64_t n) {
  const Tensor t = at::randint(3, 32000, {n}, at::kLong);
  return {t.const_data_ptr<int64_t>(), t.const_data_ptr<int64_t>() + n};
}

/// Tokens a second that are sampled behind prompts of 32 tokens, 64 to each: of the whole call, and
/// of all steps but the first, which reads the prompts.
Json decode_row() {
  Json out = Json::array();
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    const Engine engine(CausalLM::init(llama15m(), 1, {.dtype = type}));
    for (const int64_t rows : {16, 64, 128, 256}) {
      std::vector<SampleRequest> requests;
      for (int64_t i = 0; i < rows; ++i)
        requests.push_back({random_ids(32), 1, static_cast<uint64_t>(i)});
      EngineUse use;
      const auto s = timed({[&] { engine(requests, {.max_new_tokens = 64}, &use); },
                            [&] { engine(requests, {.max_new_tokens = 1}); }});
      const auto tokens = static_cast<double>(use.new_tokens);
      out.push_back(
          {{"dtype", type == at::kFloat ? "f32" : "bf16"},
           {"rows", rows},
           {"tokens_per_s", rounded(tokens / s[0])},
           {"later_tokens_per_s", rounded((tokens - static_cast<double>(rows)) / (s[0] - s[1]))},
           {"cache_mib", rounded(static_cast<double>(use.cache_bytes) / (1 << 20))}});
    }
  }
  return out;
}

/// `prompts` rows of one prompt and `each` answers of random tokens.
std::vector<Example> random_rows(int64_t prompts, int64_t prompt, int64_t each, int64_t answer) {
  const auto ids = random_ids;
  std::vector<Example> out(static_cast<size_t>(prompts));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i].row = static_cast<int64_t>(i) + 1;
    out[i].prompt = ids(prompt);
    for (int64_t k = 0; k < each; ++k) out[i].completions.push_back(ids(answer));
  }
  return out;
}

struct Layout {
  int64_t prompts, prompt, each, answer;
};

/// Trunk passes and whole steps with prompts shared and not.
Json sharing_row() {
  Json out = Json::array();
  for (const Layout& l : {Layout{4, 256, 2, 64}, Layout{1, 512, 8, 128}}) {
    Policy policy(CausalLM::init(llama15m(), 1));
    const auto rows = random_rows(l.prompts, l.prompt, l.each, l.answer);
    std::vector<const Example*> pointers;
    for (const auto& row : rows) pointers.push_back(&row);
    HeadWorkspace workspace;
    AdamW optimizer(policy.parameters(), {});
    const auto trunk = [&](const Batch& batch) {
      auto pass = policy.forward(batch);
      policy.backward(pass, at::ones_like(pass.hidden));
    };
    const auto step = [&](const Batch& batch) {
      policy.zero_gradients();
      auto pass = policy.forward(batch);
      Tensor d_hidden = at::zeros_like(pass.hidden);
      head_backward(
          pass.hidden.detach(), policy.model().head_weight(), batch.targets, batch.units(),
          {.max_chunk_bytes = int64_t{512} << 20, .workspace = &workspace},
          [](const HeadStats& s, Range) {
            return HeadGradients{.logps = at::full_like(s.logps, -1e-3)};
          },
          d_hidden, policy.head_gradient());
      policy.backward(pass, d_hidden);
      optimizer.step(1e-5, clip_factor(gradient_norm(policy.parameters()), 1.0));
    };
    const Batch shared = make_batch(pointers),
                apart = make_batch(pointers, {.prefix_sharing = false});
    const auto s = timed({[&] { trunk(shared); }, [&] { trunk(apart); }, [&] { step(shared); },
                          [&] { step(apart); }});
    out.push_back({{"prompt", l.prompt},
                   {"answers", l.each},
                   {"answer", l.answer},
                   {"rows_ratio", rounded(static_cast<double>(apart.tokens.numel()) /
                                          static_cast<double>(shared.tokens.numel()))},
                   {"trunk_speedup", rounded(s[1] / s[0])},
                   {"step_speedup", rounded(s[3] / s[2])}});
  }
  return out;
}

/// DPO declared to couple more than it does.
class StepCoupledDpo : public Dpo {
 public:
  Needs needs() const override {
    Needs needs = Dpo::needs();
    needs.couples = Coupling::step;
    return needs;
  }
};

/// Whole DPO steps on eight pairs of the usual lengths.
struct DpoStep {
  std::unique_ptr<PreferenceTask> task;
  std::unique_ptr<AdamW> optimizer;
  int64_t next = 0;

  DpoStep(const ModelOptions& options, std::unique_ptr<SequenceLoss> loss, int64_t pairs = 8,
          std::vector<Example> rows = {}) {
    if (rows.empty()) rows = random_rows(pairs, 124, 2, 47);
    const auto model = CausalLM::init(llama15m(), 1, options);
    Frozen frozen;
    frozen.model = Reference(model->clone());
    task = std::make_unique<PreferenceTask>(
        Policy(model), std::move(frozen), std::move(loss), std::move(rows), std::vector<Example>(),
        OfflineOptions{.batch_size = pairs, .micro_batch_tokens = 2048, .shuffle = false});
    optimizer = std::make_unique<AdamW>(task->policy().parameters(), AdamWOptions{});
  }
  void operator()() {
    Policy& policy = task->policy();
    policy.zero_gradients();
    const Step step = task->next(next++);
    Metrics metrics;
    for (size_t i = 0; i < step.micro_batches.size(); ++i) task->accumulate(step, i, metrics);
    optimizer->step(1e-6, clip_factor(gradient_norm(policy.parameters()), 1.0));
  }
};

Json modes_row() {
  DpoStep plain({}, std::make_unique<Dpo>(DpoOptions{})),
      invariant({.batch_invariant = true}, std::make_unique<Dpo>(DpoOptions{})),
      coupled({}, std::make_unique<StepCoupledDpo>());
  const auto s = timed({[&] { plain(); }, [&] { invariant(); }, [&] { coupled(); }});
  return {{"step_s", rounded(s[0])},
          {"batch_invariant_cost", rounded(s[1] / s[0])},
          {"two_phase_cost", rounded(s[2] / s[0])}};
}

/// Seconds and peak memory of steps of 1k to 16k tokens; a micro-batch is 2,048.
Json growth_row() {
  Json out = Json::array();
  for (const int64_t pairs : {4, 8, 16, 32, 64}) {
    DpoStep step({}, std::make_unique<Dpo>(DpoOptions{}), pairs);
    const auto s = timed({[&] { step(); }});
    out.push_back(
        {{"tokens", pairs * 216}, {"s", rounded(s[0])}, {"peak_mib", peak_resident_bytes() >> 20}});
  }
  return out;
}

/// Rows of the usual lengths that serve a loss: pairs, perhaps with gold answers and raters, or two
/// ranked answers with scores.
std::vector<Example> rows_for(const SequenceLoss& loss) {
  auto rows = random_rows(8, 124, loss.needs().gold ? 3 : 2, 47);
  const bool ranked = loss.rows() == Rows::ranked || loss.rows() == Rows::scored;
  for (size_t i = 0; i < rows.size(); ++i) {
    rows[i].rater = static_cast<int64_t>(i % 2);
    if (loss.needs().gold) rows[i].roles = {Role::chosen, Role::rejected, Role::gold};
    if (ranked) rows[i].scores = {1, 0};
    if (ranked) rows[i].roles = {Role::ranked, Role::ranked};
  }
  return rows;
}

/// What a step multiplies, in floating-point operations: policy and reference through the blocks
/// and the head, backward passes twice their forward ones.
double flop_of(const SequenceLoss& loss, const std::vector<Example>& rows, const ModelConfig& c) {
  double trunk_rows = 0, head_rows = 0, other_rows = 0;
  for (const Example& row : rows) {
    trunk_rows += static_cast<double>(rows_of(row));
    for (size_t k = 0; k < row.completions.size(); ++k) {
      head_rows += static_cast<double>(row.completions[k].size());
      if (row.role(k) != Role::gold) other_rows += static_cast<double>(row.completions[k].size());
    }
  }
  const auto d = static_cast<double>(c.hidden_size);
  const double trunk = 2 * static_cast<double>(c.num_hidden_layers) *
                       (4 * d * d + 3 * d * static_cast<double>(c.intermediate_size));
  const double head = 2 * d * static_cast<double>(c.vocab_size);
  const Needs needs = loss.needs();
  const auto forward = [&](double more, bool with_head) {
    return (trunk_rows + more) * trunk + (with_head ? (head_rows + more) * head : 0);
  };
  double flop = 3 * trunk_rows * trunk;
  if (needs.logps) flop += 3 * head_rows * head;
  const double mismatched = needs.mismatched ? other_rows : 0;
  if (needs.couples == Coupling::step) flop += forward(mismatched, true);
  if (needs.reference) flop += forward(mismatched, needs.logps);
  flop += 4 * static_cast<double>(needs.divergences.size()) * head_rows * head;
  return flop;
}

std::unique_ptr<SequenceLoss> make_loss(const Json& config) {
  return Registry::with_builtins().make_loss(Document::of({{"loss", config}}, "losses"));
}

/// Peak memory of a process that runs three steps with a loss and nothing else.
Json step_row(const Json& config) {
  auto loss = make_loss(config);
  const auto rows = rows_for(*loss);
  DpoStep step({}, std::move(loss), 8, rows);
  for (int i = 0; i < 3; ++i) step();
  return {{"peak_mib", peak_resident_bytes() >> 20}};
}

/// Whole steps with every loss beside the same with dpo, in turn.
Json losses_row() {
  Json out = Json::array();
  const auto registry = Registry::with_builtins();
  std::vector<Json> configs;
  for (const auto& info : registry.losses()) configs.push_back(Json{{"type", info.name}});
  for (const char* form : {"token", "plain"})
    configs.push_back(Json{{"type", "unlikelihood"}, {"form", form}});
  configs.push_back(Json{{"type", "dpo"}, {"use_weighting", true}});
  configs.push_back(Json{{"type", "dpo"}, {"reference_free", true}});
  DpoStep dpo({}, make_loss(Json{{"type", "dpo"}}));
  const ModelConfig config = llama15m();
  const auto plain = make_loss(Json{{"type", "dpo"}});
  const double dpo_flop = flop_of(*plain, rows_for(*plain), config);
  for (const Json& one : configs) {
    auto loss = make_loss(one);
    const auto rows = rows_for(*loss);
    const double flop_ratio = flop_of(*loss, rows, config) / dpo_flop;
    DpoStep step({}, std::move(loss), 8, rows);
    const auto s = timed({[&] { dpo(); }, [&] { step(); }});
    out.push_back({{"loss", one},
                   {"time_ratio", rounded(s[1] / s[0])},
                   {"flop_ratio", rounded(flop_ratio)},
                   {"rate", rounded(flop_ratio * s[0] / s[1])}});
  }
  return out;
}

int run(int argc, char** argv) {
  const std::map<std::string, std::function<Json()>> rows{
      {"gemm-f32", [] { return gemm_row(at::kFloat); }},
      {"gemm-bf16", [] { return gemm_row(at::kBFloat16); }},
      {"head-f32", [] { return head_row(at::kFloat); }},
      {"head-bf16", [] { return head_row(at::kBFloat16); }},
      {"decode", decode_row},
      {"sharing", sharing_row},
      {"modes", modes_row},
      {"losses", losses_row},
      {"growth", growth_row}};
  std::vector<std::string> wanted;
  std::vector<Json> steps;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--rounds" && i + 1 < argc)
      rounds = std::stoi(argv[++i]);
    else if (argument == "step" && i + 1 < argc)
      steps.push_back(parse_json(argv[++i], "step"));
    else if (rows.contains(argument))
      wanted.push_back(argument);
    else
      throw UsageError(
          cat("luce_bench: no row \"", argument,
              "\"; there are gemm-f32, gemm-bf16, head-f32, head-bf16, decode, sharing, modes, "
              "losses and growth"));
  }
  for (const Json& config : steps)
    std::cout << Json{{"row", "step"}, {"result", step_row(config)}}.dump() << std::endl;
  for (const auto& [name, row] : rows) {
    if (wanted.empty() && !steps.empty()) continue;
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), name) == wanted.end()) continue;
    at::manual_seed(1);
    std::cout << Json{{"row", name}, {"result", row()}}.dump() << std::endl;
  }
  return 0;
}

}  // namespace
}  // namespace luce

int main(int argc, char** argv) {
  try {
    luce::set_up_process();
    return luce::run(argc, argv);
  } catch (const luce::Error& error) {
    std::cerr << error.what() << "\n";
    return static_cast<int>(error.code());
  }
}

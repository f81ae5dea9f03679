// What k1, k2 and k3 estimate, as values and as gradients (J. Schulman, "Approximating KL
// Divergence", joschu.net/blog/kl-approx.html, 2020; luce/loss/kl.h), on a tree of all answers:
// every mean and variance is a sum over answers with their probability. Letters:
//   s_t = ∇ log π(y_t | y_<t)     d_t = log π(y_t | y_<t) − log π_ref(y_t | y_<t)     D = Σ_t d_t
//   per token: Σ_t k(d_t)         per sequence: k(D)
//   ∇KL(π ‖ π_ref) = E[D Σ_t s_t]          what gradients are compared with
#include <ATen/ATen.h>

#include <cmath>
#include <functional>

#include "experiment/experiments.h"
#include "experiment/kl_tree.h"
#include "experiment/text.h"
#include "luce/base/error.h"
#include "luce/loss/kl.h"
#include "luce/oracle/sequences.h"
#include "luce/oracle/table.h"

namespace luce {
namespace {

using namespace experiment;
using oracle::Sequences;

struct Named {
  std::string name;
  KlOptions options;
};

const std::vector<Named>& values() {
  static const std::vector<Named> all{
      {"k1", {KlEstimator::k1}}, {"k2", {KlEstimator::k2}}, {"k3", {KlEstimator::k3}}};
  return all;
}

const std::vector<Named>& gradients() {
  using enum KlEstimator;
  static const std::vector<Named> all{
      {"k1, own", {k1, KlGradient::own}},
      {"k2, own", {k2, KlGradient::own}},
      {"k3, own", {k3, KlGradient::own}},
      {"k3, straight-through", {k3, KlGradient::straight_through}},
      {"k1, bias-corrected", {k1, KlGradient::bias_corrected}},
      {"k2, bias-corrected", {k2, KlGradient::bias_corrected}},
      {"k3, bias-corrected", {k3, KlGradient::bias_corrected}},
  };
  return all;
}

/// Trees of one size, in which the policy moves away from its reference.
struct Family {
  Sequences s;
  Tensor ref, direction;

  explicit Family(const ExperimentOptions& o)
      : s(oracle::all_sequences(o.quick ? 3 : 4, o.quick ? 3 : 4, oracle::Ending::length)) {
    const auto n = static_cast<int64_t>(s.prefixes.size());
    ref = oracle::normal({n, o.quick ? 3 : 4}, o.seed);
    direction = oracle::normal({n, o.quick ? 3 : 4}, o.seed + 1000);
  }
  KlTree at(double distance) const { return {s, ref + distance * direction, ref}; }
};

const std::vector<double> kDistances{0.1, 0.5, 1.5};

Table value_table(const Family& family, Json& figures) {
  Table table{"As values: mean and standard deviation of one sampled answer",
              {"estimator"},
              {},
              "The policy at three distances from its reference: logits moved by 0.1, 0.5 and 1.5 "
              "times a random table. The exact KL stands in the head. Per token: summed over the "
              "tokens of the answer."};
  std::vector<KlTree> trees;
  for (const double distance : kDistances) {
    trees.push_back(family.at(distance));
    table.columns.push_back(cat("mean, KL = ", number(trees.back().kl(), 3)));
    table.columns.push_back("deviation");
  }
  const auto add = [&](const std::string& name,
                       const std::function<Tensor(const KlTree&)>& estimate) {
    std::vector<double> shown;
    for (size_t i = 0; i < trees.size(); ++i) {
      const Moments m = trees[i].moments(estimate(trees[i]));
      shown.insert(shown.end(), {m.mean, std::sqrt(m.variance)});
      figures.push_back({{"estimator", name},
                         {"distance", kDistances[i]},
                         {"kl", trees[i].kl()},
                         {"mean", m.mean},
                         {"variance", m.variance}});
    }
    table.rows.push_back(row(name, shown, 3));
  };
  for (const auto& [name, k] : values())
    add(name + " per token", [&k = k](const KlTree& t) { return t.per_token(k); });
  for (const auto& [name, k] : values())
    if (name != "k1")
      add(name + " per sequence", [&k = k](const KlTree& t) { return t.per_sequence(k); });
  add("exact KL per token", [](const KlTree& t) { return t.exact_per_token(); });
  return table;
}

Json as_json(const Comparison& c) {
  return {{"bias", c.bias}, {"cosine", c.cosine}, {"variance", c.variance}};
}

std::string cosine_text(double cosine) { return std::isnan(cosine) ? "no mean" : number(cosine); }

Table gradient_table(const Family& family, Json& figures) {
  Table table{
      "As gradients: against the exact gradient of KL(π ‖ π_ref)",
      {"estimator, its gradient", "token: bias", "token: cosine", "token: variance",
       "sequence: bias", "sequence: cosine", "sequence: variance"},
      {},
      "At distance 0.5. Bias: the relative error of the mean gradient; variance: E‖g − "
      "Eg‖², relative to ‖∇KL‖²; both of the gradient that one sampled answer gives. Less than "
      "1e-9 is printed as 0."};
  KlTree tree = family.at(0.5);
  const auto cells = [](const Comparison& c) {
    return std::vector<std::string>{number(c.bias < 1e-9 ? 0 : c.bias), cosine_text(c.cosine),
                                    number(c.variance)};
  };
  const auto add = [&](const std::string& name, const Comparison& token,
                       const std::vector<std::string>& rest, const Json& sequence) {
    std::vector<std::string> line{name};
    for (const auto& cell : cells(token)) line.push_back(cell);
    line.insert(line.end(), rest.begin(), rest.end());
    table.rows.push_back(line);
    figures.push_back({{"estimator", name}, {"token", as_json(token)}, {"sequence", sequence}});
  };
  for (const auto& [name, k] : gradients()) {
    const Comparison sequence = tree.compare(tree.gradient_per_sequence(k));
    add(name, tree.compare(tree.gradient_per_token(k)), cells(sequence), as_json(sequence));
  }
  add("exact KL, prefixes held", tree.compare(tree.gradient_of_exact()), {"-", "-", "-"}, nullptr);
  return table;
}

/// What the means of these gradients are gradients of.
Table meaning_table(const Family& family, Json& figures) {
  Table table{"What the biased ones estimate instead",
              {"distance", "KL", "k3 per sequence", "against ∇KL(π_ref ‖ π)", "k2 per token",
               "against Σ ∇KL_t, prefixes held"},
              {},
              "Relative errors of mean gradients, own gradient: first against ∇KL(π ‖ π_ref), then "
              "against another gradient, which they equal. Less than 1e-9 is printed as 0."};
  const auto shown = [](double x) { return x < 1e-9 ? 0 : x; };
  for (const double distance : kDistances) {
    KlTree tree = family.at(distance);
    const Tensor k3 = tree.gradient_per_sequence({KlEstimator::k3}),
                 k2 = tree.gradient_per_token({KlEstimator::k2});
    const Tensor held = tree.mean(tree.gradient_of_exact());
    const double bias3 = tree.compare(k3).bias, reversed = tree.compare_reversed(k3).bias,
                 bias2 = tree.compare(k2).bias,
                 local = ((tree.mean(k2) - held).norm() / held.norm()).item<double>();
    table.rows.push_back(
        row(number(distance), {tree.kl(), bias3, shown(reversed), bias2, shown(local)}));
    figures.push_back({{"distance", distance},
                       {"kl", tree.kl()},
                       {"k3_sequence", bias3},
                       {"k3_sequence_reversed", reversed},
                       {"k2_token", bias2},
                       {"k2_token_prefixes_held", local}});
  }
  return table;
}

/// The tree of `luce experiment identities`, number 34.
void identity_tree(Json& figures) {
  const Sequences s = oracle::all_sequences(3, 3, oracle::Ending::length);
  const KlTree tree(s, oracle::normal({13, 3}, 60), oracle::normal({13, 3}, 64));
  figures = {{"kl", tree.kl()},
             {"k1_variance", tree.moments(tree.per_token({KlEstimator::k1})).variance},
             {"exact_variance", tree.moments(tree.exact_per_token()).variance}};
}

std::vector<LineChart> charts(const Family& family, bool quick) {
  LineChart bias{"Relative bias of the value",
                 {},
                 "|E k − KL| / KL over the exact KL. k1 and k3 per "
                 "token and per sequence have none.",
                 "KL(π ‖ π_ref), nats"};
  LineChart spread{"Standard deviation of the value",
                   {},
                   "Of one sampled answer, relative to the KL.",
                   "KL(π ‖ π_ref), nats"};
  LineChart direction{
      "Relative bias of the gradient",
      {},
      "‖E g − ∇KL‖ / ‖∇KL‖, own gradients. k1's is 1 throughout, k2's per sequence 0.",
      "KL(π ‖ π_ref), nats"};
  bias.series = {{"k2 per token", {}, {}, 1}, {"k2 per sequence", {}, {}, 2}};
  spread.series = {{"k1", {}, {}, 0},
                   {"k2 per token", {}, {}, 1},
                   {"k3 per token", {}, {}, 2},
                   {"k3 per sequence", {}, {}, 3},
                   {"exact per token", {}, {}, 4}};
  direction.series = {
      {"k2 per token", {}, {}, 1}, {"k3 per token", {}, {}, 2}, {"k3 per sequence", {}, {}, 3}};
  spread.log_y = true;
  for (LineChart* chart : {&bias, &spread, &direction}) chart->smooth = false;
  const int points = quick ? 6 : 16;
  for (int i = 1; i <= points; ++i) {
    KlTree tree = family.at(2.0 * i / points);
    const auto add = [&](LineChart& chart, size_t series, double y) {
      chart.series[series].x.push_back(tree.kl());
      chart.series[series].y.push_back(y);
    };
    const auto off = [&](const Tensor& x) {
      return std::abs(tree.moments(x).mean / tree.kl() - 1);
    };
    const auto wide = [&](const Tensor& x) {
      return std::sqrt(tree.moments(x).variance) / tree.kl();
    };
    const KlOptions k1{KlEstimator::k1}, k2{KlEstimator::k2}, k3{KlEstimator::k3};
    add(bias, 0, off(tree.per_token(k2)));
    add(bias, 1, off(tree.per_sequence(k2)));
    const std::vector<Tensor> estimates{tree.per_token(k1), tree.per_token(k2), tree.per_token(k3),
                                        tree.per_sequence(k3), tree.exact_per_token()};
    for (size_t e = 0; e < estimates.size(); ++e) add(spread, e, wide(estimates[e]));
    add(direction, 0, tree.compare(tree.gradient_per_token(k2)).bias);
    add(direction, 1, tree.compare(tree.gradient_per_token(k3)).bias);
    add(direction, 2, tree.compare(tree.gradient_per_sequence(k3)).bias);
  }
  return {bias, spread, direction};
}

Findings run(const ExperimentOptions& options) {
  const Family family(options);
  Findings found;
  Json& f = found.figures;
  found.tables = {value_table(family, f["values"]), gradient_table(family, f["gradients"]),
                  meaning_table(family, f["meaning"])};
  identity_tree(f["identity_34"]);
  found.charts = charts(family, options.quick);
  f["charts"] = points(found.charts);
  const Json &k3 = f["gradients"][2], &k2 = f["gradients"][1], &tree = f["identity_34"];
  found.answer = cat(
      "As values k1 and k3 are unbiased, per token and per sequence; k2 is not. As losses it is "
      "the "
      "other way round: k1's own gradient is 0 in the mean and k3's is that of the KL the other "
      "way "
      "round (relative error ",
      number(k3["sequence"]["bias"].get<double>(), 3),
      " per sequence at distance 0.5), while k2's, "
      "per sequence, is exact. Straight-through estimators and bias-corrected k3 are k2's "
      "gradient, "
      "sample for sample; bias-corrected k1 has the same mean and more variance. Per token none of "
      "them is the gradient of the KL of answers: each token then answers for its own divergence "
      "only, not for where it leads (relative error ",
      number(k2["token"]["bias"].get<double>(), 3), "), but at ",
      number(k2["sequence"]["variance"].get<double>() / k2["token"]["variance"].get<double>(), 2),
      " times less variance. Where the whole vocabulary is at hand, summing exact divergences over "
      "the prefixes leaves little variance: in the tree of identity 34 ",
      number(tree["exact_variance"].get<double>(), 3), " against ",
      number(tree["k1_variance"].get<double>(), 3), " for sampled log-ratios.");
  return found;
}

}  // namespace

Experiment kl_estimators() {
  return {"kl-estimators", "KL estimators: as values and as gradients",
          "k1, k2 and k3 all estimate a KL divergence from samples. Which of them are right as a "
          "number, which as a loss, and how noisy are they?",
          run};
}

}  // namespace luce

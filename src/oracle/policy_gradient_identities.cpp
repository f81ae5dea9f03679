// Policy gradients on a tree of answers: every expectation is a sum over all of them.
#include <ATen/ATen.h>

#include "luce/loss/kl.h"
#include "luce/oracle/calculus.h"
#include "luce/oracle/identities.h"
#include "luce/oracle/sequences.h"
#include "luce/oracle/table.h"

namespace luce::oracle {
namespace {

constexpr int64_t kVocabulary = 3, kLength = 3, kAnswers = 27, kPrefixes = 13;

/// All 27 answers of three tokens out of three, a policy with free logits after each of the 13
/// prefixes, and a reward for every token.
struct Tree {
  Sequences s = all_sequences(kVocabulary, kLength, Ending::length);
  Tensor theta, logps;  // logits [13, 3]; log π(token | prefix) [M]
  Tensor rewards;       // [M]

  explicit Tree(const Tensor& logits = normal({kPrefixes, kVocabulary}, 60))
      : theta(logits.detach().requires_grad_(true)),
        logps(s.logps(theta).values),
        rewards(s.at_tokens(normal({kPrefixes, kVocabulary}, 61)).values) {}

  TokenValues of(const Tensor& tokens) const { return {tokens, s.offset}; }
  Tensor sum(const Tensor& tokens) const { return of(tokens).sum(); }  // [S]
  Tensor log_p() const { return sum(logps); }                          // [S]
  Tensor mean(const Tensor& answers) const { return log_p().exp().matmul(answers); }
  /// G_t = r_{t+1} + γ G_{t+1}, [M].
  Tensor returns(double gamma = 1) const { return discounted_sums(of(rewards), gamma).values; }
  /// Σ_t ∇log π(token t | prefix) · weight_t of every answer: [S, parameters].
  Tensor estimate(const Tensor& weight) const {
    const Tensor score = jacobian(logps, theta).detach();
    return (score * weight.detach().unsqueeze(1)).view({-1, kLength, score.size(1)}).sum(1);
  }
  /// E[x_t | event_t], for events 0 … count−1 that the tokens belong to: [count].
  Tensor given(const Tensor& event, int64_t count, const Tensor& x) const {
    const Tensor p = log_p().exp().detach().repeat_interleave(kLength);
    const Tensor none = at::zeros({count}, at::kDouble);
    return none.index_add(0, event, p * x) / none.index_add(0, event, p);
  }
  Tensor given_prefix(const Tensor& x) const { return given(s.prefix, kPrefixes, x); }
  Tensor given_token(const Tensor& x) const {  // [13, 3]
    return given(s.prefix * kVocabulary + s.token, kPrefixes * kVocabulary, x)
        .view({kPrefixes, kVocabulary});
  }
  Tensor policy() const { return log_policy(theta).exp().detach(); }  // [13, 3]
  /// V(prefix) = E_π[Q(prefix, token)], at every token: [M].
  Tensor values(const Tensor& q) const { return s.at_prefixes((policy() * q).sum(1)).values; }
  /// ∇J, J = E[Σ_t r_t], by differentiating the sum over all answers.
  Tensor exact_gradient() const { return gradient(mean(sum(rewards)), theta).reshape({-1}); }
};

/// E‖g − E g‖² over answers, for g [S, parameters].
Tensor variance(const Tree& tree, const Tensor& g) {
  return tree.mean((g - tree.mean(g)).square().sum(1)).detach();
}

Result policy_gradient() {
  const Tree t;
  const Tensor returns = t.returns(), whole = t.sum(t.rewards).repeat_interleave(kLength);
  const Tensor g = t.estimate(whole), causal = t.estimate(returns),
               baseline = t.estimate(returns - t.s.at_prefixes(t.given_prefix(returns)).values);
  const Tensor v = at::stack({variance(t, g), variance(t, causal), variance(t, baseline)});
  const Tensor exact = t.exact_gradient();
  return worst(
      {deviation(t.mean(g), exact), deviation(t.mean(causal), exact),
       deviation(t.mean(baseline), exact), largest(at::relu(v.slice(0, 1) - v.slice(0, 0, 2)))},
      "variances " + figures(v, 3));
}

Result baselines_cost_nothing() {
  const Tree t;
  const Tensor b = t.s.at_prefixes(normal({kPrefixes}, 62)).values;
  return {largest(t.mean(t.estimate(b)))};
}

Result discounted_policy_gradient() {
  const Tree t;
  const double gamma = 0.9;
  const Tensor discount =
      at::pow(gamma, at::arange(kLength, at::kDouble)).repeat({kAnswers});  // γ^t
  const Tensor exact = gradient(t.mean(t.sum(discount * t.rewards)), t.theta).reshape({-1});
  const Tensor g = t.mean(t.estimate(discount * t.returns(gamma)));
  const Tensor plain = t.mean(t.estimate(t.returns(gamma)));
  return {deviation(g, exact), 1e-8,
          "γ = 0.9; without γ^t off by " + figures((plain - exact).abs().max(), 2) + ", cosine " +
              figures(at::cosine_similarity(plain, exact, 0))};
}

Result values_and_advantages() {
  const Tree t;
  const double gamma = 0.9;
  const Tensor returns = t.returns(gamma), q = t.given_token(returns),
               v = t.s.at_prefixes(t.given_prefix(returns)).values;
  const Tensor next = next_values(t.of(v)).values, td = t.rewards + gamma * next - v;
  const auto gae = [&](double lambda) { return discounted_sums(t.of(td), gamma * lambda).values; };
  const Tensor advantage = q - t.given_prefix(returns).unsqueeze(1);
  return worst({deviation(t.s.at_tokens(q).values, t.rewards + gamma * next),  // Bellman
                deviation(t.values(q), v), largest((t.policy() * advantage).sum(1)),
                deviation(gae(1), returns - v), deviation(gae(0), td)},
               "γ = 0.9");
}

Result importance_sampling() {
  const Tree old;
  const Tensor direction = normal({kPrefixes, kVocabulary}, 63), p_old = old.log_p().exp().detach();
  std::vector<double> parts, errors;
  for (const double step : {0.0, 0.01, 0.02, 0.04}) {
    const Tree now(old.theta + step * direction);
    const Tensor exact = now.exact_gradient(), returns = now.returns();
    const Tensor token_ratio = (now.logps - old.logps).exp();
    const Tensor ratio = (now.log_p() - old.log_p()).exp().repeat_interleave(kLength);
    const auto error = [&](const Tensor& weight) {
      return deviation(p_old.matmul(now.estimate(weight * returns)), exact);
    };
    parts.push_back(error(ratio));
    errors.push_back(error(token_ratio));
  }
  parts.push_back(errors[0]);
  // First order: twice the step, twice the error.
  const Tensor growth = numbers({errors[2] / errors[1], errors[3] / errors[2]});
  parts.push_back(figure_error(growth, {2, 2}, 0.1));
  return worst(parts, "token ratios are off by " + figures(numbers(errors), 3) +
                          " after steps of (0, .01, .02, .04)");
}

Result slope_of_the_clipped_ratio() {
  const double epsilon = 0.2;
  const auto slopes = [&](double advantage) {
    const Tensor r = numbers({0.7, 1.0, 1.3}).requires_grad_(true);
    const Tensor clipped = r.clamp(1 - epsilon, 1 + epsilon);
    return gradient(at::minimum(r * advantage, clipped * advantage).sum(), r);
  };
  const auto off = [&](double advantage, std::vector<double> want) {
    return deviation(slopes(advantage), numbers(want));
  };
  return worst({off(2, {2, 2, 0}), off(-2, {0, -2, -2}), off(0, {0, 0, 0})},
               "r = .7, 1, 1.3; ε = .2");
}

Result surrogate_is_no_objective() {
  const Tree t;
  const Tensor log_p = t.log_p(), p = log_p.exp().detach(), r = t.sum(t.rewards).detach();
  const double b = 5;
  const Tensor plain = (p * r * log_p).sum(), shifted = (p * (r + b) * log_p).sum();
  const Tensor exact = t.exact_gradient();
  return worst({deviation(gradient(plain, t.theta).reshape({-1}), exact),
                deviation(gradient(shifted, t.theta).reshape({-1}), exact),
                deviation(shifted - plain, -b * entropy(log_p))},
               "J = " + figures(t.mean(r), 3) + ", surrogate " + figures(plain, 3) +
                   ", with b = 5 " + figures(shifted, 3));
}

Result kl_by_tokens() {
  const Tree t;
  const Tensor ref = normal({kPrefixes, kVocabulary}, 64), ref_logps = t.s.logps(ref).values;
  const Tensor sampled = t.sum(t.logps - ref_logps);
  const Tensor exact = t.s.at_prefixes(exact_kl(log_policy(t.theta), log_policy(ref))).sum();
  const Tensor kl = exact_kl(t.log_p(), t.sum(ref_logps));
  const auto spread = [&](const Tensor& x) { return t.mean((x - t.mean(x)).square()); };
  return worst({deviation(t.mean(sampled), kl), deviation(t.mean(exact), kl),
                largest(at::relu(spread(exact) - spread(sampled)))},
               "KL " + figures(kl, 3) + ", variance " + figures(spread(sampled), 3) +
                   " of sampled log-ratios, " + figures(spread(exact), 3) + " of exact sums");
}

Result kl_in_the_reward() {
  const Tree t;
  const Tensor log_p = t.log_p(),
               log_ref = t.sum(t.s.logps(normal({kPrefixes, kVocabulary}, 65)).values);
  const KlObjective j{log_ref, t.sum(t.rewards), 0.3};
  const Tensor reward = (j.reward - j.beta * (log_p - log_ref)).detach();
  const Tensor surrogate = (log_p.exp().detach() * reward * log_p).sum();
  const Tensor g = gradient(surrogate, t.theta);
  return worst({deviation(g, gradient(j.value(log_p), t.theta)),
                deviation(g, -j.beta * gradient(exact_kl(log_p, j.log_optimum()), t.theta))},
               "‖∇J‖ = " + figures(g.norm(), 3));
}

}  // namespace

std::vector<Identity> policy_gradient_identities() {
  return {
      {25, "PolicyGradient",
       "∇J = E[Σ_t s_t R(y)] = E[Σ_t s_t G_t] = E[Σ_t s_t (G_t − V)], s_t = ∇ log π(y_t); "
       "here each has less variance than the one before",
       policy_gradient},
      {26, "BaselinesCostNothing", "E[Σ_t s_t b(prefix)] = 0 for every b", baselines_cost_nothing},
      {27, "DiscountedPolicyGradient",
       "∇ E[Σ_t γ^t r_t] = E[Σ_t s_t γ^t G_t]; without the γ^t it is another direction",
       discounted_policy_gradient},
      {28, "ValuesAndAdvantages",
       "Q = r + γV', V = E_π Q, E_π A = 0; GAE is G − V for λ = 1 and r + γV' − V for λ = 0",
       values_and_advantages},
      {29, "ImportanceSampling",
       "the ratio of whole answers makes another policy's answers exact; ratios of tokens leave an "
       "error of first order in the step between the policies, 0 where they are equal",
       importance_sampling},
      {30, "SlopeOfTheClippedRatio",
       "d/dr min(rA, clip(r)A) below, inside and above the band is (A, A, 0) for A > 0, "
       "(0, A, A) for A < 0 and 0 for A = 0",
       slope_of_the_clipped_ratio},
      {31, "SurrogateIsNoObjective",
       "E[(R + b) log π(y)], weights held, has J's gradient for every b, but b changes its "
       "value by −b H(π)",
       surrogate_is_no_objective},
      {34, "KlByTokens",
       "KL(π ‖ π_ref) over answers = E[Σ_t log-ratio_t] = E[Σ_t KL_t(prefix)]; here the second has "
       "less variance",
       kl_by_tokens},
      {35, "KlInTheReward",
       "the policy gradient of R − β log(π/π_ref), held constant, is ∇J = −β ∇KL(π ‖ π*)",
       kl_in_the_reward},
  };
}

}  // namespace luce::oracle

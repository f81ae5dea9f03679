// The formulas that all kernels share, against definitions written as sums and differences in f64.
#include "kernels/formulas.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <vector>

namespace luce::kernels {
namespace {

constexpr double kInf = std::numeric_limits<double>::infinity();

using Row = std::vector<double>;

// --- Definitions ---------------------------------------------------------------------------------

long double sum_of(size_t n, const std::function<long double(size_t)>& term) {
  long double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += term(i);
  return sum;
}

long double exact_lse(const Row& z) {
  const long double max = *std::max_element(z.begin(), z.end());
  return max + std::log(sum_of(z.size(), [&](size_t i) { return std::exp(z[i] - max); }));
}
double lse_of(const Row& z) { return static_cast<double>(exact_lse(z)); }
Row softmax(const Row& z) {
  const long double lse = exact_lse(z);
  Row p;
  for (const double x : z) p.push_back(static_cast<double>(std::exp(x - lse)));
  return p;
}
/// Σ a log(a / b), where a term with a = 0 is 0.
double relative_entropy(const Row& a, const Row& b) {
  return static_cast<double>(sum_of(a.size(), [&](size_t i) -> long double {
    return a[i] > 0 ? a[i] * std::log(a[i] / b[i]) : 0;
  }));
}
double entropy_of(const Row& z) { return -relative_entropy(softmax(z), Row(z.size(), 1)); }
double log_sum_p2_of(const Row& z) {
  const Row p = softmax(z);
  return static_cast<double>(std::log(sum_of(z.size(), [&](size_t i) { return p[i] * p[i]; })));
}
double mean_of(const Row& z) {
  return static_cast<double>(sum_of(z.size(), [&](size_t i) { return z[i]; })) /
         static_cast<double>(z.size());
}
/// ∂fn/∂x_i by central differences.
double slope_at(const std::function<double(const Row&)>& fn, Row x, size_t i) {
  const double step = 1e-5, middle = x[i];
  x[i] = middle + step;
  const double above = fn(x);
  x[i] = middle - step;
  return (above - fn(x)) / (2 * step);
}

Row random_row(size_t n, double scale, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<double> normal(0, scale);
  Row z(n);
  for (double& x : z) x = normal(random);
  return z;
}

/// Rows whose sums are easy to get wrong.
std::vector<Row> hard_rows() {
  std::vector<Row> rows{
      {0.5}, {0, 0}, {1e4, -1e4, 0}, {-1e4, -1e4 + 1}, {-kInf, 2, -kInf, 1, -kInf}};
  rows.push_back(random_row(31, 3, 1));
  rows.push_back(random_row(229, 3000, 2));
  rows.push_back(random_row(229, 1, 3));
  for (size_t i = 0; i < 229; i += 3) rows.back()[i] = -kInf;
  return rows;
}

// --- One type at a time --------------------------------------------------------------------------

template <class T>
struct Formulas : ::testing::Test {
  /// As exact as T can hold numbers of this size, times a few.
  static double near(double size = 1) {
    return 20 * static_cast<double>(std::numeric_limits<T>::epsilon()) * (1 + std::fabs(size));
  }
  /// The largest finite |z|: lse and everything relative to it carry its rounding.
  static double size_of(const Row& z) {
    double size = 0;
    for (const double x : z)
      if (std::isfinite(x)) size = std::max(size, std::fabs(x));
    return size;
  }
  static Row rounded(Row z) {
    for (double& x : z) x = static_cast<double>(static_cast<T>(x));
    return z;
  }
  static RowSums<T> empty() { return {-static_cast<T>(kInf), 0, 0, 0, 0}; }
  static RowSums<T> sums(const Row& z, size_t begin, size_t end) {
    RowSums<T> all = empty();
    for (size_t i = begin; i < end; ++i) {
      const T x = static_cast<T>(z[i]);
      all = merged(all, RowSums<T>{x, 1, 0, 1, x});
    }
    return all;
  }
  /// Whether sums are those of a row, however they came about.
  struct ExpectStatistics {
    double count, size, lse, entropy, log_sum_p2, mean;

    explicit ExpectStatistics(const Row& z)
        : count(static_cast<double>(z.size())),
          size(size_of(z)),
          lse(lse_of(z)),
          entropy(entropy_of(z)),
          log_sum_p2(log_sum_p2_of(z)),
          mean(mean_of(z)) {}
    void operator()(const RowSums<T>& s) const {
      EXPECT_NEAR(log_sum_exp(s), lse, near(size));
      EXPECT_NEAR(kernels::entropy(s), entropy, near(5 * std::log(count)));
      EXPECT_NEAR(kernels::log_sum_p2(s), log_sum_p2, near(5));
      if (std::isfinite(mean))
        EXPECT_NEAR(s.total / static_cast<T>(count), mean, near(size));
      else
        EXPECT_EQ(s.total, -static_cast<T>(kInf));
    }
  };
};

using Types = ::testing::Types<float, double>;
TYPED_TEST_SUITE(Formulas, Types);

TYPED_TEST(Formulas, LowestIsFiniteAndHasNoExponential) {
  const TypeParam lowest = lowest_of(TypeParam(0));
  EXPECT_TRUE(std::isfinite(lowest));
  EXPECT_EQ(exp_of(lowest), 0);
  EXPECT_EQ(max_of(-static_cast<TypeParam>(kInf), lowest), lowest);
}

TYPED_TEST(Formulas, LogitMapIsItsDefinitionWithItsSlope) {
  using T = TypeParam;
  const double scale = 0.8, cap = 30, temperature = 0.7;
  const LogitMap<T> capped{static_cast<T>(scale), static_cast<T>(cap),
                           static_cast<T>(cap / temperature)};
  const LogitMap<T> plain{static_cast<T>(scale / temperature), 0, 1};
  const auto with_cap = [&](const Row& x) {
    return cap * std::tanh(scale * x[0] / cap) / temperature;
  };
  for (const double x : {-90.0, -20.0, -1.0, 0.0, 0.3, 7.0, 60.0}) {
    EXPECT_NEAR(capped.value(static_cast<T>(x)), with_cap({x}), this->near(cap));
    EXPECT_NEAR(capped.slope(static_cast<T>(with_cap({x}))), slope_at(with_cap, {x}, 0),
                this->near() + 1e-8);
    EXPECT_NEAR(plain.value(static_cast<T>(x)), scale / temperature * x, this->near(x));
    EXPECT_NEAR(plain.slope(static_cast<T>(x)), scale / temperature, this->near());
  }
  for (const T x : {T(1e4), static_cast<T>(kInf)}) {
    EXPECT_NEAR(capped.value(x), cap / temperature, this->near(cap));
    EXPECT_NEAR(capped.value(-x), -cap / temperature, this->near(cap));
    EXPECT_NEAR(capped.slope(capped.value(x)), 0, this->near());
    EXPECT_EQ(plain.slope(-x), plain.scale);
  }
}

TYPED_TEST(Formulas, RowSumsGiveTheStatisticsOfTheRowInAnySplit) {
  for (const Row& hard : hard_rows()) {
    const Row z = this->rounded(hard);
    const typename TestFixture::ExpectStatistics expect(z);
    expect(this->sums(z, 0, z.size()));
    for (size_t cut = 0; cut <= z.size(); ++cut) {
      const auto left = this->sums(z, 0, cut), right = this->sums(z, cut, z.size());
      expect(merged(left, right));
      expect(merged(right, left));
    }
    const size_t third = z.size() / 3;
    const auto a = this->sums(z, 0, third), b = this->sums(z, third, 2 * third),
               c = this->sums(z, 2 * third, z.size());
    expect(merged(merged(a, b), c));
    expect(merged(a, merged(b, c)));
  }
}

TYPED_TEST(Formulas, RowSumsOfAnImpossibleRowAreNotFinite) {
  EXPECT_FALSE(std::isfinite(log_sum_exp(this->empty())));
  const auto nothing = this->sums(Row(5, -kInf), 0, 5);
  EXPECT_FALSE(std::isfinite(log_sum_exp(nothing)));
  EXPECT_FALSE(std::isfinite(entropy(nothing)));
}

TYPED_TEST(Formulas, RebasedSumsAreThoseRelativeToTheNewMaximum) {
  using T = TypeParam;
  const Row z = this->rounded(random_row(31, 2, 4));
  const T to = static_cast<T>(z[0] + 9);
  const RowSums<T> s = rebased(this->sums(z, 0, z.size()), to);
  const auto e = [&](size_t i) { return std::exp(static_cast<long double>(z[i] - to)); };
  const auto sum = [&](const std::function<long double(size_t)>& term) {
    return static_cast<double>(sum_of(z.size(), term));
  };
  EXPECT_EQ(s.max, to);
  const double exp = sum(e), shifted = sum([&](size_t i) { return e(i) * (z[i] - to); }),
               square = sum([&](size_t i) { return e(i) * e(i); });
  EXPECT_NEAR(s.exp / exp, 1, this->near());
  EXPECT_NEAR(s.shifted / shifted, 1, this->near());
  EXPECT_NEAR(s.square / square, 1, this->near());
}

TYPED_TEST(Formulas, LogitGradientIsTheDerivativeOfEveryStatistic) {
  using T = TypeParam;
  const Row z = this->rounded(random_row(31, 2, 5));
  const double n = 31, g = 0.7, g2 = -0.4, h = 0.3, s = -0.2, m = 1.5;
  const size_t target = 3, candidate = 17;
  const auto loss = [&](const Row& x) {
    return g * (x[target] - lse_of(x)) + g2 * (x[candidate] - lse_of(x)) + h * entropy_of(x) +
           s * log_sum_p2_of(x) + m * mean_of(x);
  };
  const RowSums<T> sums = this->sums(z, 0, z.size());
  const auto slopes = row_slopes(static_cast<T>(g + g2), static_cast<T>(h), entropy(sums),
                                 static_cast<T>(s), log_sum_p2(sums), static_cast<T>(m / n));
  for (size_t v = 0; v < z.size(); ++v) {
    const double dense = logit_gradient(slopes, static_cast<T>(z[v]) - log_sum_exp(sums));
    const double own = (v == target ? g : 0) + (v == candidate ? g2 : 0);
    EXPECT_NEAR(dense + own, slope_at(loss, z, v), this->near() + 1e-9) << v;
  }
}

TYPED_TEST(Formulas, ImpossibleTokensHaveNoGradientButTheMeans) {
  using T = TypeParam;
  const auto slopes = row_slopes<T>(T(0.7), T(0.3), T(1.1), T(-0.2), T(-1.3), T(0.25));
  EXPECT_EQ(logit_gradient(slopes, -static_cast<T>(kInf)), T(0.25));
  EXPECT_EQ(logit_gradient(slopes, T(-1e4)), T(0.25));
  EXPECT_FALSE(std::isfinite(logit_gradient(slopes, std::numeric_limits<T>::quiet_NaN())));
}

// --- Divergences ---------------------------------------------------------------------------------

struct Divergence {
  const char* name;
  double beta;  // of the Jensen-Shannon divergence
  std::function<double(const Row& p, const Row& q)> definition;
};

double jensen_shannon_of(const Row& p, const Row& q, double beta) {
  Row m(p.size());
  for (size_t i = 0; i < p.size(); ++i) m[i] = beta * q[i] + (1 - beta) * p[i];
  return beta * relative_entropy(q, m) + (1 - beta) * relative_entropy(p, m);
}

std::vector<Divergence> divergences() {
  return {{"forward", 0, [](const Row& p, const Row& q) { return relative_entropy(p, q); }},
          {"reverse", 0, [](const Row& p, const Row& q) { return relative_entropy(q, p); }},
          {"half", 0.5, [](const Row& p, const Row& q) { return jensen_shannon_of(p, q, 0.5); }},
          {"tenth", 0.1, [](const Row& p, const Row& q) { return jensen_shannon_of(p, q, 0.1); }}};
}

template <class T>
DivergenceTerm<T> term_of(const Divergence& d, T log_p, T log_q) {
  if (d.beta > 0) return jensen_shannon(log_p, log_q, static_cast<T>(d.beta));
  return d.name[0] == 'f' ? kl_forward(log_p, log_q) : kl_reverse(log_p, log_q);
}

/// The value and, for each entry, the gradient that the formulas make of two rows of logits.
template <class T>
struct DivergenceOf {
  double value = 0;
  Row gradient;

  DivergenceOf(const Divergence& d, const Row& z_p, const Row& z_q) {
    double slope_sum = 0;
    std::vector<DivergenceTerm<T>> terms;
    for (size_t v = 0; v < z_p.size(); ++v) {
      terms.push_back(
          term_of(d, static_cast<T>(z_p[v] - lse_of(z_p)), static_cast<T>(z_q[v] - lse_of(z_q))));
      value += terms.back().value;
      slope_sum += terms.back().slope;
    }
    const Row p = softmax(z_p);
    for (size_t v = 0; v < z_p.size(); ++v) gradient.push_back(terms[v].slope - p[v] * slope_sum);
  }
};

TYPED_TEST(Formulas, DivergencesAreTheirDefinitionsWithTheirGradients) {
  const Row z_q = random_row(29, 2, 7);
  for (const Row& z_p : {random_row(29, 2, 6), z_q})
    for (const Divergence& d : divergences()) {
      const auto definition = [&](const Row& x) { return d.definition(softmax(x), softmax(z_q)); };
      const DivergenceOf<TypeParam> got(d, z_p, z_q);
      EXPECT_NEAR(got.value, definition(z_p), this->near()) << d.name;
      for (size_t v = 0; v < z_p.size(); ++v)
        EXPECT_NEAR(got.gradient[v], slope_at(definition, z_p, v), this->near() + 1e-9) << d.name;
    }
}

TYPED_TEST(Formulas, DivergencesLeaveOutWhatNeitherSideCanSay) {
  Row z_p = random_row(29, 2, 8), z_q = random_row(29, 2, 9);
  for (size_t v = 0; v < 29; v += 4) z_p[v] = z_q[v] = -kInf;
  for (const Divergence& d : divergences()) {
    const DivergenceOf<TypeParam> got(d, z_p, z_q);
    EXPECT_NEAR(got.value, d.definition(softmax(z_p), softmax(z_q)), this->near()) << d.name;
    for (size_t v = 0; v < 29; v += 4) EXPECT_EQ(got.gradient[v], 0) << d.name;
  }
}

TYPED_TEST(Formulas, JensenShannonIsBoundedWhereTheSidesShareNothing) {
  const double mixture = -(0.1 * std::log(0.1) + 0.9 * std::log(0.9));
  for (const double far : {1e4, kInf}) {
    const Row z_p{0, 0, -far, -far}, z_q{-far, -far, 0, 0};
    for (const Divergence& d : divergences()) {
      const DivergenceOf<TypeParam> got(d, z_p, z_q);
      if (d.beta == 0)
        EXPECT_GT(got.value, 9e3) << d.name;
      else
        EXPECT_NEAR(got.value, d.beta == 0.5 ? std::log(2) : mixture, this->near()) << d.name;
    }
  }
}

TYPED_TEST(Formulas, ForwardKlIgnoresWhatOnlyTheOtherSideSays) {
  const Row z_p{0, 1, -kInf}, z_q{1, 0, 2};
  const DivergenceOf<TypeParam> got(divergences()[0], z_p, z_q);
  EXPECT_NEAR(got.value, relative_entropy(softmax(z_p), softmax(z_q)), this->near());
}

// --- Attention and decoder blocks ----------------------------------------------------------------

TYPED_TEST(Formulas, AttentionSharesJoinTwoParts) {
  using T = TypeParam;
  for (const double shift : {0.0, 40.0, -1e4, 1e4}) {
    Row all = random_row(9, 2, 10);
    for (size_t i = 5; i < 9; ++i) all[i] += shift;
    const Row one(all.begin(), all.begin() + 5), two(all.begin() + 5, all.end());
    const auto got = attention_shares(static_cast<T>(lse_of(one)), static_cast<T>(lse_of(two)));
    EXPECT_NEAR(got.first, std::exp(lse_of(one) - lse_of(all)), this->near(20));
    EXPECT_NEAR(got.second, std::exp(lse_of(two) - lse_of(all)), this->near(20));
    EXPECT_NEAR(got.lse, lse_of(all), this->near(shift));
  }
}

TYPED_TEST(Formulas, AttentionSharesOfAPartWithoutKeysAreZero) {
  using T = TypeParam;
  const T inf = static_cast<T>(kInf);
  for (const T none : {inf, -inf}) {
    const auto left = attention_shares(none, T(3)), right = attention_shares(T(-3), none);
    EXPECT_EQ(left.first, 0);
    EXPECT_EQ(left.second, 1);
    EXPECT_EQ(left.lse, 3);
    EXPECT_EQ(right.first, 1);
    EXPECT_EQ(right.second, 0);
    EXPECT_EQ(right.lse, -3);
    const auto neither = attention_shares(none, none);
    EXPECT_EQ(neither.first, 0);
    EXPECT_EQ(neither.second, 0);
    EXPECT_EQ(neither.lse, -inf);
  }
  EXPECT_TRUE(std::isnan(attention_shares(std::numeric_limits<T>::quiet_NaN(), T(0)).first));
}

TYPED_TEST(Formulas, SwigluIsItsDefinitionWithItsGradient) {
  using T = TypeParam;
  const auto definition = [](const Row& x) { return x[0] / (1 + std::exp(-x[0])) * x[1]; };
  for (const double gate : {-30.0, -2.0, 0.0, 0.5, 25.0})
    for (const double up : {-1.5, 0.0, 3.0}) {
      const Row x{gate, up};
      EXPECT_NEAR(swiglu(static_cast<T>(gate), static_cast<T>(up)), definition(x),
                  this->near(gate * up));
      const auto got = swiglu_gradient(static_cast<T>(gate), static_cast<T>(up), T(0.75));
      EXPECT_NEAR(got.gate, 0.75 * slope_at(definition, x, 0), this->near(gate * up) + 1e-8);
      EXPECT_NEAR(got.up, 0.75 * slope_at(definition, x, 1), this->near(gate) + 1e-8);
    }
}

TYPED_TEST(Formulas, SwigluStaysFiniteFarOut) {
  using T = TypeParam;
  EXPECT_EQ(swiglu(T(1e4), T(2)), T(2e4));
  EXPECT_EQ(swiglu(T(-1e4), T(2)), 0);
  const auto above = swiglu_gradient(T(1e4), T(2), T(1)),
             below = swiglu_gradient(T(-1e4), T(2), T(1));
  EXPECT_EQ(above.gate, 2);
  EXPECT_EQ(above.up, T(1e4));
  EXPECT_EQ(below.gate, 0);
  EXPECT_EQ(below.up, 0);
}

TYPED_TEST(Formulas, TurningIsAComplexProductAndTurningBackUndoesIt) {
  using T = TypeParam;
  const double angle = 2.1, a = 0.6, b = -1.3, size = std::hypot(a, b), start = std::atan2(b, a);
  const T cos = static_cast<T>(std::cos(angle)), sin = static_cast<T>(std::sin(angle));
  const auto there = turned(static_cast<T>(a), static_cast<T>(b), cos, sin);
  EXPECT_NEAR(there.first, size * std::cos(start + angle), this->near());
  EXPECT_NEAR(there.second, size * std::sin(start + angle), this->near());
  const auto back = turned(there.first, there.second, cos, -sin);
  EXPECT_NEAR(back.first, a, this->near());
  EXPECT_NEAR(back.second, b, this->near());
}

TYPED_TEST(Formulas, AdamwFollowsThePapersAlgorithm) {
  using T = TypeParam;
  const double lr = 0.03, beta1 = 0.9, beta2 = 0.75, epsilon = 1e-4, decay = 0.2, clip = 0.5;
  double theta = 0.8, m = 0, v = 0;
  T weight = static_cast<T>(theta), first = 0, second = 0;
  const Row gradients = random_row(6, 1, 11);
  for (int t = 1; t <= 6; ++t) {
    const double g = gradients[static_cast<size_t>(t - 1)] * clip;
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    const double m_hat = m / (1 - std::pow(beta1, t)), v_hat = v / (1 - std::pow(beta2, t));
    theta -= lr * (m_hat / (std::sqrt(v_hat) + epsilon) + decay * theta);
    const AdamWStep<T> step{static_cast<T>(lr),
                            static_cast<T>(beta1),
                            static_cast<T>(beta2),
                            static_cast<T>(epsilon),
                            static_cast<T>(decay),
                            static_cast<T>(clip),
                            static_cast<T>(1 - std::pow(beta1, t)),
                            static_cast<T>(std::sqrt(1 - std::pow(beta2, t)))};
    adamw(step, static_cast<T>(gradients[static_cast<size_t>(t - 1)]), weight, first, second);
    EXPECT_NEAR(weight, theta, this->near()) << t;
    EXPECT_NEAR(first, m, this->near()) << t;
    EXPECT_NEAR(second, v, this->near()) << t;
  }
}

TYPED_TEST(Formulas, AdamwOnlyDecaysAWeightThatNeverHadAGradient) {
  using T = TypeParam;
  const AdamWStep<T> step{T(0.5), T(0.9), T(0.999), T(1e-8), T(0.5), T(1), T(0.1), T(0.03)};
  T weight = 2, m = 0, v = 0;
  adamw(step, T(0), weight, m, v);
  EXPECT_EQ(weight, T(1.5));
  EXPECT_EQ(m, 0);
  EXPECT_EQ(v, 0);
}

}  // namespace
}  // namespace luce::kernels

#include <gtest/gtest.h>

#include <cmath>

#include "data/temporary_folder.h"
#include "luce/data/comparisons.h"

namespace luce {
namespace {

using Values = std::vector<double>;
using Matrix = std::vector<Values>;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

Matrix zeros(size_t k) { return Matrix(k, Values(k)); }

ComparisonTable table_of(const Matrix& wins) {
  ComparisonTable table{.names = {}, .wins = wins, .ties = zeros(wins.size())};
  for (size_t i = 0; i < wins.size(); ++i) table.names.push_back(std::string(1, char('a' + i)));
  return table;
}

/// The wins that strengths lead to on average, in games[i][j] comparisons of i and j.
Matrix expected_wins(const Values& strengths, const Matrix& games) {
  Matrix wins = games;
  for (size_t i = 0; i < strengths.size(); ++i)
    for (size_t j = 0; j < strengths.size(); ++j)
      wins[i][j] *= sigmoid(strengths[i] - strengths[j]);
  return wins;
}

TEST(Strengths, OfTwoIsTheLogOfTheOdds) {
  const Strengths fit = fit_strengths(table_of({{0, 30}, {10, 0}}));
  const double gap = std::log(3.0), n = 40, p = 0.75;
  EXPECT_NEAR(fit.strengths[0], gap / 2, 1e-11);
  EXPECT_NEAR(fit.strengths[1], -gap / 2, 1e-11);
  EXPECT_NEAR(fit.win_probability(0, 1), p, 1e-11);
  EXPECT_NEAR(fit.log_likelihood, 30 * std::log(p) + 10 * std::log(1 - p), 1e-11);
  // The variance of log odds, 1 / (n p (1 − p)); each strength is half of the difference.
  EXPECT_NEAR(fit.difference(0, 1).value, gap, 1e-11);
  EXPECT_NEAR(fit.difference(0, 1).error, 1 / std::sqrt(n * p * (1 - p)), 1e-11);
  EXPECT_NEAR(fit.errors[0], 0.5 / std::sqrt(n * p * (1 - p)), 1e-11);
  EXPECT_GT(fit.steps, 0);
  EXPECT_EQ(fit.names, (std::vector<std::string>{"a", "b"}));
}

TEST(Strengths, TakesATieAsHalfAWinOfEach) {
  ComparisonTable table = table_of({{0, 5}, {1, 0}});
  table.ties = {{0, 4}, {4, 0}};
  EXPECT_NEAR(fit_strengths(table).difference(0, 1).value, std::log(7.0 / 3), 1e-13);
}

TEST(Strengths, FindsTheStrengthsThatExpectedWinsWereMadeOf) {
  const Values strengths = {1.5, -2.25, 0.5, 3, -2.75};
  // Not everybody met everybody, and not alike often.
  const Matrix games = {
      {0, 7, 0, 0, 100}, {7, 0, 3, 0, 0}, {0, 3, 0, 1, 0}, {0, 0, 1, 0, 20}, {100, 0, 0, 20, 0}};
  const Strengths fit = fit_strengths(table_of(expected_wins(strengths, games)));
  double sum = 0;
  for (size_t i = 0; i < strengths.size(); ++i) {
    EXPECT_NEAR(fit.strengths[i], strengths[i], 1e-9) << i;
    sum += fit.strengths[i];
  }
  EXPECT_NEAR(sum, 0, 1e-14);
}

TEST(Strengths, ErrorsAreThoseOfTheSecondDifferencesOfTheLikelihood) {
  const Matrix wins = {{0, 6, 2}, {3, 0, 8}, {4, 1, 0}};
  const Strengths fit = fit_strengths(table_of(wins));
  const auto likelihood = [&](const Values& theta) {
    double sum = 0;
    for (size_t i = 0; i < 3; ++i)
      for (size_t j = 0; j < 3; ++j)
        if (i != j) sum += wins[i][j] * std::log(sigmoid(theta[i] - theta[j]));
    return sum;
  };
  const double at_fit = likelihood(fit.strengths);
  EXPECT_NEAR(at_fit, fit.log_likelihood, 1e-12);
  // In coordinates u of the plane of mean 0, θ = u₁ e₁ + u₂ e₂ with orthonormal e, the covariance
  // is the inverse of −∂²l/∂u².
  const double r2 = std::sqrt(2.0), r6 = std::sqrt(6.0);
  const Matrix e = {{1 / r2, -1 / r2, 0}, {1 / r6, 1 / r6, -2 / r6}};
  const double h = 1e-3;
  const auto moved = [&](double u1, double u2) {
    Values theta = fit.strengths;
    for (size_t i = 0; i < 3; ++i) theta[i] += u1 * e[0][i] + u2 * e[1][i];
    return likelihood(theta);
  };
  EXPECT_LT(moved(h, 0), at_fit);
  EXPECT_LT(moved(-h, 0), at_fit);
  EXPECT_LT(moved(0, h), at_fit);
  EXPECT_LT(moved(0, -h), at_fit);
  const double a = -(moved(h, 0) - 2 * at_fit + moved(-h, 0)) / (h * h);
  const double d = -(moved(0, h) - 2 * at_fit + moved(0, -h)) / (h * h);
  const double b = -(moved(h, h) - moved(h, -h) - moved(-h, h) + moved(-h, -h)) / (4 * h * h);
  const double det = a * d - b * b;
  for (size_t i = 0; i < 3; ++i) {
    double row = 0;
    for (size_t j = 0; j < 3; ++j) {
      const double expected = (d * e[0][i] * e[0][j] - b * (e[0][i] * e[1][j] + e[1][i] * e[0][j]) +
                               a * e[1][i] * e[1][j]) /
                              det;
      EXPECT_NEAR(fit.covariance[i][j], expected, 1e-6) << i << j;
      row += fit.covariance[i][j];
    }
    EXPECT_NEAR(row, 0, 1e-13);
    EXPECT_NEAR(fit.errors[i], std::sqrt(fit.covariance[i][i]), 1e-15);
  }
}

TEST(Strengths, OfMirroredWinsIsMirrored) {
  const Matrix wins = {{0, 6, 2}, {3, 0, 8}, {4, 1, 0}};
  Matrix mirrored = zeros(3);
  for (size_t i = 0; i < 3; ++i)
    for (size_t j = 0; j < 3; ++j) mirrored[i][j] = wins[j][i];
  const Strengths fit = fit_strengths(table_of(wins)), other = fit_strengths(table_of(mirrored));
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(fit.strengths[i], -other.strengths[i], 1e-12);
}

TEST(Strengths, ReachesStrengthsThatLieFarApart) {
  const Strengths fit = fit_strengths(table_of({{0, 1e9, 0}, {1, 0, 1e9}, {0, 1, 0}}));
  EXPECT_NEAR(fit.difference(0, 1).value, std::log(1e9), 1e-6);
  EXPECT_NEAR(fit.difference(1, 2).value, std::log(1e9), 1e-6);
}

TEST(Strengths, HalvesStepsThatGoTooFar) {
  // A whole step of Newton's method, once on its way, lowers this likelihood.
  const Matrix wins = {{0, 0, 1, 0}, {10000, 0, 0, 1}, {10000, 0, 0, 10000}, {0, 10, 0, 0}};
  const Strengths fit = fit_strengths(table_of(wins));
  for (size_t i = 0; i < 4; ++i) {
    double won = 0, expected = 0;  // at the maximum they are the same
    for (size_t j = 0; j < 4; ++j) {
      won += wins[i][j];
      expected += (wins[i][j] + wins[j][i]) * fit.win_probability(i, j);
    }
    EXPECT_NEAR(expected, won, 1e-7) << i;
  }
}

TEST(Strengths, PriorAddsWinsBothWays) {
  const Strengths fit = fit_strengths(table_of({{0, 9}, {0, 0}}), {.prior = 0.5});
  EXPECT_NEAR(fit.difference(0, 1).value, std::log(9.5 / 0.5), 1e-12);
  // Names that never met are held together by it alone.
  const Strengths apart = fit_strengths(table_of(zeros(3)), {.prior = 2});
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(apart.strengths[i], 0, 1e-15);
  EXPECT_NEAR(apart.log_likelihood, 12 * std::log(0.5), 1e-12);
}

TEST(Strengths, EloPutsTenTimesTheOddsFourHundredPointsApart) {
  EXPECT_DOUBLE_EQ(elo(std::log(10.0)), 400);
  EXPECT_DOUBLE_EQ(elo(-0.5), -elo(0.5));
}

std::string data_error(const Matrix& wins) {
  return error_of<DataError>([&] { fit_strengths(table_of(wins)); });
}

TEST(Strengths, NamesWhoHasNoFiniteStrength) {
  const std::string start =
      "these comparisons have no Bradley-Terry strengths of maximum likelihood: ";
  const std::string end =
      "; give a prior (wins of each name against each other one, for example 0.5)";
  EXPECT_EQ(
      data_error({{0, 3}, {0, 0}}),
      start + "\"a\" never lost against the others; \"b\" never won against the others" + end);
  // a and b beat each other and all others; c beats d, which has beaten nobody.
  EXPECT_EQ(data_error({{0, 1, 1, 0}, {1, 0, 0, 1}, {0, 0, 0, 1}, {0, 0, 0, 0}}),
            start +
                "\"a\", \"b\" never lost against the others; \"d\" never won against the others" +
                end);
  EXPECT_EQ(data_error({{0, 1, 0}, {1, 0, 0}, {0, 0, 0}}),
            start + "\"a\", \"b\" never met the others; \"c\" never met the others" + end);
  Matrix king = zeros(8);
  for (size_t i = 1; i < 8; ++i) {
    king[0][i] = 1;
    king[i][i % 7 + 1] = 1;
  }
  EXPECT_EQ(data_error(king),
            start +
                "\"a\" never lost against the others; \"b\", \"c\", \"d\", \"e\", "
                "\"f\" and 2 more never won against the others" +
                end);
  EXPECT_EQ(data_error(zeros(1)),
            "Bradley-Terry strengths need two names or more, the table has 1");
}

TEST(Strengths, RefusesWhatF64CannotTell) {
  EXPECT_EQ(error_of<SanityError>([] {
              fit_strengths(table_of({{0, 1e200}, {1e-200, 0}}));
            }),
            "Bradley-Terry strengths were not found: they lie too far apart for f64; give a prior "
            "(wins of each name against each other one, for example 0.5)");
}

TEST(Strengths, RefusesTablesOfAWrongShapeOrContent) {
  const auto error = [](const ComparisonTable& table, double prior = 0) {
    return error_of<ArgumentError>([&] { fit_strengths(table, {.prior = prior}); });
  };
  ComparisonTable table = table_of({{0, 1}, {1, 0}});
  EXPECT_EQ(error(table, -1), "fit_strengths: the prior is -1, expected a number from 0");
  table.ties = {{0, 1}, {2, 0}};
  EXPECT_EQ(error(table), "fit_strengths: ties[1][0] is 2 and ties[0][1] is 1, expected the same");
  table.ties = {{0, 1}};
  EXPECT_EQ(error(table), "fit_strengths: ties must have 2 rows of 2 entries, one a name");
  EXPECT_EQ(error(table_of({{0, 1}, {1}})),
            "fit_strengths: wins must have 2 rows of 2 entries, one a name");
  EXPECT_EQ(error(table_of({{0, -1}, {1, 0}})),
            "fit_strengths: wins[0][1] is -1, expected a number from 0");
  EXPECT_EQ(error(table_of({{0, 1}, {1, 2}})), "fit_strengths: wins[1][1] is 2, expected 0");
}

}  // namespace
}  // namespace luce

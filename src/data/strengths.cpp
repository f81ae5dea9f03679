// Bradley and Terry, "Rank analysis of incomplete block designs", Biometrika 39 (1952). With w_ij
// wins of i against j and n_ij = w_ij + w_ji,
//
//   l(θ) = Σ_{i<j} w_ij log σ(θ_i − θ_j) + w_ji log σ(θ_j − θ_i)
//   ∂l/∂θ_i = Σ_j w_ij σ(θ_j − θ_i) − w_ji σ(θ_i − θ_j)
//   −∂²l/∂θ_i∂θ_j = −n_ij σ(θ_i − θ_j) σ(θ_j − θ_i) =: H_ij,  H_ii = −Σ_{j≠i} H_ij
//
// l is concave. Its maximum exists where no part of the names won all or lost all against the rest
// (Hunter, "MM algorithms for generalized Bradley-Terry models", Annals of Statistics 32 (2004)):
// where the graph of who beat whom is strongly connected.
#include <cmath>
#include <set>

#include "luce/base/error.h"
#include "luce/data/comparisons.h"

namespace luce {
namespace {

constexpr int64_t kMostSteps = 200;
constexpr size_t kMostNames = 5;  // that an error lists

using Values = std::vector<double>;
using Matrix = std::vector<Values>;

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

double log_sigmoid(double x) {
  return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x));
}

void check(const ComparisonTable& table, double prior) {
  const size_t k = table.names.size();
  if (!(prior >= 0 && std::isfinite(prior)))
    throw ArgumentError(cat("fit_strengths: the prior is ", prior, ", expected a number from 0"));
  for (const auto& [name, matrix] :
       {std::pair{"wins", &table.wins}, std::pair{"ties", &table.ties}}) {
    bool square = matrix->size() == k;
    for (const auto& row : *matrix) square = square && row.size() == k;
    if (!square)
      throw ArgumentError(
          cat("fit_strengths: ", name, " must have ", k, " rows of ", k, " entries, one a name"));
    for (size_t i = 0; i < k; ++i)
      for (size_t j = 0; j < k; ++j) {
        const double entry = (*matrix)[i][j];
        if (!(entry >= 0 && std::isfinite(entry)) || (i == j && entry != 0))
          throw ArgumentError(cat("fit_strengths: ", name, "[", i, "][", j, "] is ", entry,
                                  i == j ? ", expected 0" : ", expected a number from 0"));
      }
  }
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < i; ++j)
      if (table.ties[i][j] != table.ties[j][i])
        throw ArgumentError(cat("fit_strengths: ties[", i, "][", j, "] is ", table.ties[i][j],
                                " and ties[", j, "][", i, "] is ", table.ties[j][i],
                                ", expected the same"));
  if (k < 2)
    throw DataError(cat("Bradley-Terry strengths need two names or more, the table has ", k));
}

std::string list_of(const ComparisonTable& table, const std::vector<size_t>& group) {
  std::string list;
  for (size_t m = 0; m < group.size() && m < kMostNames; ++m)
    list += cat(m == 0 ? "\"" : ", \"", table.names[group[m]], '"');
  return group.size() > kMostNames ? cat(list, " and ", group.size() - kMostNames, " more") : list;
}

/// Throws where the graph of who beat whom is not strongly connected.
void check_maximum_exists(const ComparisonTable& table, const Matrix& wins) {
  const size_t k = wins.size();
  std::vector<std::vector<bool>> above(k,
                                       std::vector<bool>(k));  // a chain of wins leads from i to j
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < k; ++j) above[i][j] = i == j || wins[i][j] > 0;
  for (size_t via = 0; via < k; ++via)
    for (size_t i = 0; i < k; ++i)
      for (size_t j = 0; above[i][via] && j < k; ++j)
        if (above[via][j]) above[i][j] = true;

  std::string reasons;
  std::set<size_t> grouped;
  for (size_t i = 0; i < k; ++i) {
    if (grouped.count(i)) continue;
    std::vector<size_t> group;
    bool won = false, lost = false;  // against names outside the group
    for (size_t j = 0; j < k; ++j) {
      if (above[i][j] && above[j][i]) group.push_back(j);
      won = won || (above[i][j] && !above[j][i]);
      lost = lost || (above[j][i] && !above[i][j]);
    }
    grouped.insert(group.begin(), group.end());
    if (group.size() == k) return;
    if (won && lost) continue;
    reasons += cat(reasons.empty() ? "" : "; ", list_of(table, group),
                   won    ? " never lost against the others"
                   : lost ? " never won against the others"
                          : " never met the others");
  }
  throw DataError(
      cat("these comparisons have no Bradley-Terry strengths of maximum likelihood: ", reasons,
          "; give a prior (wins of each name against each other one, for example 0.5)"));
}

[[noreturn]] void fail_apart() {
  throw SanityError(
      "Bradley-Terry strengths were not found: they lie too far apart for f64; give a prior (wins "
      "of each name against each other one, for example 0.5)");
}

/// The inverse of a symmetric positive definite matrix by its Cholesky factor L: L⁻ᵀ L⁻¹.
Matrix inverse(Matrix a) {
  const size_t k = a.size();
  Matrix inverse_factor(k, Values(k)), result(k, Values(k));
  for (size_t j = 0; j < k; ++j) {
    for (size_t m = 0; m < j; ++m) a[j][j] -= a[j][m] * a[j][m];
    if (!(a[j][j] > 0) || !std::isfinite(a[j][j])) fail_apart();
    a[j][j] = std::sqrt(a[j][j]);
    for (size_t i = j + 1; i < k; ++i) {
      for (size_t m = 0; m < j; ++m) a[i][j] -= a[i][m] * a[j][m];
      a[i][j] /= a[j][j];
    }
  }
  for (size_t j = 0; j < k; ++j)
    for (size_t i = j; i < k; ++i) {
      double sum = i == j ? 1 : 0;
      for (size_t m = j; m < i; ++m) sum -= a[i][m] * inverse_factor[m][j];
      inverse_factor[i][j] = sum / a[i][i];
    }
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < k; ++j)
      for (size_t m = std::max(i, j); m < k; ++m)
        result[i][j] += inverse_factor[m][i] * inverse_factor[m][j];
  return result;
}

/// The inverse of H on vectors that sum to 0. H maps 1 to 0; H + c 1 1ᵀ maps it to c k 1, and
/// differs nowhere else: its inverse less 1 1ᵀ / (c k²).
Matrix pseudo_inverse(Matrix h) {
  const auto k = static_cast<double>(h.size());
  double trace = 0;
  for (size_t i = 0; i < h.size(); ++i) trace += h[i][i];
  const double c = trace / (k * k);
  if (!(c > 0)) fail_apart();
  for (auto& row : h)
    for (double& entry : row) entry += c;
  Matrix result = inverse(std::move(h));
  for (auto& row : result)
    for (double& entry : row) entry -= 1 / (c * k * k);
  return result;
}

double log_likelihood(const Matrix& wins, const Values& theta) {
  double sum = 0;
  for (size_t i = 0; i < theta.size(); ++i)
    for (size_t j = 0; j < theta.size(); ++j)
      if (wins[i][j] > 0) sum += wins[i][j] * log_sigmoid(theta[i] - theta[j]);
  return sum;
}

Values gradient(const Matrix& wins, const Values& theta) {
  Values g(theta.size());
  for (size_t i = 0; i < theta.size(); ++i)
    for (size_t j = 0; j < theta.size(); ++j)
      g[i] += wins[i][j] * sigmoid(theta[j] - theta[i]) - wins[j][i] * sigmoid(theta[i] - theta[j]);
  return g;
}

Matrix information(const Matrix& wins, const Values& theta) {
  Matrix h(theta.size(), Values(theta.size()));
  for (size_t i = 0; i < theta.size(); ++i)
    for (size_t j = 0; j < theta.size(); ++j) {
      const double weight =
          (wins[i][j] + wins[j][i]) * sigmoid(theta[i] - theta[j]) * sigmoid(theta[j] - theta[i]);
      h[i][i] += weight;
      h[i][j] -= weight;
    }
  return h;
}

}  // namespace

double Strengths::win_probability(size_t i, size_t j) const {
  return sigmoid(strengths.at(i) - strengths.at(j));
}

Estimate Strengths::difference(size_t i, size_t j) const {
  const double variance =
      covariance.at(i).at(i) + covariance.at(j).at(j) - 2 * covariance.at(i).at(j);
  return {strengths.at(i) - strengths.at(j), std::sqrt(std::max(0.0, variance))};
}

double elo(double strength) { return 400 / std::log(10.0) * strength; }

/// Newton's method from θ = 0, each step halved until l grows enough. It ends where a step would
/// move θ by less than 10⁻¹⁰ standard errors.
Strengths fit_strengths(const ComparisonTable& table, const StrengthOptions& options) {
  check(table, options.prior);
  const size_t k = table.names.size();
  Matrix wins = table.wins;
  for (size_t i = 0; i < k; ++i)
    for (size_t j = 0; j < k; ++j)
      if (i != j) wins[i][j] += table.ties[i][j] / 2 + options.prior;
  check_maximum_exists(table, wins);

  Strengths fit{.names = table.names, .strengths = Values(k), .errors = {}, .covariance = {}};
  fit.log_likelihood = log_likelihood(wins, fit.strengths);
  while (true) {
    fit.covariance = pseudo_inverse(information(wins, fit.strengths));
    const Values g = gradient(wins, fit.strengths);
    Values step(k);
    double gain = 0;  // gᵀ H⁻¹ g: the step's square in units of the covariance
    for (size_t i = 0; i < k; ++i) {
      for (size_t j = 0; j < k; ++j) step[i] += fit.covariance[i][j] * g[j];
      gain += g[i] * step[i];
    }
    if (gain < 1e-20) break;
    if (++fit.steps > kMostSteps) fail_apart();
    // Near the maximum l changes by less than its rounding.
    const double rounding = 1e-13 * std::abs(fit.log_likelihood);
    for (double scale = 1; scale > 1e-6; scale /= 2) {
      Values moved(k);
      double mean = 0;
      for (size_t i = 0; i < k; ++i) {
        moved[i] = fit.strengths[i] + scale * step[i];
        mean += moved[i] / static_cast<double>(k);
      }
      for (double& theta : moved) theta -= mean;
      const double reached = log_likelihood(wins, moved);
      if (!(reached >= fit.log_likelihood + 1e-4 * scale * gain - rounding)) continue;
      fit.strengths = std::move(moved);
      fit.log_likelihood = reached;
      break;
    }
  }
  for (size_t i = 0; i < k; ++i)
    fit.errors.push_back(std::sqrt(std::max(0.0, fit.covariance[i][i])));
  return fit;
}

}  // namespace luce

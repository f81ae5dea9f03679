// Policies that follow a learnt score, over many worlds of answers that can be listed.
//   R(y) = combined(r_1(y) … r_K(y)) the proxy      g gold reward
//   π* ∝ π_ref e^{R/β}, and as β falls its KL = KL(π* ‖ π_ref) rises
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "experiment/gold_world.h"
#include "experiment/text.h"
#include "luce/rl/scorer.h"

namespace luce {

/// A way to score answers, by its name in the tables.
struct EnsembleRule {
  std::string name;
  EnsembleOptions options;
};

/// mean − κ std.
EnsembleRule lower_bound_rule(double kappa);

/// What a policy is worth: the proxy as a gain over the reference.
struct PolicyWorth {
  double kl = 0, gold = 0, proxy = 0;
};

/// The optimum of the score [S] under the penalty that lies at this KL; where even the score's
/// favourite answer alone is nearer than that, this answer.
PolicyWorth optimum_at_kl(const GoldWorld& world, const Tensor& proxy, double kl);

/// The best of n draws from π_ref by the score: where F is the distribution function by rank, the
/// i-th answer has the mass F_i^n − F_{i−1}^n.
PolicyWorth best_of_n(const GoldWorld& world, const Tensor& proxy, double n);

/// A score in every world, along KL or n: [worlds][places].
struct Course {
  std::vector<std::vector<double>> gold, proxy, kl;

  void add(const std::vector<PolicyWorth>& points);
  /// Where the mean of the gold reward over worlds is highest.
  size_t peak() const;
};

/// Over worlds, at one place and at all.
Estimate mean_at(const std::vector<std::vector<double>>& values, size_t place);
std::vector<double> means(const std::vector<std::vector<double>>& values);

/// What is measured: the course of every rule over KL, and over n of best-of-n.
struct OptimisationStudy {
  static const char* const kGold;  // names of two more courses: the gold reward as a score,
  static const char* const kOne;   // and the mean over the members, each alone

  std::vector<EnsembleRule> rules;
  std::vector<double> kls, draws;
  std::map<std::string, Course> over_kl, over_n;

  OptimisationStudy(const GoldSetting& setting, std::vector<EnsembleRule> with, int worlds,
                    double step, uint64_t seed);

  /// The rule's peak less that of a single member in the same worlds: mean and its error.
  Estimate gain(const std::string& rule) const;

 private:
  void add(const GoldSetting& setting, uint64_t seed);
  /// Adds the mean of the courses of these scores.
  void add(const GoldWorld& world, const std::string& name, const std::vector<Tensor>& proxies);
};

}  // namespace luce

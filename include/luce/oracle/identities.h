// Statements about preferences, policies and their gradients that hold exactly, each computed both
// ways on a small table. `luce experiment identities` prints them; tests assert them.
#pragma once

#include <string>
#include <vector>

#include "luce/ops/tensor.h"

namespace luce::oracle {

/// How far the two sides of a statement lie apart, and how far they may.
struct Result {
  double deviation = 0;
  double bound = 1e-8;
  std::string figure = {};  // numbers that show what happens

  bool holds() const { return deviation <= bound; }  // false where the deviation is NaN
};

/// A statement of several parts: the largest of their deviations, or NaN among them.
Result worst(const std::vector<double>& deviations, const std::string& figure = "");

/// How far `got`, rounded to multiples of `unit`, lies from a printed figure.
double figure_error(const Tensor& got, const std::vector<double>& figure, double unit);

/// "(0.177774, -0.091767)": numbers for a figure, to so many digits.
std::string figures(const Tensor& numbers, int digits = 6);

struct Identity {
  int number = 0;
  std::string name, statement;
  Result (*check)() = nullptr;
};

/// All of them, by number.
const std::vector<Identity>& identities();

/// The parts of the list, by theme.
std::vector<Identity> softmax_identities();          // softmax, Bradley–Terry
std::vector<Identity> optimum_identities();          // the optimum under a KL penalty
std::vector<Identity> preference_identities();       // DPO, IPO, ΨPO, SLiC
std::vector<Identity> displacement_identities();     // where DPO's mass goes
std::vector<Identity> policy_gradient_identities();  // scores, returns, GAE, importance sampling
std::vector<Identity> advantage_identities();        // RLOO, GRPO
std::vector<Identity> choice_identities();           // listwise, mixtures, self-play
std::vector<Identity> unlikelihood_identities();

}  // namespace luce::oracle

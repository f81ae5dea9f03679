// What is measured of likelihood displacement in one world: numbers by name.
//   Δ = log π(y) − log π_start(y), nats; thirds of the pairs by CHES, 0 the lowest
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "experiment/synonym_language.h"
#include "experiment/tiny_llama.h"
#include "luce/train/displacement.h"

namespace luce {

/// A loss by its name in the tables.
struct DisplacementMethod {
  std::string name;
  std::unique_ptr<SequenceLoss> (*loss)();
};
const std::vector<DisplacementMethod>& displacement_methods();

/// A pre-trained model, its pairs and their CHES at the start.
class DisplacementWorld {
 public:
  using Numbers = std::map<std::string, std::vector<double>>;  // one entry a world

  DisplacementWorld(int64_t pretraining_steps, uint64_t seed);

  /// Training on all pairs with every method:
  ///   METHOD/chosen · /rejected mean Δ    METHOD/both_fell a share    METHOD/chosen_third_K
  ///   METHOD/both_fell_third_K    METHOD/rank_correlation of CHES and the chosen answers' Δ
  void compare_methods(Numbers& out) const;
  /// DPO on each pair alone, from the start: alone/rank_correlation, alone/chosen_third_K.
  void train_alone(Numbers& out) const;
  /// DPO on the pairs of one third: third_K/own and third_K/others, mean Δ of the chosen answers of
  /// the pairs that are trained on, and of all others.
  void train_thirds(Numbers& out) const;
  /// Where the mass of a third goes under DPO on all pairs, over all answers of the prompts:
  /// mass_K/{chosen, rejected, chosen_synonyms, rejected_synonyms, others, no_answer}_{before,
  /// after}, and the share of the chosen answers' places whose largest gain is the target's
  /// (top/target), its synonym's (top/synonym) or another token's (top/other).
  void follow_mass(int64_t prompts, Numbers& out) const;
  /// The course of DPO on all pairs: mean Δ after each step, [4][steps]: chosen answers of each
  /// third, and rejected ones of all.
  std::vector<std::vector<double>> course() const;
  /// (CHES, Δ of the chosen answer under DPO on all pairs) of every pair, by CHES.
  std::vector<std::pair<double, double>> scatter() const;

 private:
  std::vector<Example> of_third(size_t third) const;
  std::shared_ptr<CausalLM> trained(const DisplacementMethod& method,
                                    const std::vector<Example>& rows,
                                    const std::function<void(const CausalLM&)>& look = {}) const;
  void note_shifts(const CausalLM& now, const std::string& name, Numbers& out) const;
  void note_mass(const CausalLM& model, const std::string& when, int64_t prompts,
                 Numbers& out) const;

  uint64_t seed_;
  std::shared_ptr<CausalLM> start_;
  std::vector<Example> pairs_;
  DisplacementProbe probe_;
  std::vector<double> score_;  // CHES of each pair
  std::vector<size_t> third_;
};

/// Spearman's rank correlation of values without ties.
double rank_correlation(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace luce

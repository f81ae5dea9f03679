// The losses a program knows, by name. There is no global list: `main` makes a registry, the
// built-ins are added by one explicit function, and a program adds its own beside them.
#pragma once

#include <any>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <type_traits>
#include <typeindex>
#include <utility>
#include <vector>

#include "luce/base/schema.h"
#include "luce/loss/loss.h"
#include "luce/loss/pair.h"
#include "luce/loss/reward.h"

namespace luce {

/// What `luce explain` prints of a loss, and how it is made.
struct LossInfo {
  std::string name;
  std::vector<std::string> aliases;  // names that other tools use
  std::string title, paper, formula, notes;
  std::string weights = "";  // ∂loss/∂log π of the answers, in the letters of the formula
  // Filled in by Registry::add:
  std::function<std::unique_ptr<SequenceLoss>(const Document&, const std::string& pointer)> make;
  std::function<Schema()> schema;  // of its options, with their defaults
};

/// The same of a loss of reward models.
struct RewardLossInfo {
  std::string name;
  std::vector<std::string> aliases = {};
  std::string title, paper, formula, notes;
  // Filled in by Registry::add_reward:
  std::function<std::unique_ptr<RewardLoss>(const Document&, const std::string& pointer)> make = {};
  std::function<Schema()> schema = {};
};

class Registry {
 public:
  /// A registry that holds the built-in losses.
  static Registry with_builtins();

  /// Adds the loss class L: `static LossInfo info()`, `Options` with a `describe`, and a
  /// constructor from Options. A loss of pairs takes the options of PairModifiers too. Throws
  /// ArgumentError where a name is taken.
  template <class L>
  void add() {
    add(L::info(), typename L::Options{},
        [](const typename L::Options& options) { return std::make_unique<L>(options); });
  }

  /// Adds a loss that `make` builds from its options, which start from `defaults`.
  template <class Options, class Make>
  void add(LossInfo info, const Options& defaults, Make make) {
    using L = typename std::invoke_result_t<Make, const Options&>::element_type;
    constexpr bool is_pair = std::is_base_of_v<PairLoss, L>;
    info.make = [=, name = info.name](const Document& document,
                                      const std::string& pointer) -> std::unique_ptr<SequenceLoss> {
      Options options = defaults;
      Common common;
      PairModifiers modifiers;
      Schema schema("loss \"" + name + "\"");
      describe_common(schema, common);
      describe(schema, options);
      if constexpr (is_pair) describe(schema, modifiers);
      schema.load(document, pointer);
      std::unique_ptr<L> loss = make(options);
      if constexpr (is_pair)
        if (modifiers.any()) return modified(std::move(loss), modifiers, document, pointer);
      return loss;
    };
    info.schema = [defaults] {
      auto both = std::make_shared<std::pair<Options, PairModifiers>>(defaults, PairModifiers{});
      Schema schema;
      describe(schema, both->first);
      if constexpr (is_pair) describe(schema, both->second);
      schema.keep(both);
      return schema;
    };
    add(std::move(info));
  }

  /// Adds a loss of pairs without options: `value` gives one value a pair.
  void add_pair_loss(LossInfo info, Needs needs,
                     std::function<Tensor(const PairInputs&, Metrics&)> value);
  void add(LossInfo info);

  /// Adds the reward loss L: `static RewardLossInfo info()`, `Options` with a `describe`, and a
  /// constructor from Options. Throws ArgumentError where a name is taken. Names of reward losses
  /// and of policy losses do not meet: the task decides which are meant.
  template <class L>
  void add_reward() {
    using Options = typename L::Options;
    RewardLossInfo info = L::info();
    info.make = [name = info.name](const Document& document, const std::string& pointer) {
      Options options;
      std::string type;
      Schema schema("loss \"" + name + "\"");
      schema.field("type", type, "name of the loss").required();
      describe(schema, options);
      schema.load(document, pointer);
      return std::unique_ptr<RewardLoss>(std::make_unique<L>(options));
    };
    info.schema = [] {
      auto options = std::make_shared<Options>();
      Schema schema;
      describe(schema, *options);
      schema.keep(options);
      return schema;
    };
    add_reward(std::move(info));
  }
  void add_reward(RewardLossInfo info);

  /// The loss of that name or alias. Throws UsageError that lists the known ones; `where` begins
  /// it.
  const LossInfo& find(const std::string& name, const std::string& where) const;
  const std::vector<LossInfo>& losses() const { return losses_; }
  /// The same for reward losses.
  const RewardLossInfo& find_reward(const std::string& name, const std::string& where) const;
  const std::vector<RewardLossInfo>& reward_losses() const { return reward_losses_; }

  /// The loss that a config's "loss" section describes: {"type": "dpo", …}, a list of such objects,
  /// or {"type": ["dpo", "sft"], "weights": [1, 0.2], …}. Throws UsageError.
  std::unique_ptr<SequenceLoss> make_loss(const Document& config,
                                          const std::string& pointer = "/loss") const;
  /// The same for task "reward", where it is one object; bradley_terry where there is none.
  std::unique_ptr<RewardLoss> make_reward_loss(const Document& config,
                                               const std::string& pointer = "/loss") const;
  Json resolve_reward_loss(const Document& config, const std::string& pointer = "/loss") const;
  /// The same section with every option of every loss written out.
  Json resolve_loss(const Document& config, const std::string& pointer = "/loss") const;

  /// A list that another layer keeps here (rl/registry.h), so that one registry holds all that a
  /// program or a plug-in adds: T{} where nothing was added yet.
  template <class T>
  T& part() {
    std::any& held = parts_[typeid(T)];
    if (!held.has_value()) held = T{};
    return *std::any_cast<T>(&held);
  }
  template <class T>
  const T& part() const {
    static const T untouched{};
    const auto found = parts_.find(typeid(T));
    return found == parts_.end() ? untouched : *std::any_cast<T>(&found->second);
  }

 private:
  struct Common {
    std::string type;
    double weight = 1;
  };
  static void describe_common(Schema& schema, Common& common);
  static std::unique_ptr<SequenceLoss> modified(std::unique_ptr<PairLoss> loss,
                                                const PairModifiers& modifiers,
                                                const Document& document,
                                                const std::string& pointer);

  std::vector<LossInfo> losses_;
  std::vector<RewardLossInfo> reward_losses_;
  std::map<std::type_index, std::any> parts_;  // of other layers
};

}  // namespace luce

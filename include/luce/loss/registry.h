// The losses a program knows, by name. There is no global list: `main` makes a registry, the
// built-ins are added by one explicit function, and a program adds its own beside them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "luce/base/schema.h"
#include "luce/loss/loss.h"

namespace luce {

/// What `luce explain` prints of a loss, and how it is made.
struct LossInfo {
  std::string name;
  std::vector<std::string> aliases;  // names that other tools use
  std::string title, paper, formula, notes;
  // Filled in by Registry::add:
  std::function<std::unique_ptr<SequenceLoss>(const Document&, const std::string& pointer)> make;
  std::function<Schema()> schema;  // of its options, with their defaults
};

class Registry {
 public:
  /// A registry that holds the built-in losses.
  static Registry with_builtins();

  /// Adds the loss class L: `static LossInfo info()`, `Options` with a `describe`, and a
  /// constructor from Options. Throws ArgumentError where a name is taken.
  template <class L>
  void add() {
    LossInfo info = L::info();
    info.make = [name = info.name](const Document& document,
                                   const std::string& pointer) -> std::unique_ptr<SequenceLoss> {
      typename L::Options options;
      Common common;
      Schema schema("loss \"" + name + "\"");
      describe_common(schema, common);
      describe(schema, options);
      schema.load(document, pointer);
      return std::make_unique<L>(options);
    };
    info.schema = [] {
      auto options = std::make_shared<typename L::Options>();
      Schema schema;
      describe(schema, *options);
      schema.keep(options);
      return schema;
    };
    add(std::move(info));
  }
  void add(LossInfo info);

  /// The loss of that name or alias. Throws UsageError that lists the known ones; `where` begins
  /// it.
  const LossInfo& find(const std::string& name, const std::string& where) const;
  const std::vector<LossInfo>& losses() const { return losses_; }

  /// The loss that a config's "loss" section describes: {"type": "dpo", …}, a list of such objects,
  /// or {"type": ["dpo", "sft"], "weights": [1, 0.2], …}. Throws UsageError.
  std::unique_ptr<SequenceLoss> make_loss(const Document& config,
                                          const std::string& pointer = "/loss") const;
  /// The same section with every option of every loss written out.
  Json resolve_loss(const Document& config, const std::string& pointer = "/loss") const;

 private:
  struct Common {
    std::string type;
    double weight = 1;
  };
  static void describe_common(Schema& schema, Common& common);

  std::vector<LossInfo> losses_;
};

}  // namespace luce

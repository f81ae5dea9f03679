// The reward functions a program knows, by name; a part of its Registry:
//
//   registry.part<RewardFunctions>().add("shorter", [](const RewardInput& r) { … });
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "luce/base/json.h"
#include "luce/base/schema.h"
#include "luce/data/tokenizer.h"
#include "luce/model/decoder.h"
#include "luce/rl/reward_function.h"

namespace luce {

/// What reward functions are made with, beside their options.
struct RewardContext {
  const Tokenizer* tokenizer = nullptr;  // of the policy; null where it has none
  ModelOptions model = {};               // dtype and device of reward models and judges
  int64_t micro_batch_tokens = 16384;    // that these run at once
};

struct RewardInfo {
  std::string name, title, notes = "";
  // Filled in by RewardFunctions::add:
  std::function<std::shared_ptr<RewardFunction>(const Document&, const std::string& pointer,
                                                const RewardContext&)>
      make = {};
  std::function<Schema()> schema = {};  // of its own options, with their defaults
};

class RewardFunctions {
 public:
  /// The built-in ones: answer, exact, number, format, length, overlong, cosine, repetition, json,
  /// model, judge, subprocess and http.
  RewardFunctions();

  /// Adds the class R: `static RewardInfo info()`, `Options` with a `describe`, and a constructor
  /// from Options, or from Options and a RewardContext. Throws ArgumentError where the name is
  /// taken.
  template <class R>
  void add() {
    using Options = typename R::Options;
    RewardInfo info = R::info();
    info.make = [](const Document& document, const std::string& pointer,
                   const RewardContext& context) -> std::shared_ptr<RewardFunction> {
      Options options;
      load(document, pointer, [&](Schema& schema) { describe(schema, options); });
      return made(document, pointer, [&]() -> std::shared_ptr<RewardFunction> {
        if constexpr (std::is_constructible_v<R, const Options&, const RewardContext&>)
          return std::make_shared<R>(options, context);
        else
          return std::make_shared<R>(options);
      });
    };
    info.schema = [] {
      auto options = std::make_shared<Options>();
      Schema schema;
      describe(schema, *options);
      schema.keep(options);
      return schema;
    };
    add(std::move(info));
  }
  /// Adds a reward without options. `value` gives nothing where it has no value.
  void add(const std::string& name, RewardLambda::Value value);
  void add(RewardInfo info);

  /// The reward of that name. Throws UsageError that lists the known ones; `where` begins it.
  const RewardInfo& find(const std::string& name, const std::string& where) const;
  const std::vector<RewardInfo>& infos() const { return infos_; }

  /// The rewards that a config's "reward" section describes: a list of {"type": "answer",
  /// "weight": 1, "name": null, …}, or one such object. The name, of metrics and of the rows'
  /// column "reward", is the type unless given; further ones of one type are called type_2, ….
  /// Throws UsageError, and what reading models throws.
  Rewards make_rewards(const Document& config, const std::string& pointer,
                       const RewardContext& context, const RewardLimits& options = {}) const;
  /// The same section as a list, with every option of every reward written out.
  Json resolve(const Document& config, const std::string& pointer = "/reward") const;

 private:
  static void load(const Document& document, const std::string& pointer,
                   const std::function<void(Schema&)>& describe);
  static std::shared_ptr<RewardFunction> made(
      const Document& document, const std::string& pointer,
      const std::function<std::shared_ptr<RewardFunction>()>& make);

  std::vector<RewardInfo> infos_;
};

}  // namespace luce

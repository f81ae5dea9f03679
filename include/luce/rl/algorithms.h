// The online algorithms a program knows, by name. A registry keeps them beside its losses:
// registry.part<Algorithms>().
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "luce/base/error.h"
#include "luce/base/schema.h"
#include "luce/rl/algorithm.h"

namespace luce {

/// What `luce explain` prints of an algorithm, and how it is made.
struct AlgorithmInfo {
  std::string name;
  std::vector<std::string> aliases = {};  // names that other tools use
  std::string title, paper, formula, notes;
  // Filled in by Algorithms::add:
  std::function<std::unique_ptr<Algorithm>(const Document&, const std::string& pointer)> make = {};
  std::function<Schema()> schema = {};  // of its options, with their defaults
};

class Algorithms {
 public:
  /// The built-in algorithms.
  Algorithms();

  /// Adds the class A: `static AlgorithmInfo info()`, `Options` with a `describe`, and a
  /// constructor from Options. Throws ArgumentError where a name is taken.
  template <class A>
  void add() {
    add<A>(A::info(), typename A::Options{});
  }

  /// Adds an algorithm that is A with other defaults.
  template <class A>
  void add(AlgorithmInfo info, const typename A::Options& defaults) {
    using Options = typename A::Options;
    info.make = [defaults, name = info.name](
                    const Document& document,
                    const std::string& pointer) -> std::unique_ptr<Algorithm> {
      Options options = defaults;
      std::string type;
      Schema schema("algorithm \"" + name + "\"");
      schema.field("type", type, "name of the algorithm").required();
      describe(schema, options);
      schema.load(document, pointer);
      try {
        return std::make_unique<A>(options);
      } catch (const ArgumentError& failure) {
        throw UsageError(cat(document.where(pointer), ": algorithm: ", failure.what()));
      }
    };
    info.schema = [defaults] {
      auto options = std::make_shared<Options>(defaults);
      Schema schema;
      describe(schema, *options);
      schema.keep(options);
      return schema;
    };
    add(std::move(info));
  }
  void add(AlgorithmInfo info);

  /// The algorithm of that name or alias. Throws UsageError that lists the known ones; `where`
  /// begins it.
  const AlgorithmInfo& find(const std::string& name, const std::string& where) const;
  const std::vector<AlgorithmInfo>& list() const& { return list_; }
  std::vector<AlgorithmInfo> list() && { return std::move(list_); }

  /// The algorithm that a config's "algorithm" section describes: {"type": "grpo", …}. Throws
  /// UsageError.
  std::unique_ptr<Algorithm> make(const Document& config,
                                  const std::string& pointer = "/algorithm") const;
  /// The same section with every option written out, under its own name.
  Json resolve(const Document& config, const std::string& pointer = "/algorithm") const;

 private:
  std::vector<AlgorithmInfo> list_;
};

}  // namespace luce

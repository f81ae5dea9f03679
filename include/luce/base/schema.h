// Options are plain structs with one function beside them:
//
//   struct DpoOptions { double beta = 0.1; };
//   void describe(Schema& s, DpoOptions& o) { s.field("beta", o.beta, "strength of …").above(0); }
//
// From that one description come parsing, range checks, "did you mean", the table in the docs, the
// JSON Schema and the dump of the resolved config.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "luce/base/json.h"

namespace luce {

/// One key of an options struct.
class Field {
 public:
  /// Bounds of a number; each returns the field, so that they chain.
  Field& at_least(double bound);
  Field& at_most(double bound);
  Field& above(double bound);
  Field& below(double bound);
  /// The only strings that are accepted.
  Field& one_of(std::vector<std::string> choices);
  /// Another name under which the key is read (TRL's, where it differs).
  Field& alias(std::string name);
  /// The key must be given.
  Field& required();

 private:
  friend class Schema;
  std::string name, doc, type;
  Json json_type;                        // the JSON Schema of the type
  std::function<bool(const Json&)> set;  // false: the value is of another type
  std::function<Json()> get;
  std::shared_ptr<class Schema> section;  // for nested structs
  std::vector<std::string> aliases, choices;
  std::optional<double> minimum, maximum, above_, below_;
  bool is_required = false;
};

/// The keys of one options struct, bound to an instance of it.
class Schema {
 public:
  Schema() = default;
  explicit Schema(std::string title) : title_(std::move(title)) {}

  /// Describes a key. T: bool, int64_t, double, std::string, Json, std::vector or std::optional of
  /// these (an empty optional is `null`).
  template <class T>
  Field& field(const std::string& name, T& value, const std::string& doc) {
    Field& f = add(name, doc);
    f.type = type_name(static_cast<T*>(nullptr));
    f.json_type = json_type(static_cast<T*>(nullptr));
    f.set = [&value](const Json& j) { return read(j, value); };
    f.get = [&value] { return write(value); };
    return f;
  }

  /// Describes a nested struct, whose `describe` is found by argument-dependent lookup.
  template <class T>
  Field& section(const std::string& name, T& value, const std::string& doc) {
    auto inner = std::make_shared<Schema>(name);
    describe(*inner, value);
    return add_section(name, doc, std::move(inner));
  }

  /// Sets the struct from the object at `pointer` of a document. Throws UsageError with file, line
  /// and the nearest known key. Keys that are absent keep their defaults.
  void load(const Document& document, const std::string& pointer = "") const;
  /// All values as they stand now.
  Json dump() const;
  /// Draft 2020-12 JSON Schema of the object.
  Json json_schema() const;
  /// A Markdown table: key, type, default, meaning.
  std::string table(const std::string& prefix = "") const;
  /// Keeps the described struct alive as long as the schema: for one that has no other owner.
  void keep(std::shared_ptr<void> owner) { owner_ = std::move(owner); }
  /// The names of all keys.
  std::vector<std::string> names() const;

 private:
  Field& add(const std::string& name, const std::string& doc);
  Field& add_section(const std::string& name, const std::string& doc,
                     std::shared_ptr<Schema> inner);
  void load_field(const Field&, const Json&, const Document&, const std::string& pointer) const;

  static std::string type_name(bool*) { return "true or false"; }
  static std::string type_name(int64_t*) { return "a whole number"; }
  static std::string type_name(double*) { return "a number"; }
  static std::string type_name(std::string*) { return "a string"; }
  static std::string type_name(Json*) { return "any value"; }
  template <class T>
  static std::string type_name(std::vector<T>*) {
    return "a list, each entry " + type_name(static_cast<T*>(nullptr));
  }
  template <class T>
  static std::string type_name(std::optional<T>*) {
    return type_name(static_cast<T*>(nullptr)) + " or null";
  }
  static Json json_type(bool*) { return {{"type", "boolean"}}; }
  static Json json_type(int64_t*) { return {{"type", "integer"}}; }
  static Json json_type(double*) { return {{"type", "number"}}; }
  static Json json_type(std::string*) { return {{"type", "string"}}; }
  static Json json_type(Json*) { return Json::object(); }
  template <class T>
  static Json json_type(std::vector<T>*) {
    return {{"type", "array"}, {"items", json_type(static_cast<T*>(nullptr))}};
  }
  template <class T>
  static Json json_type(std::optional<T>*) {
    return {{"anyOf", Json::array({json_type(static_cast<T*>(nullptr)), {{"type", "null"}}})}};
  }
  static bool read(const Json& j, bool& v);
  static bool read(const Json& j, int64_t& v);
  static bool read(const Json& j, double& v);
  static bool read(const Json& j, std::string& v);
  static bool read(const Json& j, Json& v) {
    v = j;
    return true;
  }
  template <class T>
  static bool read(const Json& j, std::vector<T>& v) {
    if (!j.is_array()) return false;
    std::vector<T> out(j.size());
    for (size_t i = 0; i < j.size(); ++i) {
      T entry{};
      if (!read(j[i], entry)) return false;
      out[i] = entry;
    }
    v = std::move(out);
    return true;
  }
  template <class T>
  static bool read(const Json& j, std::optional<T>& v) {
    if (j.is_null()) {
      v.reset();
      return true;
    }
    T inner{};
    if (!read(j, inner)) return false;
    v = std::move(inner);
    return true;
  }
  template <class T>
  static Json write(const T& v) {
    return Json(v);
  }
  template <class T>
  static Json write(const std::optional<T>& v) {
    return v ? write(*v) : Json(nullptr);
  }

  std::string title_;
  std::shared_ptr<void> owner_;
  std::vector<std::shared_ptr<Field>>
      fields_;  // shared: a Field& stays valid while others are added
};

/// An options struct read from the object at `pointer`.
template <class T>
T parse_options(const Document& document, const std::string& pointer = "",
                const std::string& title = "") {
  T options;
  Schema schema(title);
  describe(schema, options);
  schema.load(document, pointer);
  return options;
}

}  // namespace luce

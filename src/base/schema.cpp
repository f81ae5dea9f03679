#include "luce/base/schema.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "luce/base/error.h"

namespace luce {

Field& Field::at_least(double bound) {
  minimum = bound;
  return *this;
}
Field& Field::at_most(double bound) {
  maximum = bound;
  return *this;
}
Field& Field::above(double bound) {
  above_ = bound;
  return *this;
}
Field& Field::below(double bound) {
  below_ = bound;
  return *this;
}
Field& Field::one_of(std::vector<std::string> names) {
  choices = std::move(names);
  return *this;
}
Field& Field::alias(std::string other) {
  aliases.push_back(std::move(other));
  return *this;
}
Field& Field::required() {
  is_required = true;
  return *this;
}

namespace {

std::string join(const std::vector<std::string>& words, const std::string& separator) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : separator) + word;
  return out;
}

std::string shown(const Json& value) {
  // "replace": the value came from a command line or a file and may not be valid UTF-8.
  return shortened(value.dump(-1, ' ', false, Json::error_handler_t::replace));
}

/// "/train/seed" as "train.seed". The pointers here go through known keys alone, which hold no "/".
std::string dotted(const std::string& pointer) {
  if (pointer.empty()) return "the config";
  std::string out = pointer.substr(1);
  std::replace(out.begin(), out.end(), '/', '.');
  return out;
}

}  // namespace

Field& Schema::add(const std::string& name, const std::string& doc) {
  auto field = std::make_shared<Field>();
  field->name = name;
  field->doc = doc;
  fields_.push_back(field);
  return *fields_.back();
}

Field& Schema::add_section(const std::string& name, const std::string& doc,
                           std::shared_ptr<Schema> inner) {
  Field& f = add(name, doc);
  f.type = "an object";
  f.section = std::move(inner);
  return f;
}

void Schema::load(const Document& document, const std::string& pointer) const {
  const Json* object = document.find(pointer);
  static const Json kNothing = Json::object();
  if (object == nullptr || object->is_null()) object = &kNothing;
  if (!object->is_object())
    throw UsageError(cat(document.where(pointer), ": ", dotted(pointer), " must be an object; got ",
                         shown(*object)));
  std::set<const Field*> seen;
  for (const auto& [key, value] : object->items()) {
    const auto match =
        std::find_if(fields_.begin(), fields_.end(), [&, &name = key](const auto& f) {
          return f->name == name ||
                 std::find(f->aliases.begin(), f->aliases.end(), name) != f->aliases.end();
        });
    if (match == fields_.end()) {
      const std::string near = nearest(key, names());
      throw UsageError(cat(document.where(pointer_to(pointer, key)), ": unknown key \"",
                           shortened(key), "\"", title_.empty() ? "" : " in " + title_,
                           near.empty() ? "; known keys: " + join(names(), ", ")
                                        : "; did you mean \"" + near + "\"?"));
    }
    if (const bool twice = !seen.insert(match->get()).second;
        (*match)->name != key && (twice || object->contains((*match)->name)))
      throw UsageError(cat(document.where(pointer + "/" + key), ": \"", key,
                           "\" is another name of \"", (*match)->name, "\", which is given too"));
    load_field(**match, value, document, pointer + "/" + key);
  }
  for (const auto& f : fields_) {
    const auto given = [&](const std::string& name) { return object->contains(name); };
    if (given(f->name) || std::any_of(f->aliases.begin(), f->aliases.end(), given)) continue;
    if (f->is_required)
      throw UsageError(cat(document.where(pointer), ": ", dotted(pointer + "/" + f->name),
                           " is missing: ", f->doc));
    if (f->section) f->section->load(document, pointer + "/" + f->name);  // it may need keys
  }
}

void Schema::load_field(const Field& f, const Json& value, const Document& document,
                        const std::string& pointer) const {
  if (f.section) {
    f.section->load(document, pointer);
    return;
  }
  const auto fail = [&](const std::string& wanted) {
    throw UsageError(cat(document.where(pointer), ": ", dotted(pointer), " must be ", wanted,
                         "; got ", shown(value)));
  };
  if (!f.set(value)) fail(f.type);
  if (value.is_number()) {
    const double number = value.get<double>();
    if (f.minimum && !(number >= *f.minimum)) fail(cat("at least ", *f.minimum));
    if (f.above_ && !(number > *f.above_)) fail(cat("above ", *f.above_));
    if (f.maximum && !(number <= *f.maximum)) fail(cat("at most ", *f.maximum));
    if (f.below_ && !(number < *f.below_)) fail(cat("below ", *f.below_));
  }
  if (!f.choices.empty() && value.is_string() &&
      std::find(f.choices.begin(), f.choices.end(), value.get<std::string>()) == f.choices.end()) {
    const std::string near = nearest(value.get<std::string>(), f.choices);
    fail("one of " + join(f.choices, ", ") + (near.empty() ? "" : " (did you mean " + near + "?)"));
  }
}

Json Schema::dump() const {
  Json out = Json::object();
  for (const auto& f : fields_) out[f->name] = f->section ? f->section->dump() : f->get();
  return out;
}

Json Schema::json_schema() const {
  Json out = {{"type", "object"}, {"additionalProperties", false}, {"properties", Json::object()}};
  std::vector<std::string> required;
  for (const auto& f : fields_) {
    Json property = f->section ? f->section->json_schema() : f->json_type;
    property["description"] = f->doc;
    if (!f->section && !f->is_required) property["default"] = f->get();
    if (f->minimum) property["minimum"] = *f->minimum;
    if (f->maximum) property["maximum"] = *f->maximum;
    if (f->above_) property["exclusiveMinimum"] = *f->above_;
    if (f->below_) property["exclusiveMaximum"] = *f->below_;
    if (!f->choices.empty()) property["enum"] = f->choices;
    out["properties"][f->name] = property;
    for (const auto& alias : f->aliases) out["properties"][alias] = property;
    // A section that needs keys is needed itself; a key with two names is needed under either.
    if ((f->is_required && f->aliases.empty()) || (f->section && property.contains("required")))
      required.push_back(f->name);
  }
  if (!required.empty()) out["required"] = required;
  return out;
}

std::string Schema::table(const std::string& prefix) const {
  std::string out;
  for (const auto& f : fields_) {
    if (f->section) {
      out += f->section->table(prefix + f->name + ".");
      continue;
    }
    std::string doc = f->doc;
    if (!f->choices.empty()) doc += " (" + join(f->choices, ", ") + ")";
    if (!f->aliases.empty()) doc += " (also read as " + join(f->aliases, ", ") + ")";
    out += cat("| `", prefix, f->name, "` | ", f->type, " | ",
               f->is_required ? "required" : "`" + shown(f->get()) + "`", " | ", doc, " |\n");
  }
  return out;
}

std::vector<std::string> Schema::names() const {
  std::vector<std::string> out;
  for (const auto& f : fields_) out.push_back(f->name);
  return out;
}

bool Schema::read(const Json& j, bool& v) {
  if (!j.is_boolean()) return false;
  v = j.get<bool>();
  return true;
}

bool Schema::read(const Json& j, int64_t& v) {
  if (j.is_number_float()) {
    const double number = j.get<double>();  // 1e3 is a whole number too
    if (!(std::abs(number) < 9e15) || number != std::floor(number)) return false;
    v = static_cast<int64_t>(number);
    return true;
  }
  if (!j.is_number_integer() || (j.is_number_unsigned() && j.get<uint64_t>() > uint64_t{INT64_MAX}))
    return false;
  v = j.get<int64_t>();
  return true;
}

bool Schema::read(const Json& j, double& v) {
  if (!j.is_number()) return false;
  v = j.get<double>();
  return true;
}

bool Schema::read(const Json& j, std::string& v) {
  if (!j.is_string()) return false;
  v = j.get<std::string>();
  return true;
}

}  // namespace luce

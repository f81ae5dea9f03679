#include "luce/base/schema.h"

#include <gtest/gtest.h>

#include <sstream>

#include "data/temporary_folder.h"
#include "luce/base/error.h"

namespace luce {
namespace {

struct Inner {
  std::string path;
  int64_t depth = 2;
};
void describe(Schema& s, Inner& o) {
  s.field("path", o.path, "a folder").required();
  s.field("depth", o.depth, "how deep").at_least(1).at_most(8);
}

struct Options {
  bool flag = true;
  int64_t whole = -3;
  double number = 0.1;
  std::string text = "a";
  Json any;
  std::optional<double> maybe;
  std::optional<std::string> maybe_text = "b";
  std::vector<int64_t> list = {1, 2};
  std::vector<std::string> names;
};
void describe(Schema& s, Options& o) {
  s.field("flag", o.flag, "a switch");
  s.field("whole", o.whole, "a count").at_least(-5).at_most(10);
  s.field("number", o.number, "a share").above(0).below(1).alias("fraction").alias("share");
  s.field("text", o.text, "a name").one_of({"a", "bc", "sigmoid"});
  s.field("any", o.any, "anything");
  s.field("maybe", o.maybe, "null is none").above(0);
  s.field("maybe_text", o.maybe_text, "null is none");
  s.field("list", o.list, "whole numbers");
  s.field("names", o.names, "strings");
}

struct Outer {
  Inner inner;
  Options options;
  int64_t seed = 0;
};
void describe(Schema& s, Outer& o) {
  s.section("inner", o.inner, "the inside");
  s.section("options", o.options, "more");
  s.field("seed", o.seed, "of everything random");
}

template <class T = Options>
T load(const std::string& text) {
  return parse_options<T>(Document(text, "c.json"));
}

/// The error that a config of one line gives.
template <class T = Options>
std::string error(const std::string& text) {
  return error_of<UsageError>([&] { load<T>(text); });
}

template <class T>
Json dump(T options) {
  Schema schema;
  describe(schema, options);
  return schema.dump();
}

TEST(Schema, KeepsDefaultsWhereKeysAreAbsent) {
  EXPECT_EQ(dump(load("{}")), dump(Options()));
  EXPECT_EQ(dump(load("{\"whole\": 4}"))["number"], 0.1);
}

TEST(Schema, SetsEveryType) {
  const auto o = load(R"({"flag": false, "whole": 7, "number": 0.25, "text": "bc", "any": {"x": 1},
      "maybe": 2, "maybe_text": null, "list": [], "names": ["p", "q"]})");
  EXPECT_FALSE(o.flag);
  EXPECT_EQ(o.whole, 7);
  EXPECT_EQ(o.number, 0.25);
  EXPECT_EQ(o.text, "bc");
  EXPECT_EQ(o.any.dump(), "{\"x\":1}");
  EXPECT_EQ(o.maybe, 2.0);
  EXPECT_FALSE(o.maybe_text);
  EXPECT_TRUE(o.list.empty());
  EXPECT_EQ(o.names, (std::vector<std::string>{"p", "q"}));
}

TEST(Schema, TakesWholeNumbersInAnySpelling) {
  EXPECT_EQ(load("{\"whole\": 1e1}").whole, 10);
  EXPECT_EQ(load("{\"whole\": -2.0}").whole, -2);
  EXPECT_EQ(load<Outer>(R"({"inner": {"path": "p"}, "seed": 9223372036854775807})").seed,
            INT64_MAX);
  EXPECT_EQ(load<Outer>(R"({"inner": {"path": "p"}, "seed": -9223372036854775808})").seed,
            INT64_MIN);
}

TEST(Schema, RefusesOtherTypesWithFileLineAndValue) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"("flag": 1)", "flag must be true or false; got 1"},
      {R"("flag": "true")", "flag must be true or false; got \"true\""},
      {R"("flag": null)", "flag must be true or false; got null"},
      {R"("whole": 1.5)", "whole must be a whole number; got 1.5"},
      {R"("whole": "1")", "whole must be a whole number; got \"1\""},
      {R"("whole": true)", "whole must be a whole number; got true"},
      {R"("whole": 1e30)", "whole must be a whole number; got 1e+30"},
      {R"("whole": 18446744073709551615)",
       "whole must be a whole number; got 18446744073709551615"},
      {R"("number": "0.5")", "number must be a number; got \"0.5\""},
      {R"("number": [])", "number must be a number; got []"},
      {R"("text": 1)", "text must be a string; got 1"},
      {R"("maybe": "x")", "maybe must be a number or null; got \"x\""},
      {R"("maybe_text": {})", "maybe_text must be a string or null; got {}"},
      {R"("list": 1)", "list must be a list, each entry a whole number; got 1"},
      {R"("list": [1, 2.5])", "list must be a list, each entry a whole number; got [1,2.5]"},
      {R"("names": [null])", "names must be a list, each entry a string; got [null]"},
  };
  for (const auto& [pair, want] : cases)
    EXPECT_EQ(error("{\n\n" + pair + "}"), "c.json:3: " + want) << pair;
}

TEST(Schema, ShortensALongValueBetweenCharacters) {
  std::string text;
  for (int i = 0; i < 40; ++i) text += "é";
  EXPECT_EQ(error("{\"whole\": \"" + text + "\"}"),
            "c.json:1: whole must be a whole number; got \"" + text.substr(0, 58) + "…");
}

TEST(Schema, HoldsNumbersToTheirBounds) {
  EXPECT_EQ(load("{\"whole\": -5}").whole, -5);
  EXPECT_EQ(load("{\"whole\": 10}").whole, 10);
  EXPECT_EQ(error("{\"whole\": -6}"), "c.json:1: whole must be at least -5; got -6");
  EXPECT_EQ(error("{\"whole\": 11}"), "c.json:1: whole must be at most 10; got 11");
  EXPECT_EQ(error("{\"number\": 0}"), "c.json:1: number must be above 0; got 0");
  EXPECT_EQ(error("{\"number\": 1}"), "c.json:1: number must be below 1; got 1");
  EXPECT_EQ(error("{\"maybe\": 0}"), "c.json:1: maybe must be above 0; got 0");
  EXPECT_FALSE(load("{\"maybe\": null}").maybe) << "null has no bounds";
}

TEST(Schema, NamesTheChoicesAndTheNearestOne) {
  EXPECT_EQ(error("{\"text\": \"x\"}"),
            "c.json:1: text must be one of a, bc, sigmoid (did you mean a?); got \"x\"");
  EXPECT_EQ(error("{\"text\": \"sigmod\"}"),
            "c.json:1: text must be one of a, bc, sigmoid (did you mean sigmoid?); got \"sigmod\"");
  EXPECT_EQ(error("{\"text\": \"hinge\"}"),
            "c.json:1: text must be one of a, bc, sigmoid; got \"hinge\"");
}

TEST(Schema, NamesTheNearestKeyOrAllOfThem) {
  EXPECT_EQ(error("{\n\"nmber\": 1}"), "c.json:2: unknown key \"nmber\"; did you mean \"number\"?");
  EXPECT_EQ(error("{\"zzzzzz\": 1}"),
            "c.json:1: unknown key \"zzzzzz\"; known keys: flag, whole, number, text, any, maybe, "
            "maybe_text, list, names");
  EXPECT_EQ(error<Outer>("{\"inner\": {\"path\": \"p\",\n \"dept\": 1}}"),
            "c.json:2: unknown key \"dept\" in inner; did you mean \"depth\"?");
  EXPECT_EQ(error("{\n\n\"a/b~c\": 1}").substr(0, 31), "c.json:3: unknown key \"a/b~c\"; ");
  EXPECT_EQ(error("{\"" + std::string(1000, 'x') + "\": 1}").substr(0, 87),
            "c.json:1: unknown key \"" + std::string(60, 'x') + "…\"");
}

TEST(Schema, ReadsAKeyUnderItsOtherNamesButNotTwice) {
  EXPECT_EQ(load("{\"fraction\": 0.5}").number, 0.5);
  EXPECT_EQ(load("{\"share\": 0.5}").number, 0.5);
  EXPECT_EQ(error("{\"fraction\": 2}"), "c.json:1: fraction must be below 1; got 2");
  EXPECT_EQ(error("{\"number\": 0.5,\n\"fraction\": 0.5}"),
            "c.json:2: \"fraction\" is another name of \"number\", which is given too");
  EXPECT_EQ(error("{\"fraction\": 0.5,\n\"number\": 0.5}"),
            "c.json:1: \"fraction\" is another name of \"number\", which is given too");
  EXPECT_EQ(error("{\"fraction\": 0.5,\n\"share\": 0.5}"),
            "c.json:2: \"share\" is another name of \"number\", which is given too");
}

TEST(Schema, AsksForRequiredKeysAlsoOfSectionsThatAreAbsent) {
  const std::string missing = "inner.path is missing: a folder";
  EXPECT_EQ(error<Outer>("{\n\"inner\": {}}"), "c.json:2: " + missing);
  EXPECT_EQ(error<Outer>("{\n\"inner\": null}"), "c.json:2: " + missing);
  EXPECT_EQ(error<Outer>("{}"), "c.json: " + missing);
  EXPECT_EQ(error<Inner>("{}"), "c.json:1: path is missing: a folder");
  EXPECT_EQ(load<Outer>("{\"inner\": {\"path\": \"p\"}}").inner.path, "p");

  std::string value;
  Schema schema;
  schema.field("new", value, "text").alias("old").required();
  schema.load(Document(R"({"old": "x"})", "c.json"));
  EXPECT_EQ(value, "x") << "another name counts";
}

TEST(Schema, ASectionMustBeAnObject) {
  EXPECT_EQ(error<Outer>("{\n\"inner\": 3}"), "c.json:2: inner must be an object; got 3");
  EXPECT_EQ(error_of<UsageError>([] { parse_options<Inner>(Document::of(3, "here")); }),
            "here: the config must be an object; got 3");
  EXPECT_EQ(error<Outer>("{\"inner\": {\"path\": \"p\", \"depth\":\n 9}}"),
            "c.json:1: inner.depth must be at most 8; got 9");
}

TEST(Schema, ErrorsOfOverridesNameTheCommandLine) {
  Document document("{\"inner\": {\"path\": \"p\"}}", "c.json");
  document.override_with("inner.depth=9");
  EXPECT_EQ(error_of<UsageError>([&] { parse_options<Outer>(document); }),
            "command line (inner.depth=9): inner.depth must be at most 8; got 9");
}

TEST(Schema, LoadsFromAPlaceInsideADocument) {
  const Document document("{\"a\": [{\"path\": \"p\"},\n{\"paht\": 1}]}", "c.json");
  EXPECT_EQ(parse_options<Inner>(document, "/a/0").path, "p");
  EXPECT_EQ(error_of<UsageError>([&] { parse_options<Inner>(document, "/a/1", "part"); }),
            "c.json:2: unknown key \"paht\" in part; did you mean \"path\"?");
}

TEST(Schema, DumpsWhatItReads) {
  const std::string text =
      R"({"inner":{"path":"p","depth":3},"options":{"flag":false,"whole":1,"number":0.5,)"
      R"("text":"bc","any":[1],"maybe":null,"maybe_text":"t","list":[4],"names":["n"]},"seed":5})";
  EXPECT_EQ(dump(load<Outer>(text)).dump(), text);
  EXPECT_EQ(dump(load<Outer>(dump(load<Outer>(text)).dump())).dump(), text);
}

TEST(Schema, MakesAJsonSchema) {
  Outer outer;
  Schema schema;
  describe(schema, outer);
  const Json json = schema.json_schema();
  EXPECT_EQ(json["type"], "object");
  EXPECT_EQ(json["additionalProperties"], false);
  EXPECT_EQ(json["required"].dump(), "[\"inner\"]") << "a section that needs keys";
  EXPECT_EQ(json["properties"]["inner"].dump(),
            R"({"type":"object","additionalProperties":false,"properties":{)"
            R"("path":{"type":"string","description":"a folder"},)"
            R"("depth":{"type":"integer","description":"how deep","default":2,)"
            R"("minimum":1.0,"maximum":8.0}},"required":["path"],"description":"the inside"})");
  const Json& options = json["properties"]["options"]["properties"];
  EXPECT_FALSE(json["properties"]["options"].contains("required"));
  EXPECT_EQ(options["number"].dump(), R"({"type":"number","description":"a share","default":0.1,)"
                                      R"("exclusiveMinimum":0.0,"exclusiveMaximum":1.0})");
  EXPECT_EQ(options["fraction"], options["number"]) << "other names are accepted";
  EXPECT_EQ(options["text"]["enum"].dump(), R"(["a","bc","sigmoid"])");
  EXPECT_EQ(options["maybe"]["anyOf"].dump(), R"([{"type":"number"},{"type":"null"}])");
  EXPECT_EQ(options["list"]["items"].dump(), R"({"type":"integer"})");
  EXPECT_EQ(options["flag"]["type"], "boolean");
  EXPECT_FALSE(options["any"].contains("type"));
}

TEST(Schema, MakesATable) {
  Outer outer;
  Schema schema;
  describe(schema, outer);
  std::istringstream table(schema.table());
  std::vector<std::string> lines;
  for (std::string line; std::getline(table, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 12U);
  EXPECT_EQ(lines[0], "| `inner.path` | a string | required | a folder |");
  EXPECT_EQ(lines[1], "| `inner.depth` | a whole number | `2` | how deep |");
  EXPECT_EQ(lines[4],
            "| `options.number` | a number | `0.1` | a share (also read as fraction, share) |");
  EXPECT_EQ(lines[5], "| `options.text` | a string | `\"a\"` | a name (a, bc, sigmoid) |");
  EXPECT_EQ(lines[7], "| `options.maybe` | a number or null | `null` | null is none |");
  EXPECT_EQ(lines[11], "| `seed` | a whole number | `0` | of everything random |");
}

TEST(Schema, KeepsAnOwnerAlive) {
  auto owner = std::make_shared<Inner>();
  const std::weak_ptr<Inner> watch = owner;
  {
    Schema schema;
    describe(schema, *owner);
    schema.keep(std::move(owner));
    EXPECT_FALSE(watch.expired());
    EXPECT_EQ(schema.names(), (std::vector<std::string>{"path", "depth"}));
  }
  EXPECT_TRUE(watch.expired());
}

}  // namespace
}  // namespace luce

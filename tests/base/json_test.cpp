#include "luce/base/json.h"

#include <gtest/gtest.h>

#include "data/temporary_folder.h"
#include "luce/base/error.h"

namespace luce {
namespace {

std::string parse_error(const std::string& text, const JsonOptions& options = {}) {
  return error_of<DataError>([&] { parse_json(text, "f.json", options); });
}

std::string override_error(Document document, const std::string& assignment) {
  return error_of<UsageError>([&] { document.override_with(assignment); });
}

/// The document of `text` after `assignments`.
Document changed(const std::string& text, const std::vector<std::string>& assignments) {
  Document document(text, "c.json");
  for (const auto& assignment : assignments) document.override_with(assignment);
  return document;
}

std::string nested(int depth) {
  return std::string(static_cast<size_t>(depth), '[') +
         std::string(static_cast<size_t>(depth), ']');
}

TEST(Json, ParsesEveryKindOfValueAndKeepsTheOrderOfKeys) {
  const std::string text =
      R"({"z":null,"a":true,"m":-3,"b":18446744073709551615,"y":0.5,"c":"é\n","x":[1,[],{}]})";
  EXPECT_EQ(parse_json(text, "f.json").dump(), text);
  EXPECT_EQ(parse_json(" 7 ", "f.json"), 7);
  EXPECT_EQ(parse_json("\"\\ud83d\\ude00\"", "f.json"), "😀");
  EXPECT_EQ(parse_json("\xEF\xBB\xBF{}", "f.json"), Json::object());
}

TEST(Json, ReadsCommentsOnlyWhereTheyAreAllowed) {
  const std::string text = "// one\n{/* two */\"a\": 1 // three\n}";
  EXPECT_EQ(parse_json(text, "f.json", {.comments = true}).dump(), "{\"a\":1}");
  EXPECT_EQ(parse_error(text), "f.json:1:1: not valid JSON near '/'");
  EXPECT_EQ(parse_error("{}\n/* open", {.comments = true}),
            "f.json:2:7: not valid JSON near '{}<U+000A>/* open'");
}

TEST(Json, NamesLineAndColumnOfASyntaxError) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "1:1: not valid JSON here"},
      {"{", "1:1: not valid JSON near '{'"},
      {"{\n  \"a\": 1,\n}", "3:1: not valid JSON near '1,<U+000A>}'"},
      {"{\n  \"a\": tru\n}", "2:11: not valid JSON near '\"a\": tru<U+000A>'"},
      {"{\n  \"a\": 1 2\n}", "2:10: not valid JSON near '2'"},
      {"{'a': 1}", "1:2: not valid JSON near '{''"},
      {"[1] x", "1:5: not valid JSON near '1] x'"},
      {"[1.]", "1:4: not valid JSON near '1.]'"},
      {"[NaN]", "1:2: not valid JSON near '[N'"},
      {"[1e999]", "1:6: not valid JSON near '1e999'"},
      {"[\"a\tb\"]", "1:4: not valid JSON near '\"a<U+0009>'"},
      {"[\"\\x\"]", "1:4: not valid JSON near '\"\\x'"},
  };
  for (const auto& [text, want] : cases) EXPECT_EQ(parse_error(text), "f.json:" + want) << text;
}

TEST(Json, RefusesTextThatIsNotUtf8OrHoldsNul) {
  EXPECT_EQ(parse_error("[\"\xFF\"]"), "f.json:1:3: not valid JSON near '\"\xFF'");
  EXPECT_EQ(parse_error("[\"\xC3\x28\"]"), "f.json:1:4: not valid JSON near '\"\xC3('");
  EXPECT_EQ(parse_error("[\"\xED\xA0\x80\"]"), "f.json:1:4: not valid JSON near '\"\xED\xA0'");
  EXPECT_EQ(parse_error(std::string("{\n\0}", 4)), "f.json:2:1: not valid JSON: a NUL byte");
  EXPECT_EQ(parse_error(std::string("{}\0 garbage", 11)), "f.json:1:3: not valid JSON: a NUL byte");
  EXPECT_EQ(parse_json("\"\\u0000\"", "f.json"), std::string(1, '\0')) << "an escape is text";
}

TEST(Json, RefusesLoneSurrogates) {
  EXPECT_EQ(parse_error("[\"\\ud800\"]"), "f.json:1:9: not valid JSON near '\"\\ud800\"'");
  EXPECT_EQ(parse_error("[\"\\udead\"]"), "f.json:1:8: not valid JSON near '\"\\udead'");
  EXPECT_EQ(parse_error("[\"\\ud800\\u0041\"]"),
            "f.json:1:14: not valid JSON near '\"\\ud800\\u0041'");
}

TEST(Json, RefusesAKeyThatStandsTwice) {
  EXPECT_EQ(parse_error("{\"a\": 1,\n \"b\": {\"a\": 1},\n   \"a\": 2}"),
            "f.json:3:4: the key \"a\" stands twice in one object");
  EXPECT_EQ(parse_error(R"([{"x": {"a\"b\\": 1,"a\"b\\": 2}}])"),
            "f.json:1:21: the key \"a\"b\\\" stands twice in one object");
  EXPECT_EQ(parse_error(R"({"a": 1, "\u0061": 2})"),
            "f.json:1:10: the key \"a\" stands twice in one object");
  EXPECT_EQ(parse_json(R"([{"a":1},{"a":{"a":2}}])", "f.json").size(), 2U)
      << "one key in several objects is fine";
}

TEST(Json, LimitsTheDepth) {
  EXPECT_EQ(parse_json(nested(64), "f.json").dump(), nested(64));
  EXPECT_EQ(parse_error(nested(65)), "f.json:1:65: nested deeper than 64 levels");
  EXPECT_EQ(parse_error("\n" + std::string(1 << 20, '[')),
            "f.json:2:65: nested deeper than 64 levels");
  EXPECT_EQ(parse_error("{\"a\": [{}]}", {.comments = false, .max_depth = 2}),
            "f.json:1:8: nested deeper than 2 levels");
}

TEST(Json, ShortensLongTextInErrorsBetweenCharacters) {
  EXPECT_EQ(shortened("abc", 3), "abc");
  EXPECT_EQ(shortened("abcd", 3), "abc…");
  EXPECT_EQ(shortened("aéé", 2), "a…");
  EXPECT_EQ(shortened("aéé", 3), "aé…");
  EXPECT_EQ(parse_error("[\"" + std::string(100, 'a')),
            "f.json:1:102: not valid JSON near '\"" + std::string(59, 'a') + "…'");
}

TEST(Json, LineOfFindsKeysAndValuesAmongComments) {
  const std::string text =
      "// {\"loss\": 0}\n"                      // 1
      "{\n"                                     // 2
      "  /* \"train\": {\n"                     // 3
      "  */ \"loss\": {\"type\": \"d//po\",\n"  // 4
      "    \"beta\"\n"                          // 5
      "      : // not here\n"                   // 6
      "      0.1},\n"                           // 7
      "  \"train\": [1, [2,\n"                  // 8
      "    3], {\"a/b~c\": -1e5/**/,\n"         // 9
      "    \"quo\\\"te\": \"}\\\\\"\n"          // 10
      "  }], \"last\": null, \"\": true\n"      // 11
      "}\n";
  const std::vector<std::pair<std::string, int>> cases = {
      {"", 2},
      {"/loss", 4},
      {"/loss/type", 4},
      {"/loss/beta", 5},
      {"/train", 8},
      {"/train/1/1", 9},
      {"/train/2/a~1b~0c", 9},
      {"/train/2/quo\"te", 10},
      {"/last", 11},
      {"/", 11},
      {"/nothing", 0},
      {"/loss/type/x", 0},
      {"/train/3", 0},
      {"/train/2/a/b~c", 0},
  };
  for (const auto& [pointer, line] : cases) EXPECT_EQ(line_of(text, pointer), line) << pointer;
  EXPECT_EQ(line_of("", "/a"), 0);
}

TEST(Json, PointerToEscapesKeys) {
  EXPECT_EQ(pointer_to("", "a"), "/a");
  EXPECT_EQ(pointer_to("/a", "b/c~d"), "/a/b~1c~0d");
}

TEST(Json, NearestFindsSlipsAndNothingFarAway) {
  const std::vector<std::string> keys = {"learning_rate", "beta", "seed", "min_lr"};
  EXPECT_EQ(nearest("learnig_rate", keys), "learning_rate");
  EXPECT_EQ(nearest("learning-rates", keys), "learning_rate");
  EXPECT_EQ(nearest("btea", keys), "beta") << "a swap of neighbours is one slip";
  EXPECT_EQ(nearest("sed", keys), "seed");
  EXPECT_EQ(nearest("seed", keys), "seed");
  EXPECT_EQ(nearest("alpha", keys), "");
  EXPECT_EQ(nearest("bexx", keys), "") << "two slips are too many for a short word";
  EXPECT_EQ(nearest("", keys), "");
  EXPECT_EQ(nearest("x", {}), "");
  EXPECT_EQ(nearest(std::string(1 << 24, 'x'), keys), "") << "a giant word costs no memory";
}

TEST(Document, ReadsAConfigWithCommentsAndKnowsItsLines) {
  const Document document("{ // a\n  \"train\": {\"seed\": 1}\n}", "c.json");
  EXPECT_EQ(document.value().dump(), "{\"train\":{\"seed\":1}}");
  EXPECT_EQ(*document.find("/train/seed"), 1);
  EXPECT_EQ(document.find("/train/x"), nullptr);
  EXPECT_EQ(document.where("/train/seed"), "c.json:2");
  EXPECT_EQ(document.where("/train/x"), "c.json");
  EXPECT_EQ(Document::of({{"a", 1}}, "the defaults").where("/a"), "the defaults");
}

TEST(Document, RefusesWhatIsNoConfig) {
  const auto error = [](const std::string& text) {
    return error_of<UsageError>([&] { Document(text, "c.json"); });
  };
  EXPECT_EQ(error("[]"), "c.json: a config is a JSON object { … }");
  EXPECT_EQ(error("{\n\"a\" 1}"), "c.json:2:5: not valid JSON near '1'");
  EXPECT_EQ(error("{\"a\": 1,\n\"a\": 1}"), "c.json:2:1: the key \"a\" stands twice in one object");

  const TemporaryFolder folder;
  const std::string missing = folder / "none.json";
  EXPECT_EQ(error_of<MissingFileError>([&] { Document::read(missing); }),
            "cannot read " + missing + ": No such file or directory");
  const std::string good = folder.write("good.json", "{\n\"a\": 2}");
  EXPECT_EQ(Document::read(good).where("/a"), good + ":2");
}

TEST(Document, OverridesTakeJsonOrElseText) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"a=1", R"({"a":1})"},
      {"a=1e-5", R"({"a":1e-05})"},
      {"a=null", R"({"a":null})"},
      {"a=true", R"({"a":true})"},
      {"a=\"1\"", R"({"a":"1"})"},
      {"a=[1, {\"b\": 2}]", R"({"a":[1,{"b":2}]})"},
      {"a=", R"({"a":""})"},
      {"a=x=y", R"({"a":"x=y"})"},
      {"a=models/tiny v2", R"({"a":"models/tiny v2"})"},
      {"a={\"type\": dpo}", R"({"a":"{\"type\": dpo}"})"},
      {"a={\"b\": 1, \"b\": 2}", R"({"a":"{\"b\": 1, \"b\": 2}"})"},
      {"a.b.c=1", R"({"a":{"b":{"c":1}}})"},
  };
  for (const auto& [assignment, want] : cases)
    EXPECT_EQ(changed("{}", {assignment}).value().dump(), want) << assignment;
}

TEST(Document, OverridesReachIntoObjectsAndLists) {
  const std::string text =
      R"({"train":{"seed":1},"loss":[{"type":"dpo"},{"type":"sft"}],"n":null})";
  EXPECT_EQ(
      changed(text, {"train.seed=2", "train.new=3", "loss.1.weight=0.5", "n.a=4"}).value().dump(),
      R"({"train":{"seed":2,"new":3},)"
      R"("loss":[{"type":"dpo"},{"type":"sft","weight":0.5}],"n":{"a":4}})");
  EXPECT_EQ(changed(text, {"loss={}", "loss.type=dpo", "train=0"}).value().dump(),
            R"({"train":0,"loss":{"type":"dpo"},"n":null})");
}

TEST(Document, OverridesThatCannotBeObeyedSayWhy) {
  const Document document(R"({"train":{"seed":1},"loss":[{"type":"dpo"}]})", "c.json");
  EXPECT_EQ(override_error(document, "train.seed"),
            "command line: expected key.path=value, got \"train.seed\"");
  EXPECT_EQ(override_error(document, "=1"), "command line: expected key.path=value, got \"=1\"");
  EXPECT_EQ(override_error(document, "train.seed.x=1"),
            "command line (train.seed.x=1): train.seed is a plain value, so \"x\" cannot stand "
            "inside it");
  for (const std::string key : {"1", "x", "-1", "", "99999999999999999999"})
    EXPECT_EQ(
        override_error(document, "loss." + key + "=1"),
        "command line (loss." + key + "=1): \"" + key + "\" is no index of a list of 1 entries");
  EXPECT_EQ(override_error(document, "a=\xFF"), "command line: \"a=\xFF\" is not valid UTF-8");
}

TEST(Document, AnOverrideThatIsNestedTooDeepIsText) {
  const Document document = changed("{}", {"a=" + std::string(100000, '[')});
  EXPECT_TRUE(document.find("/a")->is_string());
}

TEST(Document, WhereNamesTheOverrideOfAValue) {
  const std::string text = "{\n\"loss\": {\n\"type\": \"dpo\",\n\"beta\": 1},\n\"a\": 1}";
  const Document document =
      changed(text, {"loss.beta=2", "train={\"seed\": 1}", "x/y~z=1", "train.seed=2", "los=1"});
  EXPECT_EQ(document.where("/loss/beta"), "command line (loss.beta=2)");
  EXPECT_EQ(document.where("/loss/type"), "c.json:3");
  EXPECT_EQ(document.where("/loss"), "c.json:2");
  EXPECT_EQ(document.where("/train/anything/below"), "command line (train={\"seed\": 1})");
  EXPECT_EQ(document.where("/train/seed"), "command line (train.seed=2)") << "the last one wins";
  EXPECT_EQ(document.where("/x~1y~0z"), "command line (x/y~z=1)");
  EXPECT_EQ(document.where("/a"), "c.json:5");
}

}  // namespace
}  // namespace luce

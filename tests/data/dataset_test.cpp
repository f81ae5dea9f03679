#include "luce/data/dataset.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "data/temporary_folder.h"
#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/json.h"
#include "luce/data/examples.h"
#include "luce/data/hash.h"

namespace luce {
namespace {
namespace fs = std::filesystem;

using Ids = std::vector<int64_t>;

const fs::path kSource = LUCE_SOURCE_DIR;

const Json& golden() {
  static const Json json =
      parse_json(read_file(kSource / "tests/golden/tokens.json"), "tokens.json");
  return json;
}

std::shared_ptr<const Tokenizer> load(const std::string& config) {
  const TemporaryFolder folder;
  folder.write("tokenizer.model", read_file(kSource / "tests/data/files/tiny.model"));
  folder.write("tokenizer_config.json", config);
  return Tokenizer::load(folder.path());
}

const Tokenizer& tiny() {
  static const auto tokenizer = load("{}");
  return *tokenizer;
}

std::string lines(const Json& rows) {
  std::string out;
  for (const auto& row : rows) out += row.dump() + "\n";
  return out;
}

Dataset load_text(const std::string& content, const DatasetOptions& options = {},
                  const Tokenizer* tokenizer = &tiny()) {
  const TemporaryFolder folder;
  return load_dataset(folder.write("rows.jsonl", content), tokenizer, options);
}

template <class E>
std::string error_for(const std::string& content, const DatasetOptions& options = {},
                      const Tokenizer* tokenizer = &tiny()) {
  const TemporaryFolder folder;
  const auto path = folder.write("rows.jsonl", content);
  return folder.strip(error_of<E>([&] { load_dataset(path, tokenizer, options); }));
}

/// `n` good pairs, one a line.
std::string pairs(int n) {
  std::string out;
  for (int i = 0; i < n; ++i)
    out += cat(R"({"prompt": "fox )", i, R"(", "chosen": " good", "rejected": " bad"})", "\n");
  return out;
}

/// What a row says beside its tokens.
Json judgements(const Example& example) {
  Json steps = Json::array();
  for (const auto& step : example.steps) steps.push_back({step.end, step.right});
  return {example.roles, example.margin, example.preference, example.rater, example.scores, steps};
}

/// Examples as [row, prompt, completions …], the form of the golden file.
Json as_json(const std::vector<Example>& examples) {
  Json out = Json::array();
  for (const auto& example : examples) {
    Json entry = {example.row, example.prompt};
    for (const auto& ids : example.completions) entry.push_back(ids);
    out.push_back(entry);
  }
  return out;
}

DatasetOptions golden_options() { return {.max_length = golden()["max_length"].get<int64_t>()}; }

TEST(Dataset, PairsBecomeTheTokensThatTrlMakes) {
  const auto& pairs_of_trl = golden()["pairs"];
  const auto dataset = load_text(lines(pairs_of_trl["rows"]), golden_options());
  EXPECT_EQ(as_json(dataset.examples), pairs_of_trl["kept"]);
  EXPECT_EQ(dataset.type, RowType::preference);
  const auto& report = dataset.report;
  EXPECT_EQ(report.rows, 15);
  EXPECT_EQ(report.kept, 14);
  EXPECT_EQ(report.too_long, 1);
  EXPECT_EQ(report.truncated, 2);
  EXPECT_EQ(report.equal_pairs, 1);
  EXPECT_EQ(report.bad, 0);
  EXPECT_GT(report.boundary, 0);
  EXPECT_EQ(static_cast<int64_t>(report.first_boundary.size()), report.boundary);
}

TEST(Dataset, PromptsAndCompletionsBecomeTheTokensThatTrlMakes) {
  const auto& rows = golden()["prompts"];
  auto options = golden_options();
  const auto dataset = load_text(lines(rows["rows"]), options);
  EXPECT_EQ(as_json(dataset.examples), rows["kept"]);
  EXPECT_EQ(dataset.type, RowType::prompt_completion);
  EXPECT_EQ(dataset.report.too_long, 1);
  options.completion_only_loss = false;
  const auto whole = load_text(lines(rows["rows"]), options);
  EXPECT_EQ(as_json(whole.examples), rows["kept_whole"]);
  EXPECT_EQ(whole.report.too_long, 0);
}

TEST(Dataset, TextsBecomeTheTokensThatTrlMakes) {
  const auto& rows = golden()["stories"];
  const auto dataset = load_text(lines(rows["rows"]), golden_options());
  EXPECT_EQ(as_json(dataset.examples), rows["kept"]);
  EXPECT_EQ(dataset.type, RowType::text);
}

TEST(Dataset, RealPairsBecomeTheTokensThatTrlMakes) {
  const char* data = std::getenv("LUCE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "LUCE_TEST_DATA is not set";
  const auto tokenizer = Tokenizer::load(fs::path(data) / "models/stories260k");
  const auto& trl = golden()["hh"];
  const auto dataset =
      load_dataset(fs::path(data) / "data/hh-harmless-test.jsonl.gz", tokenizer.get(),
                   {.max_length = trl["max_length"].get<int64_t>()});
  EXPECT_EQ(dataset.report.rows, 2312);
  EXPECT_EQ(dataset.report.bad, 0);
  Json kept = Json::array();
  for (const auto& example : dataset.examples) {
    if (example.row > trl["rows"].get<int64_t>()) break;
    uint64_t hash = 0xCBF29CE484222325u;  // 64-bit FNV-1a, as in make_tokens.py
    const auto add = [&](int64_t number) {
      for (int i = 0; i < 4; ++i)
        hash = (hash ^ (static_cast<uint64_t>(number) >> (8 * i) & 255)) * 0x100000001B3u;
    };
    for (const Ids* ids : {&example.prompt, &example.completions[0], &example.completions[1]}) {
      add(static_cast<int64_t>(ids->size()));
      for (const int64_t id : *ids) add(id);
    }
    char text[17];
    std::snprintf(text, sizeof text, "%016lx", hash);
    kept.push_back({example.row, text});
  }
  EXPECT_EQ(kept, trl["kept"]);
}

TEST(Dataset, TheSharedStartOfAPairIsItsPrompt) {
  const auto prompt = [](const std::string& chosen, const std::string& rejected) {
    return chosen.substr(0, shared_prompt(chosen, rejected));
  };
  EXPECT_EQ(prompt("A: yes", "A: no"), "A:");      // the space belongs to the answers
  EXPECT_EQ(prompt("A:  yes", "A:  no"), "A: ");   // only one does
  EXPECT_EQ(prompt("A:\nyes", "A:\nno"), "A:\n");  // and no other white space
  EXPECT_EQ(prompt("abc", "abd"), "ab");
  EXPECT_EQ(prompt("yes", "no"), "");
  EXPECT_EQ(prompt(" yes", " no"), "");
  EXPECT_EQ(prompt("caf\u00e9", "caf\u00e8"), "caf");    // whole characters
  EXPECT_EQ(prompt("a\U0001F642", "a\U0001F643"), "a");  // of any length
  EXPECT_EQ(prompt("caf \u00e9", "caf \u00e8"), "caf");
  EXPECT_EQ(prompt("abc", "abc and more"), "abc");  // all of the shorter text
  EXPECT_EQ(prompt("abc ", "abc and more"), "abc ");
  EXPECT_EQ(prompt("same", "same"), "same");
  EXPECT_EQ(prompt("", "x"), "");
}

TEST(Dataset, WithoutABosTheFirstTokenIsThePrompt) {
  const auto bare = load(R"({"add_bos_token": false})");
  const auto dataset =
      load_text(R"({"prompt": "", "chosen": "the fox", "rejected": "the cat"})", {}, bare.get());
  ASSERT_EQ(dataset.examples.size(), 1u);
  EXPECT_EQ(dataset.examples[0].prompt, (Ids{263}));
  EXPECT_EQ(dataset.report.boundary, 0);
  EXPECT_EQ(load_text(R"({"text": "the fox"})", {}, bare.get()).examples[0].prompt, (Ids{263}));
  EXPECT_EQ(
      load_text(R"({"prompt": "", "completion": "the fox"})", {}, bare.get()).examples[0].prompt,
      (Ids{263}));
  EXPECT_EQ(
      error_for<DataError>(R"({"prompt": "", "chosen": "the", "rejected": "a"})", {}, bare.get()),
      "rows.jsonl: 1 of 1 rows are bad (100 %; more than 1 % stops):\n"
      "  rows.jsonl:1: the answers share no first token to start from, and the tokenizer adds no "
      "BOS");
}

TEST(Dataset, InputIdsAreTakenAsTheyAre) {
  const std::string rows = R"({"input_ids": [5, 6, 7]}
{"input_ids": [5]}
{"input_ids": []}
{"input_ids": [1, 2, 3, 4, 5]}
)";
  const auto dataset = load_text(rows, {.max_length = 4}, nullptr);
  EXPECT_EQ(as_json(dataset.examples).dump(), "[[1,[5],[6,7]],[4,[1],[2,3,4]]]");
  EXPECT_EQ(dataset.type, RowType::input_ids);
  EXPECT_EQ(dataset.report.empty, 2);
  EXPECT_EQ(dataset.report.truncated, 1);
}

TEST(Dataset, EosIsPutBehindOnlyWhereItIsMissingAndOnlyIfAsked) {
  const std::string row = R"({"prompt": "a", "completion": " b"})",
                    ended = R"({"prompt": "a", "completion": " b</s>"})";
  EXPECT_EQ(load_text(row).examples[0].completions[0].back(), 2);
  EXPECT_EQ(load_text(ended).examples[0].completions, load_text(row).examples[0].completions);
  EXPECT_NE(load_text(row, {.add_eos = false}).examples[0].completions[0].back(), 2);
  // Without it an empty answer has nothing to learn from.
  const auto dataset =
      load_text("{\"prompt\": \"a\", \"completion\": \"\"}\n" + row, {.add_eos = false});
  EXPECT_EQ(dataset.report.empty, 1);
  EXPECT_EQ(dataset.report.kept, 1);
}

TEST(Dataset, AnAnswerThatBeginsAtTheLimitIsCutToOneToken) {
  const std::string row = R"({"prompt": "the fox", "chosen": " was sad", "rejected": " sang"})";
  const auto whole = load_text(row).examples[0];
  const auto prompt = static_cast<int64_t>(whole.prompt.size());
  const auto cut = load_text(row, {.max_length = prompt + 1});
  EXPECT_EQ(cut.report.truncated, 1);
  EXPECT_EQ(cut.examples[0].completions,
            (std::vector<Ids>{{whole.completions[0][0]}, {whole.completions[1][0]}}));
  EXPECT_EQ(error_for<DataError>(row, {.max_length = prompt}),
            cat("rows.jsonl: none of its 1 rows is left: 1 with a prompt of max_length (", prompt,
                ") tokens or more, 0 with an empty answer, 0 bad"));
}

TEST(Dataset, ColumnsAreRenamedAndNullsCountAsAbsent) {
  const auto dataset =
      load_text(R"({"question": "a", "answer": " b", "text": null, "chosen": null})",
                {.column_map = {{"prompt", "question"}, {"completion", "answer"}}});
  EXPECT_EQ(dataset.type, RowType::prompt_completion);
  EXPECT_TRUE(dataset.report.detected);
  EXPECT_FALSE(load_text(R"({"text": "a"})", {.type = "text"}).report.detected);
  // A null prompt is an implicit one.
  EXPECT_EQ(
      as_json(
          load_text(R"({"prompt": null, "chosen": "the fox", "rejected": "the cat"})").examples),
      as_json(load_text(R"({"chosen": "the fox", "rejected": "the cat"})").examples));
}

/// Bad rows and their reasons, for files of pairs.
const std::vector<std::pair<std::string, std::string>>& bad_rows() {
  static const std::vector<std::pair<std::string, std::string>> rows = {
      {"{", "column 1: not valid JSON near '{'"},
      {R"({"prompt": "a", "chosen": "b"})", "\"rejected\" is missing"},
      {R"({"prompt": "a", "rejected": "b"})", "\"chosen\" is missing"},
      {R"({"prompt": "a", "chosen": "b", "rejected": null})", "\"rejected\" is missing"},
      {R"({"prompt": 1, "chosen": "b", "rejected": "c"})",
       "\"prompt\" is a number, expected a string"},
      {R"({"prompt": "a", "chosen": true, "rejected": "c"})",
       "\"chosen\" is true or false, expected a string"},
      {R"({"prompt": "a", "chosen": ["b"], "rejected": "c"})",
       "\"chosen\" is a list, expected a string"},
      {R"({"prompt": "a", "chosen": {"b": 1}, "rejected": "c"})",
       "\"chosen\" is an object, expected a string"},
      {R"({"prompt": "a\u0000", "chosen": "b", "rejected": "c"})",
       "\"prompt\" holds a NUL character"},
      {R"({"prompt": "a", "chosen": "b", "chosen": "c", "rejected": "d"})",
       "column 32: the key \"chosen\" stands twice in one object"},
      {R"({"prompt": "a", "chosen": "\udead", "rejected": "d"})",
       "column 33: not valid JSON near '\"\\udead'"},
      {"{\"prompt\": \"\xFF\", \"chosen\": \"b\", \"rejected\": \"d\"}",
       "column 13: not valid JSON near '\"\uFFFD'"},
      {R"([])", "expected an object { … }, got a list"},
      {R"({"prompt": "a", "chosen": NaN, "rejected": "d"})",
       "column 27: not valid JSON near '\"chosen\": N'"},
  };
  return rows;
}

TEST(Dataset, BadRowsAreDroppedCountedAndNamedAndHarmNoOther) {
  const auto clean = load_text(pairs(200));
  for (const auto& [row, reason] : bad_rows()) {
    const TemporaryFolder folder;
    const auto path =
        folder.write("rows.jsonl", pairs(100) + row + "\n" + pairs(200).substr(pairs(100).size()));
    const auto dataset = load_dataset(path, &tiny(), {});
    EXPECT_EQ(dataset.report.rows, 201) << row;
    EXPECT_EQ(dataset.report.bad, 1) << row;
    ASSERT_EQ(dataset.report.first_reasons.size(), 1u) << row;
    EXPECT_EQ(folder.strip(dataset.report.first_reasons[0]), "rows.jsonl:101: " + reason);
    ASSERT_EQ(dataset.examples.size(), clean.examples.size());
    for (size_t i = 0; i < clean.examples.size(); ++i) {
      EXPECT_EQ(dataset.examples[i].prompt, clean.examples[i].prompt);
      EXPECT_EQ(dataset.examples[i].completions, clean.examples[i].completions);
      EXPECT_EQ(dataset.examples[i].row, clean.examples[i].row + (i >= 100));
    }
    EXPECT_EQ(error_for<DataError>(row + "\n" + pairs(1), {.strict = true, .type = "preference"}),
              "rows.jsonl:1: " + reason + "; data.strict stops at the first bad row");
  }
}

TEST(Dataset, MoreThanOnePercentOfBadRowsStops) {
  EXPECT_EQ(load_text(pairs(99) + "{\n").report.bad, 1);  // 1 of 100
  EXPECT_EQ(error_for<DataError>(pairs(98) + "{\n"),
            "rows.jsonl: 1 of 99 rows are bad (1.01 %; more than 1 % stops):\n"
            "  rows.jsonl:99: column 1: not valid JSON near '{'");
  std::string many;
  for (int i = 0; i < 30; ++i) many += "{\n";
  const std::string error = error_for<DataError>(pairs(70) + many);
  EXPECT_EQ(error.substr(0, error.find('\n')),
            "rows.jsonl: 30 of 100 rows are bad (30 %; more than 1 % stops):");
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 20);  // the first reasons only
}

TEST(Dataset, StrictRefusesPromptsThatDoNotEndOnAToken) {
  const std::string row = R"({"prompt": "The fo", "chosen": "x sang", "rejected": "x sat"})";
  EXPECT_EQ(load_text(row).report.first_boundary, (Ids{1}));
  EXPECT_EQ(error_for<DataError>(row, {.strict = true}),
            "rows.jsonl:1: the prompt does not end on a token: its last tokens merge with the "
            "answer's first; "
            "data.strict refuses such rows");
}

TEST(Dataset, FilesOfNoUseAreRefusedWithASentence) {
  const std::string keys =
      "; expected \"chosen\" and \"rejected\", \"prompt\" and \"completion\" (perhaps with "
      "\"label\" or \"score\"), \"prompt\" and \"completions\" with \"ranks\", \"scores\" or "
      "\"labels\", \"text\", or \"input_ids\" (data.column_map renames columns)";
  EXPECT_EQ(error_for<DataError>(""), "rows.jsonl holds no rows");
  EXPECT_EQ(error_for<DataError>("{}"),
            "rows.jsonl:1: rows of no known type: the keys are none" + keys);
  EXPECT_EQ(error_for<DataError>("\n{\"question\": \"a\", \"answer\": 1}"),
            "rows.jsonl:2: rows of no known type: the keys are \"question\", \"answer\"" + keys);
  const std::string chat =
      ": the row holds a list of chat messages; chat templates are not read by this version: write "
      "the rows as the text "
      "that the template makes of them";
  const std::string messages = R"([{"role": "user", "content": "hi"}])";
  EXPECT_EQ(error_for<DataError>("{\"messages\": " + messages + "}"), "rows.jsonl:1" + chat);
  EXPECT_EQ(error_for<DataError>(pairs(1) + "{\"chosen\": " + messages +
                                 ", \"rejected\": " + messages + "}"),
            "rows.jsonl:2" + chat);
  EXPECT_EQ(error_for<DataError>(R"({"input_ids": [1, -2]})"),
            "rows.jsonl: 1 of 1 rows are bad (100 %; more than 1 % stops):\n"
            "  rows.jsonl:1: \"input_ids\" holds -2 at place 1, expected a token id");
}

TEST(Dataset, BadTokenIdsAreNamed) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"5", "\"input_ids\" is a number, expected a list of token ids"},
      {"[1, 2.5]", "\"input_ids\" holds 2.5 at place 1, expected a token id"},
      {"[\"a\"]", "\"input_ids\" holds a string at place 0, expected a token id"},
      {"[true]", "\"input_ids\" holds true or false at place 0, expected a token id"},
      {"[1, 2147483648]", "\"input_ids\" holds 2147483648 at place 1, expected a token id"},
      {"[1, 352]", "token id 352 is outside the vocabulary of 352"},
  };
  std::string good;
  for (int i = 0; i < 100; ++i) good += "{\"input_ids\": [1, 2, 3]}\n";
  for (const auto& [ids, reason] : cases) {
    const auto dataset = load_text(good + "{\"input_ids\": " + ids + "}");
    ASSERT_EQ(dataset.report.first_reasons.size(), 1u);
    const std::string& found = dataset.report.first_reasons[0];
    EXPECT_EQ(found.substr(found.find(":101: ") + 6), reason);
  }
}

TEST(Dataset, OptionsThatMakeNoSenseAreRefused) {
  EXPECT_EQ(error_for<UsageError>(pairs(1), {.max_length = 1}),
            "data.max_length is 1, expected 2 or more");
  EXPECT_EQ(error_for<UsageError>(pairs(1), {.type = "pairs"}),
            "data.type is \"pairs\", expected auto, preference, unpaired, scored, ranked, "
            "stepwise, text, prompt_completion or input_ids");
  EXPECT_EQ(error_for<UsageError>(pairs(1), {.ratings = "x"}),
            "data.ratings is \"x\", expected ignore, margin, wide_margin or label");
  EXPECT_EQ(error_for<UsageError>(pairs(1), {.ties = "keep"}),
            "data.ties is \"keep\", expected drop or half");
  EXPECT_EQ(error_for<UsageError>(pairs(1), {.column_map = {{"question", "prompt"}}}),
            "data.column_map: \"question\" is no column that is read; write the name that Luce "
            "reads (prompt, chosen, rejected, reference, margin, rating, rater, completion, label, "
            "score, completions, ranks, scores, labels, text, input_ids) first, the file's name "
            "second");
  EXPECT_EQ(error_for<UsageError>(pairs(1), {}, nullptr),
            "rows.jsonl: preference rows need a tokenizer, and there is none");
  const auto bare = load(R"({"eos_token": null})");
  EXPECT_EQ(
      error_for<UsageError>(pairs(1), {}, bare.get()),
      "rows.jsonl: each row ends with the EOS token, but the tokenizer names none; name one in its "
      "tokenizer_config.json (\"eos_token\")");
  EXPECT_EQ(load_text(pairs(1), {.add_eos = false}, bare.get()).report.kept, 1);
}

TEST(Dataset, AListInAJsonFileIsReadToo) {
  const TemporaryFolder folder;
  const auto dataset =
      load_dataset(folder.write("rows.json", R"([{"text": "a"}, {"text": "b"}])"), &tiny(), {});
  EXPECT_EQ(dataset.report.rows, 2);
  EXPECT_EQ(dataset.examples[1].row, 2);
}

TEST(Dataset, TheReportIsOneLine) {
  DatasetReport report;
  report.file = "pairs.jsonl";
  report.type = RowType::preference;
  report.rows = report.kept = 7;
  EXPECT_EQ(describe(report), "pairs.jsonl: 7 preference rows, 7 kept, 0 dropped");
  report.detected = report.from_cache = true;
  report.kept = 1;
  report.bad = report.truncated = 1;
  report.too_long = report.boundary = 2;
  report.empty = report.equal_pairs = 3;
  EXPECT_EQ(describe(report),
            "pairs.jsonl: 7 preference rows (by their keys), 1 kept (1 cut at max_length, 2 with a "
            "prompt that does not "
            "end on a token, 3 with two equal answers), 6 dropped (1 bad, 2 with a prompt of "
            "max_length or more, 3 with "
            "an empty answer), from the cache");
  report = {.file = "pairs.jsonl", .type = RowType::preference, .rows = 9, .kept = 6};
  report.rated = 5;
  report.swapped = 4;
  report.tied = 3;
  EXPECT_EQ(describe(report),
            "pairs.jsonl: 9 preference rows, 6 kept (5 rated, which data.ratings ignores, 4 "
            "swapped by their rating), 3 dropped (3 tied)");
  report.kept = 9;
  EXPECT_EQ(describe(report),
            "pairs.jsonl: 9 preference rows, 9 kept (5 rated, which data.ratings ignores, 4 "
            "swapped by their rating, 3 tied), 0 dropped");
  report = {.file = "steps.jsonl", .type = RowType::stepwise, .rows = 2, .kept = 1, .too_long = 1};
  EXPECT_EQ(describe(report),
            "steps.jsonl: 2 stepwise rows, 1 kept, 1 dropped (1 whose prompt and first step do not "
            "fit in max_length)");
}

// ---- the cache of tokenized rows ----

/// A file of pairs, one of them bad, and a cache.
struct Cached {
  TemporaryFolder folder;
  fs::path file = folder.write("rows.jsonl", lines(golden()["pairs"]["rows"]) + pairs(100) + "{\n");
  DatasetOptions options = {.max_length = 32, .cache_dir = folder / "cache"};
  Dataset run() const { return load_dataset(file, &tiny(), options); }
  std::vector<fs::path> entries() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(options.cache_dir)) out.push_back(entry.path());
    return out;
  }
};

void expect_same(const Dataset& a, const Dataset& b) {
  EXPECT_EQ(as_json(a.examples), as_json(b.examples));
  for (size_t i = 0; i < a.examples.size(); ++i)
    EXPECT_EQ(judgements(a.examples[i]), judgements(b.examples[i]));
  EXPECT_EQ(a.raters, b.raters);
  DatasetReport x = a.report, y = b.report;
  x.from_cache = y.from_cache = false;
  EXPECT_EQ(describe(x), describe(y));
  EXPECT_EQ(x.first_reasons, y.first_reasons);
  EXPECT_EQ(x.first_boundary, y.first_boundary);
  EXPECT_EQ(a.type, b.type);
}

TEST(DatasetCache, ASecondRunFindsTheSameRows) {
  const Cached cached;
  const auto first = cached.run(), second = cached.run();
  EXPECT_FALSE(first.report.from_cache);
  EXPECT_TRUE(second.report.from_cache);
  EXPECT_EQ(first.report.bad, 1);
  expect_same(first, second);
  EXPECT_EQ(cached.entries().size(), 1u);
}

TEST(DatasetCache, JudgementsComeBackToTheBit) {
  Cached cached;
  cached.options.ratings = "margin";
  cached.options.ties = "half";
  const auto check = [&](const std::string& rows) {
    write_file_atomic(cached.file, rows);
    const auto first = cached.run(), second = cached.run();
    EXPECT_FALSE(first.report.from_cache);
    EXPECT_TRUE(second.report.from_cache);
    expect_same(first, second);
    return second;
  };
  const std::string pair = R"({"prompt": "a", "chosen": "b", "rejected": "c", "reference": "d", )";
  const auto pairs_back = check(pair + "\"rating\": -1, \"rater\": \"mia\"}\n" + pair +
                                "\"rating\": 0, \"rater\": 7}\n" + pair + "\"margin\": 0.1}\n");
  ASSERT_EQ(pairs_back.examples.size(), 3u);
  EXPECT_EQ(judgements(pairs_back.examples[0]).dump(), "[[0,1,3],0.3333333333333333,1.0,0,[],[]]");
  EXPECT_EQ(judgements(pairs_back.examples[1]).dump(), "[[0,1,3],0.0,0.5,1,[],[]]");
  EXPECT_EQ(judgements(pairs_back.examples[2]).dump(), "[[0,1,3],0.1,1.0,-1,[],[]]");
  EXPECT_EQ(pairs_back.raters, (std::vector<std::string>{"mia", "7"}));
  EXPECT_EQ(pairs_back.report.swapped, 1);
  EXPECT_EQ(pairs_back.report.tied, 1);
  const auto ranked_back =
      check(R"({"prompt": "a", "completions": ["b", "c"], "scores": [-0.1, 1e300]})");
  EXPECT_EQ(ranked_back.examples.at(0).scores, (std::vector<double>{-0.1, 1e300}));
  const auto steps_back =
      check(R"({"prompt": "a", "completions": ["b", "c"], "labels": [true, false]})");
  EXPECT_EQ(steps_back.examples.at(0).steps.size(), 2u);
  EXPECT_FALSE(steps_back.examples.at(0).steps[1].right);
  cached.options.ratings = "ignore";
  EXPECT_EQ(check(pair + "\"rating\": 1}").report.rated, 1);
}

TEST(DatasetCache, TheContentCountsAndNotTheName) {
  Cached cached;
  cached.run();
  fs::copy_file(cached.file, cached.folder / "renamed.jsonl");
  cached.file = cached.folder / "renamed.jsonl";
  const auto renamed = cached.run();
  EXPECT_TRUE(renamed.report.from_cache);
  EXPECT_EQ(cached.folder.strip(renamed.report.first_reasons[0]),
            "renamed.jsonl:116: column 1: not valid JSON near '{'");
  // The ending decides how the same bytes are read.
  fs::copy_file(cached.file, cached.folder / "renamed.json");
  cached.file = cached.folder / "renamed.json";
  EXPECT_FALSE(cached.run().report.from_cache);
}

TEST(DatasetCache, EverythingThatTheRowsDependOnIsInTheKey) {
  const Cached cached;
  cached.run();
  const auto from_cache = [&](const DatasetOptions& options, const Tokenizer* tokenizer = &tiny()) {
    return load_dataset(cached.file, tokenizer, options).report.from_cache;
  };
  EXPECT_TRUE(from_cache(cached.options));
  auto options = cached.options;
  options.max_length = 33;
  EXPECT_FALSE(from_cache(options));
  options = cached.options;
  options.add_eos = false;
  EXPECT_FALSE(from_cache(options));
  options = cached.options;
  options.completion_only_loss = false;
  EXPECT_FALSE(from_cache(options));
  options = cached.options;
  options.type = "preference";
  EXPECT_FALSE(from_cache(options));
  options = cached.options;
  options.column_map = {{"text", "t"}};
  EXPECT_FALSE(from_cache(options));
  options = cached.options;
  options.ratings = "label";
  EXPECT_FALSE(from_cache(options));
  options = cached.options;
  options.ties = "half";
  EXPECT_FALSE(from_cache(options));
  options = cached.options;
  options.strict = true;
  EXPECT_NE(error_of<DataError>([&] { from_cache(options); }), "");
  EXPECT_FALSE(from_cache(cached.options, load(R"({"add_bos_token": false})").get()));
  write_file_atomic(cached.file, lines(golden()["pairs"]["rows"]) + pairs(101) + "{\n");
  EXPECT_FALSE(from_cache(cached.options));
}

TEST(DatasetCache, ADamagedEntryIsMadeAnewWithAWarning) {
  const Cached cached;
  const auto first = cached.run();
  const fs::path entry = cached.entries().at(0);
  const std::string good = read_file(entry);
  const auto warning_for = [&](const std::string& content) {
    write_file_atomic(entry, content);
    testing::internal::CaptureStderr();
    const auto again = cached.run();
    const std::string log = testing::internal::GetCapturedStderr();
    EXPECT_FALSE(again.report.from_cache);
    expect_same(first, again);
    EXPECT_EQ(read_file(entry), good);
    return log.substr(std::min(log.find("is not used"), log.size()));
  };
  EXPECT_EQ(warning_for(good.substr(0, 20)), "is not used and made anew: it is cut off\n");
  EXPECT_EQ(warning_for(good.substr(0, good.size() - 1)),
            "is not used and made anew: its checksum is wrong\n");
  for (size_t at = 0; at < good.size(); at += 97) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 16);
    EXPECT_EQ(warning_for(bad), "is not used and made anew: its checksum is wrong\n");
  }
  // An entry of an older version, whole in itself.
  std::string old = good.substr(0, good.size() - sizeof(Digest));
  old.replace(0, 8, "LUCETOK1");
  const Digest checksum = Hasher().bytes(old).digest();
  old.append(checksum.begin(), checksum.end());
  EXPECT_EQ(warning_for(old), "is not used and made anew: it belongs to other rows\n");
  // An entry of other rows under this name.
  Cached other;
  other.options.max_length = 40;
  other.run();
  EXPECT_EQ(warning_for(read_file(other.entries().at(0))),
            "is not used and made anew: it belongs to other rows\n");
}

TEST(DatasetCache, AFolderThatCannotBeWrittenIsAWarning) {
  Cached cached;
  cached.options.cache_dir = cached.folder.write("file", "") / "cache";
  testing::internal::CaptureStderr();
  EXPECT_FALSE(cached.run().report.from_cache);
  EXPECT_NE(testing::internal::GetCapturedStderr().find(
                "tokenized rows are not cached: cannot make the folder "),
            std::string::npos);
}

}  // namespace
}  // namespace luce

// generate, logprobs, init and check, on the tiny model.
#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "program.h"

namespace luce::cli_test {
namespace {

std::vector<double> numbers(const Json& list) { return list.get<std::vector<double>>(); }

void expect_near(const std::vector<double>& got, const std::vector<double>& want, double bound) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], bound) << i;
}

Strings generate(const std::string& prompt, const Strings& more) {
  Strings arguments = {"generate", golden("tiny"), "--prompt", prompt};
  arguments.insert(arguments.end(), more.begin(), more.end());
  return arguments;
}

TEST(CliGenerate, GreedyTakesTheGoldenTokens) {
  const Json file = golden_json("greedy_tiny.json");
  const std::string tokens = file["max_new_tokens"].dump();
  for (const auto& row : file["rows"]) {
    const std::string prompt = row["prompt"];
    const Strings greedy = {"--temperature", "0", "--max-new-tokens", tokens};
    Strings with_json = greedy;
    with_json.push_back("--json");
    const Outcome outcome = luce(generate(prompt, with_json));
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    const Json sample = json_lines(outcome.out).at(0);
    EXPECT_EQ(sample["prompt"], prompt);
    EXPECT_EQ(sample["ids"], row["new_ids"]);
    EXPECT_EQ(sample["finish_reason"], "length");
    // Both texts agree up to the first bytes that are no character, which each library shows in
    // its own way.
    const std::string text = sample["completion"];
    EXPECT_EQ(luce(generate(prompt, greedy)).out, text + "\n") << "without --json the text alone";
  }
}

TEST(CliGenerate, TextStartsAsTheGoldenText) {
  // Up to the first bytes that are no character: each library shows those in its own way.
  const Json row = golden_json("greedy_tiny.json")["rows"][0];
  const std::string prompt = row["prompt"], text = row["text"];
  const std::string start = text.substr(prompt.size(), text.find("\uFFFD") - prompt.size());
  ASSERT_GT(start.size(), 4U);
  EXPECT_EQ(luce(generate(prompt, {"--temperature", "0"})).out.substr(0, start.size()), start);
}

TEST(CliGenerate, OneSeedGivesOneSetOfSamples) {
  const Strings options = {"--prompt",         "x", "--n",    "3",
                           "--max-new-tokens", "8", "--json", "--seed"};
  const auto with_seed = [&](const std::string& seed) {
    Strings more = options;
    more.push_back(seed);
    return luce(generate("the cat", more)).out;
  };
  const std::string first = with_seed("7");
  EXPECT_EQ(with_seed("7"), first);
  EXPECT_NE(with_seed("8"), first);
  const auto samples = json_lines(first);
  ASSERT_EQ(samples.size(), 6U) << "3 of each prompt";
  std::set<std::string> different;
  for (size_t i = 0; i < samples.size(); ++i) {
    EXPECT_EQ(samples[i]["prompt"], i < 3 ? "the cat" : "x");
    EXPECT_LE(samples[i]["ids"].size(), 8U);
    different.insert(samples[i]["ids"].dump());
  }
  EXPECT_EQ(different.size(), 6U);
}

TEST(CliGenerate, LogpsOfSamplesAgreeWithLogprobs) {
  const Workspace at;
  const Json row = golden_json("greedy_tiny.json")["rows"][0];
  const Outcome outcome = luce(generate(
      row["prompt"], {"--n", "2", "--max-new-tokens", "20", "--temperature", "0.7", "--json"}));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::string rows;
  const auto samples = json_lines(outcome.out);
  for (const auto& sample : samples) {
    auto ids = row["prompt_ids"].get<std::vector<int64_t>>();
    for (const auto& id : sample["ids"]) ids.push_back(id);
    rows += Json{{"input_ids", ids}}.dump() + "\n";
  }
  const Outcome scored = luce({"logprobs", golden("tiny"), at.file("ids.jsonl", rows)});
  ASSERT_EQ(scored.code, 0) << scored.err;
  const auto lines = json_lines(scored.out);
  ASSERT_EQ(lines.size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    const auto all = numbers(lines[i]), logps = numbers(samples[i]["logps"]);
    ASSERT_EQ(all.size(), row["prompt_ids"].size() - 1 + logps.size());
    expect_near({all.end() - static_cast<int64_t>(logps.size()), all.end()}, logps, 1e-4);
  }
}

TEST(CliGenerate, RefusesWhatCannotBeSampled) {
  const Workspace at;
  expect_refusal(
      at, generate("x", {"--n", "0"}), 64,
      "sampling needs temperature >= 0, top_k >= 0, 0 < top_p <= 1, at least one sample "
      "and one new token; got temperature 1, top_k 0, top_p 1, samples 0, new tokens 128");
  expect_refusal(at, generate("x", {"--dtype", "int8"}), 64,
                 "--dtype: dtype must be float32, float64 or bfloat16; got \"int8\"");
  std::string prompt;
  for (int i = 0; i < 200; ++i) prompt += "x ";
  const Outcome outcome = luce(generate(prompt, {}));
  EXPECT_EQ(outcome.code, 65);
  EXPECT_TRUE(
      std::regex_match(outcome.sentence(),
                       std::regex("prompt 1 has [0-9]+ tokens; the model's context is 128, which "
                                  "leaves no room for an answer")))
      << outcome.sentence();
}

TEST(CliLogprobs, GivesTheGoldenValues) {
  const Workspace at;
  for (const std::string model : {"tiny", "tiny-untied"}) {
    const Json file =
        golden_json(model == "tiny" ? "logprobs_tiny.json" : "logprobs_tiny_untied.json");
    std::string rows;
    for (const auto& row : file["rows"])
      rows += Json{{"input_ids", row["input_ids"]}}.dump() + "\n";
    const std::string path = at.file("ids.jsonl", rows);
    for (const Strings& more : {Strings{}, Strings{"--micro-batch-tokens", "1"}}) {
      Strings arguments = {"logprobs", golden(model), path};
      arguments.insert(arguments.end(), more.begin(), more.end());
      const Outcome outcome = luce(arguments);
      ASSERT_EQ(outcome.code, 0) << outcome.err;
      EXPECT_EQ(outcome.err, "");
      const auto lines = json_lines(outcome.out);
      ASSERT_EQ(lines.size(), file["rows"].size());
      for (size_t i = 0; i < lines.size(); ++i) {
        SCOPED_TRACE(model + ", " + file["rows"][i]["label"].get<std::string>());
        expect_near(numbers(lines[i]), numbers(file["rows"][i]["logps"]), 2e-4);
      }
    }
  }
}

TEST(CliLogprobs, ARowOfOneTokenGivesAnEmptyList) {
  const Workspace at;
  const std::string ids = at.file(
      "ids.jsonl", "{\"input_ids\": [1, 5]}\n{\"input_ids\": [1]}\n{\"input_ids\": [1, 6]}\n");
  const auto lines = json_lines(luce({"logprobs", golden("tiny"), ids}).out);
  ASSERT_EQ(lines.size(), 3U);
  EXPECT_EQ(lines[0].size(), 1U);
  EXPECT_EQ(lines[1].dump(), "[]");
  EXPECT_EQ(lines[2].size(), 1U);
  const std::string one = at.file("one.jsonl", "{\"input_ids\": [1]}\n");
  EXPECT_EQ(luce({"logprobs", golden("tiny"), one}).out, "[]\n");
}

TEST(CliLogprobs, ScoresACompletionAndItsEnd) {
  const Workspace at;
  const std::string rows =
      at.file("r.jsonl", "{\"prompt\": \"the cat sat\", \"completion\": \" on the mat\"}\n");
  const auto with_eos = json_lines(luce({"logprobs", golden("tiny"), rows}).out);
  const auto without = json_lines(luce({"logprobs", golden("tiny"), rows, "--no-eos"}).out);
  ASSERT_EQ(with_eos.size(), 1U);
  ASSERT_EQ(without.size(), 1U);
  auto start = numbers(with_eos[0]);
  ASSERT_EQ(start.size(), without[0].size() + 1);
  start.pop_back();
  expect_near(start, numbers(without[0]), 1e-5);
}

TEST(CliLogprobs, NamesTheRowThatItCannotScore) {
  const Workspace at;
  const auto refuse = [&](const std::string& row, const std::string& sentence) {
    const std::string path = at.file("r.jsonl", "{\"input_ids\": [1, 2]}\n" + row + "\n");
    const Outcome outcome = luce({"logprobs", golden("tiny"), path});
    EXPECT_EQ(outcome.code, 65) << row;
    EXPECT_EQ(at.strip(outcome.sentence()), sentence) << row;
  };
  refuse(Json{{"input_ids", std::vector<int>(129, 1)}}.dump(),
         "r.jsonl:2: 129 tokens; the model's context is 128");
  refuse("{\"input_ids\": [1, 352]}", "r.jsonl:2: token id 352 is outside the vocabulary of 352");
  refuse("{\"input_ids\": [1, -2]}",
         "r.jsonl:2: \"input_ids\" holds -2 at place 1, expected a token id");
}

TEST(CliInit, MakesTheSameModelFromTheSameSeed) {
  const Workspace at;
  const std::string config = golden("tiny/config.json"), tokenizer = golden("tiny/tokenizer.model");
  const auto init = [&](const std::string& name, const std::string& seed) {
    const Outcome outcome =
        luce({"init", config, (at / name).string(), "--tokenizer", tokenizer, "--seed", seed});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    return read_file(at / name / "model.safetensors");
  };
  const std::string a = init("a", "1");
  EXPECT_EQ(init("b", "1"), a);
  EXPECT_NE(init("c", "2"), a);
  std::set<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(at / "a"))
    names.insert(entry.path().filename());
  EXPECT_EQ(names, (std::set<std::string>{"config.json", "model.safetensors", "tokenizer.model",
                                          "tokenizer_config.json"}));
  EXPECT_EQ(read_file(at / "a" / "tokenizer.model"), read_file(tokenizer));

  const std::string rows = at.file("r.jsonl", "{\"text\": \"the cat sat\"}\n");
  const Outcome scored = luce({"logprobs", (at / "a").string(), rows});
  EXPECT_EQ(scored.code, 0) << scored.err;
  EXPECT_GT(json_lines(scored.out).at(0).size(), 2U);
}

TEST(CliInit, ReplacesNothing) {
  const Workspace at;
  const std::string config = golden("tiny/config.json"), file = at.file("file", "precious");
  at.model("m");
  const std::string there = " is there already; a new model goes into a new or an empty folder";
  expect_refusal(at, {"init", config, file}, 73, "file" + there);
  expect_refusal(at, {"init", config, (at / "m").string()}, 73, "m" + there);
  EXPECT_EQ(read_file(file), "precious");
  EXPECT_EQ(read_file(at / "m" / "model.safetensors"), read_file(golden("tiny/model.safetensors")));
  std::filesystem::create_directory(at / "empty");
  EXPECT_EQ(luce({"init", config, (at / "empty").string()}).code, 0);
}

TEST(CliInit, RefusesATokenizerThatIsLargerThanTheVocabulary) {
  const Workspace at;
  Json config = golden_json("tiny/config.json");
  config["vocab_size"] = 300;
  const std::string path = at.file("small.json", config.dump());
  const std::string tokenizer = golden("tiny/tokenizer.model");
  expect_refusal(at, {"init", path, (at / "new").string(), "--tokenizer", tokenizer}, 64,
                 tokenizer +
                     " has 352 entries; small.json says vocab_size 300, which must be at "
                     "least that");
  for (const auto& entry : std::filesystem::directory_iterator(at.path()))
    EXPECT_NE(entry.path().filename().string().rfind("new", 0), 0U) << "nothing is left behind";
}

TEST(CliCheck, ShowsRowsLengthsAndOneStepAndTrainsNothing) {
  const Workspace at;
  const Outcome outcome = luce({"check", at.dpo, "--rows", "2"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const std::string part :
       {"config: dpo.json, task preference\n", "tokens in [brackets] are scored:\n",
        "row 1\n  prompt (12 tokens): <s>▁the▁cat▁sat▁on▁the▁mat\n"
        "  chosen (10 tokens): [▁and][▁was][▁h][a][p][p][y][▁][.][</s>]\n"
        "  rejected (7 tokens): [▁and][▁was][▁s][ad][▁][.][</s>]\nrow 2\n",
        "lengths (prompt and answer, tokens): min ", "\npairs: 36 of 36 prompts, 1 a prompt ",
        "  answer lengths (tokens): chosen ",
        " are few (below 1000): ", "steps: 3 (9 an epoch), learning rate 0.001\n",
        "one step without an update: 4 rows in 1 micro-batches, ", ", loss 0.693147, "})
    EXPECT_NE(at.strip(outcome.out).find(part), std::string::npos) << part << "\n" << outcome.out;
  EXPECT_EQ(outcome.out.find("row 3\n"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(at.out() / "model.safetensors"));
  EXPECT_FALSE(std::filesystem::exists(at.out() / "metrics.jsonl"));
}

TEST(CliCheck, ShowsTheScoredTokensOfTexts) {
  const Workspace at;
  const Outcome outcome = luce({"check", at.sft, "--rows", "1"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("row 1\n  prompt (12 tokens): <s>▁the▁cat▁sat▁on▁the▁mat\n"
                             "  scored (10 tokens): [▁and][▁was][▁h][a][p][p][y][▁][.][</s>]\n"),
            std::string::npos)
      << outcome.out;
  EXPECT_EQ(outcome.out.find("pairs: "), std::string::npos) << "demonstrations are no pairs";
}

TEST(CliCheck, ColorsOnATerminalUnlessNoColorIsSet) {
  const Workspace at;
  const std::regex color("\x1b\\[[0-9;]*m");
  EXPECT_TRUE(std::regex_search(luce_on_terminal({"check", at.dpo}, {{"NO_COLOR", ""}}), color))
      << "an empty variable counts as unset";
  const std::string plain = luce_on_terminal({"check", at.dpo}, {{"NO_COLOR", "1"}});
  EXPECT_FALSE(std::regex_search(plain, color)) << plain;
  EXPECT_NE(plain.find("tokens in [brackets] are scored"), std::string::npos);
}

}  // namespace
}  // namespace luce::cli_test

// score and judge-rows: against the peer's scores, and against each other's forms.
#include <gtest/gtest.h>

#include <cmath>

#include "luce/base/file.h"
#include "models.h"

namespace luce::cli_test {
namespace {

std::vector<double> numbers(const Json& list) { return list.get<std::vector<double>>(); }

/// The objects that score prints; the program must succeed.
std::vector<Json> scored(Strings arguments) {
  arguments.insert(arguments.begin(), "score");
  const Outcome outcome = luce(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return json_lines(outcome.out);
}

TEST(CliScore, GivesThePeersScoresOfPairs) {
  const Workspace at;
  const Json golden = golden_json("reward_tiny.json");
  std::string rows;
  std::vector<Json> lines = json_lines(read_file(cli_test::golden("pairs_tiny.jsonl")));
  for (size_t i = 0; i < golden["rows"]["count"].get<size_t>(); ++i)
    if (!golden["tokenized"][i]["dropped"].get<bool>()) rows += lines[i].dump() + "\n";
  const Outcome outcome = luce({"score", score_folder(at, "reward"), at.file("r.jsonl", rows),
                                "--micro-batch-tokens", "90"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto got = json_lines(outcome.out);
  const Json& want = golden["scores"]["exact"];
  ASSERT_EQ(got.size(), want.size());
  double right = 0, margin = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i]["row"], i + 1);
    EXPECT_EQ(got[i].size(), 2U) << "row and scores alone";
    const auto a = numbers(got[i]["scores"]), b = numbers(want[i]);
    ASSERT_EQ(a.size(), 2U);
    for (size_t k = 0; k < 2; ++k) EXPECT_NEAR(a[k], b[k], 1e-4) << i;
    right += a[0] > a[1] ? 1 : a[0] == a[1] ? 0.5 : 0;
    margin += a[0] - a[1];
  }
  const auto n = static_cast<double>(got.size());
  char line[64];
  std::snprintf(line, sizeof line, "30 pairs: accuracy %.4g ± ", right / n);
  EXPECT_NE(outcome.err.find(line), std::string::npos) << outcome.err;
  std::snprintf(line, sizeof line, ", mean margin %.4g ± ", margin / n);
  EXPECT_NE(outcome.err.find(line), std::string::npos) << outcome.err;
}

TEST(CliScore, ScoresRowsOfAnyTypeAlike) {
  const Workspace at;
  const std::string model = score_folder(at, "reward");
  const std::string rows = at.file(
      "rows.jsonl",
      "{\"prompt\": \"the cat\", \"chosen\": \" sat .\", \"rejected\": \" ran .\"}\n"
      "{\"prompt\": \"the cat\", \"completion\": \" sat .\", \"label\": true}\n"
      "{\"prompt\": \"the cat\", \"completion\": \" ran .\", \"score\": 2}\n"
      "{\"prompt\": \"the cat\", \"completions\": [\" ran .\", \" sat .\"], \"ranks\": [1, 2]}\n"
      "{\"prompt\": \"the cat\", \"completion\": \" sat .\"}\n"
      "{\"text\": \"the cat sat .\"}\n");
  const auto got = scored({model, rows});
  ASSERT_EQ(got.size(), 6U);
  const auto pair = numbers(got[0]["scores"]);
  const std::vector<std::vector<double>> want = {
      pair, {pair[0]}, {pair[1]}, {pair[1], pair[0]}, {pair[0]}, {pair[0]}};
  for (size_t i = 0; i < 6; ++i) {
    const auto scores = numbers(got[i]["scores"]);
    ASSERT_EQ(scores.size(), want[i].size()) << i;
    for (size_t k = 0; k < scores.size(); ++k) EXPECT_NEAR(scores[k], want[i][k], 1e-5) << i;
  }
}

TEST(CliScore, CombinesFoldersAndNormalises) {
  const Workspace at;
  const std::string a = score_folder(at, "a", {}, 2, Moments{0.5, 2});
  const std::string b = score_folder(at, "b", {}, 3, Moments{-1, 4});
  const std::string rows = first_rows(at, "pairs_tiny.jsonl", 3);
  const auto first = scored({a, rows}), second = scored({b, rows});
  const auto both = scored({a, rows, "--with", b, "--combine", "lower_bound", "--kappa", "0.5"});
  const auto normal = scored({a, rows, "--normalise"});
  for (size_t i = 0; i < 3; ++i)
    for (size_t k = 0; k < 2; ++k) {
      const double x = first[i]["scores"][k], y = second[i]["scores"][k];
      const double deviation = std::abs(x - y) / std::sqrt(2.0);
      EXPECT_NEAR(both[i]["std"][k].get<double>(), deviation, 1e-5);
      EXPECT_NEAR(both[i]["scores"][k].get<double>(), (x + y) / 2 - deviation / 2, 1e-5);
      EXPECT_NEAR(normal[i]["scores"][k].get<double>(), (x - 0.5) / 2, 1e-5);
    }
}

TEST(CliScore, ReducesStepsOfAProcessModel) {
  const Workspace at;
  const std::string model = score_folder(at, "process", {.kind = ScoreKind::process}, 4);
  const std::string rows = at.file(
      "s.jsonl",
      "{\"prompt\": \"2 + 3 =\", \"completions\": [\"2 + 3\", \"5\"], \"labels\": [true, true]}\n");
  const Json row = scored({model, rows, "--reduce", "mean", "--dense"}).at(0);
  const auto steps = numbers(row["dense"].at(0));
  ASSERT_EQ(steps.size(), 2U);
  EXPECT_NE(steps[0], steps[1]);
  EXPECT_NEAR(row["scores"][0].get<double>(), (steps[0] + steps[1]) / 2, 1e-8);
  EXPECT_NEAR(scored({model, rows}).at(0)["scores"][0].get<double>(), steps[1], 1e-8);
}

TEST(CliScore, TheImplicitRewardIsBetaTimesTheLogRatio) {
  const Workspace at;
  const std::string policy = golden("tiny"), reference = golden("tiny-untied");
  const std::string row = "{\"prompt\": \"the cat sat\", \"completion\": \" on the mat .\"}\n";
  const std::string rows = at.file("r.jsonl", row);
  const auto logp = [&](const std::string& model) {
    double sum = 0;
    for (const double x : numbers(json_lines(luce({"logprobs", model, rows}).out).at(0))) sum += x;
    return sum;
  };
  const Json got = scored({policy, rows, "--reference", reference, "--beta", "0.25"}).at(0);
  EXPECT_NEAR(got["scores"][0].get<double>(), 0.25 * (logp(policy) - logp(reference)), 1e-4);
}

const char kAnswer[] =
    R"({"template": "Q: {prompt}\nA: {answer}\nGood:\n{verdict}", "verdicts": ["Yes", "No"]})";
const char kPair[] =
    R"({"template": "Q: {prompt}\nA: {first}\nB: {second}\nBest:\n{verdict}", "verdicts": ["A", "B"]})";

/// log p of the last tokens of two texts that share a prompt, summed, and their difference.
double log_odds(const Workspace& at, const std::string& prompt, const std::string& yes,
                const std::string& no) {
  std::string rows;
  for (const auto& verdict : {yes, no})
    rows += Json{{"prompt", prompt}, {"completion", verdict}}.dump() + "\n";
  const auto lines =
      json_lines(luce({"logprobs", golden("tiny"), at.file("v.jsonl", rows), "--no-eos"}).out);
  double sums[2] = {0, 0};
  for (size_t k = 0; k < 2; ++k)
    for (const double x : numbers(lines.at(k))) sums[k] += x;
  return sums[0] - sums[1];
}

TEST(CliScore, AJudgeScoresByTheLogOddsOfItsVerdicts) {
  const Workspace at;
  const std::string answer = at.file("answer.json", kAnswer), pair = at.file("pair.json", kPair);
  const std::string rows =
      at.file("r.jsonl", "{\"prompt\": \"a cat\", \"chosen\": \"sat\", \"rejected\": \"ran\"}\n");
  const Json one = scored({golden("tiny"), rows, "--judge", answer}).at(0);
  EXPECT_NEAR(one["scores"][0].get<double>(),
              log_odds(at, "Q: a cat\nA: sat\nGood:\n", "Yes", "No"), 1e-4);
  EXPECT_NEAR(one["scores"][1].get<double>(),
              log_odds(at, "Q: a cat\nA: ran\nGood:\n", "Yes", "No"), 1e-4);
  const Json two = scored({golden("tiny"), rows, "--judge", pair}).at(0);
  const double there = log_odds(at, "Q: a cat\nA: sat\nB: ran\nBest:\n", "A", "B");
  const double back = log_odds(at, "Q: a cat\nA: ran\nB: sat\nBest:\n", "A", "B");
  EXPECT_NEAR(two["preference"].get<double>(), 1 / (1 + std::exp((back - there) / 2)), 1e-5);
  EXPECT_NEAR(two["order_gap"].get<double>(), there + back, 1e-4);
}

TEST(CliJudgeRows, GivesQuestionsWithTheirVerdicts) {
  const Workspace at;
  const std::string answer = at.file("answer.json", kAnswer), pair = at.file("pair.json", kPair);
  const std::string pairs =
      at.file("p.jsonl", "{\"prompt\": \"q\", \"chosen\": \"x\", \"rejected\": \"y\"}\n");
  const std::string labelled =
      at.file("u.jsonl",
              "{\"prompt\": \"q\", \"completion\": \"x\", \"label\": true}\n"
              "{\"prompt\": \"q\", \"completion\": \"y\", \"label\": false}\n");
  const std::string both = R"({"prompt":"Q: q\nA: x\nB: y\nBest:\n","completion":"A"})"
                           "\n"
                           R"({"prompt":"Q: q\nA: y\nB: x\nBest:\n","completion":"B"})"
                           "\n";
  const std::string each = R"({"prompt":"Q: q\nA: x\nGood:\n","completion":"Yes"})"
                           "\n"
                           R"({"prompt":"Q: q\nA: y\nGood:\n","completion":"No"})"
                           "\n";
  EXPECT_EQ(luce({"judge-rows", pair, pairs}).out, both);
  EXPECT_EQ(luce({"judge-rows", answer, pairs}).out, each);
  EXPECT_EQ(luce({"judge-rows", answer, labelled}).out, each);
  expect_refusal(at, {"judge-rows", pair, labelled}, 65,
                 "u.jsonl:1: a pairwise template is trained on chosen and rejected answers");
  const std::string texts = at.file("t.jsonl", "{\"text\": \"x\"}\n");
  expect_refusal(at, {"judge-rows", answer, texts}, 65,
                 "t.jsonl:1: a pointwise template is trained on chosen and rejected answers, or on "
                 "answers with a label");
}

TEST(CliScore, NamesTheRowThatItCannotScore) {
  const Workspace at;
  const std::string reward = score_folder(at, "reward");
  const std::string process = score_folder(at, "process", {.kind = ScoreKind::process}, 4);
  const auto refuse = [&](const std::string& model, const std::string& row, Strings more,
                          const std::string& sentence) {
    Strings arguments = {"score", model, at.file("r.jsonl", row + "\n")};
    arguments.insert(arguments.end(), more.begin(), more.end());
    expect_refusal(at, arguments, 65, sentence);
  };
  refuse(reward, "{\"prompt\": \"x\"}", {},
         "r.jsonl:1: expected answers: chosen and rejected, prompt and completion, completions "
         "with ranks, scores or labels, text, or input_ids");
  refuse(reward, "{\"prompt\": 3, \"completion\": \"x\"}", {},
         "r.jsonl:1: \"prompt\" is a number, expected a string");
  refuse(reward, "{\"prompt\": [{\"role\": \"user\"}], \"completion\": \"x\"}", {},
         "r.jsonl:1: a list of chat messages; write the text that the chat template makes of them");
  refuse(reward, "{\"input_ids\": [1]}", {},
         "r.jsonl:1: an answer without a token cannot be scored");
  refuse(reward, "{\"input_ids\": [1, 352]}", {},
         "r.jsonl:1: token id 352 is outside the vocabulary of 352");
  refuse(reward, Json{{"input_ids", std::vector<int>(129, 1)}}.dump(), {},
         "r.jsonl:1: 129 tokens; the model's context is 128");
  refuse(reward, "{\"input_ids\": [1, 2, 3]}", {"--max-length", "2"},
         "r.jsonl:1: 3 tokens; --max-length is 2");
  refuse(process, "{\"text\": \"x\"}", {},
         "r.jsonl:1: a process model scores steps; its rows have prompt, completions and labels");
  refuse(reward, "", {}, "r.jsonl: there are no rows");
  const Strings judge = {"--judge", at.file("pair.json", kPair)};
  refuse(golden("tiny"), "{\"text\": \"x\"}", judge,
         "r.jsonl:1: this template compares two answers; the row has no chosen and rejected one");
  refuse(golden("tiny"), "{\"input_ids\": [1, 2]}", judge,
         "r.jsonl:1: a judge reads texts; this row holds token ids");
  std::filesystem::remove(at / "reward" / "tokenizer.model");
  refuse(reward, "{\"text\": \"x\"}", {},
         "r.jsonl:1: the model's folder has no tokenizer.model, so rows must hold input_ids");
  refuse(reward, "{\"input_ids\": [1, 352]}", {},
         "r.jsonl:1: the token id 352 is not in the model's vocabulary of 352");
}

TEST(CliScore, RefusesModelsAndOptionsThatDoNotFit) {
  const Workspace at;
  const std::string reward = score_folder(at, "reward"), tiny = golden("tiny");
  const std::string rows = at.file("r.jsonl", "{\"text\": \"the cat\"}\n");
  const std::string pair = at.file("pair.json", kPair);
  const auto refuse = [&](Strings arguments, int code, const std::string& sentence) {
    arguments.insert(arguments.begin(), "score");
    expect_refusal(at, arguments, code, sentence);
  };
  refuse({tiny, rows}, 65,
         tiny +
             ": this model has no head of scores; a reward model is what `luce train` makes "
             "with task \"reward\"");
  const std::string lm_wanted =
      "reward: this model has a head of scores; a language model is needed here";
  refuse({reward, rows, "--reference", tiny}, 64, lm_wanted);
  refuse({tiny, rows, "--reference", reward}, 64, lm_wanted);
  refuse({reward, rows, "--judge", pair}, 64, lm_wanted);
  refuse({tiny, rows, "--judge", pair, "--reference", tiny}, 64,
         "--reference makes MODEL a policy and --judge makes it a judge; give one of them");
  refuse({tiny, rows, "--judge", pair, "--with", reward}, 64,
         "--with adds reward models to an ensemble; it cannot stand beside --judge");
  refuse({tiny, rows, "--reference", tiny, "--normalise"}, 64,
         "--combine, --kappa, --reduce, --dense and --normalise are for models with a head of "
         "scores; they cannot stand beside --reference");
  refuse({tiny, rows, "--judge", pair, "--max-length", "100"}, 64,
         "--max-length cannot stand beside --judge: a question is never cut");
  refuse({reward, rows, "--max-length", "129"}, 64,
         "--max-length is 129; the model's context is 128");
  refuse({reward, rows, "--dense"}, 64,
         "reward: a reward model scores an answer once; --dense and --reduce are for outcome and "
         "process models");
  const std::string other = score_folder(at, "other", {}, 2);
  std::filesystem::remove(at / "other" / "tokenizer.model");
  refuse({reward, rows, "--with", other}, 64,
         "other: its tokenizer is not that of reward; models that score the same rows must read "
         "the same tokens");
}

}  // namespace
}  // namespace luce::cli_test

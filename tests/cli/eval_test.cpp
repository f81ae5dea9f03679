// eval: its numbers against those of score, generate and logprobs, put together here.
#include <gtest/gtest.h>

#include <cmath>

#include "luce/base/file.h"
#include "luce/data/tokenizer.h"
#include "models.h"

namespace luce::cli_test {
namespace {

Json found(Strings arguments) {
  arguments.insert(arguments.begin(), "eval");
  const Outcome outcome = luce(arguments);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  return outcome.code == 0 ? parse_json(outcome.out, "eval") : Json();
}

double value(const Json& estimate) { return estimate["value"].get<double>(); }

double mean(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v;
  return sum / static_cast<double>(x.size());
}

double standard_error(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += (v - mean(x)) * (v - mean(x));
  const auto n = static_cast<double>(x.size());
  return std::sqrt(sum / (n - 1) / n);
}

constexpr size_t kPrompts = 3;
const char* const kTexts[kPrompts] = {"the cat sat", "Tom has", "we go to"};

std::string prompts(const Workspace& at) {
  std::string rows;
  for (const char* text : kTexts) rows += Json{{"prompt", text}, {"other", 1}}.dump() + "\n";
  return at.file("prompts.jsonl", rows);
}

/// What `generate` draws for the prompts: n objects each, in order.
std::vector<Json> samples(const std::string& policy, const std::string& n) {
  Strings arguments = {"generate", policy, "--n", n, "--max-new-tokens", "6", "--json"};
  for (const char* text : kTexts) arguments.insert(arguments.end(), {"--prompt", text});
  return json_lines(luce(arguments).out);
}

/// The scores that `score` gives to sampled answers.
std::vector<double> scores(const Workspace& at, const std::string& model,
                           const std::vector<Json>& answers) {
  std::string rows;
  for (const auto& answer : answers)
    rows += Json{{"prompt", answer["prompt"]}, {"completion", answer["completion"]}}.dump() + "\n";
  std::vector<double> out;
  for (const auto& line : json_lines(luce({"score", model, at.file("answers.jsonl", rows)}).out))
    out.push_back(line["scores"][0]);
  return out;
}

TEST(CliEval, PairsAreThoseOfScore) {
  const Workspace at;
  const std::string model = score_folder(at, "reward");
  const std::string rows = first_rows(at, "pairs_tiny.jsonl", 8);
  std::vector<double> hits, margins, brier, loss;
  for (const auto& line : json_lines(luce({"score", model, rows}).out)) {
    const double margin = line["scores"][0].get<double>() - line["scores"][1].get<double>();
    const double p = 1 / (1 + std::exp(-margin));
    margins.push_back(margin);
    hits.push_back(margin > 0 ? 1 : 0);
    brier.push_back((1 - p) * (1 - p));
    loss.push_back(-std::log(p));
  }
  ASSERT_EQ(margins.size(), 8U);
  const Json got = found({"pairs", model, rows, "--out", (at / "page").string()});
  EXPECT_EQ(got["accuracy"]["count"], 8);
  EXPECT_NEAR(value(got["accuracy"]), mean(hits), 1e-8);
  EXPECT_NEAR(got["accuracy"]["error"].get<double>(), standard_error(hits), 1e-8);
  EXPECT_NEAR(value(got["margin"]), mean(margins), 1e-6);
  EXPECT_NEAR(got["margin"]["error"].get<double>(), standard_error(margins), 1e-6);
  EXPECT_NEAR(got["calibration"]["brier"].get<double>(), mean(brier), 1e-6);
  EXPECT_NEAR(got["calibration"]["log_loss"].get<double>(), mean(loss), 1e-6);
  double ece = 0;
  for (const auto& bin : got["calibration"]["bins"])
    ece += bin["count"].get<double>() / 8 *
           std::abs(bin["observed"].get<double>() - bin["predicted"].get<double>());
  EXPECT_NEAR(got["calibration"]["ece"].get<double>(), ece, 1e-7);
  EXPECT_EQ(parse_json(read_file(at / "page" / "eval.json"), "eval.json"), got);
  const std::string page = read_file(at / "page" / "report.html");
  EXPECT_NE(page.find("Reliability"), std::string::npos);
}

TEST(CliEval, ScoresThatAreNoLogOddsAreNotCalibrated) {
  const Workspace at;
  const std::string model = score_folder(at, "outcome", {.kind = ScoreKind::outcome}, 4);
  const Json got = found({"pairs", model, first_rows(at, "pairs_tiny.jsonl", 4)});
  EXPECT_EQ(got["accuracy"]["count"], 4);
  EXPECT_FALSE(got.contains("calibration"));
}

TEST(CliEval, TheBestOfNIsTheMeanOverAllSubsets) {
  const Workspace at;
  const std::string reward = score_folder(at, "reward"), gold = score_folder(at, "gold", {}, 7);
  const auto answers = samples(golden("tiny"), "3");
  const auto r = scores(at, reward, answers), g = scores(at, gold, answers);
  ASSERT_EQ(r.size(), 3 * kPrompts);
  std::vector<double> best[3], judged[3];  // by n − 1, over prompts
  for (size_t q = 0; q < kPrompts; ++q)
    for (size_t n = 1; n <= 3; ++n) {
      std::vector<double> picked, told;
      for (unsigned subset = 1; subset < 8; ++subset) {
        if (static_cast<size_t>(__builtin_popcount(subset)) != n) continue;
        size_t at_best = 3;
        for (size_t j = 0; j < 3; ++j)
          if ((subset >> j & 1) != 0 && (at_best == 3 || r[3 * q + j] > r[3 * q + at_best]))
            at_best = j;
        picked.push_back(r[3 * q + at_best]);
        told.push_back(g[3 * q + at_best]);
      }
      best[n - 1].push_back(mean(picked));
      judged[n - 1].push_back(mean(told));
    }
  const Json got = found({"best-of-n", golden("tiny"), prompts(at), "--reward", reward, "--gold",
                          gold, "--n", "3", "--max-new-tokens", "6"});
  EXPECT_EQ(got["prompts"], kPrompts);
  ASSERT_EQ(got["curve"].size(), 3U);
  for (size_t n = 1; n <= 3; ++n) {
    const Json& entry = got["curve"][n - 1];
    EXPECT_EQ(entry["n"], n);
    const auto x = static_cast<double>(n);
    EXPECT_NEAR(entry["kl"].get<double>(), std::log(x) - (x - 1) / x, 1e-8);
    EXPECT_NEAR(value(entry["reward"]), mean(best[n - 1]), 1e-4) << n;
    EXPECT_NEAR(value(entry["gold"]), mean(judged[n - 1]), 1e-4) << n;
    EXPECT_NEAR(entry["reward"]["error"].get<double>(), standard_error(best[n - 1]), 1e-4) << n;
  }
}

TEST(CliEval, AWinRateIsTheMeanOverPrompts) {
  const Workspace at;
  const std::string reward = score_folder(at, "reward");
  const Strings common = {prompts(at), "--reward", reward, "--max-new-tokens", "6"};
  const auto with = [&](Strings words, const Strings& more) {
    words.insert(words.begin(), "win-rate");
    words.insert(words.end(), common.begin(), common.end());
    words.insert(words.end(), more.begin(), more.end());
    return found(words);
  };
  const Json same = with({golden("tiny"), golden("tiny")}, {"--temperature", "0", "--n", "2"});
  EXPECT_EQ(value(same["win_rate"]), 0.5);
  EXPECT_EQ(same["win_rate"]["error"], 0);
  EXPECT_EQ(same["win_rate"]["count"], kPrompts);

  // The first policy's answers are those of generate; greedy answers need no random numbers.
  const auto greedy = [&](const std::string& policy) {
    Strings words = {"generate", policy, "--temperature", "0", "--max-new-tokens", "6", "--json"};
    for (const char* text : kTexts) words.insert(words.end(), {"--prompt", text});
    return scores(at, reward, json_lines(luce(words).out));
  };
  const auto a = greedy(golden("tiny")), b = greedy(golden("tiny-untied"));
  std::vector<double> won;
  for (size_t q = 0; q < kPrompts; ++q) won.push_back(a[q] > b[q] ? 1 : a[q] < b[q] ? 0 : 0.5);
  const Json other = with({golden("tiny"), golden("tiny-untied")}, {"--temperature", "0"});
  EXPECT_NEAR(value(other["win_rate"]), mean(won), 1e-8);
  EXPECT_NEAR(other["win_rate"]["error"].get<double>(), standard_error(won), 1e-8);
  const double n = kPrompts, z2 = 1.959963984540054 * 1.959963984540054, p = mean(won);
  const double middle = (p + z2 / (2 * n)) / (1 + z2 / n);  // Wilson's interval
  const double half = std::sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n))) / (1 + z2 / n);
  EXPECT_NEAR(other["interval"][0].get<double>(), middle - half, 1e-8);
  EXPECT_NEAR(other["interval"][1].get<double>(), middle + half, 1e-8);
}

TEST(CliEval, AJudgeOfPairsTellsAWinRate) {
  const Workspace at;
  const std::string pair = at.file(
      "pair.json",
      R"({"template": "Q: {prompt}\nA: {first}\nB: {second}\nBest:\n{verdict}", "verdicts": ["A", "B"]})");
  const Strings words = {"--reward", golden("tiny"), "--judge", pair, "--max-new-tokens", "2"};
  const auto rate = [&](const std::string& a, const std::string& b) {
    Strings arguments = {"win-rate", a, b, prompts(at), "--temperature", "0"};
    arguments.insert(arguments.end(), words.begin(), words.end());
    return found(arguments);
  };
  const Json there = rate(golden("tiny"), golden("tiny-untied"));
  const Json back = rate(golden("tiny-untied"), golden("tiny"));
  EXPECT_NEAR(value(there["win_rate"]) + value(back["win_rate"]), 1, 1e-9);
  EXPECT_NEAR(value(there["order_gap"]), value(back["order_gap"]), 1e-4);
}

TEST(CliEval, StrengthsOfTwoNamesAreTheirLogOdds) {
  const Workspace at;
  std::string rows;
  for (int i = 0; i < 4; ++i)
    rows +=
        Json{{"first", "old"}, {"second", "new"}, {"winner", i == 0 ? "first" : "second"}}.dump() +
        "\n";
  const Json got = found({"strengths", at.file("t.jsonl", rows)});
  ASSERT_EQ(got["strengths"].size(), 2U);
  EXPECT_EQ(got["strengths"][0]["name"], "new") << "the strongest first";
  EXPECT_NEAR(got["strengths"][0]["strength"].get<double>(), std::log(3) / 2, 1e-7);
  EXPECT_NEAR(got["strengths"][1]["strength"].get<double>(), -std::log(3) / 2, 1e-7);
  EXPECT_NEAR(got["strengths"][0]["elo"].get<double>(), 200 * std::log10(3), 1e-5);
  // The Fisher information of θ_new − θ_old is 4 · ¾ · ¼; each is half of it from the mean.
  EXPECT_NEAR(got["strengths"][0]["error"].get<double>(), std::sqrt(1 / 0.75) / 2, 1e-7);
}

TEST(CliEval, KlIsThatOfTheLogprobsOfSamples) {
  const Workspace at;
  const std::string policy = golden("tiny"), reference = golden("tiny-untied");
  const auto answers = samples(policy, "2");
  const auto tokenizer = Tokenizer::load(policy);
  std::string rows;
  for (const auto& answer : answers) {
    auto ids = tokenizer->encode(answer["prompt"].get<std::string>(), tokenizer->add_bos());
    for (const auto& id : answer["ids"]) ids.push_back(id);
    rows += Json{{"input_ids", ids}}.dump() + "\n";
  }
  const auto theirs = json_lines(luce({"logprobs", reference, at.file("i.jsonl", rows)}).out);
  ASSERT_EQ(theirs.size(), 2 * kPrompts);
  std::vector<double> k1(kPrompts), k2(kPrompts), k3(kPrompts);  // means over a prompt's answers
  for (size_t i = 0; i < theirs.size(); ++i) {
    const auto p = answers[i]["logps"].get<std::vector<double>>();
    const auto all = theirs[i].get<std::vector<double>>();
    for (size_t t = 0; t < p.size(); ++t) {
      const double l = p[t] - all[all.size() - p.size() + t];
      k1[i / 2] += l / 2;
      k2[i / 2] += l * l / 4;
      k3[i / 2] += (std::exp(-l) - 1 + l) / 2;
    }
  }
  const Json got =
      found({"kl", policy, reference, prompts(at), "--n", "2", "--max-new-tokens", "6"});
  const Json same = found({"kl", policy, policy, prompts(at), "--n", "2", "--max-new-tokens", "6"});
  const std::vector<std::pair<std::string, std::vector<double>>> wanted = {
      {"k1", k1}, {"k2", k2}, {"k3", k3}};
  for (const auto& [name, want] : wanted) {
    EXPECT_NEAR(value(got[name]), mean(want), 1e-3 * (1 + std::abs(mean(want)))) << name;
    EXPECT_NEAR(got[name]["error"].get<double>(), standard_error(want),
                1e-3 * (1 + standard_error(want)))
        << name;
  }
  for (const char* name : {"exact", "k1", "k2", "k3"}) {
    EXPECT_EQ(got[name]["count"], kPrompts);
    EXPECT_NEAR(value(same[name]), 0, 1e-5) << name;
  }
  EXPECT_GT(value(got["exact"]), 0.1);
}

TEST(CliEval, RefusesWhatItCannotMeasure) {
  const Workspace at;
  const std::string reward = score_folder(at, "reward"), tiny = golden("tiny");
  const std::string texts = at.file("t.jsonl", "{\"text\": \"the cat\"}\n");
  expect_refusal(at, {"eval"}, 64,
                 "luce eval needs what to measure: pairs, best-of-n, win-rate, strengths or kl");
  expect_refusal(at, {"eval", "pairs", reward, texts}, 65,
                 "t.jsonl:1: expected a pair, \"chosen\" and \"rejected\"; this is a text row");
  const Strings best = {"eval", "best-of-n", tiny};
  const auto best_of = [&](const Strings& more) {
    Strings words = best;
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  expect_refusal(at, best_of({texts, "--reward", reward}), 65, "t.jsonl:1: \"prompt\" is missing");
  expect_refusal(at, best_of({at.file("e.jsonl", ""), "--reward", reward}), 65,
                 "e.jsonl: there are no rows");
  expect_refusal(
      at,
      best_of({at.file("c.jsonl", "{\"prompt\": [{\"role\": \"user\"}]}\n"), "--reward", reward}),
      65,
      "c.jsonl:1: a list of chat messages; write the text that the chat template makes "
      "of them");
  const std::string pair = at.file(
      "pair.json", R"({"template": "{prompt}{first}{second}:{verdict}", "verdicts": ["A", "B"]})");
  expect_refusal(at, best_of({prompts(at), "--reward", tiny, "--judge", pair}), 64,
                 "best-of-n needs a score of each answer; a pairwise template gives none. Ask "
                 "about one answer, with {answer}");
  std::string words;
  for (int i = 0; i < 200; ++i) words += "x";
  const std::string rows = at.file("l.jsonl", Json{{"prompt", words}}.dump() + "\n");
  const Outcome outcome = luce(best_of({rows, "--reward", reward}));
  EXPECT_EQ(outcome.code, 65);
  EXPECT_EQ(at.strip(outcome.sentence()).rfind("l.jsonl:1: the prompt has ", 0), 0U)
      << outcome.sentence();
  EXPECT_NE(outcome.sentence().find(" tokens; the policy's context is 128"), std::string::npos);
  expect_refusal(at, {"eval", "kl", tiny, reward, prompts(at)}, 64,
                 "reward: this model has a head of scores; a language model is needed here");
}

}  // namespace
}  // namespace luce::cli_test

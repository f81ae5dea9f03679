// A judge's questions, and its verdicts against log-probs of the spelled-out texts.
#include "luce/rl/judge.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <cmath>

#include "luce/base/error.h"
#include "luce/data/model_config.h"
#include "luce/model/roles.h"
#include "support/support.h"

namespace luce {
namespace {

const std::string kPair = "Q: {prompt}\nA: {first}\nB: {second}\nBetter:\n{verdict}";
const std::string kAnswer = "Q: {prompt}\nA: {answer}\nGood:\n{verdict}";

JudgeTemplate pair_template() {
  return {Json{{"template", kPair}, {"verdicts", {"A", "B"}}}, "pair.json"};
}
JudgeTemplate answer_template() {
  return {Json{{"template", kAnswer}, {"verdicts", {"Yes", "No"}}}, "answer.json"};
}

struct Tiny {
  std::shared_ptr<CausalLM> model = CausalLM::load(test::golden("tiny"), {.dtype = at::kDouble});
  std::shared_ptr<const Tokenizer> tokenizer = Tokenizer::load(test::golden("tiny"));
};

/// log p of the whole text but its first token.
double text_logp(const Tiny& tiny, const std::string& text) {
  const at::NoGradGuard no_grad;
  const auto ids = tiny.tokenizer->encode(text, true);
  const Example row = {.prompt = {ids[0]}, .completions = {{ids.begin() + 1, ids.end()}}};
  const Batch batch = make_batch({&row});
  const Reference model(tiny.model);
  return head(model.hidden(batch), model.head_weight(), batch.targets, {})
      .logps.sum()
      .item<double>();
}

double odds(const Tiny& tiny, const std::string& text, const std::string& yes,
            const std::string& no) {
  return text_logp(tiny, text + yes) - text_logp(tiny, text + no);
}

std::string refusal(const Json& json) {
  return test::message_of<UsageError>([&] { JudgeTemplate(json, "j.json"); });
}

TEST(JudgeTemplate, FillsItsSlotsOnce) {
  EXPECT_EQ(pair_template().question("{first} {x}", {"one {second}", "two"}),
            "Q: {first} {x}\nA: one {second}\nB: two\nBetter:\n");
  EXPECT_EQ(answer_template().question("q", {"a"}), "Q: q\nA: a\nGood:\n");
  const JudgeTemplate braces(Json{{"template", "{} {1 2} { {prompt}{answer} }{prompt} {verdict}"},
                                  {"verdicts", {"y", "n"}}},
                             "b.json");
  EXPECT_EQ(braces.question("p", {"a"}), "{} {1 2} { pa }p ");
  EXPECT_TRUE(pair_template().is_pairwise());
  EXPECT_FALSE(answer_template().is_pairwise());
  EXPECT_EQ(test::message_of<ArgumentError>([] { pair_template().question("p", {"a"}); }),
            "[JudgeTemplate] a pairwise template takes 2 answers, got 1");
  EXPECT_EQ(test::message_of<ArgumentError>([] {
              answer_template().question("p", {"a", "b"});
            }),
            "[JudgeTemplate] a pointwise template takes 1 answer, got 2");
}

TEST(JudgeTemplate, RefusesWhatIsNoQuestion) {
  const auto with = [](const std::string& text) {
    return refusal({{"template", text}, {"verdicts", {"A", "B"}}});
  };
  EXPECT_EQ(with("{prompt} {answer}"), "j.json: the template must end with the slot {verdict}");
  EXPECT_EQ(with("{prompt} {verdict} {answer}"),
            "j.json: {verdict} stands inside the template; it must end it");
  EXPECT_EQ(with("{prompt} {answers} {verdict}"),
            "j.json: unknown slot {answers}; there are {prompt}, {first} and {second} or {answer}, "
            "and {verdict}");
  EXPECT_EQ(with("{prompt} {verdict}"), "j.json: the slot {answer} is missing from the template");
  EXPECT_EQ(with("{answer} {verdict}"), "j.json: the slot {prompt} is missing from the template");
  EXPECT_EQ(with("{prompt} {first} {verdict}"),
            "j.json: the slot {second} is missing from the template");
  EXPECT_EQ(with("{prompt} {first} {second} {answer} {verdict}"),
            "j.json: the template has {answer} beside {first} or {second}; it asks about two "
            "answers or about one");
  EXPECT_EQ(refusal({{"verdicts", {"A", "B"}}}), "j.json: \"template\" is missing");
  EXPECT_EQ(refusal({{"template", 3}, {"verdicts", {"A", "B"}}}),
            "j.json: \"template\" is 3, expected a text");
  EXPECT_EQ(refusal({{"template", kAnswer}}), "j.json: \"verdicts\" is missing");
  for (const Json& verdicts : {Json{"A"}, Json{"A", "A"}, Json{"A", ""}, Json{"A", "B", "C"}})
    EXPECT_EQ(refusal({{"template", kAnswer}, {"verdicts", verdicts}}),
              "j.json: \"verdicts\" is " + verdicts.dump() +
                  ", expected two different texts such as [\"A\", \"B\"]");
  EXPECT_EQ(refusal({{"template", kAnswer}, {"verdict", "A"}}),
            "j.json: unknown key \"verdict\"; a judge has \"template\" and \"verdicts\"");
  EXPECT_EQ(refusal(Json::array()), "j.json: a judge's template is a JSON object");
}

TEST(JudgeTemplate, TheOnesThatComeWithItCanBeAsked) {
  ModelConfig config = read_model_config(test::golden("tiny"));
  config.max_position_embeddings = 1024;
  const auto model = CausalLM::init(config, 5, {.dtype = at::kDouble});
  const auto tokenizer = Tokenizer::load(test::golden("tiny"));
  for (const std::string name : {"pair", "answer"}) {
    const auto read = JudgeTemplate::read(LUCE_SOURCE_DIR "/configs/judges/" + name + ".json");
    ASSERT_EQ(read.is_pairwise(), name == "pair");
    const Judge judge(model, tokenizer, read);
    const Example question =
        judge.question("2 + 3 =", read.is_pairwise() ? std::vector<std::string>{"5", "6"}
                                                     : std::vector<std::string>{"5"});
    const std::string text = tokenizer->decode(question.prompt);
    EXPECT_EQ(text.substr(text.find("2 + 3 =") - 10, 17), "\nRequest:\n2 + 3 =") << text;
    for (size_t k = 0; k < 2; ++k)
      EXPECT_EQ(tokenizer->decode_completion(question.prompt, question.completions[k]),
                read.verdicts()[k]);
  }
}

TEST(Judge, ReadsTheLogOddsOfTheWholeVerdicts) {
  const Tiny tiny;
  const Judge judge(tiny.model, tiny.tokenizer, answer_template());
  const auto got = judge.log_odds(
      {judge.question("the cat sat", {" on the mat"}), judge.question("the dog", {" ran"})});
  ASSERT_EQ(got.size(), 2U);
  EXPECT_NEAR(got[0], odds(tiny, "Q: the cat sat\nA:  on the mat\nGood:\n", "Yes", "No"), 1e-9);
  EXPECT_NEAR(got[1], odds(tiny, "Q: the dog\nA:  ran\nGood:\n", "Yes", "No"), 1e-9);
}

TEST(Judge, AsksInBothOrders) {
  const Tiny tiny;
  const Judge judge(tiny.model, tiny.tokenizer, pair_template(), 1);
  const JudgedPairs judged = judge.judge({{"the cat", "sat", "ran"}, {"the cat", "ran", "sat"}});
  const double there = odds(tiny, "Q: the cat\nA: sat\nB: ran\nBetter:\n", "A", "B");
  const double back = odds(tiny, "Q: the cat\nA: ran\nB: sat\nBetter:\n", "A", "B");
  ASSERT_EQ(judged.log_odds.size(), 2U);
  EXPECT_NEAR(judged.log_odds[0], (there - back) / 2, 1e-9);
  EXPECT_NEAR(judged.order_gap[0], there + back, 1e-9);
  EXPECT_NEAR(judged.log_odds[1], -judged.log_odds[0], 1e-9);
  EXPECT_NEAR(judged.order_gap[1], judged.order_gap[0], 1e-9);
  const auto p = judged.preferences();
  EXPECT_NEAR(p[0], 1 / (1 + std::exp(-(there - back) / 2)), 1e-9);
  EXPECT_NEAR(p[0] + p[1], 1, 1e-12);
}

TEST(JudgeScorer, ReadsRowsBackAsTexts) {
  const Tiny tiny;
  const auto judge = std::make_shared<Judge>(tiny.model, tiny.tokenizer, answer_template());
  const auto& t = *tiny.tokenizer;
  Example row = {.prompt = t.encode("the cat sat", true), .completions = {}};
  for (const std::string answer : {" on the mat", " and ran"}) {
    auto whole = t.encode("the cat sat" + answer + t.eos_text(), true);
    row.completions.emplace_back(whole.begin() + static_cast<int64_t>(row.prompt.size()),
                                 whole.end());
  }
  const auto scores = JudgeScorer(judge)({&row});
  const auto want = judge->log_odds({judge->question("the cat sat", {" on the mat"}),
                                     judge->question("the cat sat", {" and ran"})});
  ASSERT_EQ(scores.size(), 2U);
  for (size_t i = 0; i < 2; ++i) EXPECT_NEAR(scores[i].value, want[i], 1e-12);
}

TEST(Judge, RefusesWhatItCannotAsk) {
  const Tiny tiny;
  const auto make = [&](const std::string& yes, const std::string& no) {
    return test::message_of<UsageError>([&] {
      Judge(tiny.model, tiny.tokenizer,
            JudgeTemplate(Json{{"template", kAnswer}, {"verdicts", {yes, no}}}, "j.json"));
    });
  };
  EXPECT_EQ(make("No", "Not"),
            "j.json: the verdicts \"No\" and \"Not\" begin with the same token of this model, "
            "\"N\"; choose words that differ from their first token on");
  const Judge one(tiny.model, tiny.tokenizer, answer_template());
  EXPECT_EQ(test::message_of<UsageError>([&] { (void)one.judge({}); }),
            "answer.json: this template asks about one answer; pairs need {first} and {second}");
  const auto two = std::make_shared<Judge>(tiny.model, tiny.tokenizer, pair_template());
  EXPECT_EQ(test::message_of<UsageError>([&] { JudgeScorer{two}; }),
            "pair.json: this template compares two answers; scores of single ones need {answer}");
  const std::string question = answer_template().question(std::string(150, 'x'), {"a"});
  const auto length = tiny.tokenizer->encode(question + "Yes", true).size();
  EXPECT_EQ(test::message_of<DataError>([&] { (void)one.question(std::string(150, 'x'), {"a"}); }),
            cat("the question about it has ", length, " tokens; the judge's context is 128"));
}

}  // namespace
}  // namespace luce

// Each kind of reward: rules against values by hand, models against what they give when asked
// directly, programs and servers that misbehave.
#include "luce/rl/reward_kinds.h"

#include <ATen/ATen.h>

#include <cmath>
#include <fstream>

#include "luce/base/error.h"
#include "luce/rl/reward_models.h"
#include "luce/rl/reward_services.h"
#include "support/http_server.h"
#include "support/support.h"

namespace luce {
namespace {

using test::Answer;
using test::Asked;
using test::HttpServer;

std::shared_ptr<RewardFunction> made(const Json& options, const RewardContext& context = {}) {
  const Document document = Document::of(options, "c.json");
  return RewardFunctions().find(options["type"], "c").make(document, "", context);
}

std::string refusal(const Json& options, const RewardContext& context = {}) {
  return test::message_of<UsageError>([&] { made(options, context); });
}

/// The value of one completion; `row` lives on in it.
struct Judged {
  Json row;
  std::string completion;
  std::vector<int64_t> ids = {};
};

RewardValue value_of(const Json& options, const Judged& judged) {
  RewardInput input{.completion = judged.completion, .completion_ids = judged.ids};
  input.row = &judged.row;
  return (*made(options))({input}).at(0);
}

void expect_none(const RewardValue& value) {
  EXPECT_TRUE(std::isnan(value.value));
  EXPECT_EQ(value.problem, "");
}

TEST(RewardKinds, CompareWithAColumn) {
  const Json answer = {{"type", "answer"}}, exact = {{"type", "exact"}, {"column", "gold"}},
             number = {{"type", "number"}, {"tolerance", 0.1}};
  EXPECT_EQ(value_of(answer, {{{"answer", "so #### 12"}}, "it is \\boxed{12.0}"}).value, 1);
  EXPECT_EQ(value_of(answer, {{{"answer", 12}}, "#### 13"}).value, 0);
  EXPECT_EQ(value_of(answer, {{{"answer", 12}}, "it is 12"}).value, 0);
  EXPECT_EQ(
      value_of({{"type", "answer"}, {"last_number", true}}, {{{"answer", 12}}, "it is 12"}).value,
      1);
  EXPECT_EQ(value_of(exact, {{{"gold", " Paris "}}, "Paris\n"}).value, 1);
  EXPECT_EQ(value_of(exact, {{{"gold", "Paris"}}, "paris"}).value, 0);
  EXPECT_EQ(value_of(number, {{{"answer", 10}}, "10.9"}).value, 1);
  EXPECT_EQ(value_of(number, {{{"answer", 10}}, "11.1"}).value, 0);
  expect_none(value_of(number, {{{"answer", "ten"}}, "10"}));
  for (const Json& options : {answer, number}) {
    expect_none(value_of(options, {{{"answer", nullptr}}, "10"}));
    EXPECT_EQ(value_of(options, {{{"other", 1}}, "10"}).problem,
              "the row has no column \"answer\"");
    EXPECT_EQ(value_of(options, {{{"answer", {1, 2}}}, "10"}).problem,
              "the row's column \"answer\" is [1,2], expected a text or a number");
  }
  expect_none(value_of(exact, {{{"gold", nullptr}}, "10"}));
}

TEST(RewardKinds, JudgeFormAndLength) {
  const Json format = {{"type", "format"}, {"pattern", "<a>[^<]*</a>"}};
  EXPECT_EQ(value_of(format, {{}, "<a>x</a>"}).value, 1);
  EXPECT_EQ(value_of(format, {{}, "<a>x</a>!"}).value, 0);
  EXPECT_EQ(refusal({{"type", "format"}, {"pattern", "("}}).substr(0, 8), "c.json: ");
  EXPECT_NEAR(value_of({{"type", "length"}, {"target", 5}, {"slope", 0.5}}, {{}, "", {1, 2}}).value,
              -1.5, 1e-15);
  const Json overlong = {{"type", "overlong"}, {"max_length", 4}, {"cache", 2}};
  EXPECT_EQ(value_of(overlong, {{}, "", {1, 2}}).value, 0);
  EXPECT_EQ(value_of(overlong, {{}, "", {1, 2, 3}}).value, -0.5);
  EXPECT_EQ(value_of(overlong, {{}, "", {1, 2, 3, 4, 5}}).value, -1);
  const Json cosine = {{"type", "cosine"}, {"max_length", 4}};
  const Json row = {{"answer", 1}};
  EXPECT_NEAR(value_of(cosine, {row, "#### 1", {1, 2}}).value, 1.5, 1e-12);  // half way: 2 to 1
  EXPECT_NEAR(value_of(cosine, {row, "#### 2", {1, 2}}).value, -5, 1e-12);   // -10 to 0
  EXPECT_EQ(value_of(cosine, {row, "#### 1", {1, 2, 3, 4}}).value, -10);
  expect_none(value_of(cosine, {{{"answer", nullptr}}, "#### 1", {1, 2}}));
  // 1 2 1 2: of the 2-grams (12)(21)(12) one stood there before; of the words none.
  EXPECT_NEAR(value_of({{"type", "repetition"}, {"n", 2}}, {{}, "a b c", {1, 2, 1, 2}}).value,
              -1.0 / 3, 1e-15);
  EXPECT_EQ(
      value_of({{"type", "repetition"}, {"n", 2}, {"unit", "words"}}, {{}, "a b c", {1, 2, 1, 2}})
          .value,
      0);
  const Json json = {{"type", "json"}, {"required", {"a"}}};
  EXPECT_EQ(value_of(json, {{}, "{\"a\": 1}"}).value, 1);
  EXPECT_EQ(value_of(json, {{}, "[1]"}).value, 0);
}

/// A folder with a reward model, and perhaps a tokenizer.
class ModelFolder {
 public:
  explicit ModelFolder(const ScoreConfig& score, const std::string& tokenizer_config = "",
                       uint64_t seed = 3)
      : model(ScoreModel::start(test::golden("tiny"), score, seed, {.dtype = at::kDouble})) {
    model->save(folder_.path());
    if (tokenizer_config.empty()) return;
    std::filesystem::copy(test::golden("tiny") / "tokenizer.model",
                          folder_.path() / "tokenizer.model");
    folder_.file("tokenizer_config.json", tokenizer_config);
  }
  std::string path() const { return folder_.path().string(); }

 private:
  test::TemporaryFolder folder_;

 public:
  std::shared_ptr<ScoreModel> model;
};

struct Policy {
  std::shared_ptr<const Tokenizer> tokenizer = Tokenizer::load(test::golden("tiny"));
  RewardContext context{.tokenizer = tokenizer.get(), .model = {.dtype = at::kDouble}};

  RewardInput input(const std::string& prompt, const std::string& completion) const {
    RewardInput out{.prompt = prompt, .completion = completion};
    out.prompt_ids = tokenizer->encode(prompt, true);
    const auto whole = tokenizer->encode(prompt + completion + tokenizer->eos_text(), true);
    out.completion_ids.assign(whole.begin() + static_cast<int64_t>(out.prompt_ids.size()),
                              whole.end());
    return out;
  }
};

double score_of(const ScoreModel& model, std::vector<int64_t> prompt,
                std::vector<int64_t> completion) {
  const Example row{.prompt = std::move(prompt), .completions = {std::move(completion)}};
  // The model's lifetime is the caller's.
  const std::shared_ptr<const ScoreModel> shared(&model, [](const ScoreModel*) {});
  return RewardScorer({shared}, {})({&row}).at(0).value;
}

TEST(ModelReward, ScoresTokensAsTheyWereSampledWhereTheTokenizerIsThePolicys) {
  const Policy policy;
  std::ifstream config(test::golden("tiny") / "tokenizer_config.json");
  const std::string same{std::istreambuf_iterator<char>(config), {}};
  for (const std::string& tokenizer : {std::string(), same}) {
    const ModelFolder folder({}, tokenizer);
    auto input = policy.input("the cat sat", " on the mat");
    input.completion_ids = {9, 9, 2};  // what no text would be tokenized as
    auto far = input;
    far.completion_ids = {29'999};
    auto long_one = input;
    long_one.completion_ids.assign(200, 9);
    const auto out = (*made({{"type", "model"}, {"path", folder.path()}}, policy.context))(
        {input, far, long_one, {.prompt_ids = {1}}});
    EXPECT_NEAR(out[0].value, score_of(*folder.model, input.prompt_ids, {9, 9, 2}), 1e-6);
    EXPECT_EQ(out[1].problem, cat("the token id 29999 is not in the model's vocabulary of ",
                                  folder.model->config().vocab_size));
    EXPECT_EQ(out[2].problem, cat("prompt and completion have ", 200 + input.prompt_ids.size(),
                                  " tokens; the model's context is 128"));
    EXPECT_EQ(out[3].problem, "a completion without a token cannot be scored");
  }
}

TEST(ModelReward, TokenizesTextsAnewForAnotherTokenizer) {
  const Policy policy;
  const ModelFolder folder({}, R"({"add_bos_token": false})");
  auto whole = policy.input("the cat sat", " on the mat");
  auto cut = whole;
  cut.truncated = true;
  whole.completion_ids = cut.completion_ids = {9, 9, 2};  // not looked at
  const auto out =
      (*made({{"type", "model"}, {"path", {folder.path()}}}, policy.context))({whole, cut});
  const auto& t = *policy.tokenizer;
  const auto prompt = t.encode("the cat sat", false);
  auto completion = t.encode("the cat sat on the mat</s>", false);
  completion.erase(completion.begin(), completion.begin() + static_cast<int64_t>(prompt.size()));
  EXPECT_NEAR(out[0].value, score_of(*folder.model, prompt, completion), 1e-6);
  completion.pop_back();
  EXPECT_NEAR(out[1].value, score_of(*folder.model, prompt, completion), 1e-6);
  EXPECT_GT(std::abs(out[0].value - out[1].value), 1e-4);
}

TEST(ModelReward, CombinesAnEnsemble) {
  const Policy policy;
  const ModelFolder a({}), b({}, "", 4);
  const auto input = policy.input("the cat sat", " on the mat");
  const Json options = {{"type", "model"}, {"path", {a.path(), b.path()}}, {"combine", "min"}};
  const double x = score_of(*a.model, input.prompt_ids, input.completion_ids);
  const double y = score_of(*b.model, input.prompt_ids, input.completion_ids);
  EXPECT_NEAR((*made(options, policy.context))({input})[0].value, std::min(x, y), 1e-6);
}

TEST(ModelReward, RefusesModelsThatCannotBeAskedSo) {
  const Policy policy;
  const ModelFolder reward({}), other({}, "{}"), process({.kind = ScoreKind::process, .count = 1});
  const auto with = [&](const Json& path, const Json& more = Json::object()) {
    Json options = {{"type", "model"}, {"path", path}};
    options.update(more);
    return refusal(options, policy.context);
  };
  EXPECT_EQ(with(3), "c.json: path must be the folder of a model, or a list of folders; got 3");
  EXPECT_EQ(with(Json::array()),
            "c.json: path must be the folder of a model, or a list of folders; got []");
  EXPECT_EQ(with({reward.path(), other.path()}),
            "c.json: " + other.path() + ": its tokenizer is not that of " + reward.path() +
                "; the members of an ensemble must read the same tokens");
  EXPECT_EQ(with(process.path()),
            "c.json: " + process.path() +
                ": a process model scores steps, which completions do not mark; a reward or "
                "outcome model is needed here");
  EXPECT_EQ(with(reward.path(), {{"reduce", "min"}}),
            "c.json: " + reward.path() +
                ": a reward model scores an answer once; reduce is for outcome models");
  EXPECT_EQ(refusal({{"type", "model"}, {"path", other.path()}}),
            "c.json: " + other.path() +
                ": this model has a tokenizer and the policy has none, so that there are no texts "
                "to score");
}

TEST(JudgeReward, IsTheLogOddsOfTheQuestion) {
  const Policy policy;
  const test::TemporaryFolder folder;
  const std::string file = folder.file(
      "j.json",
      R"({"template": "Q: {prompt}\nA: {answer}\nGood:\n{verdict}", "verdicts": ["Yes", "No"]})");
  const std::string path = test::golden("tiny").string();
  const auto judge = made({{"type", "judge"}, {"path", path}, {"template", file}}, policy.context);
  const auto out =
      (*judge)({policy.input("the cat", " sat"), policy.input("the cat", std::string(300, 'x'))});
  const Judge direct(CausalLM::load(path, {.dtype = at::kDouble}), policy.tokenizer,
                     JudgeTemplate::read(file));
  EXPECT_NEAR(out[0].value, direct.log_odds({direct.question("the cat", {" sat"})})[0], 1e-9);
  EXPECT_EQ(out[1].problem.substr(0, 26), "the question about it has ") << out[1].problem;

  const std::string pair = folder.file(
      "p.json", R"({"template": "{prompt} {first} {second} {verdict}", "verdicts": ["A", "B"]})");
  EXPECT_EQ(refusal({{"type", "judge"}, {"path", path}, {"template", pair}}, policy.context),
            "c.json: " + pair +
                ": this template compares two answers; scores of single ones need {answer}");
  const ModelFolder reward({});
  EXPECT_EQ(
      refusal({{"type", "judge"}, {"path", reward.path()}, {"template", file}}, policy.context),
      "c.json: " + reward.path() +
          ": this model has a head of scores; a language model is needed here");
}

// --- programs -----------------------------------------------------------------------------------

std::vector<RewardInput> three(const Json& row) {
  std::vector<RewardInput> out(3, {.prompt = "p", .completion = "good", .completion_ids = {4}});
  out[1].completion = "bad";
  for (auto& input : out) input.row = &row;
  return out;
}

/// The problem of the middle one of three completions, where the program does `bad`; the others
/// must have the reward 1.
std::string problem_of(const std::string& bad, const test::TemporaryFolder& folder,
                       const Json& more = Json::object()) {
  folder.file("child.sh", "while read -r l; do case $l in *bad*) " + bad +
                              ";; *) echo '{\"rewards\": [1]}';; esac; done\n");
  Json options = {{"type", "subprocess"},
                  {"command", {"sh", "child.sh"}},
                  {"folder", folder.path().string()},
                  {"batch_size", 1},
                  {"timeout", 100},
                  {"start_timeout", 100}};
  options.update(more);
  const Json row = nullptr;
  const auto out = (*made(options))(three(row));
  for (const size_t i : {0, 2}) {
    EXPECT_EQ(out[i].value, 1) << bad;
    EXPECT_EQ(out[i].problem, "") << bad;
  }
  EXPECT_TRUE(std::isnan(out[1].value)) << bad;
  return out[1].problem;
}

TEST(SubprocessReward, ExchangesOneLineABatch) {
  const test::TemporaryFolder folder;
  folder.file("child.sh",
              "while read -r l; do echo \"$l\" >>seen; case $l in *bad*) "
              "echo '{\"rewards\": [0.5, null]}';; *) echo '{\"rewards\": [2]}';; esac; done\n");
  const Json row = {{"answer", "é"}};
  const auto out = (*made({{"type", "subprocess"},
                           {"command", {"sh", "child.sh"}},
                           {"folder", folder.path().string()},
                           {"batch_size", 2}}))(three(row));
  EXPECT_EQ(out[0].value, 0.5);
  expect_none(out[1]);
  EXPECT_EQ(out[2].value, 2);
  std::ifstream seen(folder.path() / "seen");
  std::string line;
  std::getline(seen, line);
  EXPECT_EQ(Json::parse(line),
            Json::parse(R"({"prompts": ["p", "p"], "completions": ["good", "bad"],
              "completion_ids": [[4], [4]], "rows": [{"answer": "é"}, {"answer": "é"}]})"));
}

TEST(SubprocessReward, WhatAProgramDoesCostsItsCompletionAlone) {
  const test::TemporaryFolder folder;
  const std::string who = "the command \"sh child.sh\" ";
  EXPECT_EQ(problem_of("exit 3", folder), who + "exited with status 3 before it had answered");
  EXPECT_EQ(problem_of("sleep 1000", folder, {{"timeout", 0.3}}),
            who + "gave no answer within 300 ms");
  EXPECT_EQ(problem_of("echo '{\"rewards\": [NaN]}'", folder),
            who + "wrote a line that is not valid JSON: \"{\\\"rewards\\\": [NaN]}\"");
  EXPECT_EQ(problem_of("yes | tr -d '\\n'", folder, {{"max_reply", 100'000}}),
            who + "wrote more than 100000 bytes without a line end");
  EXPECT_EQ(problem_of("echo '{\"rewards\": [1, 2]}'", folder),
            "the command: the reply has 2 rewards for 1 completions");
  EXPECT_EQ(problem_of("echo '{\"reward\": [1]}'", folder),
            "the command: the reply has no list \"rewards\": {\"reward\":[1]}");
  EXPECT_EQ(problem_of("echo '{\"rewards\": [\"1\"]}'", folder),
            "the command: a reward is \"1\", expected a number or null");
}

TEST(SubprocessReward, ChildrenOfAProgramThatHangsAreEndedWithIt) {
  const test::TemporaryFolder folder;
  EXPECT_EQ(problem_of("sleep 1000 & echo $! >pid; sleep 1000", folder, {{"timeout", 0.3}}),
            "the command \"sh child.sh\" gave no answer within 300 ms");
  std::ifstream file(folder.path() / "pid");
  std::string pid;
  ASSERT_TRUE(std::getline(file, pid));
  bool dead = false;
  for (int i = 0; i < 5000 && !dead; ++i) {
    std::ifstream stat("/proc/" + pid + "/stat");
    std::string text;
    dead = !std::getline(stat, text) || text[text.rfind(')') + 2] == 'Z';
    if (!dead) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(dead);
}

TEST(SubprocessReward, RefusesACommandThatCannotBeStarted) {
  EXPECT_EQ(refusal({{"type", "subprocess"}, {"command", {"/no/such/program"}}}),
            "c.json: the command \"/no/such/program\" cannot be started: No such file or "
            "directory");
}

TEST(SubprocessReward, TheExampleInPythonAnswers) {
  if (std::system("python3 -c '' 2>/dev/null") != 0) GTEST_SKIP() << "there is no python3";
  const auto scorer =
      made({{"type", "subprocess"},
            {"command", {"python3", LUCE_SOURCE_DIR "/examples/custom_reward/scorer.py"}}});
  const Json row = {{"answer", 12}}, none = Json::object();
  std::vector<RewardInput> inputs(3, {.completion = "it is 12"});
  inputs[0].row = inputs[1].row = &row;
  inputs[1].completion = "it is 13";
  inputs[2].row = &none;
  const auto out = (*scorer)(inputs);
  EXPECT_EQ(out[0].value, 1) << out[0].problem;
  EXPECT_EQ(out[1].value, 0);
  expect_none(out[2]);
}

// --- servers ------------------------------------------------------------------------------------

Json http(const HttpServer& server, const Json& more = Json::object()) {
  Json options = {{"type", "http"}, {"url", server.url("/score?key=secret")}, {"retries", 0}};
  options.update(more);
  return options;
}

TEST(HttpReward, SpeaksTheFormOfOpenRlhf) {
  const HttpServer server([](const Asked& asked) {
    const Json body = Json::parse(asked.body);
    if (body["prompts"].size() == 1) return Answer{.body = "{\"rewards\": [7]}"};
    return Answer{.body = R"({"rewards": [0.25, null], "scores": [1, 1], "extra_logs": {}})"};
  });
  const Json row = {{"gold", 3}};
  auto inputs = three(row);
  inputs[1].row = nullptr;
  const auto out = (*made(http(server, {{"batch_size", 2}, {"column", "gold"}})))(inputs);
  EXPECT_EQ(out[0].value, 0.25);
  expect_none(out[1]);
  EXPECT_EQ(out[2].value, 7);
  for (const auto& asked : server.asked()) {
    const Json body = Json::parse(asked.body);
    EXPECT_EQ(body, body["prompts"].size() == 1
                        ? Json::parse(R"({"query": ["pgood"], "prompts": ["p"], "labels": [3]})")
                        : Json::parse(R"({"query": ["pgood", "pbad"], "prompts": ["p", "p"],
                                          "labels": [3, null]})"));
  }
}

TEST(HttpReward, ABadReplyCostsItsRequestAlone) {
  const auto problem = [](const Answer& bad, const Json& more = Json::object()) {
    const HttpServer server([&](const Asked& asked) {
      return asked.body.find("bad") == std::string::npos ? Answer{.body = "{\"rewards\": [1]}"}
                                                         : bad;
    });
    Json options = http(server, {{"batch_size", 1}});
    options.update(more);
    const Json row = nullptr;
    const auto out = (*made(options))(three(row));
    EXPECT_EQ(out[0].value, 1) << out[0].problem;
    EXPECT_EQ(out[2].value, 1) << out[2].problem;
    EXPECT_TRUE(std::isnan(out[1].value));
    const std::string address = server.url("/score");
    EXPECT_EQ(out[1].problem.substr(0, address.size()), address);
    return "URL" + out[1].problem.substr(address.size());
  };
  EXPECT_EQ(problem({.status = 500, .body = "no"}), "URL: status 500: \"no\"");
  EXPECT_EQ(problem({.how = Answer::How::never}, {{"timeout", 2}}), "URL: no reply within 2000 ms");
  EXPECT_EQ(problem({.how = Answer::How::endless}), "URL: the reply is longer than 1048576 bytes");
  EXPECT_EQ(problem({.body = "{\"rewards\": [1, 2]}"}),
            "URL: the reply has 2 rewards for 1 completions");
  EXPECT_EQ(problem({.body = "[]"}), "URL: the reply has no list \"rewards\": []");
  EXPECT_EQ(problem({.body = "{\"rewards\": [true]}"}),
            "URL: a reward is true, expected a number or null");
  for (const char* invalid : {"{\"rewards\": [NaN]}", "{\"rewards\"", "", "{\"rewards\": [1e999]}"})
    EXPECT_EQ(problem({.body = invalid}).substr(0, 15), "URL: the reply:") << invalid;
}

struct Chat {
  test::TemporaryFolder folder;
  std::string words = folder.file(
      "words.json", R"({"template": "{prompt}|{answer}|{verdict}", "verdicts": ["Yes", "No"]})");
  std::string number = folder.file("number.json", R"({"template": "{prompt}|{answer}|{verdict}"})");
};

Json top(const std::vector<std::pair<std::string, double>>& tokens) {
  Json list = Json::array();
  for (const auto& [token, p] : tokens)
    list.push_back({{"token", token}, {"logprob", std::log(p)}});
  Json content = Json::array();
  content.push_back({{"token", "Yes"}, {"top_logprobs", list}});
  Json choices = Json::array();
  choices.push_back({{"logprobs", {{"content", content}}}});
  return {{"choices", choices}};
}

TEST(HttpReward, ReadsAVerdictFromLogProbs) {
  const Chat chat;
  std::string body;
  const HttpServer server([&](const Asked&) { return Answer{.body = body}; });
  const auto reward =
      made(http(server, {{"form", "openai"}, {"model", "m"}, {"template", chat.words}}));
  const auto value = [&](const Json& reply) {
    body = reply.dump();
    return (*reward)({{.prompt = "p", .completion = "c"}}).at(0);
  };
  EXPECT_NEAR(value(top({{"Yes", 0.5}, {"No", 0.2}, {" Ye", 0.1}, {"Maybe", 0.01}})).value,
              std::log(0.6 / 0.2), 1e-12);
  EXPECT_EQ(Json::parse(server.asked().at(0).body),
            Json::parse(R"({"model": "m", "messages": [{"role": "user", "content": "p|c|"}],
              "temperature": 0, "max_tokens": 1, "logprobs": true, "top_logprobs": 20})"));
  // A verdict that is not listed is at most as likely as the least listed one.
  EXPECT_NEAR(value(top({{"No", 0.8}, {"Maybe", 0.01}})).value, std::log(0.01 / 0.8), 1e-12);
  const std::string who = server.url("/score") + ": ";
  EXPECT_EQ(value(top({{"Maybe", 0.8}, {"", 0.1}})).problem,
            who + "neither \"Yes\" nor \"No\" is among the likeliest first tokens of the reply");
  EXPECT_EQ(value({{"choices", 1}}).problem,
            who + "the reply has no /choices/0/logprobs/content/0/top_logprobs: {\"choices\":1}");
  Json odd = top({{"Yes", 0.5}});
  auto& list = odd["choices"][0]["logprobs"]["content"][0]["top_logprobs"];
  list[0]["logprob"] = "x";
  EXPECT_EQ(value(odd).problem,
            who + "the reply's top_logprobs hold {\"token\":\"Yes\",\"logprob\":\"x\"}");
  list = 3;
  EXPECT_EQ(value(odd).problem, who + "the reply's top_logprobs are no list");
}

TEST(HttpReward, ReadsTheFirstNumberOfAReply) {
  const Chat chat;
  std::string body;
  const HttpServer server([&](const Asked&) { return Answer{.body = body}; });
  const auto reward = made(http(server, {{"form", "openai"},
                                         {"model", "m"},
                                         {"template", chat.number},
                                         {"read", "number"},
                                         {"max_tokens", 5}}));
  const auto value = [&](const Json& content) {
    Json choices = Json::array();
    choices.push_back({{"message", {{"content", content}}}});
    body = Json{{"choices", choices}}.dump();
    return (*reward)({{.prompt = "p", .completion = "c"}}).at(0);
  };
  const std::vector<std::pair<std::string, double>> cases = {
      {"8", 8}, {"Score: -2.5 of 10", -2.5}, {"gpt-4 says .5", 0.5}, {"8/10", 8}, {"x1 1e1", 10}};
  for (const auto& [text, want] : cases) EXPECT_EQ(value(text).value, want) << text;
  EXPECT_EQ(Json::parse(server.asked().at(0).body),
            Json::parse(R"({"model": "m", "messages": [{"role": "user", "content": "p|c|"}],
              "temperature": 0, "max_tokens": 5})"));
  const std::string who = server.url("/score") + ": ";
  EXPECT_EQ(value("none - at. all").problem,
            who + "there is no number in the reply \"none - at. all\"");
  EXPECT_EQ(value(nullptr).problem, who + "the reply's content is no text");
}

TEST(HttpReward, RefusesOptionsThatDoNotFit) {
  const Chat chat;
  const auto with = [&](const Json& more) {
    Json options = {{"type", "http"}, {"url", "http://localhost/"}};
    options.update(more);
    return refusal(options);
  };
  EXPECT_EQ(with({{"url", "localhost"}}),
            "c.json: expected an address such as http://localhost:8000/path, got \"localhost\"");
  EXPECT_EQ(with({{"model", "m"}}),
            "c.json: model is an option of the form \"openai\"; the form here is \"openrlhf\"");
  const Json openai = {{"form", "openai"}, {"model", "m"}, {"template", chat.words}};
  const auto judge = [&](const Json& more) {
    Json options = openai;
    options.update(more);
    return with(options);
  };
  EXPECT_EQ(judge({{"column", "m"}}),
            "c.json: column is an option of the form \"openrlhf\"; the form here is \"openai\"");
  EXPECT_EQ(with({{"form", "openai"}}), "c.json: the form \"openai\" needs \"model\"");
  EXPECT_EQ(with({{"form", "openai"}, {"model", "m"}}),
            "c.json: the form \"openai\" needs \"template\"");
  EXPECT_EQ(judge({{"max_tokens", 3}}),
            "c.json: max_tokens is for \"read\": \"number\"; log-probs are those of one token");
  EXPECT_EQ(
      judge({{"read", "number"}}),
      "c.json: " + chat.words + ": a template that is answered by a number has no \"verdicts\"");
  const std::string pair = chat.folder.file(
      "p.json", R"({"template": "{prompt} {first} {second} {verdict}", "verdicts": ["A", "B"]})");
  EXPECT_EQ(judge({{"template", pair}}),
            "c.json: " + pair +
                ": this template compares two answers; scores of single ones need {answer}");
}

}  // namespace
}  // namespace luce

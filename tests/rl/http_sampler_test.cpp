// What is asked of a server, what is made of its replies, and what it may do wrong.
#include "luce/rl/http_sampler.h"

#include "luce/base/error.h"
#include "support/http_server.h"
#include "support/support.h"

namespace luce {
namespace {

using test::Answer;
using test::Asked;
using test::HttpServer;

Json choice(const std::vector<int64_t>& ids, const std::string& finish = "stop") {
  Json tokens = Json::array(), logps = Json::array();
  for (const int64_t id : ids) {
    tokens.push_back(cat("token_id:", id));
    logps.push_back(-0.5 * static_cast<double>(id));
  }
  return {{"text", "…"},
          {"logprobs", {{"tokens", tokens}, {"token_logprobs", logps}}},
          {"finish_reason", finish}};
}

std::string reply(const std::vector<Json>& choices) { return Json{{"choices", choices}}.dump(); }

HttpSamplerOptions server_options(const HttpServer& server) {
  return {.url = server.url(), .model = "m", .timeout = 120, .retries = 0, .max_failed = 1};
}

SampleOptions sampling() { return {.max_new_tokens = 4}; }

TEST(HttpSampler, AsksInTokensAndTakesIdsAndLogProbs) {
  const HttpServer server([](const Asked& asked) {
    const bool first = Json::parse(asked.body)["prompt"] == Json{5, 6};
    return Answer{.body = first ? reply({choice({7, 2}), choice({8, 9, 8, 9}, "length")})
                                : reply({choice({3})})};
  });
  HttpSampler sampler(server_options(server), sampling());
  const auto out = sampler({{.prompt = {5, 6}, .num_samples = 2}, {.prompt = {1}}}, 0);
  ASSERT_EQ(out.size(), 2U);
  ASSERT_EQ(out[0].size(), 2U);
  ASSERT_EQ(out[1].size(), 1U);
  EXPECT_EQ(out[0][0].ids, (std::vector<int64_t>{7, 2}));
  EXPECT_EQ(out[0][0].drawn, (std::vector<double>{-3.5, -1}));
  EXPECT_TRUE(out[0][0].logps.empty());
  EXPECT_TRUE(out[0][0].tempered.empty());
  EXPECT_TRUE(out[0][0].stopped);
  EXPECT_FALSE(out[0][1].stopped);
  EXPECT_EQ(out[0][1].ids, (std::vector<int64_t>{8, 9, 8, 9}));
  EXPECT_EQ(out[1][0].ids, (std::vector<int64_t>{3}));
  EXPECT_EQ(out[1][0].version, 0);
  EXPECT_EQ(server.asked().at(0).path, "/v1/completions");
}

TEST(HttpSampler, SendsOnlyWhatIsAskedForAndASeedOfItsPlace) {
  const HttpServer server([](const Asked&) { return Answer{.body = reply({choice({3})})}; });
  const auto body = [&](const SampleOptions& options, const SampleRequest& request, uint64_t step) {
    HttpSampler sampler(server_options(server), options);
    sampler({request}, step);
    return Json::parse(server.asked().back().body);
  };
  Json plain = body(sampling(), {.prompt = {5}}, 3);
  const Json seed = plain["seed"];
  plain.erase("seed");
  EXPECT_EQ(plain, Json::parse(R"({"model": "m", "prompt": [5], "n": 1, "max_tokens": 4,
    "temperature": 1.0, "logprobs": 1, "return_tokens_as_token_ids": true,
    "skip_special_tokens": false})"));
  EXPECT_EQ(body(sampling(), {.prompt = {5}}, 3)["seed"], seed);
  EXPECT_NE(body(sampling(), {.prompt = {5}}, 4)["seed"], seed);
  EXPECT_NE(body(sampling(), {.prompt = {5}, .first_sample = 1}, 3)["seed"], seed);
  SampleOptions other = sampling();
  other.seed = 43;
  EXPECT_NE(body(other, {.prompt = {5}}, 3)["seed"], seed);

  const Json all = body({.max_new_tokens = 4,
                         .temperature = 0.5,
                         .top_k = 3,
                         .top_p = 0.9,
                         .min_p = 0.1,
                         .repetition_penalty = 1.1,
                         .stop_tokens = {2},
                         .stop = {"\n"}},
                        {.prompt = {5}, .max_new_tokens = 2}, 0);
  for (const auto& [key, value] :
       std::vector<std::pair<std::string, Json>>{{"temperature", 0.5},
                                                 {"top_k", 3},
                                                 {"top_p", 0.9},
                                                 {"min_p", 0.1},
                                                 {"repetition_penalty", 1.1},
                                                 {"stop_token_ids", {2}},
                                                 {"stop", {"\n"}},
                                                 {"max_tokens", 2}})
    EXPECT_EQ(all[key], value) << key;
}

TEST(HttpSampler, TellsWhichWeightsDrew) {
  std::string body = reply({choice({3})});
  std::map<std::string, std::string> headers;
  const HttpServer server([&](const Asked& asked) {
    return asked.path == "/v1/completions" ? Answer{.body = body, .headers = headers} : Answer{};
  });
  HttpSampler sampler(server_options(server), sampling());
  const auto version = [&] { return sampler({{.prompt = {5}}}, 0).at(0).at(0).version; };
  EXPECT_EQ(version(), 0);
  sampler.update("/weights", 4);
  EXPECT_EQ(version(), 4);
  headers = {{"X-Weight-Version", "6"}};
  EXPECT_EQ(version(), 6);
  Json json = Json::parse(body);
  json["weight_version"] = "7";
  body = json.dump();
  EXPECT_EQ(version(), 7);
  json["choices"][0]["weight_version"] = 8;
  body = json.dump();
  EXPECT_EQ(version(), 8);
}

TEST(HttpSampler, PushesWeightsByTheirFolder) {
  const HttpServer server([](const Asked& asked) {
    return asked.path == "/fail" ? Answer{.body = R"({"success": false, "message": "no"})"}
                                 : Answer{};
  });
  HttpSamplerOptions options = server_options(server);
  HttpSampler(options, sampling()).update("/weights", 4);
  auto asked = server.asked();
  ASSERT_EQ(asked.size(), 2U);
  EXPECT_EQ(asked[0].path, "/collective_rpc");
  EXPECT_EQ(asked[0].body, R"({"method":"reload_weights","kwargs":{"weights_path":"/weights"}})");
  EXPECT_EQ(asked[1].path, "/reset_prefix_cache");
  EXPECT_EQ(asked[1].body, "{}");

  options.updates =
      Json::parse(R"([{"path": "/fill", "body": {"a": ["{folder}/x", 3, "v{version}"]}},
                                    {"path": "/fail", "body": null}])");
  EXPECT_EQ(test::message_of<Error>([&] { HttpSampler(options, sampling()).update("/w", 12); }),
            "the server did not take the weights of /w: " + server.url("/fail") +
                ": {\"success\":false,\"message\":\"no\"}");
  EXPECT_EQ(server.asked().at(2).body, R"({"a":["/w/x",3,"v12"]})");

  const HttpServer broken([](const Asked&) { return Answer{.status = 404, .body = "gone"}; });
  HttpSampler sampler(server_options(broken), sampling());
  EXPECT_EQ(test::message_of<Error>([&] { sampler.update("/w", 1); }),
            "the server did not take the weights of /w: " + broken.url("/collective_rpc") +
                ": status 404: \"gone\"");
}

/// What is said of a rollout of one request whose reply is this.
std::string problem_of(const std::string& body, int64_t samples = 1, size_t had = 0) {
  const HttpServer server([&](const Asked&) { return Answer{.body = body}; });
  HttpSamplerOptions options = server_options(server);
  HttpSampler patient(options, sampling(), 29);
  EXPECT_EQ(patient({{.prompt = {5}, .num_samples = samples}}, 0).at(0).size(), had);
  options.max_failed = 0;
  HttpSampler strict(options, sampling(), 29);
  const std::string text =
      test::message_of<Error>([&] { strict({{.prompt = {5}, .num_samples = samples}}, 0); });
  const std::string begin =
      cat(static_cast<size_t>(samples) - had, " of ", samples,
          " samples could not be had; the last reason: ", server.url("/v1/completions"), ": ");
  const std::string end = "; a share of 0 is allowed";
  EXPECT_EQ(text.substr(0, begin.size()), begin) << text;
  EXPECT_TRUE(text.ends_with(end)) << text;
  return text.substr(begin.size(), text.size() - begin.size() - end.size());
}

TEST(HttpSampler, LeavesOutWhatCannotBeTrusted) {
  const auto with = [](const std::string& pointer, const Json& value) {
    Json json = choice({3, 4});
    json[Json::json_pointer(pointer)] = value;
    return problem_of(reply({json, choice({7})}), 2, 1);
  };
  EXPECT_EQ(with("/finish_reason", "abort"),
            "a completion ended for the reason \"abort\", expected stop or length");
  EXPECT_EQ(with("/logprobs", nullptr), "the reply has no list \"tokens\"");
  EXPECT_EQ(with("/logprobs/tokens", {"the", "cat"}),
            "a token is \"the\", expected one such as \"token_id:7\": does the server know "
            "return_tokens_as_token_ids?");
  EXPECT_EQ(with("/logprobs/tokens/1", "token_id:-4"),
            "a token is \"token_id:-4\", expected one such as \"token_id:7\": does the server know "
            "return_tokens_as_token_ids?");
  EXPECT_EQ(with("/logprobs/tokens/1", "token_id:29"),
            "the token id 29 is not in the vocabulary of 29");
  EXPECT_EQ(with("/logprobs/tokens", Json::array()), "a completion has 0 tokens, expected 1 to 4");
  EXPECT_EQ(problem_of(reply({choice({1, 2, 3, 4, 5})})),
            "a completion has 5 tokens, expected 1 to 4");
  EXPECT_EQ(with("/logprobs/token_logprobs", {-1}),
            "the reply's \"token_logprobs\" has 1 entries for 2 tokens");
  EXPECT_EQ(with("/logprobs/token_logprobs/0", nullptr), "a log-prob is null, expected at most 0");
  EXPECT_EQ(with("/logprobs/token_logprobs/0", 0.1), "a log-prob is 0.1, expected at most 0");
  EXPECT_EQ(problem_of(reply({choice({3})}), 2, 1), "the reply has 1 samples, asked for were 2");
  EXPECT_EQ(problem_of("{\"choices\": 3}"), "the reply has no list \"choices\"");
  EXPECT_EQ(problem_of("{").substr(0, 10), "the reply:");
}

TEST(HttpSampler, AFailingServerStopsTheRunOnlyWhereTooMuchIsMissing) {
  const HttpServer server([](const Asked& asked) {
    return Json::parse(asked.body)["prompt"] == Json{5} ? Answer{.status = 500, .body = ""}
                                                        : Answer{.body = reply({choice({3})})};
  });
  HttpSamplerOptions options = server_options(server);
  options.max_failed = 0.25;
  HttpSampler sampler(options, sampling());
  const SampleRequest good{.prompt = {1}}, bad{.prompt = {5}};
  const auto out = sampler({good, bad, good, good}, 0);
  EXPECT_EQ(out[0].size(), 1U);
  EXPECT_TRUE(out[1].empty());
  EXPECT_EQ(test::message_of<Error>([&] {
              sampler({good, bad, good}, 0);
            }),
            "1 of 3 samples could not be had; the last reason: " + server.url("/v1/completions") +
                ": status 500; a share of 0.25 is allowed");
  try {
    sampler({bad}, 0);
    ADD_FAILURE();
  } catch (const Error& failure) {
    EXPECT_EQ(failure.code(), Exit::service);
  }
}

TEST(HttpSampler, RefusesOptionsThatCannotBeUsed) {
  HttpSamplerOptions options{.url = "localhost", .model = "m"};
  const auto refusal = [&] {
    return test::message_of<UsageError>([&] { HttpSampler(options, {}); });
  };
  EXPECT_EQ(refusal(), "expected an address such as http://localhost:8000/path, got \"localhost\"");
  options.url = "http://localhost/";
  options.updates = 3;
  EXPECT_EQ(refusal(), "updates must be a list");
  options.updates = Json::array({{{"path", "/x"}}});
  EXPECT_EQ(refusal(),
            "an update is an object with \"path\" and \"body\", such as {\"path\": "
            "\"/update_weights_from_disk\", \"body\": {\"model_path\": \"{folder}\"}}; got "
            "{\"path\":\"/x\"}");
}

}  // namespace
}  // namespace luce

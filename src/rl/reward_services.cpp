#include "luce/rl/reward_services.h"

#include <algorithm>

#include "luce/base/error.h"

namespace luce {
namespace {

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(1e3 * seconds));
}

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void describe_timeout(Schema& s, double& timeout, const std::string& doc) {
  s.field("timeout", timeout, doc).at_least(0.001).at_most(86400);
}

void describe_max_reply(Schema& s, int64_t& bytes) {
  s.field("max_reply", bytes, "bytes of a reply at most").at_least(1);
}

}  // namespace

std::vector<RewardValue> parse_rewards(const std::string& reply, size_t count,
                                       const std::string& who) {
  const auto all_fail = [&](const std::string& what) {
    return std::vector<RewardValue>(count, {.problem = cat(who, ": ", what)});
  };
  Json json;
  try {
    json = parse_json(reply, "the reply");
  } catch (const DataError& failure) {
    return all_fail(failure.what());
  }
  if (!json.is_object() || !json.contains("rewards") || !json["rewards"].is_array())
    return all_fail("the reply has no list \"rewards\": " + shortened(dumped(json), 200));
  const Json& rewards = json["rewards"];
  if (rewards.size() != count)
    return all_fail(cat("the reply has ", rewards.size(), " rewards for ", count, " completions"));
  std::vector<RewardValue> out(count);
  for (size_t i = 0; i < count; ++i) {
    if (rewards[i].is_number())
      out[i].value = rewards[i].get<double>();
    else if (!rewards[i].is_null())
      out[i].problem =
          cat(who, ": a reward is ", shortened(dumped(rewards[i])), ", expected a number or null");
  }
  return out;
}

void describe(Schema& s, SubprocessReward::Options& o) {
  s.field("command", o.command, "a program, looked up in PATH, and its arguments; no shell")
      .required();
  s.field("batch_size", o.batch_size, "completions of a line at most; they fail together")
      .at_least(1);
  describe_timeout(s, o.timeout, "seconds for the reply to a line");
  s.field("start_timeout", o.start_timeout, "seconds more for the first reply after a start")
      .at_least(0)
      .at_most(86400);
  describe_max_reply(s, o.max_reply);
  s.field("max_restarts", o.max_restarts, "starts in a row without a reply between them")
      .at_least(0)
      .at_most(1e6);
  s.field("folder", o.folder, "working folder; empty: this process's");
}

RewardInfo SubprocessReward::info() {
  return {.name = "subprocess",
          .title = "What a program of your own answers, line by line",
          .notes =
              "A line {\"prompts\", \"completions\", \"completion_ids\", \"rows\"} is answered "
              "by a line {\"rewards\": [number or null, ...]}."};
}

SubprocessReward::SubprocessReward(const Options& o)
    : batch_size_(static_cast<size_t>(o.batch_size)),
      process_(o.command, {.deadline = milliseconds(o.timeout),
                           .start = milliseconds(o.start_timeout),
                           .max_line = static_cast<size_t>(o.max_reply),
                           .max_restarts = static_cast<int>(o.max_restarts),
                           .folder = o.folder}) {}

std::vector<RewardValue> SubprocessReward::operator()(const std::vector<RewardInput>& inputs) {
  std::vector<RewardValue> out;
  while (out.size() < inputs.size()) {
    const size_t begin = out.size(), end = std::min(begin + batch_size_, inputs.size());
    Json line = {{"prompts", Json::array()},
                 {"completions", Json::array()},
                 {"completion_ids", Json::array()},
                 {"rows", Json::array()}};
    for (size_t i = begin; i < end; ++i) {
      line["prompts"].push_back(inputs[i].prompt);
      line["completions"].push_back(inputs[i].completion);
      line["completion_ids"].push_back(inputs[i].completion_ids);
      line["rows"].push_back(inputs[i].row != nullptr ? *inputs[i].row : Json(nullptr));
    }
    const Reply reply = process_.request(dumped(line));
    const auto values = reply.line
                            ? parse_rewards(*reply.line, end - begin, "the command")
                            : std::vector<RewardValue>(end - begin, {.problem = reply.problem});
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

void describe(Schema& s, HttpReward::Options& o) {
  s.field("url", o.url, "where to post to").required();
  s.field("form", o.form, "what is posted: a list to a reward server, or a question to a judge")
      .one_of({"openrlhf", "openai"});
  describe_timeout(s, o.timeout, "seconds for a request, with all that is repeated of it");
  s.field("retries", o.retries, "how often a request that failed is repeated")
      .at_least(0)
      .at_most(1000);
  s.field("max_in_flight", o.max_in_flight, "requests under way at once").at_least(1).at_most(4096);
  describe_max_reply(s, o.max_reply);
  s.field("token_file", o.token_file, "file with the bearer token; empty: none is sent");
  s.field("batch_size", o.batch_size, "openrlhf: completions of a request; 16 unless given")
      .at_least(1);
  s.field("column", o.column, "openrlhf: column that is sent as labels; \"answer\" unless given");
  s.field("model", o.model, "openai: the model's name at the server; needed");
  s.field("template", o.questions,
          "openai: JSON file with the question, {\"template\": …, \"verdicts\": [good, bad]}; "
          "needed");
  s.field("read", o.read,
          "openai: logprobs, the log-odds of the first verdict (the default), or number, the "
          "first number in the reply, for a template without verdicts")
      .one_of({"logprobs", "number"});
  s.field("max_tokens", o.max_tokens, "openai: tokens of a reply to read a number from; 16")
      .at_least(1);
}

RewardInfo HttpReward::info() {
  return {.name = "http",
          .title = "What a server answers",
          .notes =
              "Wire forms: openrlhf, as remote rewards of OpenRLHF; openai, a chat model that "
              "judges."};
}

HttpReward::HttpReward(const Options& o)
    : options_(o),
      who_(o.url.substr(0, o.url.find_first_of("?#"))),
      client_({.deadline = milliseconds(o.timeout),
               .max_in_flight = o.max_in_flight,
               .max_reply = static_cast<size_t>(o.max_reply),
               .retries = o.retries,
               .token_file = o.token_file}) {
  check_url(o.url);
  const bool is_openai = o.form == "openai";
  const auto refuse = [&](bool given, const char* key) {
    if (given)
      throw UsageError(cat(key, " is an option of the form \"", is_openai ? "openrlhf" : "openai",
                           "\"; the form here is \"", o.form, "\""));
  };
  if (!is_openai) {
    refuse(o.model.has_value(), "model");
    refuse(o.questions.has_value(), "template");
    refuse(o.read.has_value(), "read");
    refuse(o.max_tokens.has_value(), "max_tokens");
    return;
  }
  refuse(o.batch_size.has_value(), "batch_size");
  refuse(o.column.has_value(), "column");
  if (!o.model || !o.questions)
    throw UsageError(cat("the form \"openai\" needs \"", o.model ? "template" : "model", "\""));
  Json questions = Document::read(*o.questions).value();
  if (o.read.value_or("logprobs") == "logprobs") {
    if (o.max_tokens)
      throw UsageError("max_tokens is for \"read\": \"number\"; log-probs are those of one token");
  } else if (questions.is_object()) {
    if (questions.contains("verdicts"))
      throw UsageError(cat(*o.questions,
                           ": a template that is answered by a number has no "
                           "\"verdicts\""));
    questions["verdicts"] = {"0", "1"};  // which nobody reads
  }
  questions_ = JudgeTemplate(questions, *o.questions);
  if (questions_->is_pairwise())
    throw UsageError(cat(*o.questions,
                         ": this template compares two answers; scores of single ones need "
                         "{answer}"));
}

std::vector<RewardValue> HttpReward::operator()(const std::vector<RewardInput>& inputs) {
  return questions_ ? from_openai(inputs) : from_openrlhf(inputs);
}

std::vector<RewardValue> HttpReward::from_openrlhf(const std::vector<RewardInput>& inputs) {
  const auto size = static_cast<size_t>(options_.batch_size.value_or(16));
  const std::string column = options_.column.value_or("answer");
  std::vector<HttpRequest> requests;
  for (size_t begin = 0; begin < inputs.size(); begin += size) {
    Json body = {{"query", Json::array()}, {"prompts", Json::array()}, {"labels", Json::array()}};
    for (size_t i = begin; i < std::min(begin + size, inputs.size()); ++i) {
      const Json* row = inputs[i].row;
      const bool has = row != nullptr && row->is_object() && row->contains(column);
      body["query"].push_back(inputs[i].prompt + inputs[i].completion);
      body["prompts"].push_back(inputs[i].prompt);
      body["labels"].push_back(has ? row->at(column) : Json(nullptr));
    }
    requests.push_back({options_.url, dumped(body)});
  }
  std::vector<RewardValue> out;
  for (const auto& reply : client_.post(requests)) {
    const size_t count = std::min(size, inputs.size() - out.size());
    const auto values = reply.body ? parse_rewards(*reply.body, count, who_)
                                   : std::vector<RewardValue>(count, {.problem = reply.problem});
    out.insert(out.end(), values.begin(), values.end());
  }
  return out;
}

}  // namespace luce

#include "luce/rl/http_sampler.h"

#include <charconv>
#include <cmath>

#include "luce/base/error.h"
#include "luce/base/log.h"
#include "luce/base/random.h"

namespace luce {
namespace {

constexpr std::string_view kId = "token_id:";

std::string dumped(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

/// The list of `count` entries under a key, or of any number where it is −1.
const Json& list_at(const Json& json, const char* key, int64_t count = -1) {
  if (!json.is_object() || !json.contains(key) || !json[key].is_array())
    throw DataError(cat("the reply has no list \"", key, "\""));
  const Json& list = json[key];
  if (count >= 0 && static_cast<int64_t>(list.size()) != count)
    throw DataError(
        cat("the reply's \"", key, "\" has ", list.size(), " entries for ", count, " tokens"));
  return list;
}

int64_t id_of(const Json& token, int64_t vocabulary) {
  const std::string text = token.is_string() ? token.get<std::string>() : "";
  int64_t id = -1;
  if (text.starts_with(kId)) {
    const char *begin = text.data() + kId.size(), *end = text.data() + text.size();
    if (std::from_chars(begin, end, id).ptr != end) id = -1;
  }
  if (id < 0)
    throw DataError(cat("a token is ", shortened(dumped(token)),
                        ", expected one such as \"token_id:7\": does the server know "
                        "return_tokens_as_token_ids?"));
  if (vocabulary > 0 && id >= vocabulary)
    throw DataError(cat("the token id ", id, " is not in the vocabulary of ", vocabulary));
  return id;
}

/// A version of the weights as servers write it: a number, or a text that is one.
std::optional<int64_t> version_in(const std::string& text) {
  int64_t version = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), version);
  if (error != std::errc() || end != text.data() + text.size()) return {};
  return version;
}

std::optional<int64_t> version_in(const Json& json) {
  if (!json.is_object() || !json.contains("weight_version")) return {};
  const Json& version = json["weight_version"];
  if (version.is_number_integer()) return version.get<int64_t>();
  return version.is_string() ? version_in(version.get<std::string>()) : std::nullopt;
}

/// `json` with "{folder}" and "{version}" filled into its texts.
Json filled(const Json& json, const std::string& folder, const std::string& version) {
  if (json.is_string()) {
    auto text = json.get<std::string>();
    for (const auto& [slot, value] :
         {std::pair{"{folder}", folder}, std::pair{"{version}", version}}) {
      const std::string name = slot;
      for (size_t at = 0; (at = text.find(name, at)) != std::string::npos; at += value.size())
        text.replace(at, name.size(), value);
    }
    return text;
  }
  Json out = json;
  if (json.is_structured())
    for (auto entry = out.begin(); entry != out.end(); ++entry)
      *entry = filled(*entry, folder, version);
  return out;
}

}  // namespace

void describe(Schema& s, HttpSamplerOptions& o) {
  s.field("url", o.url, "address of the server, without a path").required();
  s.field("model", o.model, "the model's name at the server").required();
  s.field("path", o.path, "where completions are asked for");
  s.field("timeout", o.timeout, "seconds for a request, with all that is repeated of it")
      .at_least(0.001)
      .at_most(86400);
  s.field("retries", o.retries, "how often a request that failed is repeated")
      .at_least(0)
      .at_most(1000);
  s.field("max_in_flight", o.max_in_flight, "requests under way at once").at_least(1).at_most(4096);
  s.field("max_reply", o.max_reply, "bytes of a reply at most").at_least(1);
  s.field("token_file", o.token_file, "file with the bearer token; empty: none is sent");
  s.field("max_failed", o.max_failed,
          "share of a rollout's samples that may be missing; more stop the run")
      .at_least(0)
      .at_most(1);
  s.field("updates", o.updates,
          "what is posted after an update of the weights, in order: objects with \"path\" and "
          "\"body\", in whose texts {folder} and {version} are filled in");
}

HttpSampler::HttpSampler(const HttpSamplerOptions& server, SampleOptions options,
                         int64_t vocabulary)
    : server_(server),
      options_(std::move(options)),
      vocabulary_(vocabulary),
      client_({.deadline = std::chrono::milliseconds(static_cast<int64_t>(1e3 * server.timeout)),
               .max_in_flight = server.max_in_flight,
               .max_reply = static_cast<size_t>(server.max_reply),
               .retries = server.retries,
               .token_file = server.token_file}) {
  while (server_.url.ends_with('/')) server_.url.pop_back();
  check_url(server_.url);
  if (!server_.updates.is_array()) throw UsageError("updates must be a list");
  for (const Json& update : server_.updates)
    if (!update.is_object() || update.size() != 2 || !update.contains("path") ||
        !update["path"].is_string() || !update.contains("body"))
      throw UsageError(
          cat("an update is an object with \"path\" and \"body\", such as {\"path\": "
              "\"/update_weights_from_disk\", \"body\": {\"model_path\": "
              "\"{folder}\"}}; got ",
              shortened(dumped(update))));
}

std::string HttpSampler::body_of(const SampleRequest& request, uint64_t step) const {
  // Servers count up from the seed over the samples of a request.
  const Random random(options_.seed, Purpose::sample);
  const uint64_t seed = random.bits(step, request.first_sample, 0) >> 32;
  Json body = {{"model", server_.model},
               {"prompt", request.prompt},
               {"n", request.num_samples},
               {"max_tokens", request.max_new_tokens.value_or(options_.max_new_tokens)},
               {"temperature", options_.temperature},
               {"seed", seed},
               {"logprobs", 1},
               {"return_tokens_as_token_ids", true},
               {"skip_special_tokens", false}};
  if (options_.top_p != 1) body["top_p"] = options_.top_p;
  if (options_.top_k != 0) body["top_k"] = options_.top_k;
  if (options_.min_p != 0) body["min_p"] = options_.min_p;
  if (options_.repetition_penalty != 1) body["repetition_penalty"] = options_.repetition_penalty;
  if (!options_.stop_tokens.empty()) body["stop_token_ids"] = options_.stop_tokens;
  if (!options_.stop.empty()) body["stop"] = options_.stop;
  return dumped(body);
}

Sample HttpSampler::sample_of(const Json& choice, const SampleRequest& request) const {
  const std::string finish = choice.is_object() ? choice.value("finish_reason", "") : "";
  if (finish != "stop" && finish != "length")
    throw DataError(cat("a completion ended for the reason \"", shortened(finish),
                        "\", expected stop or length"));
  const Json logprobs = choice.value("logprobs", Json(nullptr));
  Sample out;
  out.stopped = finish == "stop";
  for (const Json& token : list_at(logprobs, "tokens"))
    out.ids.push_back(id_of(token, vocabulary_));
  const auto count = static_cast<int64_t>(out.ids.size());
  const int64_t most = request.max_new_tokens.value_or(options_.max_new_tokens);
  if (count < 1 || count > most)
    throw DataError(cat("a completion has ", count, " tokens, expected 1 to ", most));
  for (const Json& logp : list_at(logprobs, "token_logprobs", count)) {
    // Rounding may lift the log-prob of a sure token above 0.
    if (!logp.is_number() || !(logp.get<double>() < 1e-3))
      throw DataError(cat("a log-prob is ", shortened(dumped(logp)), ", expected at most 0"));
    out.drawn.push_back(std::min(logp.get<double>(), 0.0));
  }
  return out;
}

std::vector<Sample> HttpSampler::samples_of(const HttpReply& reply, const SampleRequest& request,
                                            std::string& problem) const {
  std::vector<Sample> out;
  const std::string who = server_.url + server_.path;
  if (!reply.body) {
    problem = reply.problem;
    return out;
  }
  try {
    const Json json = parse_json(*reply.body, "the reply");
    std::optional<int64_t> version = version_in(json);
    if (const auto header = reply.headers.find("x-weight-version");
        !version && header != reply.headers.end())
      version = version_in(header->second);
    const Json& choices = list_at(json, "choices");
    for (const Json& choice : choices) try {
        if (static_cast<int64_t>(out.size()) == request.num_samples) break;
        out.push_back(sample_of(choice, request));
        out.back().version = version_in(choice).value_or(version.value_or(version_));
      } catch (const std::exception& failure) {
        problem = cat(who, ": ", failure.what());
      }
    if (static_cast<int64_t>(choices.size()) != request.num_samples)
      problem = cat(who, ": the reply has ", choices.size(), " samples, asked for were ",
                    request.num_samples);
  } catch (const std::exception& failure) {
    problem = cat(who, ": ", failure.what());
  }
  return out;
}

std::vector<std::vector<Sample>> HttpSampler::operator()(const std::vector<SampleRequest>& requests,
                                                         uint64_t step) {
  std::vector<HttpRequest> posts;
  for (const auto& request : requests)
    posts.push_back({server_.url + server_.path, body_of(request, step)});
  const auto replies = client_.post(posts);
  std::vector<std::vector<Sample>> out;
  int64_t asked = 0, had = 0;
  std::string problem;
  for (size_t i = 0; i < requests.size(); ++i) {
    out.push_back(samples_of(replies[i], requests[i], problem));
    asked += requests[i].num_samples;
    had += static_cast<int64_t>(out.back().size());
  }
  if (had == asked) return out;
  const std::string what =
      cat(asked - had, " of ", asked, " samples could not be had; the last reason: ", problem);
  if (static_cast<double>(asked - had) > server_.max_failed * static_cast<double>(asked))
    throw Error(Exit::service, cat(what, "; a share of ", server_.max_failed, " is allowed"));
  log::warn("rollout: ", what);
  return out;
}

void HttpSampler::update(const std::filesystem::path& folder, int64_t version) {
  const std::string path = std::filesystem::absolute(folder).string();
  for (const Json& update : server_.updates) {
    const Json body = filled(update["body"], path, cat(version));
    const auto reply =
        client_.post({{server_.url + update["path"].get<std::string>(), dumped(body)}}).front();
    std::string problem = reply.problem;
    // SGLang says in the reply whether it went well.
    const Json said = reply.body ? Json::parse(*reply.body, nullptr, false) : Json();
    if (said.is_object() && said.contains("success") && said["success"] == false)
      problem =
          cat(server_.url, update["path"].get<std::string>(), ": ", shortened(dumped(said), 200));
    if (!problem.empty())
      throw Error(Exit::service,
                  cat("the server did not take the weights of ", path, ": ", problem));
  }
  version_ = version;
}

}  // namespace luce

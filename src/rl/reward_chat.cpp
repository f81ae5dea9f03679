// Rewards that a chat model gives: what is asked, and what its reply says.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "luce/base/error.h"
#include "luce/data/number.h"
#include "luce/rl/reward_services.h"

namespace luce {
namespace {

const char* kLogprobs = "/choices/0/logprobs/content/0/top_logprobs";
const char* kContent = "/choices/0/message/content";
constexpr int64_t kTop = 20;  // the most that servers give

const Json& at(const Json& reply, const char* pointer) {
  const Json::json_pointer path(pointer);
  if (!reply.contains(path))
    throw DataError(cat("the reply has no ", pointer, ": ", shortened(reply.dump(), 200)));
  return reply.at(path);
}

/// Whether a token is the verdict, or begins it.
bool begins(const std::string& token, const std::string& verdict) {
  const std::string_view text = trimmed(token);
  return !text.empty() && trimmed(verdict).starts_with(text);
}

/// log P(first verdict) − log P(second verdict) from the likeliest first tokens. A verdict that is
/// not among them is at most as likely as the least of them, and counts as that.
double log_odds(const Json& top, const std::vector<std::string>& verdicts) {
  double mass[2] = {0, 0}, least = INFINITY;
  if (!top.is_array()) throw DataError("the reply's top_logprobs are no list");
  for (const Json& entry : top) {
    const bool good = entry.is_object() && entry.contains("token") && entry["token"].is_string() &&
                      entry.contains("logprob") && entry["logprob"].is_number();
    if (!good) throw DataError(cat("the reply's top_logprobs hold ", shortened(entry.dump())));
    const auto token = entry["token"].get<std::string>();
    const double logp = entry["logprob"].get<double>();
    least = std::min(least, logp);
    const bool first = begins(token, verdicts[0]), second = begins(token, verdicts[1]);
    if (first != second) mass[first ? 0 : 1] += std::exp(logp);
  }
  if (mass[0] == 0 && mass[1] == 0)
    throw DataError(cat("neither \"", verdicts[0], "\" nor \"", verdicts[1],
                        "\" is among the likeliest first tokens of the reply"));
  const auto log_mass = [&](double m) { return m > 0 ? std::log(m) : least; };
  return log_mass(mass[0]) - log_mass(mass[1]);
}

/// The first number in a text. Digits of a word, as in "gpt-4", are none.
double first_number(const std::string& text) {
  const auto is_digit = [&](size_t i) {
    return i < text.size() && text[i] >= '0' && text[i] <= '9';
  };
  const auto is_letter = [&](size_t i) {
    if (i >= text.size()) return false;
    const auto c = static_cast<unsigned char>(text[i]);
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 128;
  };
  for (size_t i = 0; i < text.size(); ++i) {
    if (is_letter(i)) {
      while (is_letter(i + 1) || is_digit(i + 1) || (i + 1 < text.size() && text[i + 1] == '-'))
        ++i;
      continue;
    }
    size_t digit = i;
    if (text[digit] == '-') ++digit;
    if (digit < text.size() && text[digit] == '.') ++digit;
    if (!is_digit(digit)) continue;
    double value = 0;
    const auto [end, error] = std::from_chars(text.data() + i, text.data() + text.size(), value);
    if (error == std::errc()) return value;
  }
  throw DataError(cat("there is no number in the reply ", Json(shortened(text, 200)).dump()));
}

}  // namespace

double HttpReward::verdict(const Json& reply) const {
  if (options_.read.value_or("logprobs") == "logprobs")
    return log_odds(at(reply, kLogprobs), questions_->verdicts());
  const Json& content = at(reply, kContent);
  if (!content.is_string()) throw DataError("the reply's content is no text");
  return first_number(content.get<std::string>());
}

std::vector<RewardValue> HttpReward::from_openai(const std::vector<RewardInput>& inputs) {
  const bool by_number = options_.read.value_or("logprobs") == "number";
  std::vector<HttpRequest> requests;
  for (const auto& input : inputs) {
    const std::string question = questions_->question(input.prompt, {input.completion});
    Json body = {{"model", *options_.model},
                 {"messages", Json::array({{{"role", "user"}, {"content", question}}})},
                 {"temperature", 0},
                 {"max_tokens", by_number ? options_.max_tokens.value_or(16) : 1}};
    if (!by_number) body.update({{"logprobs", true}, {"top_logprobs", kTop}});
    requests.push_back({options_.url, body.dump(-1, ' ', false, Json::error_handler_t::replace)});
  }
  std::vector<RewardValue> out;
  for (const auto& reply : client_.post(requests)) {
    out.push_back({.problem = reply.problem});
    if (!reply.body) continue;
    try {
      out.back().value = verdict(parse_json(*reply.body, "the reply"));
    } catch (const std::exception& failure) {
      out.back().problem = cat(who_, ": ", failure.what());
    }
  }
  return out;
}

}  // namespace luce

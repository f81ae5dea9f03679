#include "luce/base/http.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <deque>

#include "http_transfer.h"
#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/json.h"
#include "luce/base/random.h"
#include "no_sigpipe.h"

namespace luce {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// How often a call looks up where nothing wakes it.
constexpr milliseconds kTick{100};
constexpr uint64_t kMaxToken = 16384;

/// The address as it may stand in a message: a query may hold keys.
std::string shown(const std::string& url) { return url.substr(0, url.find_first_of("?#")); }

std::string in_quotes(const std::string& text) {
  return Json(shortened(text, 200)).dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string read_token(const std::filesystem::path& file) {
  if (file.empty()) return "";
  const std::string token = trim(read_file(file, kMaxToken));
  if (token.empty() ||
      std::any_of(token.begin(), token.end(), [](unsigned char c) { return c <= ' ' || c >= 127; }))
    throw UsageError(cat(file.string(), ": expected a token in visible ASCII characters alone"));
  return token;
}

bool is_worth_another(long status) {
  return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 ||
         status == 504;
}

}  // namespace

struct HttpClient::Connections {
  CURLM* multi = curl_multi_init();
  Connections() {
    if (multi == nullptr) throw ResourceError("[HttpClient] libcurl could not be started");
  }
  Connections(const Connections&) = delete;
  Connections& operator=(const Connections&) = delete;
  ~Connections() {
    const NoSigpipe quiet;
    curl_multi_cleanup(multi);
  }
};

void check_url(const std::string& url) {
  const std::string scheme = lower(url.substr(0, url.find("://")));
  const std::string rest = url.size() > scheme.size() + 3 ? url.substr(scheme.size() + 3) : "";
  const std::string host = rest.substr(0, rest.find_first_of("/?#"));
  const bool is_plain =
      std::all_of(url.begin(), url.end(), [](unsigned char c) { return c > ' ' && c < 127; });
  if ((scheme != "http" && scheme != "https") || host.empty() || !is_plain)
    throw UsageError(
        cat("expected an address such as http://localhost:8000/path, got ", in_quotes(shown(url))));
  if (host.find('@') != std::string::npos)
    throw UsageError(
        cat("the address of ", in_quotes(host.substr(host.rfind('@') + 1)),
            " holds a user name or password, which would end in logs: use token_file"));
}

HttpClient::HttpClient(HttpOptions options)
    : options_(std::move(options)),
      token_(read_token(options_.token_file)),
      connections_(std::make_unique<Connections>()) {}

HttpClient::~HttpClient() = default;

void HttpClient::start(Transfer& t) {
  const auto now = Clock::now();
  if (!t.began) t.deadline = now + options_.deadline;
  t.began = true;
  ++t.attempts;
  t.body.clear();
  t.reply->headers.clear();
  t.is_too_long = false;
  t.max_reply = options_.max_reply;
  t.easy = curl_easy_init();
  if (t.easy == nullptr) throw ResourceError("[HttpClient] libcurl could not be started");
  for (const std::string& header :
       {std::string("Content-Type: application/json"), std::string("Accept: application/json"),
        std::string("Expect:"), token_.empty() ? "" : "Authorization: Bearer " + token_})
    if (!header.empty()) t.headers = curl_slist_append(t.headers, header.c_str());
  const auto left = std::chrono::ceil<milliseconds>(t.deadline - now);
  const auto set = [&](CURLoption option, auto value) { curl_easy_setopt(t.easy, option, value); };
  set(CURLOPT_URL, t.request->url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_TIMEOUT_MS, static_cast<long>(std::max<int64_t>(left.count(), 1)));
  set(CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(std::max<int64_t>(left.count(), 1)));
  set(CURLOPT_HTTPHEADER, t.headers);
  set(CURLOPT_POSTFIELDS, t.request->body.data());
  set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(t.request->body.size()));
  set(CURLOPT_WRITEFUNCTION, &Transfer::take_body);
  set(CURLOPT_WRITEDATA, static_cast<void*>(&t));
  set(CURLOPT_HEADERFUNCTION, &Transfer::take_header);
  set(CURLOPT_HEADERDATA, static_cast<void*>(&t));
  set(CURLOPT_PRIVATE, static_cast<void*>(&t));
  curl_multi_add_handle(connections_->multi, t.easy);
}

std::string HttpClient::problem_of(const Transfer& t, int code) const {
  long status = 0;
  curl_easy_getinfo(t.easy, CURLINFO_RESPONSE_CODE, &status);
  if (t.is_too_long) return cat("the reply is longer than ", options_.max_reply, " bytes");
  switch (code) {
    case CURLE_OK:
      break;
    case CURLE_OPERATION_TIMEDOUT:
      return cat("no reply within ", options_.deadline.count(), " ms");
    case CURLE_COULDNT_RESOLVE_HOST:
      return "its host has no known address";
    case CURLE_COULDNT_CONNECT:
      return "it could not be reached";
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
      return "the connection was closed before the reply was complete";
    default:
      return curl_easy_strerror(static_cast<CURLcode>(code));
  }
  if (status >= 200 && status < 300) return "";
  if (status >= 300 && status < 400)
    return cat("status ", status, ", a redirect, which is not followed: give the final address");
  std::string text = trim(t.body);
  for (size_t at; !token_.empty() && (at = text.find(token_)) != std::string::npos;)
    text.replace(at, token_.size(), "***");
  return cat("status ", status, text.empty() ? "" : ": " + in_quotes(text));
}

/// Takes in what an attempt came to. False: it is to be repeated from `not_before` on.
bool HttpClient::finish(Transfer& t, int code) {
  const std::string problem = problem_of(t, code);
  long status = 0;
  curl_easy_getinfo(t.easy, CURLINFO_RESPONSE_CODE, &status);
  t.close(connections_->multi);
  if (problem.empty()) {
    t.reply->body = std::move(t.body);
    return true;
  }
  const auto now = Clock::now();
  // Waits are 2^k · first_wait · (½ … 1): clients that failed together come back apart.
  const auto words = [](uint64_t x) {
    return std::array{static_cast<uint32_t>(x), static_cast<uint32_t>(x >> 32)};
  };
  const auto [low, high] = words(t.number);
  const auto bits = philox({low, high, static_cast<uint32_t>(t.attempts), 0}, words(options_.seed));
  const double share = 0.5 + std::ldexp(bits[0], -33);
  const double longest = static_cast<double>(options_.max_wait.count());
  double wait = static_cast<double>(options_.first_wait.count());
  for (int64_t k = 1; k < t.attempts && wait < longest; ++k) wait *= 2;
  wait = std::min(wait, longest) * share;
  if (const auto asked = t.reply->headers.find("retry-after"); asked != t.reply->headers.end()) {
    const std::string& text = asked->second;
    int64_t seconds = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error == std::errc() && end == text.data() + text.size() && seconds >= 0)
      wait = std::max(wait, 1e3 * static_cast<double>(seconds));
  }
  const bool again = !t.is_too_long && (status == 0 || status < 300 || is_worth_another(status)) &&
                     code != CURLE_OPERATION_TIMEDOUT && t.attempts <= options_.retries;
  const double left = std::chrono::duration<double, std::milli>(t.deadline - now).count();
  if (again && wait < left) {
    t.not_before = now + milliseconds(static_cast<int64_t>(wait));
    return false;
  }
  t.reply->problem = cat(shown(t.request->url), ": ", problem);
  if (t.attempts > 1) t.reply->problem += cat(" (", t.attempts, " attempts)");
  return true;
}

std::vector<HttpReply> HttpClient::post(const std::vector<HttpRequest>& requests) {
  for (const auto& request : requests) check_url(request.url);
  const NoSigpipe quiet;
  std::vector<HttpReply> replies(requests.size());
  std::deque<Transfer> transfers(requests.size());
  std::deque<Transfer*> waiting;  // in the order of the requests, then those to be repeated
  for (size_t i = 0; i < requests.size(); ++i) {
    transfers[i].request = &requests[i];
    transfers[i].reply = &replies[i];
    transfers[i].number = calls_++;
    waiting.push_back(&transfers[i]);
  }
  int64_t in_flight = 0;
  try {
    while (in_flight > 0 || !waiting.empty()) {
      const auto now = Clock::now();
      milliseconds tick = kTick;
      for (size_t i = 0; i < waiting.size();) {
        Transfer* next = waiting[i];
        if (in_flight >= options_.max_in_flight) break;
        if (next->not_before > now) {
          tick = std::min(tick, std::chrono::ceil<milliseconds>(next->not_before - now));
          ++i;
          continue;
        }
        waiting.erase(waiting.begin() + static_cast<int64_t>(i));
        start(*next);
        ++in_flight;
      }
      int running = 0, left = 0;
      curl_multi_perform(connections_->multi, &running);
      bool any = false;
      while (const CURLMsg* message = curl_multi_info_read(connections_->multi, &left)) {
        void* at = nullptr;
        const int code = message->data.result;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &at);
        Transfer& done = *static_cast<Transfer*>(at);
        if (!finish(done, code)) waiting.push_back(&done);
        --in_flight;
        any = true;
      }
      if (!any)
        curl_multi_poll(connections_->multi, nullptr, 0, static_cast<int>(tick.count()), nullptr);
    }
  } catch (...) {
    for (auto& transfer : transfers) transfer.close(connections_->multi);
    throw;
  }
  return replies;
}

}  // namespace luce

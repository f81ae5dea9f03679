// A client of JSON services: many requests at once, bounded in time, size and number. Whatever the
// network or the server does costs the request at hand, never the caller.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace luce {

struct HttpOptions {
  std::chrono::milliseconds deadline{180'000};  // of a request, with all its attempts and waits
  int64_t max_in_flight = 8;                    // requests under way at once
  size_t max_reply = size_t{1} << 20;           // bytes of a reply's body
  int64_t retries = 3;                          // attempts after the first
  std::chrono::milliseconds first_wait{500};    // before the second attempt; doubled for each more
  std::chrono::milliseconds max_wait{30'000};
  std::filesystem::path token_file;  // its text is sent as the bearer token; empty: none
  uint64_t seed = 42;                // of the jitter: waits are shortened by up to a half
};

struct HttpRequest {
  std::string url;   // http or https
  std::string body;  // JSON
};

/// The reply to one request, or why there is none.
struct HttpReply {
  std::optional<std::string> body;             // of status 200 to 299, as it came
  std::map<std::string, std::string> headers;  // of the last attempt, names in lower case
  std::string problem;                         // a sentence; "" where there is a body
};

/// Throws UsageError where `url` is not http:// or https:// with a host, or holds a user name or a
/// password, which would end in logs.
void check_url(const std::string& url);

/// Posts JSON over HTTP. Attempts that got no reply, or the status 408, 429, 500, 502, 503 or 504,
/// are repeated after a wait that doubles, or the one that the server asked for (Retry-After, in
/// seconds), while the deadline allows it. Redirects are not followed. Proxies are those of the
/// environment (http_proxy, no_proxy). Connections stay open between calls. Calls come from one
/// thread at a time.
class HttpClient {
 public:
  /// Throws MissingFileError where the token's file is missing, UsageError where it holds no token.
  explicit HttpClient(HttpOptions options = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  /// The replies, in the order of the requests. Throws as check_url does.
  std::vector<HttpReply> post(const std::vector<HttpRequest>& requests);

 private:
  struct Transfer;
  struct Connections;
  void start(Transfer& transfer);
  bool finish(Transfer& transfer, int code);
  std::string problem_of(const Transfer& transfer, int code) const;

  HttpOptions options_;
  std::string token_;
  std::unique_ptr<Connections> connections_;
  uint64_t calls_ = 0;  // part of the jitter's seed
};

}  // namespace luce

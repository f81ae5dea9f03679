// One request of an HttpClient, as libcurl sees it.
#pragma once

#include <curl/curl.h>

#include <chrono>
#include <string>

#include "luce/base/http.h"

namespace luce {

inline std::string lower(std::string text) {
  for (char& c : text)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return text;
}

inline std::string trim(const std::string& text) {
  const char* space = " \t\r\n";
  const size_t begin = text.find_first_not_of(space);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(space) - begin + 1);
}

/// One request and the attempt that is under way.
struct HttpClient::Transfer {
  const HttpRequest* request = nullptr;
  HttpReply* reply = nullptr;
  uint64_t number = 0;  // among all that were started: of the jitter
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  std::string body;
  size_t max_reply = 0;
  bool is_too_long = false;
  int64_t attempts = 0;
  bool began = false;
  std::chrono::steady_clock::time_point deadline{}, not_before{};

  Transfer() = default;
  Transfer(const Transfer&) = delete;
  Transfer& operator=(const Transfer&) = delete;
  ~Transfer() { close(nullptr); }
  void close(CURLM* multi) {
    if (easy != nullptr && multi != nullptr) curl_multi_remove_handle(multi, easy);
    curl_easy_cleanup(easy);
    curl_slist_free_all(headers);
    easy = nullptr;
    headers = nullptr;
  }

  static size_t take_body(char* data, size_t, size_t n, void* self) {
    auto& t = *static_cast<Transfer*>(self);
    t.is_too_long = n > t.max_reply - t.body.size();
    if (t.is_too_long) return 0;
    t.body.append(data, n);
    return n;
  }
  static size_t take_header(char* data, size_t, size_t n, void* self) {
    const std::string line(data, n);
    const size_t colon = line.find(':');
    auto& headers = static_cast<Transfer*>(self)->reply->headers;
    if (colon != std::string::npos)
      headers[lower(trim(line.substr(0, colon)))] = trim(line.substr(colon + 1));
    return n;
  }
};

}  // namespace luce

// A small HTTP server for tests that misbehaves on purpose.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace luce::test {

/// A request as it came in.
struct Asked {
  std::string method, path, body;
  std::map<std::string, std::string> headers;  // names in lower case
  size_t number = 0;                           // from 0, among the server's requests
};

/// What the server does about a request.
struct Answer {
  int status = 200;
  std::string body = "{}";
  std::map<std::string, std::string> headers = {};
  std::chrono::milliseconds delay{0};
  enum class How {
    whole,
    cut,
    never,
    endless
  } how = How::whole;    // cut: closed inside the body;
                         // endless: a body without an end
  std::string raw = {};  // sent instead of all that, then closed
};

/// Listens on a free port of 127.0.0.1, one thread a connection. The handler runs in several
/// threads at once.
class HttpServer {
 public:
  explicit HttpServer(std::function<Answer(const Asked&)> handler);
  /// Ends the answers that are still under way.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// "http://127.0.0.1:PORT" and the path.
  std::string url(const std::string& path = "/") const;
  /// What was asked so far.
  std::vector<Asked> asked() const;
  /// The most requests that were being answered at once, and the connections so far.
  int most_at_once() const;
  int connections() const;

 private:
  void serve(int fd);
  bool answer(int fd, Asked asked);

  std::function<Answer(const Asked&)> handler_;
  int port_ = 0, listener_ = -1;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  int at_once_ = 0, most_at_once_ = 0;
  std::vector<Asked> asked_;
  std::vector<int> open_;
  std::vector<std::thread> threads_;
  std::thread accepting_;
};

/// A port of 127.0.0.1 on which nothing listens.
int closed_port();

}  // namespace luce::test

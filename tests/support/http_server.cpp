#include "support/http_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <stdexcept>

#include "luce/base/error.h"

namespace luce::test {
namespace {

bool send_all(int fd, const std::string& text) {
  for (size_t sent = 0; sent < text.size();) {
    const ssize_t n = ::send(fd, text.data() + sent, text.size() - sent, MSG_NOSIGNAL);
    if (n <= 0) return false;
    sent += static_cast<size_t>(n);
  }
  return true;
}

/// Reads until `buffer` holds a whole request; false at the end of the stream.
bool read_request(int fd, std::string& buffer, Asked& asked) {
  size_t head = 0, length = 0;
  while (true) {
    head = buffer.find("\r\n\r\n");
    if (head != std::string::npos) {
      asked.headers.clear();
      size_t at = buffer.find("\r\n") + 2;
      const std::string first = buffer.substr(0, at - 2);
      asked.method = first.substr(0, first.find(' '));
      asked.path =
          first.substr(asked.method.size() + 1, first.rfind(' ') - asked.method.size() - 1);
      while (at < head) {
        const size_t end = buffer.find("\r\n", at), colon = buffer.find(':', at);
        std::string name = buffer.substr(at, colon - at);
        for (char& c : name) c = static_cast<char>(std::tolower(c));
        asked.headers[name] = buffer.substr(colon + 2, end - colon - 2);
        at = end + 2;
      }
      const auto found = asked.headers.find("content-length");
      length = found == asked.headers.end() ? 0 : std::stoul(found->second);
      if (buffer.size() >= head + 4 + length) break;
    }
    char bytes[65536];
    const ssize_t n = ::recv(fd, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    buffer.append(bytes, static_cast<size_t>(n));
  }
  asked.body = buffer.substr(head + 4, length);
  buffer.erase(0, head + 4 + length);
  return true;
}

int listening(int& port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  if (fd < 0 || ::bind(fd, plain, size) != 0 || ::listen(fd, 64) != 0 ||
      ::getsockname(fd, plain, &size) != 0)
    throw std::runtime_error("the test's server cannot listen");
  port = ntohs(address.sin_port);
  return fd;
}

}  // namespace

HttpServer::HttpServer(std::function<Answer(const Asked&)> handler)
    : handler_(std::move(handler)), listener_(listening(port_)) {
  accepting_ = std::thread([this] {
    while (true) {
      const int fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd < 0) return;
      const std::lock_guard lock(mutex_);
      if (stopping_) {
        ::close(fd);
        return;
      }
      open_.push_back(fd);
      threads_.emplace_back([this, fd] { serve(fd); });
    }
  });
}

HttpServer::~HttpServer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    for (const int fd : open_) ::shutdown(fd, SHUT_RDWR);
  }
  changed_.notify_all();
  ::shutdown(listener_, SHUT_RDWR);
  accepting_.join();
  ::close(listener_);
  for (auto& thread : threads_) thread.join();
  for (const int fd : open_) ::close(fd);
}

std::string HttpServer::url(const std::string& path) const {
  return cat("http://127.0.0.1:", port_, path);
}
std::vector<Asked> HttpServer::asked() const {
  const std::lock_guard lock(mutex_);
  return asked_;
}
int HttpServer::most_at_once() const {
  const std::lock_guard lock(mutex_);
  return most_at_once_;
}
int HttpServer::connections() const {
  const std::lock_guard lock(mutex_);
  return static_cast<int>(open_.size());
}

void HttpServer::serve(int fd) {
  std::string buffer;
  Asked asked;
  while (read_request(fd, buffer, asked)) {
    {
      const std::lock_guard lock(mutex_);
      asked.number = asked_.size();
      asked_.push_back(asked);
      most_at_once_ = std::max(most_at_once_, ++at_once_);
    }
    const bool stays = answer(fd, asked);
    const std::lock_guard lock(mutex_);
    --at_once_;
    if (!stays) break;
  }
  ::shutdown(fd, SHUT_RDWR);  // closed with the server, so that its number is not given anew
}

bool HttpServer::answer(int fd, Asked asked) {
  const Answer a = handler_(asked);
  {
    std::unique_lock lock(mutex_);
    const auto stops = [&] { return stopping_; };
    if (a.how == Answer::How::never) changed_.wait(lock, stops);
    if (changed_.wait_for(lock, a.delay, stops)) return false;
  }
  if (!a.raw.empty()) {
    send_all(fd, a.raw);
    return false;
  }
  std::string head = cat("HTTP/1.1 ", a.status, " Status\r\n");
  for (const auto& [name, value] : a.headers) head += cat(name, ": ", value, "\r\n");
  if (a.how == Answer::How::endless) {
    if (!send_all(fd, head + "\r\n")) return false;
    while (send_all(fd, std::string(65536, ' '))) continue;
    return false;
  }
  head += cat("Content-Length: ", a.body.size(), "\r\n\r\n");
  if (a.how == Answer::How::cut) {
    send_all(fd, head + a.body.substr(0, a.body.size() / 2));
    return false;
  }
  return send_all(fd, head + a.body);
}

int closed_port() {
  int port = 0;
  ::close(listening(port));
  return port;
}

}  // namespace luce::test

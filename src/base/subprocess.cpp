#include "luce/base/subprocess.h"

#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <thread>

#include "luce/base/error.h"
#include "luce/base/json.h"
#include "no_sigpipe.h"
#include "spawn_child.h"

namespace luce {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Pipes close a moment before a dying process can be waited for, and a process without pipes
// cannot answer any more: how long the difference is waited for.
constexpr milliseconds kGrace{500};
// How often poll looks up: a death that leaves the pipes open in a grandchild wakes nobody.
constexpr milliseconds kTick{20};

void close_all(std::initializer_list<int*> descriptors) {
  for (int* fd : descriptors) {
    if (*fd >= 0) ::close(*fd);
    *fd = -1;
  }
}

/// Reads what is there, at most one buffer. False at the end of the stream.
bool read_some(int fd, std::string& out) {
  char buffer[65536];
  const ssize_t n = ::read(fd, buffer, sizeof buffer);
  if (n > 0) out.append(buffer, static_cast<size_t>(n));
  return n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR));
}

/// Writes what fits and removes it from `rest`. False where the reader has gone.
bool write_some(int fd, std::string_view& rest) {
  const NoSigpipe quiet;
  const ssize_t n = ::write(fd, rest.data(), rest.size());
  if (n > 0) rest.remove_prefix(static_cast<size_t>(n));
  return n >= 0 || errno == EAGAIN || errno == EINTR;
}

/// Fit for a message, whatever the bytes are.
std::string in_quotes(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

bool is_readable(int fd) {
  pollfd entry{fd, POLLIN, 0};
  return ::poll(&entry, 1, 0) > 0;
}

}  // namespace

Subprocess::Subprocess(std::vector<std::string> command, SubprocessOptions options)
    : command_(std::move(command)), options_(std::move(options)) {
  if (command_.empty() || command_[0].empty())
    throw UsageError("a command to start is empty: give a program and its arguments");
  if (const std::string problem = start(); !problem.empty()) throw UsageError(problem);
}

Subprocess::~Subprocess() {
  close_all({&in_});
  for (const auto end = Clock::now() + options_.stop; pid_ > 0 && !has_ended();) {
    if (Clock::now() >= end) break;
    std::this_thread::sleep_for(milliseconds(1));
  }
  stop();
}

std::string Subprocess::name() const {
  std::string words;
  for (const auto& word : command_) words += (words.empty() ? "" : " ") + word;
  return cat("the command \"", shortened(words), "\"");
}

std::string Subprocess::start() {
  std::error_code ignored;
  if (!options_.folder.empty() && !std::filesystem::is_directory(options_.folder, ignored))
    return cat(name(), " cannot be started: its working folder ", options_.folder.string(),
               " is not a folder");
  const Spawned child = spawn_child(command_, options_.environment, options_.folder);
  if (child.error != 0) return cat(name(), " cannot be started: ", std::strerror(child.error));
  pid_ = child.pid;
  in_ = child.in;
  out_ = child.out;
  err_ = child.err;
  is_fresh_ = true;
  ++starts_;
  return "";
}

/// Kills the group before the child is waited for: until then nothing else can have its number.
void Subprocess::stop() {
  if (pid_ > 0) {
    ::kill(-pid_, SIGKILL);
    while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) continue;
    if (err_ >= 0 && is_readable(err_)) read_stderr();
  }
  pid_ = -1;
  close_all({&in_, &out_, &err_});
}

/// Whether the child has ended; it stays a zombie, so that its number stays its own.
bool Subprocess::has_ended() const {
  siginfo_t info{};
  const int rc = ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT);
  return rc == 0 ? info.si_pid == pid_ : errno == ECHILD;
}

std::string Subprocess::how_it_ended() const {
  siginfo_t info{};
  if (::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0)
    return "ended";
  if (info.si_code == CLD_EXITED) return cat("exited with status ", info.si_status);
  return cat("was ended by signal ", info.si_status, " (", ::strsignal(info.si_status), ")");
}

void Subprocess::read_stderr() {
  if (!read_some(err_, stderr_)) close_all({&err_});
  if (stderr_.size() > options_.max_stderr) stderr_.erase(0, stderr_.size() - options_.max_stderr);
}

/// Bytes that wait belong to no request, an end of the stream is no better.
bool Subprocess::is_out_of_step() {
  return out_ < 0 || in_ < 0 || is_readable(out_) || has_ended();
}

Reply Subprocess::request(std::string_view line) {
  if (const size_t at = line.find('\n'); at != std::string_view::npos)
    throw ArgumentError(
        cat("Subprocess::request: a request is one line, but byte ", at, " is a line end"));
  if (failures_ > options_.max_restarts)
    return {{},
            cat(name(), " is not started again: it failed ", failures_,
                " times in a row, the last time it ", last_failure_)};
  if (pid_ > 0 && !is_fresh_ && is_out_of_step()) stop();
  if (pid_ < 0)
    if (const std::string problem = start(); !problem.empty()) {
      ++failures_;
      last_failure_ = "could not be started";
      return {{}, problem};
    }
  std::string reply;
  std::string problem = exchange(line, reply);
  if (problem.empty()) try {
      parse_json(reply, "its reply");
    } catch (const DataError&) {
      problem = cat("wrote a line that is not valid JSON: ", in_quotes(shortened(reply)));
    }
  if (!problem.empty()) return fail(problem);
  is_fresh_ = false;
  failures_ = 0;
  return {std::move(reply), ""};
}

Reply Subprocess::fail(const std::string& what) {
  stop();
  ++failures_;
  last_failure_ = what;
  std::string problem = cat(name(), " ", what);
  if (!stderr_.empty()) problem += cat("; the end of its stderr: ", in_quotes(stderr_));
  return {{}, std::move(problem)};
}

/// Sends `line`, fills `reply`; returns what the child did wrong, or "".
std::string Subprocess::exchange(std::string_view line, std::string& reply) {
  stderr_.clear();
  const auto limit = options_.deadline + (is_fresh_ ? options_.start : milliseconds(0));
  const auto deadline = Clock::now() + limit;
  auto give_up = deadline;  // earlier once a pipe is closed
  const std::string message = cat(line, "\n");
  std::string_view rest = message;
  std::string closed;
  const auto note_closed = [&](const char* what) {
    if (closed.empty()) give_up = std::min(deadline, Clock::now() + kGrace);
    closed = what;
  };
  while (true) {
    const bool ended = has_ended();  // first: what it wrote is then all there
    const auto left = std::chrono::ceil<milliseconds>(give_up - Clock::now());
    pollfd polled[3] = {
        {rest.empty() ? -1 : in_, POLLOUT, 0}, {out_, POLLIN, 0}, {err_, POLLIN, 0}};
    const auto wait = ended ? milliseconds(0) : std::clamp(left, milliseconds(0), kTick);
    if (::poll(polled, 3, static_cast<int>(wait.count())) < 0) continue;  // EINTR
    bool is_new = false;
    if (polled[2].revents != 0) read_stderr();
    if (polled[0].revents != 0 && !write_some(in_, rest)) {
      close_all({&in_});
      note_closed("closed its standard input before it had read the request");
    }
    if (polled[1].revents != 0) {
      const size_t before = reply.size();
      if (!read_some(out_, reply)) {
        close_all({&out_});
        note_closed("closed its standard output before it had answered");
      }
      const size_t end = reply.find('\n', before);
      if (std::min(end, reply.size()) > options_.max_line)
        return cat("wrote more than ", options_.max_line, " bytes without a line end");
      if (end != std::string::npos) {
        if (end + 1 != reply.size()) return "wrote more than one line for one request";
        if (!rest.empty()) return "answered before it had read the whole request";
        reply.resize(end > 0 && reply[end - 1] == '\r' ? end - 1 : end);
        return "";
      }
      is_new = reply.size() > before;
    }
    if (ended && !is_new) return cat(how_it_ended(), " before it had answered");
    if (Clock::now() < give_up || (!ended && has_ended())) continue;
    if (!closed.empty()) return closed;
    return cat("gave no answer within ", limit.count(), " ms");
  }
}

}  // namespace luce

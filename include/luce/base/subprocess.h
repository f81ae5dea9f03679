// A program that stays alive and answers one line of JSON with one line of JSON: a scorer in
// another language, say. Whatever it does costs the request at hand, never the caller.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstddef>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace luce {

struct SubprocessOptions {
  std::chrono::milliseconds deadline{30'000};      // of a request, until its reply is complete
  std::chrono::milliseconds start{60'000};         // added for the first request after a start
  std::chrono::milliseconds stop{1000};            // to end once its standard input is closed
  size_t max_line = size_t{1} << 20;               // bytes of a reply without its line end
  size_t max_stderr = 2000;                        // bytes of stderr that are kept, the last ones
  int max_restarts = 3;                            // in a row, without a reply between them
  std::map<std::string, std::string> environment;  // added to this process's
  std::filesystem::path folder;                    // working folder; empty: this process's
};

/// The reply to one request, or why there is none.
struct Reply {
  std::optional<std::string> line;  // valid JSON, without the line end
  std::string problem;              // a sentence; "" where there is a line
};

/// One child process, in a process group of its own. A child that exceeds a limit, dies, closes a
/// pipe or writes what is not one line of JSON is killed with its group, and started again for the
/// next request. Members of the group that left it (setsid) are not followed. Requests come from
/// one thread at a time; other threads may do as they like.
class Subprocess {
 public:
  /// Starts `command`: a program, looked up in PATH where it has no slash, and its arguments; no
  /// shell is between. Throws UsageError where it cannot be started.
  explicit Subprocess(std::vector<std::string> command, SubprocessOptions options = {});
  /// Closes the child's standard input, gives it time to end, and kills what is left of its group.
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  /// Sends `line` (a line end is added) and waits for the reply. A child that died, or wrote
  /// something, since the last reply is replaced first. Throws ArgumentError where `line` holds a
  /// line end.
  Reply request(std::string_view line);

  /// How often the command was started.
  int starts() const { return starts_; }
  /// The last bytes that the children wrote to stderr.
  const std::string& stderr_tail() const { return stderr_; }

 private:
  std::string start();
  void stop();
  bool is_out_of_step();
  bool has_ended() const;
  std::string how_it_ended() const;
  void read_stderr();
  std::string exchange(std::string_view line, std::string& reply);
  Reply fail(const std::string& what);
  std::string name() const;

  std::vector<std::string> command_;
  SubprocessOptions options_;
  pid_t pid_ = -1;
  int in_ = -1, out_ = -1, err_ = -1;  // our ends of the child's stdin, stdout, stderr
  int starts_ = 0, failures_ = 0;      // failures_: in a row
  bool is_fresh_ = false;              // no request since the start
  std::string stderr_, last_failure_;
};

}  // namespace luce

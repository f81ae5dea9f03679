#include "program.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <sys/wait.h>

#include <sstream>

namespace luce::cli_test {
namespace {

/// Becomes the program. Only for a child process.
[[noreturn]] void become(const Strings& arguments,
                         const std::map<std::string, std::string>& variables) {
  for (const auto& [name, value] : variables) ::setenv(name.c_str(), value.c_str(), 1);
  std::string program = LUCE_CLI;
  Strings words = arguments;
  std::vector<char*> argv = {program.data()};
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  ::execv(program.c_str(), argv.data());
  ::_exit(127);
}

void redirect(int fd, const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags, 0600);
  if (file < 0 || ::dup2(file, fd) < 0) ::_exit(126);
  ::close(file);
}

}  // namespace

std::string Outcome::sentence() const {
  const std::string mark = "luce: ";
  size_t at = err.rfind(mark, 0) == 0 ? 0 : err.find("\n" + mark);
  if (at == std::string::npos) return "";
  if (at > 0) ++at;
  std::string text = err.substr(at + mark.size());
  if (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

Program::Program(const Strings& arguments, const std::map<std::string, std::string>& variables,
                 const std::string& stdout_path) {
  const std::string out = stdout_path.empty() ? (folder_ / "out").string() : stdout_path;
  const std::string err = folder_ / "err";
  pid_ = ::fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ > 0) return;
  redirect(STDIN_FILENO, "/dev/null", O_RDONLY);
  redirect(STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC);
  redirect(STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC);
  become(arguments, variables);
}

Program::~Program() {
  if (!running()) return;
  signal(SIGKILL);
  ::waitpid(pid_, &status_, 0);
}

void Program::signal(int number) const { ::kill(pid_, number); }

bool Program::running() {
  if (pid_ > 0 && ::waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = 0;
  return pid_ > 0;
}

Outcome Program::wait() {
  if (pid_ > 0) ::waitpid(pid_, &status_, 0);
  pid_ = 0;
  Outcome outcome;
  if (WIFEXITED(status_)) outcome.code = WEXITSTATUS(status_);
  if (std::filesystem::exists(folder_ / "out")) outcome.out = read_file(folder_ / "out");
  outcome.err = read_file(folder_ / "err");
  return outcome;
}

Outcome luce(const Strings& arguments, const std::map<std::string, std::string>& variables) {
  return Program(arguments, variables).wait();
}

std::string luce_on_terminal(const Strings& arguments,
                             const std::map<std::string, std::string>& variables) {
  int terminal = -1;
  winsize size{};
  size.ws_row = 24;
  size.ws_col = 100;
  const pid_t pid = ::forkpty(&terminal, nullptr, nullptr, &size);
  if (pid < 0) throw std::runtime_error("forkpty failed");
  if (pid == 0) {
    ::setenv("TERM", "xterm", 1);
    become(arguments, variables);
  }
  std::string text;
  char part[4096];
  for (ssize_t n; (n = ::read(terminal, part, sizeof part)) > 0;)
    text.append(part, static_cast<size_t>(n));
  ::close(terminal);
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << text;
  return text;
}

std::string golden(const std::string& name) { return LUCE_SOURCE_DIR "/tests/golden/" + name; }

Json golden_json(const std::string& name) { return parse_json(read_file(golden(name)), name); }

std::vector<Json> json_lines(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(parse_json(line, line));
  return lines;
}

Workspace::Workspace() {
  Json pairs = config();
  pairs["task"] = "preference";
  pairs["data"]["train"] = golden("pairs_tiny.jsonl");
  pairs["loss"] = {{"type", "dpo"}};
  dpo = file("dpo.json", pairs.dump(1));
  Json texts = config();
  texts["task"] = "sft";
  texts["data"]["train"] = golden("sft_tiny.jsonl");
  sft = file("sft.json", texts.dump(1));
}

Json Workspace::config() const {
  return {{"model", {{"path", golden("tiny")}}},
          {"data", {{"max_length", 64}}},
          {"train",
           {{"max_steps", 3},
            {"batch_size", 4},
            {"learning_rate", 1e-3},
            {"lr_scheduler_type", "constant"},
            {"logging_steps", 1}}},
          {"output_dir", out().string()}};
}

std::string Workspace::file(const std::string& name, std::string_view content) const {
  return write(name, content).string();
}

std::string Workspace::model(const std::string& name) const {
  std::filesystem::copy(golden("tiny"), path() / name);
  return (path() / name).string();
}

void expect_refusal(const Workspace& at, const Strings& arguments, int code,
                    const std::string& sentence) {
  const Outcome outcome = luce(arguments);
  std::string command;
  for (const auto& word : arguments) command += " " + word;
  EXPECT_EQ(outcome.code, code) << command;
  EXPECT_EQ(at.strip(outcome.sentence()), sentence) << command;
  EXPECT_EQ(outcome.out, "") << command;
}

}  // namespace luce::cli_test

#include "luce/base/subprocess.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <fstream>
#include <functional>
#include <thread>

#include "data/temporary_folder.h"

namespace luce {
namespace {

using std::chrono::milliseconds;

const std::string kEcho = "while read -r l; do printf '%s\\n' \"$l\"; done\n";

size_t descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd"))
    ++count;
  return count;
}

bool has_children() { return ::waitpid(-1, nullptr, WNOHANG) != -1 || errno != ECHILD; }

bool waits_for(const std::function<bool()>& condition) {
  for (int i = 0; i < 5000; ++i) {
    if (condition()) return true;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return false;
}

/// Whether a process is gone, or a zombie of whoever adopted it.
bool is_dead(const std::string& pid) {
  std::ifstream file("/proc/" + pid + "/stat");
  std::string text;
  if (!std::getline(file, text)) return true;
  const char state = text[text.rfind(')') + 2];
  return state == 'Z' || state == 'X';
}

/// After each test no child and no descriptor is left.
class SubprocessTest : public testing::Test {
 protected:
  void SetUp() override { ASSERT_FALSE(has_children()); }
  void TearDown() override {
    EXPECT_FALSE(has_children());
    EXPECT_EQ(descriptors(), before_);
  }

  /// `sh child.sh` in a folder of its own.
  std::vector<std::string> script(const std::string& text) const {
    folder_.write("child.sh", text);
    return {"sh", "child.sh"};
  }
  SubprocessOptions options(int deadline = 20'000) const {
    return {.deadline = milliseconds(deadline),
            .start = milliseconds(20'000),
            .stop = milliseconds(50),
            .folder = folder_.path()};
  }
  std::string content(const std::string& name) const {
    std::ifstream file(folder_ / name);
    std::string line;
    std::getline(file, line);
    return line;
  }

  /// What the second request meets where the child's answer to it is `bad`; the first must be
  /// answered before, and the third after.
  std::string problem_of(const std::string& bad, SubprocessOptions o) const {
    Subprocess child(script("if [ -e seen ]; then " + kEcho + "exit; fi\n: >seen\n" +
                            "read -r l; echo \"$l\"\nread -r l\n" + bad + "\n"),
                     std::move(o));
    EXPECT_EQ(child.request("{\"n\": 1}").line, "{\"n\": 1}");
    const Reply reply = child.request("{\"n\": 2}");
    EXPECT_FALSE(reply.line.has_value());
    const Reply after = child.request("{\"n\": 3}");
    EXPECT_EQ(after.line, "{\"n\": 3}") << after.problem;
    EXPECT_EQ(after.problem, "");
    EXPECT_EQ(child.starts(), 2);
    return reply.problem;
  }
  std::string problem_of(const std::string& bad) const { return problem_of(bad, options()); }

  TemporaryFolder folder_;

 private:
  const size_t before_ = descriptors();
};

TEST_F(SubprocessTest, AnswersRequestAfterRequest) {
  Subprocess child(script(kEcho), options());
  for (int i = 0; i < 100; ++i) {
    const std::string line = cat("{\"i\": ", i, ", \"text\": \"é\\n\"}");
    const Reply reply = child.request(line);
    ASSERT_EQ(reply.line, line) << reply.problem;
    ASSERT_EQ(reply.problem, "");
  }
  EXPECT_EQ(child.starts(), 1);
}

TEST_F(SubprocessTest, CarriesLinesLargerThanAPipeBothWays) {
  SubprocessOptions o = options();
  o.max_line = 3'000'000;
  Subprocess child({"cat"}, o);
  const std::string line = '"' + std::string(2'999'998, 'x') + '"';
  EXPECT_EQ(child.request(line).line, line);
  EXPECT_EQ(child.request("1").line, "1");
}

TEST_F(SubprocessTest, TakesALineEndOfTwoBytes) {
  Subprocess child(script("read -r l; printf '{}\\r\\n'; read -r l\n"), options());
  EXPECT_EQ(child.request("1").line, "{}");
}

TEST_F(SubprocessTest, GivesTheFirstRequestTimeToStart) {
  Subprocess child(script("sleep 0.4\n" + kEcho), options(100));
  EXPECT_EQ(child.request("1").line, "1");
  Subprocess late(
      script("sleep 60\n"),
      {.deadline = milliseconds(60), .start = milliseconds(40), .folder = folder_.path()});
  EXPECT_EQ(late.request("1").problem, "the command \"sh child.sh\" gave no answer within 100 ms");
}

TEST_F(SubprocessTest, HangingCostsOneRequest) {
  const std::string text = "the command \"sh child.sh\" gave no answer within 150 ms";
  EXPECT_EQ(problem_of("sleep 60", options(150)), text);
}

TEST_F(SubprocessTest, KillsWhatIgnoresSignalsWithItsChildren) {
  Subprocess child(script("if [ -e seen ]; then " + kEcho + "exit; fi\n: >seen\n" +
                          "trap '' TERM HUP INT; sleep 61 & echo $! >kid; echo $$ >pid\n"
                          "read -r l; echo \"$l\"; while :; do sleep 1; done\n"),
                   options(150));
  EXPECT_EQ(child.request("1").line, "1");
  EXPECT_EQ(child.request("2").problem, "the command \"sh child.sh\" gave no answer within 150 ms");
  EXPECT_EQ(child.request("3").line, "3");
  ASSERT_NE(content("pid"), "");
  EXPECT_TRUE(is_dead(content("pid")));
  EXPECT_TRUE(waits_for([&] { return is_dead(content("kid")); }));
}

TEST_F(SubprocessTest, DyingCostsOneRequest) {
  EXPECT_EQ(problem_of("exit 3"),
            "the command \"sh child.sh\" exited with status 3 before it had answered");
}

TEST_F(SubprocessTest, DyingByASignalCostsOneRequest) {
  EXPECT_EQ(problem_of("kill -KILL $$"),
            "the command \"sh child.sh\" was ended by signal 9 (Killed) before it had answered");
}

TEST_F(SubprocessTest, AnAnswerWithoutItsLineEndIsNone) {
  EXPECT_EQ(problem_of("printf 1; exit 0"),
            "the command \"sh child.sh\" exited with status 0 before it had answered");
}

TEST_F(SubprocessTest, AGigabyteWithoutALineEndCostsOneRequest) {
  SubprocessOptions o = options();
  o.max_line = 100'000;
  EXPECT_EQ(problem_of("exec head -c 1000000000 /dev/zero", o),
            "the command \"sh child.sh\" wrote more than 100000 bytes without a line end");
}

TEST_F(SubprocessTest, ALineBeyondTheLimitCostsOneRequest) {
  SubprocessOptions o = options();
  o.max_line = 8;
  EXPECT_EQ(problem_of("echo 123456789", o),
            "the command \"sh child.sh\" wrote more than 8 bytes without a line end");
  std::filesystem::remove(folder_ / "seen");
  o.max_line = 9;
  EXPECT_EQ(problem_of("echo nonsense.", o),
            "the command \"sh child.sh\" wrote a line that is not valid JSON: \"nonsense.\"");
}

TEST_F(SubprocessTest, BytesThatNeverEndDoNotMoveTheDeadline) {
  EXPECT_EQ(problem_of("while :; do printf x; sleep 0.01; done", options(150)),
            "the command \"sh child.sh\" gave no answer within 150 ms");
}

TEST_F(SubprocessTest, GarbageCostsOneRequest) {
  EXPECT_EQ(problem_of("printf '\\377\\000garbage\\n'; sleep 60"),
            "the command \"sh child.sh\" wrote a line that is not valid JSON: "
            "\"\xEF\xBF\xBD\\u0000garbage\"");
}

TEST_F(SubprocessTest, TwoLinesCostOneRequest) {
  EXPECT_EQ(problem_of("printf '1\\n2\\n'; sleep 60"),
            "the command \"sh child.sh\" wrote more than one line for one request");
}

TEST_F(SubprocessTest, ClosingStandardOutputCostsOneRequest) {
  EXPECT_EQ(problem_of("exec >&-; sleep 60"),
            "the command \"sh child.sh\" closed its standard output before it had answered");
}

TEST_F(SubprocessTest, ClosingStandardInputCostsOneRequestAndNoSignal) {
  Subprocess child(script("if [ -e seen ]; then " + kEcho + "exit; fi\n: >seen\n" +
                          "read -r l; echo \"$l\"; exec <&-; sleep 60\n"),
                   options());
  EXPECT_EQ(child.request("1").line, "1");
  // Larger than a pipe: it cannot have been taken before the end was closed.
  EXPECT_EQ(child.request(std::string(1'000'000, '2')).problem,
            "the command \"sh child.sh\" closed its standard input before it had read the request");
  EXPECT_EQ(child.request("3").line, "3");
  sigset_t signals;
  sigpending(&signals);
  EXPECT_EQ(sigismember(&signals, SIGPIPE), 0);
  pthread_sigmask(SIG_SETMASK, nullptr, &signals);
  EXPECT_EQ(sigismember(&signals, SIGPIPE), 0);
}

TEST_F(SubprocessTest, AnsweringBeforeTheRequestIsReadCostsIt) {
  Subprocess child(script("echo 1; sleep 60\n"), options());
  EXPECT_EQ(child.request(std::string(1'000'000, '2')).problem,
            "the command \"sh child.sh\" answered before it had read the whole request");
}

TEST_F(SubprocessTest, AGrandchildThatHoldsThePipesIsKilled) {
  EXPECT_EQ(problem_of("sleep 62 & echo $! >kid; exit 4"),
            "the command \"sh child.sh\" exited with status 4 before it had answered");
  ASSERT_NE(content("kid"), "");
  EXPECT_TRUE(waits_for([&] { return is_dead(content("kid")); }));
}

TEST_F(SubprocessTest, AGrandchildThatKeepsWritingIsKilled) {
  EXPECT_EQ(problem_of("(while :; do printf x; sleep 0.01; done) & echo $! >kid; exit 5"),
            "the command \"sh child.sh\" exited with status 5 before it had answered");
  EXPECT_TRUE(waits_for([&] { return is_dead(content("kid")); }));
}

TEST_F(SubprocessTest, TheEndOfStderrStandsInTheProblem) {
  EXPECT_EQ(problem_of("echo no memory >&2; exit 1"),
            "the command \"sh child.sh\" exited with status 1 before it had answered; the end of "
            "its stderr: \"no memory\\n\"");
  std::filesystem::remove(folder_ / "seen");
  SubprocessOptions o = options();
  o.max_stderr = 6;
  EXPECT_EQ(problem_of("head -c 200000 /dev/zero >&2; printf '\\377last' >&2; exit 1", o),
            "the command \"sh child.sh\" exited with status 1 before it had answered; the end of "
            "its stderr: \"\\u0000\xEF\xBF\xBDlast\"");
}

TEST_F(SubprocessTest, MuchOnStderrBlocksNobody) {
  Subprocess child(script("read -r l; head -c 1000000 /dev/zero | tr '\\0' e >&2; echo \"$l\"\n"
                          "read -r l\n"),
                   options());
  EXPECT_EQ(child.request("1").line, "1");
  EXPECT_LE(child.stderr_tail().size(), 2000u);
}

TEST_F(SubprocessTest, DyingBetweenRequestsCostsNone) {
  Subprocess child(script("echo $$ >pid; read -r l; echo \"$l\"\n"), options());
  for (int i = 1; i <= 6; ++i) {
    const Reply reply = child.request("1");
    EXPECT_EQ(reply.line, "1") << reply.problem;
    EXPECT_EQ(child.starts(), i);
    ASSERT_TRUE(waits_for([&] { return is_dead(content("pid")); }));
  }
}

TEST_F(SubprocessTest, ALineThatComesLateIsNotTheNextAnswer) {
  Subprocess child(script("if [ -e seen ]; then " + kEcho + "exit; fi\n: >seen\n" +
                          "read -r l; echo \"$l\"; sleep 0.1; echo 99; : >late; sleep 60\n"),
                   options());
  EXPECT_EQ(child.request("1").line, "1");
  ASSERT_TRUE(waits_for([&] { return std::filesystem::exists(folder_ / "late"); }));
  EXPECT_EQ(child.request("2").line, "2");
  EXPECT_EQ(child.starts(), 2);
}

TEST_F(SubprocessTest, GivesUpAfterSeveralFailuresInARow) {
  SubprocessOptions o = options();
  o.max_restarts = 2;
  Subprocess child(script("read -r l; exit 7\n"), o);
  const std::string failed = "exited with status 7 before it had answered";
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(child.request("1").problem, "the command \"sh child.sh\" " + failed);
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(child.request("1").problem,
              "the command \"sh child.sh\" is not started again: it failed 3 times in a row, the "
              "last time it " +
                  failed);
  EXPECT_EQ(child.starts(), 3);
}

TEST_F(SubprocessTest, AReplyForgivesTheFailuresBeforeIt) {
  SubprocessOptions o = options();
  o.max_restarts = 1;
  Subprocess child(script("read -r l; echo \"$l\"; read -r l; exit 7\n"), o);
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(child.request("1").line, "1");
    EXPECT_FALSE(child.request("2").line.has_value());
  }
  EXPECT_EQ(child.starts(), 5);
}

TEST_F(SubprocessTest, StartsInItsFolderWithItsEnvironmentAndNoFilesOfOurs) {
  ::setenv("LUCE_TEST_KEPT", "kept", 1);
  ::setenv("LUCE_TEST_CHANGED", "old", 1);
  const int open = ::open("/dev/null", O_RDONLY);  // NOLINT: not closed on exec, on purpose
  SubprocessOptions o = options();
  o.environment = {{"LUCE_TEST_CHANGED", "new"}, {"LUCE_TEST_ADDED", "a=b"}};
  Subprocess child(
      {"sh", "-c",
       cat("read -r l; [ -e /proc/$$/fd/", open, " ] && f=1 || f=0; echo \"[\\\"$PWD\\\"",
           ", \\\"$LUCE_TEST_KEPT $LUCE_TEST_CHANGED $LUCE_TEST_ADDED\\\", $f]\"; "
           "read -r l")},
      o);
  EXPECT_EQ(child.request("0").line, cat("[\"", std::filesystem::canonical(folder_.path()).string(),
                                         "\", \"kept new a=b\", 0]"));
  ::close(open);
  ::unsetenv("LUCE_TEST_KEPT");
  ::unsetenv("LUCE_TEST_CHANGED");
}

TEST_F(SubprocessTest, StartsWhereOurStandardInputIsClosed) {
  const int kept = ::fcntl(0, F_DUPFD_CLOEXEC, 3);
  if (kept < 0) GTEST_SKIP() << "standard input is closed";
  ::close(0);
  {
    Subprocess child(script(kEcho), options());
    EXPECT_EQ(child.request("1").line, "1");
  }
  ::dup2(kept, 0);
  ::close(kept);
}

TEST_F(SubprocessTest, ServesSeveralThreadsEachWithItsOwn) {
  const auto command = script(kEcho);
  std::vector<std::thread> threads;
  std::vector<int> good(4, 0);
  for (size_t t = 0; t < good.size(); ++t)
    threads.emplace_back([&, t] {
      for (int start = 0; start < 5; ++start) {
        Subprocess child(command, options());
        for (int i = 0; i < 20; ++i) {
          const std::string line = cat("[", t, ", ", start, ", ", i, "]");
          good[t] += child.request(line).line == line;
        }
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(good, (std::vector<int>{100, 100, 100, 100}));
}

TEST_F(SubprocessTest, EndsAChildThatStaysAfterItsInputHasEnded) {
  {
    Subprocess child(script("trap '' TERM; echo $$ >pid; " + kEcho + "sleep 63\n"), options());
    EXPECT_EQ(child.request("1").line, "1");
  }
  EXPECT_TRUE(is_dead(content("pid")));
}

TEST_F(SubprocessTest, LetsAChildEndByItself) {
  {
    SubprocessOptions o = options();
    o.stop = milliseconds(20'000);
    Subprocess child(script(kEcho + "echo done >end\n"), o);
    EXPECT_EQ(child.request("1").line, "1");
  }
  EXPECT_EQ(content("end"), "done");
}

TEST_F(SubprocessTest, RefusesWhatCannotBeStarted) {
  const auto error = [&](const std::vector<std::string>& command, const SubprocessOptions& o = {}) {
    return error_of<UsageError>([&] { Subprocess child(command, o); });
  };
  EXPECT_EQ(error({}), "a command to start is empty: give a program and its arguments");
  EXPECT_EQ(error({""}), "a command to start is empty: give a program and its arguments");
  EXPECT_EQ(error({"no-such-program", "-x"}),
            "the command \"no-such-program -x\" cannot be started: No such file or directory");
  EXPECT_EQ(error({"sh"}, {.folder = "/no/such/folder"}),
            "the command \"sh\" cannot be started: its working folder /no/such/folder is not a "
            "folder");
}

TEST_F(SubprocessTest, ARestartThatFailsCostsOneRequest) {
  std::filesystem::create_symlink("/bin/sh", folder_ / "program");
  Subprocess child({"./program", "-c", "read -r l; exit 1"}, options());
  std::filesystem::remove(folder_ / "program");
  EXPECT_FALSE(child.request("1").line.has_value());
  EXPECT_EQ(child.request("1").problem,
            "the command \"./program -c read -r l; exit 1\" cannot be started: No such file or "
            "directory");
  EXPECT_EQ(child.starts(), 1);
  std::filesystem::create_symlink("/bin/cat", folder_ / "program");  // of which -c is refused
  EXPECT_FALSE(child.request("1").line.has_value());
  EXPECT_EQ(child.starts(), 2);
}

TEST_F(SubprocessTest, RefusesARequestOfTwoLines) {
  Subprocess child(script(kEcho), options());
  EXPECT_EQ(error_of<ArgumentError>([&] { child.request("{\n}"); }),
            "Subprocess::request: a request is one line, but byte 1 is a line end");
  EXPECT_EQ(child.request("1").line, "1");
}

}  // namespace
}  // namespace luce

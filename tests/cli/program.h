// Runs the `luce` program as a user does: arguments in, exit code and text out.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "data/temporary_folder.h"
#include "luce/base/json.h"

namespace luce::cli_test {

using Strings = std::vector<std::string>;

struct Outcome {
  int code = -1;  // −1: killed by a signal
  std::string out, err;
  /// The error that the program ended with: what follows "luce: " on stderr.
  std::string sentence() const;
};

/// A process of the program. Its stdin is empty.
class Program {
 public:
  /// `stdout_path`: a file for its stdout instead of one that `wait` reads.
  explicit Program(const Strings& arguments,
                   const std::map<std::string, std::string>& variables = {},
                   const std::string& stdout_path = "");
  /// Kills it if it still runs.
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;
  void signal(int number) const;
  bool running();
  Outcome wait();

 private:
  TemporaryFolder folder_;
  int pid_ = -1, status_ = 0;
};

/// Runs it to its end.
Outcome luce(const Strings& arguments, const std::map<std::string, std::string>& variables = {});

/// Runs it on a terminal, to its end; all that it writes there.
std::string luce_on_terminal(const Strings& arguments,
                             const std::map<std::string, std::string>& variables = {});

/// A file or folder of tests/golden.
std::string golden(const std::string& name);
Json golden_json(const std::string& name);

/// The lines of a text, each as JSON.
std::vector<Json> json_lines(const std::string& text);

/// A folder to work in, with copies of the tiny model and configs of short runs.
class Workspace : public TemporaryFolder {
 public:
  Workspace();
  /// Writes a file; its path as text.
  std::string file(const std::string& name, std::string_view content) const;
  /// A copy of the tiny model; its path.
  std::string model(const std::string& name) const;
  /// The output_dir of the configs.
  std::filesystem::path out() const { return path() / "out"; }
  std::string dpo, sft;  // configs: 3 steps of 4 rows, a line of metrics each

 private:
  Json config() const;
};

/// The program refuses these arguments with this code and this sentence, paths of `at` left out.
void expect_refusal(const Workspace& at, const Strings& arguments, int code,
                    const std::string& sentence);

}  // namespace luce::cli_test

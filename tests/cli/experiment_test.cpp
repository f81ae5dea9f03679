// luce experiment: what it prints and what it writes.
#include "luce/experiment/experiment.h"

#include <filesystem>

#include "program.h"

namespace luce::cli_test {
namespace {

TEST(CliExperiment, ListsNamesAndTitles) {
  const Outcome outcome = luce({"experiment"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  for (const Experiment& experiment : experiments()) {
    EXPECT_NE(outcome.out.find("  " + experiment.name + " "), std::string::npos) << outcome.out;
    EXPECT_NE(outcome.out.find(" " + experiment.title + "\n"), std::string::npos) << outcome.out;
  }
  EXPECT_NE(outcome.out.find("\n  identities "), std::string::npos) << outcome.out;
  EXPECT_EQ(luce({"experiment", "--list"}).out, outcome.out);
}

TEST(CliExperiment, PrintsTheAnswerAndTheTables) {
  const Findings found = find_experiment("kl-estimators").run({.quick = true, .seed = 3});
  const Outcome outcome = luce({"experiment", "kl-estimators", "--quick", "--seed", "3"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  const Experiment& experiment = find_experiment("kl-estimators");
  EXPECT_EQ(outcome.out, experiment.title + "\n" + experiment.question + "\n\n" + found.answer +
                             "\n\n" + plain_text(found.tables));
  EXPECT_EQ(luce({"experiment", "kl-estimators", "--quick", "--seed", "3", "--markdown"}).out,
            markdown(found.tables));
}

TEST(CliExperiment, WritesItsFiguresAndAPage) {
  const Workspace at;
  const std::string folder = (at / "new" / "folder").string();
  const Outcome outcome = luce({"experiment", "kl-estimators", "--quick", "--out", folder});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const Findings found = find_experiment("kl-estimators").run({.quick = true});
  const Json result = parse_json(read_file(folder + "/kl-estimators.json"), "result");
  EXPECT_EQ(result["experiment"], "kl-estimators");
  EXPECT_EQ(result["quick"], true);
  EXPECT_EQ(result["seed"], 1);
  EXPECT_EQ(result["answer"], found.answer);
  EXPECT_EQ(result["figures"].dump(), found.figures.dump());
  EXPECT_EQ(result.size(), 5u);
  EXPECT_EQ(read_file(folder + "/kl-estimators.html"),
            page(find_experiment("kl-estimators"), found).html());
}

TEST(CliExperiment, RefusesWhatItDoesNotKnow) {
  const Workspace at;
  std::string all;
  for (const Experiment& experiment : experiments()) all += experiment.name + ", ";
  expect_refusal(at, {"experiment", "nothing"}, 64,
                 "there is no experiment \"nothing\"; the experiments are " + all + "identities");
  expect_refusal(at, {"experiment", "identities", "--quick"}, 64,
                 "--quick is for experiments; identities are always the same");
  const std::string file = at.file("file", "");
  expect_refusal(at, {"experiment", "three-actions", "--quick", "--out", file}, 73,
                 "cannot make the folder file: a file of that name is there");
}

}  // namespace
}  // namespace luce::cli_test

// What all experiments share: their list, and tables as text.
#include "luce/experiment/experiment.h"

#include <gtest/gtest.h>

#include <set>

#include "experiment/text.h"
#include "luce/base/error.h"
#include "support/support.h"

namespace luce {
namespace {

const std::vector<Table> kTables{
    {"First", {"β", "value"}, {{"a|b", "10"}, {"ccc", "-2.5e-07"}}, "How to read it."},
    {"Second", {"n", "said"}, {{"1", "yes"}}, ""}};

TEST(Tables, AreMarkdownWithNumbersToTheRight) {
  EXPECT_EQ(markdown(kTables),
            "**First**\n\nHow to read it.\n\n"
            "| β | value |\n| --- | ---: |\n| a\\|b | 10 |\n| ccc | -2.5e-07 |\n"
            "\n**Second**\n\n| n | said |\n| ---: | --- |\n| 1 | yes |\n");
}

TEST(Tables, AreAlignedByCharactersOnATerminal) {
  EXPECT_EQ(plain_text(kTables),
            "First\nHow to read it.\n\n"
            "  β       value\n"
            "  a|b        10\n"
            "  ccc  -2.5e-07\n"
            "\nSecond\n\n"
            "  n  said\n"
            "  1  yes\n");
}

TEST(Tables, RefuseARowOfAnotherWidth) {
  const std::vector<Table> ragged{{"T", {"a", "b"}, {{"1"}}, ""}};
  for (const auto text : {markdown, plain_text})
    EXPECT_EQ(test::message_of<ArgumentError>([&] { text(ragged); }),
              "table \"T\" has 2 columns and a row of 1 cells");
}

TEST(Number, HasSoManySignificantDigits) {
  EXPECT_EQ(number(0.123456), "0.1235");
  EXPECT_EQ(number(1.2119e-23, 2), "1.2e-23");
  EXPECT_EQ(number(-100000), "-1e+05");
  EXPECT_EQ(row("name", {1, 0.5}, 3), (std::vector<std::string>{"name", "1", "0.5"}));
}

TEST(Points, AreThoseOfEverySeries) {
  const std::vector<LineChart> charts{
      {.title = "one", .series = {{"a", {0, 1}, {2, 3}}, {"b", {4}, {5}}}},
      {.title = "two", .series = {{"c", {}, {}}}}};
  EXPECT_EQ(points(charts).dump(),
            R"({"one":{"a":{"x":[0.0,1.0],"y":[2.0,3.0]},"b":{"x":[4.0],"y":[5.0]}},)"
            R"("two":{"c":{"x":[],"y":[]}}})");
}

TEST(Experiments, HaveNamesTitlesAndQuestionsOfTheirOwn) {
  std::set<std::string> names, titles, questions;
  for (const Experiment& experiment : experiments()) {
    EXPECT_EQ(experiment.name.find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string::npos);
    names.insert(experiment.name);
    titles.insert(experiment.title);
    questions.insert(experiment.question);
    EXPECT_EQ(find_experiment(experiment.name).title, experiment.title);
  }
  EXPECT_EQ(names.size(), experiments().size());
  EXPECT_EQ(titles.size(), experiments().size());
  EXPECT_EQ(questions.size(), experiments().size());
}

TEST(Experiments, AreListedWhereANameIsUnknown) {
  std::string all;
  for (const Experiment& experiment : experiments()) all += experiment.name + ", ";
  const auto message = [](const std::string& name) {
    return test::message_of<UsageError>([&] { find_experiment(name); });
  };
  EXPECT_EQ(message("nothing at all"),
            "there is no experiment \"nothing at all\"; the experiments are " + all + "identities");
  EXPECT_EQ(message("three-action"),
            "there is no experiment \"three-action\" (did you mean \"three-actions\"?); the "
            "experiments are " +
                all + "identities");
}

TEST(Page, HoldsQuestionAnswerChartsAndTables) {
  const Experiment experiment{"name", "The title", "The question?", nullptr};
  Findings findings;
  findings.answer = "The answer.";
  findings.tables = kTables;
  findings.charts = {{.title = "The chart", .series = {{"line", {0, 1}, {2, 3}}}}};
  const std::string html = page(experiment, findings).html();
  size_t at = 0;
  for (const std::string part : {"<h1>The title</h1>", "<p class=\"lead\">The question?</p>",
                                 "<p class=\"body callout\">The answer.</p>", "The chart", "<svg",
                                 "First", "How to read it.", "a|b", "Second"}) {
    const auto next = html.find(part, at);
    EXPECT_NE(next, std::string::npos) << part << " does not come after what stands before it";
    if (next != std::string::npos) at = next;
  }
}

}  // namespace
}  // namespace luce

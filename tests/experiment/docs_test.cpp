// docs/experiments shows what the program computes: each page holds the tables of the quick run,
//   <!-- luce experiment NAME --quick -->  or  <!-- luce experiment NAME --quick, within 2 % -->
//   …
//   <!-- end -->
// with the same text, and numbers that differ by 1e-6 of their size at most, or by what is said
// there. `luce experiment NAME --quick --markdown` prints such a block anew. Pages of experiments
// whose numbers depend on the machine hold those of one full run instead:
//   <!-- luce experiment NAME, a recorded run -->
#include <gtest/gtest.h>

#include <cmath>
#include <regex>
#include <string>
#include <vector>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/experiment/experiment.h"

namespace luce {
namespace {

std::string document(const std::string& name) {
  return read_file(std::string(LUCE_SOURCE_DIR) + "/docs/experiments/" + name + ".md");
}

/// A text cut into its numbers and what stands between them.
struct Cut {
  std::string words;
  std::vector<double> numbers;

  explicit Cut(const std::string& text) {
    static const std::regex number("-?[0-9]+(\\.[0-9]+)?(e[-+]?[0-9]+)?");
    auto at = text.cbegin();
    for (std::sregex_iterator it(text.begin(), text.end(), number), end; it != end; ++it) {
      words.append(at, (*it)[0].first).append("#");
      numbers.push_back(std::stod(it->str()));
      at = (*it)[0].second;
    }
    words.append(at, text.cend());
  }
};

struct Block {
  std::string text;
  double tolerance = 1e-6;
};

/// The block of a page; an empty text where there is none.
Block block_of(const std::string& page, const std::string& name) {
  const std::regex marker("<!-- luce experiment " + name +
                          " --quick(, within ([0-9.]+) %)? -->\n\n?");
  std::smatch match;
  if (!std::regex_search(page, match, marker)) return {};
  const auto begin = static_cast<size_t>(match.position() + match.length());
  auto end = page.find("<!-- end -->", begin);
  if (end == std::string::npos) return {};
  while (end > begin + 1 && page[end - 1] == '\n' && page[end - 2] == '\n') --end;
  Block block{page.substr(begin, end - begin)};
  if (match[2].matched) block.tolerance = std::stod(match[2]) / 100;
  return block;
}

/// Whether the page holds the tables of one full run: of an experiment whose numbers depend on the
/// machine (f32 training on its own samples), for which a test of its own asserts what must hold.
bool is_recorded(const std::string& page, const std::string& name) {
  const std::string marker = "<!-- luce experiment " + name + ", a recorded run -->\n\n**";
  return page.find(marker) != std::string::npos;
}

/// What differs, in words; empty where nothing does.
std::string difference(const Block& written, const std::string& computed) {
  const Cut old(written.text), now(computed);
  if (old.words != now.words) {
    size_t at = 0;
    while (at < std::min(old.words.size(), now.words.size()) && old.words[at] == now.words[at])
      ++at;
    return cat("the text differs: \"", old.words.substr(at, 60), "\" against \"",
               now.words.substr(at, 60), "\"");
  }
  for (size_t i = 0; i < now.numbers.size(); ++i)
    if (!(std::abs(old.numbers[i] - now.numbers[i]) <=
          written.tolerance * std::abs(now.numbers[i]) + 1e-300))
      return cat("number ", i + 1, " is ", old.numbers[i], " and should be ", now.numbers[i]);
  return "";
}

TEST(ExperimentDocs, ShowWhatTheQuickRunGives) {
  for (const Experiment& experiment : experiments()) {
    SCOPED_TRACE(experiment.name);
    const std::string page = document(experiment.name);
    if (is_recorded(page, experiment.name)) continue;
    const Block block = block_of(page, experiment.name);
    ASSERT_NE(block.text, "") << "no block of tables";
    ExperimentOptions options;
    options.quick = true;
    EXPECT_EQ(difference(block, markdown(experiment.run(options).tables)), "")
        << "luce experiment " << experiment.name << " --quick --markdown prints it anew";
  }
}

TEST(ExperimentDocs, AreAllListed) {
  const std::string list = document("README");
  for (const Experiment& experiment : experiments())
    EXPECT_NE(list.find(cat("[", experiment.name, "](", experiment.name, ".md)")),
              std::string::npos)
        << experiment.name;
}

TEST(ExperimentDocs, AreComparedByTextAndByNumbers) {
  const std::string page =
      "x\n<!-- luce experiment a --quick, within 2 % -->\n\n| 1.00 | b2 |\n\n<!-- end -->\ny\n"
      "<!-- luce experiment c --quick -->\n| 5e-07 |\n<!-- end -->\n";
  const Block a = block_of(page, "a"), c = block_of(page, "c");
  EXPECT_EQ(a.text, "| 1.00 | b2 |\n");
  EXPECT_EQ(a.tolerance, 0.02);
  EXPECT_EQ(c.text, "| 5e-07 |\n");
  EXPECT_EQ(c.tolerance, 1e-6);
  EXPECT_EQ(block_of(page, "d").text, "");
  EXPECT_EQ(difference(a, "| 1.01 | b2 |\n"), "");
  EXPECT_EQ(difference(a, "| 1.03 | b2 |\n"), "number 1 is 1 and should be 1.03");
  EXPECT_EQ(difference(a, "| -1 | b2 |\n"), "number 1 is 1 and should be -1");
  EXPECT_EQ(difference(a, "| 1 | c2 |\n"), "the text differs: \"b# |\n\" against \"c# |\n\"");
  EXPECT_EQ(difference(c, "| 0.0000005000001 |\n"), "");
  EXPECT_EQ(difference(c, "| 5.1e-07 |\n"), "number 1 is 5e-07 and should be 5.1e-07");
}

}  // namespace
}  // namespace luce

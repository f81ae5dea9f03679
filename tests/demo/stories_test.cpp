#include "demo/stories.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "data/temporary_folder.h"
#include "demo/rows.h"
#include "demo/story_score.h"
#include "demo/tokenizer_training.h"
#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/data/tokenizer.h"

namespace luce::demo {
namespace {

const Random kRandom(0, Purpose::demo);
constexpr double kImpossible = -std::numeric_limits<double>::infinity();

std::vector<std::string> stories(uint64_t count) {
  std::vector<std::string> texts;
  for (uint64_t i = 0; i < count; ++i) texts.push_back(sample_story(kRandom, i).text());
  return texts;
}

std::vector<std::string> words(const std::string& text) {
  std::vector<std::string> found;
  std::istringstream in(text);
  for (std::string word; in >> word;) {
    while (word.ends_with('.') || word.ends_with(',')) word.pop_back();
    found.push_back(word);
  }
  return found;
}

TEST(Stories, DependOnSeedAndIndexAlone) {
  const Story story = sample_story(kRandom, 3);
  EXPECT_EQ(story.prompt, "Ben was a small boy who lived at the mill.");
  EXPECT_EQ(story.continuation,
            " One golden day he hoped for a black flute. His friend Momo, a mean horse, came "
            "along. Soon they found the flute among the flowers, and Momo shared cheese. He felt "
            "thankful and smiled. At nightfall he carried the black flute back to the mill. It was "
            "a normal day.");
  EXPECT_EQ(sample_story(Random(0, Purpose::demo), 3).text(), story.text());
  EXPECT_NE(sample_story(Random(1, Purpose::demo), 3).text(), story.text());
}

TEST(Stories, AreShortAndOfFewWords) {
  std::set<std::string> vocabulary;
  for (const auto& text : stories(3000)) {
    const auto all = words(text);
    EXPECT_GE(all.size(), 55u) << text;
    EXPECT_LE(all.size(), 66u) << text;
    vocabulary.insert(all.begin(), all.end());
  }
  EXPECT_EQ(vocabulary.size(), 228u);
}

// That a text has one derivation is proved by the grammar's constructor; here parser and sampler,
// which share no arithmetic on chances, meet on the same number.
TEST(Stories, HaveTheProbabilityTheyWereDrawnWith) {
  for (uint64_t i = 0; i < 2000; ++i) {
    const Story story = sample_story(kRandom, i);
    EXPECT_NEAR(log_probability(story.text()), story.log_probability, 1e-12) << story.text();
  }
}

TEST(Stories, HaveAProbabilityThatCanBeCountedByHand) {
  // 12 names, 8 traits, 10 homes; fair weather 0.3 of 4, 4 times of day, 6 wishes, 7 colours,
  // 12 things; 8 friends, nice 0.3 of 4, 10 animals, 4 ways to come; mishap 3/8 of 6 losses and
  // 6 hurts; grief 0.7, sad 3/8, 4 acts; 4 hours; bad day 0.6, terrible 2/8.
  const double chance = 1.0 / 12 / 8 / 10 * (0.3 / 4) / 4 / 6 / 7 / 12 / 8 * (0.3 / 4) / 10 / 4 *
                        (3.0 / 8) / 6 / 6 * 0.7 * (3.0 / 8) / 4 / 4 * 0.6 * (2.0 / 8);
  EXPECT_NEAR(log_probability("Lily was a shy girl who lived by the sea. One sunny morning she "
                              "wanted a red kite. Her friend Pip, a kind fox, came along. But the "
                              "kite broke in two, and Pip pushed Lily. She felt sad and cried. At "
                              "dusk she went back to the sea without the red kite. It was a "
                              "terrible day."),
              std::log(chance), 1e-12);
}

TEST(Stories, AreImpossibleWhereTheyForgetWhatWasSaid) {
  const std::string story = sample_story(kRandom, 3).text();
  ASSERT_GT(log_probability(story), kImpossible);
  const auto changed = [&](const std::string& from, const std::string& to, bool last) {
    std::string text = story;
    text.replace(last ? text.rfind(from) : text.find(from), from.size(), to);
    return log_probability(text);
  };
  EXPECT_EQ(changed("flute", "drum", true), kImpossible);
  EXPECT_EQ(changed("black", "red", true), kImpossible);
  EXPECT_EQ(changed("mill", "sea", true), kImpossible);
  EXPECT_EQ(changed("Momo", "Pip", true), kImpossible);
  EXPECT_EQ(changed("He", "She", true), kImpossible);
  EXPECT_EQ(changed("boy", "girl", false), kImpossible);
  EXPECT_EQ(log_probability(story + " "), kImpossible);
  EXPECT_EQ(log_probability(story.substr(0, story.size() - 1)), kImpossible);
}

TEST(Stories, HaveTheEntropyThatTheirMeanShows) {
  constexpr int kStories = 20000;
  double sum = 0, squares = 0;
  for (uint64_t i = 0; i < kStories; ++i) {
    const double nats = -sample_story(kRandom, i).log_probability;
    sum += nats;
    squares += nats * nats;
  }
  const double mean = sum / kStories;
  const double error = std::sqrt((squares / kStories - mean * mean) / kStories);
  EXPECT_LT(error, 0.02);
  EXPECT_NEAR(entropy(), mean, 4 * error);
  EXPECT_NEAR(entropy(), 37.27, 0.01);
}

TEST(HiddenScore, CountsEachFeelingWordOnce) {
  EXPECT_EQ(hidden_score(""), 0);
  EXPECT_EQ(hidden_score("The kite was red."), 0);
  EXPECT_EQ(hidden_score("happy"), 0.5);
  EXPECT_EQ(hidden_score("HAPPY, happy and Happy!"), 0.5);
  EXPECT_EQ(hidden_score("A wonderful, sunny day."), 1.5);
  EXPECT_EQ(hidden_score("sad\xff\x80horrible"), -1.5);
  EXPECT_EQ(hidden_score("unhappy sadness"), 0);
}

TEST(HiddenScore, IsBounded) {
  EXPECT_EQ(
      hidden_score("sunny mild golden lovely kind friendly gentle cheerful found shared happy "
                   "glad proud thankful smiled sang"),
      kLargestScore);
  EXPECT_EQ(hidden_score("rainy icy stormy gloomy rude grumpy selfish mean sad angry lonely "
                         "hopeless terrible horrible bad hard"),
            -kLargestScore);
}

TEST(HiddenScore, IsWrittenInTheContinuationAlone) {
  for (uint64_t i = 0; i < 500; ++i) {
    const Story story = sample_story(kRandom, i);
    EXPECT_EQ(hidden_score(story.prompt), 0) << story.prompt;
    EXPECT_LT(std::abs(hidden_score(story.text())), kLargestScore) << story.text();
  }
}

TEST(HiddenScore, SpreadsOverStoriesSoThatLabelsTellMuchButNotAll) {
  constexpr int kPairs = 10000;
  double sum = 0, squares = 0, best = 0;
  for (uint64_t i = 0; i < kPairs; ++i) {
    const double a = hidden_score(sample_story(kRandom, 2 * i).text());
    const double b = hidden_score(sample_story(kRandom, 2 * i + 1).text());
    sum += a + b;
    squares += a * a + b * b;
    best += 1 / (1 + std::exp(-std::abs(a - b)));
  }
  const double mean = sum / (2 * kPairs);
  EXPECT_NEAR(mean, 0, 0.2);
  EXPECT_NEAR(std::sqrt(squares / (2 * kPairs) - mean * mean), 2.2, 0.1);
  EXPECT_NEAR(best / kPairs, 0.845, 0.01);  // of labels that a judge who knows the score gets right
}

TEST(PrefersFirst, FollowsBradleyAndTerry) {
  constexpr int kLabels = 20000;
  for (const double gap : {-2.0, 0.0, 0.7}) {
    int first = 0;
    for (uint64_t i = 0; i < kLabels; ++i) first += prefers_first(kRandom, i, 1 + gap, 1);
    const double chance = 1 / (1 + std::exp(-gap));
    EXPECT_NEAR(first, kLabels * chance, 4 * std::sqrt(kLabels * chance * (1 - chance))) << gap;
  }
  EXPECT_TRUE(prefers_first(kRandom, 0, 1e3, -1e3));
  EXPECT_FALSE(prefers_first(kRandom, 0, -1e3, 1e3));
}

TEST(TokenizerTraining, GivesEachWordOfTheStoriesOneToken) {
  const TemporaryFolder folder;
  const auto texts = stories(4000);
  train_tokenizer(texts, folder / "model");
  const auto tokenizer = Tokenizer::load(folder / "model");
  EXPECT_EQ(tokenizer->vocab_size(), 896);
  EXPECT_EQ(tokenizer->bos(), 1);
  EXPECT_EQ(tokenizer->eos(), 2);
  EXPECT_TRUE(tokenizer->add_bos());
  for (size_t i = 0; i < 200; ++i) {
    const std::string& text = texts[i];
    const auto ids = tokenizer->encode(text, true);
    const auto stops = std::count_if(text.begin(), text.end(),
                                     [](char letter) { return letter == '.' || letter == ','; });
    EXPECT_EQ(ids.size(), 1 + words(text).size() + static_cast<size_t>(stops)) << text;
    EXPECT_EQ(tokenizer->decode(ids), text);
  }
}

TEST(TokenizerTraining, EncodesAnyText) {
  const TemporaryFolder folder;
  train_tokenizer(stories(4000), folder.path());
  const auto tokenizer = Tokenizer::load(folder.path());
  for (const std::string text : {"Zürich 42%", "日本語\n\tx", "  two  spaces"}) {
    const auto ids = tokenizer->encode(text, false);
    EXPECT_EQ(tokenizer->decode(ids), text);
    EXPECT_EQ(std::count(ids.begin(), ids.end(), 0), 0);
  }
}

TEST(TokenizerTraining, SplitsAStoryBetweenPromptAndContinuation) {
  const TemporaryFolder folder;
  train_tokenizer(stories(4000), folder.path());
  const auto tokenizer = Tokenizer::load(folder.path());
  for (uint64_t i = 0; i < 100; ++i) {
    const Story story = sample_story(kRandom, i);
    const auto prompt = tokenizer->encode(story.prompt, true);
    auto whole = tokenizer->encode(story.text(), true);
    ASSERT_TRUE(std::equal(prompt.begin(), prompt.end(), whole.begin())) << story.text();
    whole.erase(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(prompt.size()));
    EXPECT_EQ(tokenizer->decode_completion(prompt, whole), story.continuation);
  }
}

TEST(TokenizerTraining, GivesTheSameBytesForTheSameTexts) {
  const TemporaryFolder folder;
  train_tokenizer(stories(4000), folder / "a");
  train_tokenizer(stories(4000), folder / "b");
  EXPECT_EQ(read_file(folder / "a" / "tokenizer.model"),
            read_file(folder / "b" / "tokenizer.model"));
  EXPECT_EQ(read_file(folder / "a" / "tokenizer_config.json"),
            "{\n  \"tokenizer_class\": \"LlamaTokenizer\",\n  \"add_bos_token\": true,\n"
            "  \"add_eos_token\": false,\n  \"bos_token\": \"<s>\",\n  \"eos_token\": \"</s>\",\n"
            "  \"unk_token\": \"<unk>\"\n}\n");
}

TEST(TokenizerTraining, IsQuiet) {
  const TemporaryFolder folder;
  testing::internal::CaptureStderr();
  train_tokenizer(stories(4000), folder.path());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST(TokenizerTraining, SaysWhyItIsRefused) {
  const TemporaryFolder folder;
  const auto refused = error_of<ArgumentError>([&] { train_tokenizer(stories(2), folder.path()); });
  EXPECT_TRUE(refused.starts_with("tokenizer training on 2 texts for 896 pieces: ")) << refused;
  EXPECT_NE(refused.find("Vocabulary size too high (896)"), std::string::npos) << refused;
}

TEST(Rows, AreWrittenAsLinesOfJson) {
  const TemporaryFolder folder;
  write_rows(folder / "rows.jsonl",
             {text_row("a \"b\""), preference_row("p", " c", " r\n"), prompt_row("ü")});
  EXPECT_EQ(read_file(folder / "rows.jsonl"),
            "{\"text\":\"a \\\"b\\\"\"}\n"
            "{\"prompt\":\"p\",\"chosen\":\" c\",\"rejected\":\" r\\n\"}\n"
            "{\"prompt\":\"ü\"}\n");
}

}  // namespace
}  // namespace luce::demo

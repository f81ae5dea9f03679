#include "luce/data/jsonl.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <zlib.h>

#include "data/temporary_folder.h"
#include "luce/base/error.h"

namespace luce {
namespace {

/// gzip of `content`.
std::string gzip(const std::string& content) {
  const TemporaryFolder folder;
  const std::string path = folder / "x";
  const gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, content.data(), static_cast<unsigned>(content.size()));
  gzclose(file);
  return read_file(path);
}

/// All rows of a file in one text: "1 {…}", "2 ! why".
std::string rows_of(const std::string& name, const std::string& content,
                    const JsonlOptions& options = {}) {
  const TemporaryFolder folder;
  JsonlReader reader(folder.write(name, content), options);
  std::string out;
  JsonRow row;
  while (reader.next(row))
    out += cat(out.empty() ? "" : "; ", row.number, " ",
               row.problem.empty() ? row.value.dump() : "! " + row.problem);
  return out;
}

TEST(Jsonl, ReadsRowsInOrderWithTheirLines) {
  EXPECT_EQ(rows_of("a.jsonl", "{\"a\":1}\n\n{\"b\":\"\\u00e9\"}\n"),
            "1 {\"a\":1}; 3 {\"b\":\"é\"}");
  EXPECT_EQ(rows_of("a.jsonl", ""), "");
  EXPECT_EQ(rows_of("a.jsonl", "\n \t\n"), "");
}

TEST(Jsonl, AcceptsByteOrderMarkCrlfAndAMissingLastLineFeed) {
  EXPECT_EQ(rows_of("a.jsonl", "\xEF\xBB\xBF{\"a\":1}\r\n\r\n{\"b\":2}"),
            "1 {\"a\":1}; 3 {\"b\":2}");
  EXPECT_EQ(rows_of("a.json", "\xEF\xBB\xBF [{\"a\":1}]\r\n"), "1 {\"a\":1}");
  EXPECT_EQ(rows_of("a.jsonl", "\xEF\xBB\xBF"), "");
}

TEST(Jsonl, ReadsCompressedFilesAndFilesThatOnlySaySo) {
  const std::string text = "{\"a\":1}\n{\"b\":2}\n";
  EXPECT_EQ(rows_of("a.jsonl.gz", gzip(text)), "1 {\"a\":1}; 2 {\"b\":2}");
  EXPECT_EQ(rows_of("a.jsonl.gz", gzip(text) + gzip("{\"c\":3}")),
            "1 {\"a\":1}; 2 {\"b\":2}; 3 {\"c\":3}");
  EXPECT_EQ(rows_of("a.json.gz", gzip("[{\"a\":1}]")), "1 {\"a\":1}");
  EXPECT_EQ(rows_of("a.jsonl.gz", text), "1 {\"a\":1}; 2 {\"b\":2}");
}

TEST(Jsonl, ReadsAListOfObjects) {
  EXPECT_EQ(rows_of("a.json", R"( [ {"a": "],}\"{"} ,
  {"b": [1, {"c": 2}]}
] )"),
            "1 {\"a\":\"],}\\\"{\"}; 2 {\"b\":[1,{\"c\":2}]}");
  EXPECT_EQ(rows_of("a.json", "[]"), "");
  EXPECT_EQ(rows_of("a.json", "{\"a\":1}\n{\"b\":2}"),
            "1 {\"a\":1}; 2 {\"b\":2}");  // lines after all
  EXPECT_EQ(rows_of("a.json", "[1,{},]"),
            "1 ! expected an object { … }, got 1; 2 {}; 3 ! column 1: not valid JSON here");
}

TEST(Jsonl, NamesRowsForMessages) {
  const TemporaryFolder folder;
  EXPECT_EQ(folder.strip(JsonlReader(folder.write("a.jsonl", "{}")).where(3)), "a.jsonl:3");
  EXPECT_EQ(folder.strip(JsonlReader(folder.write("a.json", "[{}]")).where(3)), "a.json: entry 3");
}

TEST(Jsonl, EveryBadRowHasItsReasonAndHarmsNoOther) {
  const std::string nul(1, '\0');
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"{", "column 1: not valid JSON near '{'"},
      {"nonsense", "column 2: not valid JSON near 'no'"},
      {"{\"a\":1} x", "column 9: not valid JSON near '1} x'"},
      {"{\"a\":1}{}", "column 8: not valid JSON near '1}{'"},
      {"{\"a\":1,}", "column 8: not valid JSON near '1,}'"},
      {"{'a':1}", "column 2: not valid JSON near '{''"},
      {"{\"a\":NaN}", R"(column 6: not valid JSON near '"a":N')"},
      {"{\"a\":Infinity}", R"(column 6: not valid JSON near '"a":I')"},
      {"{\"a\":-Infinity}", "column 7: not valid JSON near '-I'"},
      {"{\"a\":1e999}", "column 10: not valid JSON near '1e999'"},
      {"{\"a\":\"\xC3(\"}", "column 8: not valid JSON near '\"\uFFFD('"},
      {"{\"a\":\"\xED\xA0\x80\"}", "column 8: not valid JSON near '\"\uFFFD\uFFFD'"},
      {"{\"a\":\"\xFF\"}", "column 7: not valid JSON near '\"\uFFFD'"},
      {"{\"a\":\"\\ud800\"}", "column 13: not valid JSON near '\"\\ud800\"'"},
      {"{\"a\":\"\\udc00\"}", "column 12: not valid JSON near '\"\\udc00'"},
      {"{\"a\":\"\\ud800\\u0041\"}", "column 18: not valid JSON near '\"\\ud800\\u0041'"},
      {"{\"a\":1,\"a\":2}", "column 8: the key \"a\" stands twice in one object"},
      {"{\"a\":{\"b\":1,\"b\":1}}", "column 13: the key \"b\" stands twice in one object"},
      {"{\"a\":" + std::string(64, '[') + std::string(64, ']') + "}",
       "column 69: nested deeper than 64 levels"},
      {"{\"a\":" + std::string(1000000, '['), "column 69: nested deeper than 64 levels"},
      {"{\"a\":1}" + nul + "x", "a NUL byte"},
      {"{\"a\":\"" + nul + "\"}", "a NUL byte"},
      {"[{}]", "expected an object { … }, got a list"},
      {"\"text\"", "expected an object { … }, got a string"},
      {"12", "expected an object { … }, got 12"},
      {"null", "expected an object { … }, got null"},
      {"{\"a\":\"tab\there\"}", "column 10: not valid JSON near '\"tab<U+0009>'"},
      {"// {}", "column 1: not valid JSON near '/'"},
  };
  for (const auto& [line, problem] : cases) {
    EXPECT_EQ(rows_of("a.jsonl", "{\"a\":1}\n" + line + "\n{\"b\":2}\n"),
              "1 {\"a\":1}; 2 ! " + problem + "; 3 {\"b\":2}");
  }
}

TEST(Jsonl, NestingUpToTheLimitIsAccepted) {
  const std::string deep = "{\"a\":" + std::string(63, '[') + std::string(63, ']') + "}";
  EXPECT_EQ(rows_of("a.jsonl", deep), "1 " + deep);
}

TEST(Jsonl, RowsBeyondTheLimitAreSkippedWithoutBeingHeld) {
  const std::string row(3000000, 'x');  // many times the buffer
  const JsonlOptions limit = {.max_row = 7};
  EXPECT_EQ(rows_of("a.jsonl", "{\"a\":1}\n" + row + "\n{\"b\":2}", limit),
            "1 {\"a\":1}; 2 ! longer than 7 bytes; 3 {\"b\":2}");
  EXPECT_EQ(rows_of("a.jsonl", "{\"a\":12}\n{\"b\":2}", limit),
            "1 ! longer than 7 bytes; 2 {\"b\":2}");
  EXPECT_EQ(rows_of("a.json", "[{\"a\":1},\"" + row + "\",{\"b\":2}]", limit),
            "1 {\"a\":1}; 2 ! longer than 7 bytes; 3 {\"b\":2}");
}

TEST(Jsonl, ALineOfAHundredMegabytesIsSkipped) {
  // 64 MiB are the limit of what is ever held; the line takes 100 kB compressed.
  EXPECT_EQ(rows_of("a.jsonl.gz", gzip("{\"a\":1}\n{\"b\":\"" + std::string(100'000'000, ' ') +
                                       "\"}\n{\"c\":3}\n")),
            "1 {\"a\":1}; 2 ! longer than 67108864 bytes; 3 {\"c\":3}");
}

TEST(Jsonl, BrokenFilesStopWithASentence) {
  const auto error_for = [](const std::string& name, const std::string& content) {
    const TemporaryFolder folder;
    const auto path = folder.write(name, content);
    return folder.strip(error_of<DataError>([&] {
      JsonlReader reader(path);
      JsonRow row;
      while (reader.next(row)) {
      }
    }));
  };
  std::string text;
  for (int i = 0; i < 100000; ++i) text += cat("{\"a\":", i * 7919 % 100003, "}\n");
  const std::string good = gzip(text);
  ASSERT_EQ(error_for("a.jsonl.gz", good), "");
  // How many lines come before depends on buffers.
  const auto without_count = [](const std::string& error) {
    return error.substr(0, error.rfind(','));
  };
  EXPECT_EQ(without_count(error_for("a.jsonl.gz", good.substr(0, good.size() - 4))),
            "a.jsonl.gz: the compressed data is cut off");
  EXPECT_EQ(error_for("a.jsonl.gz", good.substr(0, 30)),
            "a.jsonl.gz: the compressed data is cut off, after 0 lines");
  std::string damaged = good;
  damaged[damaged.size() - 6] = static_cast<char>(damaged[damaged.size() - 6] ^ 1);  // the checksum
  EXPECT_EQ(without_count(error_for("a.jsonl.gz", damaged)),
            "a.jsonl.gz: the compressed data is damaged (incorrect data check)");
  EXPECT_EQ(error_for("a.json", "[{\"a\":1},{\"b\":2}"),
            "a.json: the list does not end with ], after 1 entries");
  EXPECT_EQ(error_for("a.json", "[{\"a\":1}] {}"),
            "a.json: more text after the end of the list, after 1 entries");
}

TEST(Jsonl, FilesThatCannotBeReadAreNamed) {
  const TemporaryFolder folder;
  EXPECT_EQ(
      folder.strip(error_of<MissingFileError>([&] { JsonlReader reader(folder / "a.jsonl"); })),
      "cannot read a.jsonl: No such file or directory");
  EXPECT_EQ(folder.strip(error_of<UsageError>([&] { JsonlReader reader(folder / "a.parquet"); })),
            "a.parquet: rows are read from .jsonl and .json files, both also with .gz");
  std::filesystem::create_directory(folder / "b.jsonl");
  ASSERT_EQ(::mkfifo((folder / "c.jsonl").c_str(), 0600), 0);
  for (const char* name : {"b.jsonl", "c.jsonl"})
    EXPECT_EQ(folder.strip(error_of<MissingFileError>([&] { JsonlReader reader(folder / name); })),
              cat("cannot read ", name, ": it is not a regular file"));
}

}  // namespace
}  // namespace luce

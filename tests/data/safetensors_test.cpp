#include "luce/data/safetensors.h"

#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <csignal>
#include <cstring>
#include <fstream>
#include <thread>

#include "data/temporary_folder.h"
#include "luce/base/error.h"

namespace luce {
namespace {
namespace fs = std::filesystem;

/// A file of `header` and `data_size` bytes of data, 0, 1, 2, …
std::string file_of(const std::string& header, size_t data_size) {
  std::string out;
  for (int i = 0; i < 8; ++i) out += static_cast<char>(header.size() >> (8 * i));
  out += header;
  for (size_t i = 0; i < data_size; ++i) out += static_cast<char>(i);
  return out;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  uint64_t begin, uint64_t end) {
  return cat('"', name, R"(":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":[)",
             begin, ",", end, "]}");
}

/// The text of the DataError for a file of these bytes, named "m.safetensors".
std::string error_for(const std::string& content) {
  const MemoryFile file;
  file.set(content);
  std::string error = error_of<DataError>([&] { SafetensorsFile opened(file.path()); });
  return error.replace(0, file.path().size(), "m.safetensors");
}

TEST(Safetensors, ReadsTensorsAndMetadata) {
  const TemporaryFolder folder;
  const SafetensorsFile file(folder.write(
      "m.safetensors",
      file_of(cat("{", R"("__metadata__":{"format":"pt","by":"ä"},)", entry("b", "U8", "[2]", 4, 6),
                  ",", entry("a", "I16", "[1,2]", 0, 4), "}"),
              6)));
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].name, "a");
  EXPECT_EQ(file.tensors()[0].dtype, DType::i16);
  EXPECT_EQ(file.tensors()[0].shape, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(file.metadata(), (std::map<std::string, std::string>{{"by", "ä"}, {"format", "pt"}}));
  EXPECT_EQ(file.find("c"), nullptr);
  ASSERT_EQ(file.find("b"), &file.tensors()[1]);
  char bytes[3] = {9, 9, 9};
  file.read(*file.find("b"), bytes);
  EXPECT_EQ(std::string(bytes, 3), std::string("\4\5\11", 3));
}

TEST(Safetensors, AcceptsWhatTheFormatAllows) {
  const TemporaryFolder folder;
  const std::vector<std::pair<std::string, size_t>> cases = {
      {"{}", 0},
      {"{}   \n", 0},
      {R"({"__metadata__":{}})", 0},
      {"{" + entry("scalar", "F32", "[]", 0, 4) + "}", 4},
      {"{" + entry("empty", "F64", "[3,0]", 0, 0) + "}", 0},
      {"{" + entry("huge and empty", "F64", "[0,4294967296,4294967296]", 0, 0) + "}", 0},
      {"{" + entry("", "BOOL", "[1]", 0, 1) + "," + entry("e", "F32", "[0]", 1, 1) + "," +
           entry("f", "U8", "[1]", 1, 2) + "}",
       2},
      {"{" + entry("deep", "U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", 0, 1) + "}", 1},
      {"{" + entry(std::string(4096, 'n'), "U8", "[1]", 0, 1) + "}", 1},
      {R"({"t":{"data_offsets":[0,2],"shape":[1],"dtype":"BF16"}})", 2},
  };
  for (const auto& [header, size] : cases) {
    const fs::path path = folder.write("m.safetensors", file_of(header, size));
    EXPECT_EQ(error_of<Error>([&] { SafetensorsFile file(path); }), "") << header;
  }
}

TEST(Safetensors, ReadsEveryDTypeOfItsTable) {
  const TemporaryFolder folder;
  const std::vector<std::pair<DType, size_t>> sizes = {
      {DType::f64, 8}, {DType::f32, 4}, {DType::f16, 2}, {DType::bf16, 2}, {DType::i64, 8},
      {DType::i32, 4}, {DType::i16, 2}, {DType::i8, 1},  {DType::u8, 1},   {DType::boolean, 1}};
  for (const auto& [dtype, size] : sizes) {
    EXPECT_EQ(size_of(dtype), size);
    const SafetensorsFile file(folder.write(
        "m", file_of("{" + entry("t", name_of(dtype), "[3]", 0, 3 * size) + "}", 3 * size)));
    EXPECT_EQ(file.tensors()[0].dtype, dtype);
  }
}

TEST(Safetensors, RefusesBrokenFilesWithASentence) {
  const std::string f = "m.safetensors: ";
  const auto one = [](const std::string& dtype, const std::string& shape, uint64_t begin,
                      uint64_t end) { return "{" + entry("w", dtype, shape, begin, end) + "}"; };
  const auto two = [](uint64_t a, uint64_t b, uint64_t c, uint64_t d) {
    return cat("{", entry("v", "U8", cat("[", b - a, "]"), a, b), ",",
               entry("w", "U8", cat("[", d - c, "]"), c, d), "}");
  };
  const std::string dtypes =
      " is not supported; supported are F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL";
  struct Case {
    std::string content, error;
  };
  const std::vector<Case> cases = {
      // length
      {"",
       "0 bytes are too few for a safetensors file, which begins with the 8-byte length of its "
       "header"},
      {"1234567",
       "7 bytes are too few for a safetensors file, which begins with the 8-byte length of its "
       "header"},
      {std::string(8, '\0'), "the header does not start with '{': not a safetensors file"},
      {std::string(8, '\xff'),
       "the header claims 18446744073709551615 bytes; at most 100000000 are accepted. Is it a "
       "safetensors file?"},
      {std::string("\x01\xe1\xf5\x05\0\0\0\0", 8),
       "the header claims 100000001 bytes; at most 100000000 are accepted. Is it a safetensors "
       "file?"},
      {std::string("\x10\0\0\0\0\0\0\0{}", 10),
       "the header claims 16 bytes, but only 2 follow: the file is cut short"},
      {"version https://git-lfs.github.com/spec/v1\n",
       "a Git LFS pointer, not the weights: fetch them with `git lfs pull`"},
      // JSON
      {file_of(" {}", 0), "the header does not start with '{': not a safetensors file"},
      {file_of("\xef\xbb\xbf{}", 0), "the header does not start with '{': not a safetensors file"},
      {file_of("[]", 0), "the header does not start with '{': not a safetensors file"},
      {file_of("{", 0), "not valid JSON: at byte 2"},
      {file_of("{}x", 0), "not valid JSON: at byte 3"},
      {file_of(std::string("{}\0", 3), 0), "not valid JSON: byte 2 is NUL"},
      {file_of("{\"\xff\":1}", 0), "not valid JSON: not UTF-8 at byte 3"},
      {file_of(R"({"\ud800":1})", 0), "not valid JSON: at byte 9"},
      {file_of("{/**/}", 0), "not valid JSON: at byte 2"},
      // structure
      {file_of(R"({"w":1})", 0), R"(tensor "w": must be described by an object, not 1)"},
      {file_of(R"({"w":[[[[[]]]]]})", 0),
       R"(tensor "w": must be described by an object, not a list)"},
      {file_of(R"({"w":{}})", 0), R"(tensor "w": dtype is missing)"},
      {file_of(R"({"w":{"dtype":"F32"}})", 0), R"(tensor "w": shape is missing)"},
      {file_of(R"({"w":{"dtype":"F32","shape":[]}})", 4), R"(tensor "w": data_offsets is missing)"},
      {file_of(R"({"w":{"extra":1}})", 0),
       R"(tensor "w": unknown key "extra"; the keys are dtype, shape, data_offsets)"},
      {file_of(R"({"w":{"dtype":null}})", 0), R"(tensor "w": dtype must be a text, not null)"},
      {file_of(R"({"w":{"dtype":["F32"]}})", 0), R"(tensor "w": dtype must be a text, not a list)"},
      {file_of(R"({"w":{"dtype":"F32","dtype":"F32"}})", 0),
       R"(tensor "w": the key "dtype" stands twice)"},
      {file_of(R"({"w":{"shape":[],"shape":[]}})", 0),
       R"(tensor "w": the key "shape" stands twice)"},
      {file_of(R"({"w":{"data_offsets":[0,0],"data_offsets":[0,0]}})", 0),
       R"(tensor "w": the key "data_offsets" stands twice)"},
      {file_of(R"({"w":{"shape":{}}})", 0), R"(tensor "w": shape must be a list, not an object)"},
      {file_of(R"({"w":{"shape":[[1]]}})", 0),
       R"(tensor "w": shape must hold whole numbers from 0, not a list)"},
      {file_of(R"({"w":{"shape":[-1]}})", 0),
       R"(tensor "w": shape must hold whole numbers from 0, not -1)"},
      {file_of(R"({"w":{"shape":[1.5]}})", 0),
       R"(tensor "w": shape must hold whole numbers from 0, not 1.5)"},
      {file_of(R"({"w":{"shape":["1"]}})", 0),
       R"(tensor "w": shape must hold whole numbers from 0, not "1")"},
      {file_of(R"({"w":{"shape":[true]}})", 0),
       R"(tensor "w": shape must hold whole numbers from 0, not true)"},
      {file_of(R"({"w":{"shape":[36893488147419103232]}})", 0),
       R"(tensor "w": shape must hold whole numbers from 0, not 36893488147419103232)"},
      {file_of(R"({"w":{"shape":[9223372036854775808]}})", 0),
       R"(tensor "w": the shape has a dimension of 9223372036854775808, more than 63 bits can count)"},
      {file_of(one("U8", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", 0, 1), 1),
       R"(tensor "w": the shape has more than 16 dimensions)"},
      {file_of(R"({"w":{"data_offsets":[]}})", 0),
       R"(tensor "w": data_offsets has 0 entries, not 2)"},
      {file_of(R"({"w":{"data_offsets":[0]}})", 0),
       R"(tensor "w": data_offsets has 1 entries, not 2)"},
      {file_of(R"({"w":{"data_offsets":[0,1,2]}})", 0),
       R"(tensor "w": data_offsets has more than 2 entries)"},
      {file_of("{\"" + std::string(4097, 'n') + "\":{}}", 0),
       "a tensor's name holds 4097 bytes; at most 4096 are accepted"},
      // metadata
      {file_of(R"({"__metadata__":null})", 0), "__metadata__ must be an object of texts, not null"},
      {file_of(R"({"__metadata__":{"a":1}})", 0),
       R"(__metadata__: the value of "a" must be a text, not 1)"},
      {file_of(R"({"__metadata__":{"a":{}}})", 0),
       R"(__metadata__: the value of "a" must be a text, not an object)"},
      {file_of(R"({"__metadata__":{"a":"","a":""}})", 0), R"(__metadata__ has "a" twice)"},
      {file_of(R"({"__metadata__":{},"__metadata__":{}})", 0),
       "__metadata__ stands twice in the header"},
      // dtype, shape and range
      {file_of(one("F8_E4M3", "[4]", 0, 4), 4), R"(tensor "w": the dtype "F8_E4M3")" + dtypes},
      {file_of(one("F4", "[4]", 0, 2), 2), R"(tensor "w": the dtype "F4")" + dtypes},
      {file_of(one("f32", "[1]", 0, 4), 4), R"(tensor "w": the dtype "f32")" + dtypes},
      {file_of(one("F32", "[2,2]", 0, 12), 12),
       R"(tensor "w": shape [2, 2] of F32 needs 16 bytes, but data_offsets [0, 12] span 12)"},
      {file_of(one("F32", "[]", 0, 0), 0),
       R"(tensor "w": shape [] of F32 needs 4 bytes, but data_offsets [0, 0] span 0)"},
      {file_of(one("U8", "[4]", 4, 0), 4), R"(tensor "w": data_offsets [4, 0] run backwards)"},
      {file_of(one("U8", "[4294967296,4294967296]", 0, 0), 0),
       R"(tensor "w": shape [4294967296, 4294967296] of U8 has more bytes than 64 bits can count)"},
      {file_of(one("F64", "[2305843009213693952]", 0, 0), 0),
       R"(tensor "w": shape [2305843009213693952] of F64 has more bytes than 64 bits can count)"},
      {file_of(one("U8", "[4294967296,4294967296,0]", 0, 0), 0),
       R"(tensor "w": shape [4294967296, 4294967296, 0] of U8 has more bytes than 64 bits can count)"},
      {file_of(one("U8", "[18446744073709551615]", 0, 18446744073709551615u), 4),
       R"(tensor "w": the shape has a dimension of 18446744073709551615, more than 63 bits can count)"},
      // layout
      {file_of(two(0, 4, 2, 6), 6),
       R"(tensor "w": its bytes, from 2, overlap those of tensor "v", which end at 4)"},
      {file_of(two(0, 4, 0, 4), 4),
       R"(tensor "w": its bytes, from 0, overlap those of tensor "v", which end at 4)"},
      {file_of(two(0, 4, 2, 2), 4),
       R"(tensor "w": its bytes, from 2, overlap those of tensor "v", which end at 4)"},
      {file_of(two(0, 4, 5, 6), 6),
       R"(tensor "w": starts at byte 5 of the data, but bytes 4 to 5 belong to no tensor)"},
      {file_of(one("U8", "[1]", 1, 2), 2),
       R"(tensor "w": starts at byte 1 of the data, but bytes 0 to 1 belong to no tensor)"},
      {file_of(one("U8", "[4]", 0, 4), 3),
       R"(tensor "w": ends at byte 4 of the data, but the file has only 3: it is cut short)"},
      {file_of(one("U8", "[4611686018427387904]", 0, 4611686018427387904), 0),
       R"(tensor "w": ends at byte 4611686018427387904 of the data, but the file has only 0: it is cut short)"},
      {file_of(one("U8", "[4]", 0, 4), 6), "2 bytes after the last tensor belong to no tensor"},
      {file_of("{}", 1), "1 bytes after the last tensor belong to no tensor"},
      {file_of("{" + entry("w", "U8", "[1]", 0, 1) + "," + entry("w", "U8", "[1]", 1, 2) + "}", 2),
       R"(tensor "w": stands twice in the header)"},
      {file_of(R"({"w\n\u0000":1})", 0),
       R"(tensor "w\n\u0000": must be described by an object, not 1)"},
  };
  for (const auto& c : cases) EXPECT_EQ(error_for(c.content), f + c.error);
}

TEST(Safetensors, NestingIsRefusedAtTheFirstWrongValueAndNotRecursedInto) {
  EXPECT_EQ(error_for(file_of("{\"w\":" + std::string(5'000'000, '['), 0)),
            R"(m.safetensors: tensor "w": must be described by an object, not a list)");
}

TEST(Safetensors, AMillionTensorsAreReadAndOneMoreIsRefused) {
  const TemporaryFolder folder;
  std::string header = "{";
  for (int i = 0; i < 1'000'000; ++i)
    (header += i == 0 ? "\"t" : ",\"t").append(std::to_string(i)) +=
        R"(":{"dtype":"U8","shape":[0],"data_offsets":[0,0]})";
  const SafetensorsFile file(folder.write("m", file_of(header + "}", 0)));
  EXPECT_EQ(file.tensors().size(), 1'000'000u);
  ASSERT_NE(file.find("t999999"), nullptr);
  EXPECT_EQ(file.find("t999999")->name, "t999999");
  EXPECT_EQ(file.find("t1000000"), nullptr);
  EXPECT_EQ(error_for(file_of(header + R"(,"one more":{}})", 0)),
            "m.safetensors: the header describes more than 1000000 tensors");
}

TEST(Safetensors, MetadataIsLimited) {
  std::string entries;
  for (int i = 0; i <= 100'000; ++i) entries += cat(i == 0 ? "" : ",", '"', i, "\":\"\"");
  EXPECT_EQ(error_for(file_of("{\"__metadata__\":{" + entries + "}}", 0)),
            "m.safetensors: __metadata__ has more than 100000 entries");
}

TEST(Safetensors, OnlyRegularFilesAreOpened) {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& name) {
    return folder.strip(error_of<MissingFileError>([&] { SafetensorsFile file(folder / name); }));
  };
  EXPECT_EQ(error("none"), "cannot read none: No such file or directory");
  fs::create_directory(folder / "folder");
  EXPECT_EQ(error("folder"), "cannot read folder: it is not a regular file");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(error("fifo"), "cannot read fifo: it is not a regular file");
  EXPECT_EQ(error_of<MissingFileError>([&] { SafetensorsFile file("/dev/zero"); }),
            "cannot read /dev/zero: it is not a regular file");
}

TEST(Safetensors, AFileThatShrinksIsAnErrorAndNotASignal) {
  const TemporaryFolder folder;
  const fs::path path =
      folder.write("m", file_of("{" + entry("w", "U8", "[4096]", 0, 4096) + "}", 4096));
  const SafetensorsFile file(path);
  fs::resize_file(path, 100);
  std::string bytes(4096, '\0');
  EXPECT_EQ(folder.strip(error_of<DataError>([&] { file.read(file.tensors()[0], bytes.data()); })),
            "m: became shorter while it was read");
}

TEST(Safetensors, ThreadsReadAtTheSameTime) {
  const TemporaryFolder folder;
  std::vector<uint32_t> values(1 << 18);
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<uint32_t>(i * 2654435761u);
  std::vector<TensorData> tensors;
  for (int t = 0; t < 4; ++t)
    tensors.push_back({cat("t", t), DType::i32, {1 << 16}, values.data() + (t << 16)});
  write_safetensors(folder / "m", tensors);
  const SafetensorsFile file(folder / "m");
  std::vector<uint32_t> out(values.size());
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&, t] { file.read(*file.find(cat("t", t)), out.data() + (t << 16)); });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(out, values);
}

TEST(Safetensors, RewritesAFileOfTheOfficialWriterByteForByte) {
  const fs::path official = fs::path(LUCE_SOURCE_DIR) / "tests/golden/tiny/model.safetensors";
  const SafetensorsFile file(official);
  std::vector<std::string> memory;
  std::vector<TensorData> tensors;
  for (const auto& t : file.tensors()) {
    memory.emplace_back(t.end - t.begin, '\0');
    file.read(t, memory.back().data());
  }
  for (size_t i = file.tensors().size(); i-- > 0;) {  // the order given is not the order written
    const auto& t = file.tensors()[i];
    tensors.push_back({t.name, t.dtype, t.shape, memory[i].data()});
  }
  const TemporaryFolder folder;
  write_safetensors(folder / "m", tensors, file.metadata());
  EXPECT_TRUE(read_file(folder / "m") == read_file(official));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}),
            1);  // no temporary file is left
}

TEST(Safetensors, WritesWideElementsFirstThenByNameWithDataAtAMultipleOf8) {
  const TemporaryFolder folder;
  const double wide = 1.5;
  const std::string bytes = "abcdefgh";
  for (size_t length = 1; length <= 8; ++length) {  // every remainder of the header's length
    write_safetensors(folder / "m", {{"b", DType::u8, {2}, bytes.data()},
                                     {"é\"", DType::bf16, {1, 0}, nullptr},
                                     {"a", DType::f16, {2}, bytes.data()},
                                     {std::string(length, 'z'), DType::f64, {}, &wide}});
    const std::string content = read_file(folder / "m");
    uint64_t header = 0;
    std::memcpy(&header, content.data(), sizeof header);
    EXPECT_EQ(header % 8, 0u);
    EXPECT_EQ(content.substr(8 + header),
              std::string(reinterpret_cast<const char*>(&wide), 8) + "abcd" + "ab");
    const SafetensorsFile file(folder / "m");
    EXPECT_EQ(file.tensors()[0].name, std::string(length, 'z'));
    EXPECT_EQ(file.metadata().at("format"), "pt");
    EXPECT_EQ(file.find("é\"")->shape, (std::vector<int64_t>{1, 0}));
  }
}

TEST(Safetensors, RefusesToWriteWhatNoFileCanHold) {
  const TemporaryFolder folder;
  const float x = 0;
  const auto error = [&](std::vector<TensorData> tensors,
                         std::map<std::string, std::string> metadata = {}) {
    return folder.strip(
        error_of<ArgumentError>([&] { write_safetensors(folder / "m", tensors, metadata); }));
  };
  const std::string m = "cannot write m: ";
  EXPECT_EQ(error({{"w", DType::f32, {}, &x}, {"w", DType::f32, {}, &x}}),
            m + R"(the new header: tensor "w": stands twice in the header)");
  EXPECT_EQ(error({{"w", DType::f32, {1}, nullptr}}), m + R"(tensor "w" has no data)");
  EXPECT_EQ(error({{"w", DType::f32, {-1}, &x}}),
            R"(tensor "w": its shape has a negative size or too many elements)");
  EXPECT_EQ(error({{"\xff", DType::f32, {}, &x}}), m + "a name is not valid UTF-8");
  EXPECT_EQ(error({{"w", DType::f32, {}, &x}}, {{"k", "\xff"}}), m + "a name is not valid UTF-8");
  EXPECT_EQ(error({{"__metadata__", DType::f32, {}, &x}}),
            m + R"(the new header: __metadata__: the value of "shape" must be a text, not a list)");
  std::vector<TensorData> long_names;
  for (int i = 0; i < 25'000; ++i)
    long_names.push_back({std::string(4090, 'n') + cat(i), DType::u8, {0}, nullptr});
  EXPECT_NE(error(long_names).find(m + "the header would hold 103"), std::string::npos);
  EXPECT_EQ(error({{"w", static_cast<DType>(99), {}, &x}}), "a DType that does not exist");
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST(Safetensors, AFullDiskLeavesTheOldFileAndNoTemporary) {
  const TemporaryFolder folder;
  folder.write("m", "old");
  const std::string big(1 << 16, 'x');
  struct rlimit old {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small { 5000, old.rlim_max };
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string error = error_of<WriteError>([&] {
    write_safetensors(folder / "m", {{"w", DType::u8, {1 << 16}, big.data()}});
  });
  ::setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(folder.strip(error), "cannot write m: File too large");
  EXPECT_EQ(read_file(folder / "m"), "old");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), {}), 1);
  EXPECT_EQ(
      folder.strip(error_of<WriteError>([&] { write_safetensors(folder / "none" / "m", {}); })),
      "cannot write none/m: No such file or directory");
}

TEST(Safetensors, AgreesWithTheOfficialReader) {
  const char* cases = std::getenv("LUCE_SAFETENSORS_CASES");
  if (cases == nullptr)
    GTEST_SKIP() << "tests/golden/check_safetensors.py makes the files and runs this test";
  const std::vector<std::string> stricter = {"is not supported; supported are",
                                             "does not start with '{'", "unknown key",
                                             "stands twice", "more than 63 bits can count"};
  std::ifstream list(fs::path(cases) / "cases.txt");
  int files = 0, refused_by_us_alone = 0;
  for (std::string name, verdict; std::getline(list, name, '\t') && std::getline(list, verdict);
       ++files) {
    const std::string error = error_of<DataError>([&] {
      const SafetensorsFile file(fs::path(cases) / name);
      for (const auto& t : file.tensors()) {
        std::string bytes(t.end - t.begin, '\0');
        file.read(t, bytes.data());
      }
    });
    if (error.empty()) {
      EXPECT_EQ(verdict, "ok") << name;
    } else if (verdict == "ok") {
      ++refused_by_us_alone;
      EXPECT_TRUE(std::any_of(stricter.begin(), stricter.end(), [&](const auto& rule) {
        return error.find(rule) != std::string::npos;
      })) << error;
    }
  }
  EXPECT_GT(files, 0);
  std::cout << files << " files read, " << refused_by_us_alone << " refused by a rule of our own\n";
}

}  // namespace
}  // namespace luce

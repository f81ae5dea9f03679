#include "luce/data/weights.h"

#include <sys/stat.h>

#include <cstring>

#include "data/temporary_folder.h"
#include "luce/base/error.h"
#include "luce/base/json.h"

namespace luce {
namespace {
namespace fs = std::filesystem;

constexpr const char* kIndex = "model.safetensors.index.json";
const std::vector<float> kValues = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

/// Tensors a, b, … of two floats each: (0, 1), (2, 3), …
std::vector<TensorData> letters(int count) {
  std::vector<TensorData> out;
  for (int i = 0; i < count; ++i)
    out.push_back(
        {std::string(1, static_cast<char>('a' + i)), DType::f32, {2}, kValues.data() + 2 * i});
  return out;
}

std::vector<float> values_of(const Weights& weights, const std::string& name) {
  const TensorInfo* info = weights.find(name);
  if (info == nullptr) return {};
  std::vector<float> out((info->end - info->begin) / sizeof(float));
  weights.read(name, out.data());
  return out;
}

std::vector<std::string> files_of(const fs::path& folder) {
  std::vector<std::string> out;
  for (const auto& entry : fs::directory_iterator(folder)) out.push_back(entry.path().filename());
  std::sort(out.begin(), out.end());
  return out;
}

template <class E>
std::string open_error(const TemporaryFolder& folder) {
  return folder.strip(error_of<E>([&] { Weights::open(folder.path()); }));
}

TEST(Weights, OneFileIsWrittenAndReadBack) {
  const TemporaryFolder folder;
  write_weights(folder.path(), letters(3));
  EXPECT_EQ(files_of(folder.path()), (std::vector<std::string>{"model.safetensors"}));
  const Weights weights = Weights::open(folder.path());
  EXPECT_EQ(weights.names(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(values_of(weights, "b"), (std::vector<float>{2, 3}));
  EXPECT_EQ(weights.find("d"), nullptr);
  EXPECT_EQ(folder.strip(error_of<DataError>([&] { weights.read("d", nullptr); })),
            R"(FOLDER: the weights have no tensor "d")");
}

TEST(Weights, ShardsAreCutWhereTheLimitSaysAndReadBack) {
  const TemporaryFolder folder;
  write_weights(folder.path(), letters(5), 20);  // two tensors of 8 bytes fit
  EXPECT_EQ(files_of(folder.path()),
            (std::vector<std::string>{"model-00001-of-00003.safetensors",
                                      "model-00002-of-00003.safetensors",
                                      "model-00003-of-00003.safetensors", kIndex}));
  const Json index = parse_json(read_file(folder / kIndex), kIndex);
  EXPECT_EQ(index["metadata"], (Json{{"total_parameters", 10}, {"total_size", 40}}));
  EXPECT_EQ(index["weight_map"]["b"], "model-00001-of-00003.safetensors");
  EXPECT_EQ(index["weight_map"]["c"], "model-00002-of-00003.safetensors");
  const Weights weights = Weights::open(folder.path());
  EXPECT_EQ(weights.names(), (std::vector<std::string>{"a", "b", "c", "d", "e"}));
  EXPECT_EQ(values_of(weights, "a"), (std::vector<float>{0, 1}));
  EXPECT_EQ(values_of(weights, "e"), (std::vector<float>{8, 9}));
}

TEST(Weights, ATensorAboveTheLimitGetsAShardOfItsOwn) {
  const TemporaryFolder folder;
  write_weights(folder.path(), letters(3), 1);
  EXPECT_EQ(files_of(folder.path()).size(), 4u);
  EXPECT_EQ(Weights::open(folder.path()).names().size(), 3u);
}

TEST(Weights, ANewSaveReplacesTheFilesOfAnOldOne) {
  const TemporaryFolder folder;
  const std::vector<std::string> others = {"model-0001-of-00001.safetensors",
                                           "other-00001-of-00001.safetensors"};
  for (const auto& name : others) folder.write(name, "stays");
  write_weights(folder.path(), letters(2));
  write_weights(folder.path(), letters(3), 8);
  EXPECT_EQ(Weights::open(folder.path()).names().size(), 3u);
  EXPECT_FALSE(fs::exists(folder / "model.safetensors"));
  write_weights(folder.path(), letters(4), 16);
  EXPECT_EQ(Weights::open(folder.path()).names().size(), 4u);
  write_weights(folder.path(), letters(1));
  EXPECT_EQ(files_of(folder.path()),
            (std::vector<std::string>{others[0], "model.safetensors", others[1]}));
}

TEST(Weights, ReadsTheShardsThatTransformersWrote) {
  const Weights weights = Weights::open(fs::path(LUCE_SOURCE_DIR) / "tests/golden/tiny-untied");
  EXPECT_EQ(weights.names().size(), 35u);
  ASSERT_NE(weights.find("lm_head.weight"), nullptr);
  EXPECT_EQ(weights.find("lm_head.weight")->shape, (std::vector<int64_t>{352, 24}));
  EXPECT_EQ(weights.find("model.layers.1.self_attn.q_proj.weight")->shape,
            (std::vector<int64_t>{32, 24}));
}

TEST(Weights, ACopyReadsAsTheOriginalDoes) {
  const TemporaryFolder folder;
  write_weights(folder.path(), letters(3), 8);
  const Weights copy = [&] {
    const Weights weights = Weights::open(folder.path());
    return Weights(weights);
  }();
  EXPECT_EQ(copy.find("c")->name, "c");
  EXPECT_EQ(values_of(copy, "c"), (std::vector<float>{4, 5}));
}

TEST(Weights, FollowsLinksAsTheHubsCacheHasThem) {
  const TemporaryFolder folder;
  fs::create_directories(folder / "blobs");
  fs::create_directories(folder / "snapshots/1");
  write_weights(folder / "blobs", letters(2), 8);
  int blob = 0;
  for (const auto& name : files_of(folder / "blobs")) {
    fs::rename(folder / "blobs" / name, folder / "blobs" / cat(blob));
    fs::create_symlink("../../blobs/" + cat(blob++), folder / "snapshots/1" / name);
  }
  EXPECT_EQ(values_of(Weights::open(folder / "snapshots/1"), "b"), (std::vector<float>{2, 3}));
}

TEST(Weights, SaysWhatIsMissing) {
  const TemporaryFolder folder;
  EXPECT_EQ(folder.strip(error_of<MissingFileError>([&] { Weights::open(folder / "none"); })),
            "no model folder none: it does not exist");
  folder.write("file", "");
  EXPECT_EQ(folder.strip(error_of<MissingFileError>([&] { Weights::open(folder / "file"); })),
            "no model folder file: it is not a folder");
  EXPECT_EQ(
      open_error<MissingFileError>(folder),
      "no weights in FOLDER: neither model.safetensors nor model.safetensors.index.json is there");
  fs::create_symlink("nowhere", folder / "model.safetensors");
  EXPECT_EQ(open_error<MissingFileError>(folder),
            "cannot read model.safetensors: No such file or directory");
}

TEST(Weights, PickledWeightsAreRefusedWithTheWayToConvertThem) {
  const TemporaryFolder folder;
  folder.write("pytorch_model.bin", "");
  EXPECT_EQ(open_error<DataError>(folder),
            "FOLDER: only pytorch_model.bin is there. It is a pickle, which can run code when it "
            "is read; convert it "
            "once with python -c \"from transformers import AutoModelForCausalLM as M; "
            "M.from_pretrained('FOLDER').save_pretrained('FOLDER-safetensors')\"");
}

TEST(Weights, RefusesABrokenIndexWithASentence) {
  const auto map = [](const std::string& inner) {
    return R"({"metadata":{"total_size":8},"weight_map":)" + inner + "}";
  };
  const auto shard = [&](const std::string& name) { return map(R"({"a":")" + name + "\"}"); };
  const auto refused = [](const std::string& name, const std::string& why) {
    return "weight_map: the shard \"" + name + "\" of tensor \"a\" " + why +
           "; a shard is a file of the index's own folder";
  };
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not valid JSON: at byte 1"},
      {"{", "not valid JSON: at byte 2"},
      {std::string("{}\0", 3), "not valid JSON: byte 2 is NUL"},
      {"[]", "the index must be an object, not a list"},
      {"7", "the index must be an object, not 7"},
      {"{}", "the index has no weight_map"},
      {R"({"weight_map":{},"weight_map":{}})", "weight_map stands twice in the index"},
      {map("null"), "weight_map must be an object, not null"},
      {map("[]"), "weight_map must be an object, not a list"},
      {map(R"("a")"), R"(weight_map must be an object, not "a")"},
      {map(R"({"a":1})"), R"(weight_map: the shard of tensor "a" must be a text, not 1)"},
      {map(R"({"a":{}})"), R"(weight_map: the shard of tensor "a" must be a text, not an object)"},
      {map(R"({"a":["m"]})"), R"(weight_map: the shard of tensor "a" must be a text, not a list)"},
      {map(R"({"a":"m","a":"m"})"), R"(weight_map has tensor "a" twice)"},
      {R"({"metadata":)" + std::string(100, '[') + std::string(100, ']') + "}",
       "nested deeper than 64 levels"},
      {shard(""), refused("", "has no name")},
      {shard("/etc/passwd"), refused("/etc/passwd", "is an absolute path")},
      {shard(".."), refused("..", "leads out of the folder")},
      {shard("."), refused(".", "leads out of the folder")},
      {shard("../m.safetensors"), refused("../m.safetensors", "leads out of the folder")},
      {shard("a/../../m"), refused("a/../../m", "leads out of the folder")},
      {shard("sub/m"), refused("sub/m", "lies in another folder")},
      {shard(R"(m\u0000)"), refused(R"(m\u0000)", "holds a NUL byte")},
      {shard(R"(..\\m)"), refused(R"(..\\m)", "holds a backslash")},
  };
  for (const auto& [content, error] : cases) {
    const TemporaryFolder folder;
    folder.write(kIndex, content);
    EXPECT_EQ(open_error<DataError>(folder), std::string(kIndex) + ": " + error);
  }
}

TEST(Weights, LimitsTheIndex) {
  const TemporaryFolder folder;
  std::string shards, names;
  for (int i = 0; i <= 10'000; ++i) shards += cat(i == 0 ? "" : ",", "\"t", i, "\":\"m", i, "\"");
  for (int i = 0; i <= 1'000'000; ++i) names += cat(i == 0 ? "" : ",", "\"t", i, "\":\"m\"");
  folder.write(kIndex, R"({"weight_map":{)" + shards + "}}");
  EXPECT_EQ(open_error<DataError>(folder),
            cat(kIndex, ": weight_map names more than 10000 shards"));
  folder.write(kIndex, R"({"weight_map":{)" + names + "}}");
  EXPECT_EQ(open_error<DataError>(folder),
            cat(kIndex, ": weight_map has more than 1000000 tensors"));
  fs::resize_file(folder / kIndex, (uint64_t{256} << 20) + 1);  // a sparse file
  EXPECT_EQ(open_error<DataError>(folder),
            cat(kIndex,
                " holds 268435457 bytes; at most 268435456 are accepted for a "
                "file of this kind"));
}

TEST(Weights, ShardsMustHoldWhatTheIndexSays) {
  const TemporaryFolder folder;
  write_safetensors(folder / "1", letters(1));
  write_safetensors(folder / "2", letters(2));
  folder.write(kIndex, R"({"weight_map":{"a":"1","c":"1"}})");
  EXPECT_EQ(open_error<DataError>(folder),
            cat("1: tensor \"c\": is not in this shard, where ", kIndex, " puts it"));
  folder.write(kIndex, R"({"weight_map":{"a":"1","b":"2"}})");
  EXPECT_EQ(open_error<DataError>(folder), R"(2: tensor "a": is also in 1)");
  write_safetensors(folder / "2", {{"b", DType::f32, {2}, kValues.data()}});
  folder.write(kIndex, R"({"weight_map":{"a":"2","b":"1"}})");
  EXPECT_EQ(open_error<DataError>(folder),
            cat("2: tensor \"a\": is not in this shard, where ", kIndex, " puts it"));
  folder.write(kIndex, R"({"weight_map":{"a":"1","b":"3"}})");
  EXPECT_EQ(open_error<MissingFileError>(folder),
            cat("cannot read 3: ", kIndex, " names this shard, but it is not there"));
  ASSERT_EQ(::mkfifo((folder / "3").c_str(), 0600), 0);
  EXPECT_EQ(open_error<MissingFileError>(folder), "cannot read 3: it is not a regular file");
  folder.write(kIndex, R"({"weight_map":{"a":"1","b":")" + std::string(kIndex) + R"("}})");
  EXPECT_NE(open_error<DataError>(folder).find("Is it a safetensors file?"), std::string::npos);
}

TEST(Weights, RefusesToWriteOneNameTwiceOrTooManyShards) {
  const TemporaryFolder folder;
  auto twice = letters(2);
  twice[1].name = "a";
  EXPECT_EQ(folder.strip(error_of<ArgumentError>([&] { write_weights(folder.path(), twice, 8); })),
            R"(cannot write FOLDER: tensor "a" is given twice)");
  std::vector<TensorData> many(10'001, letters(1)[0]);
  EXPECT_EQ(folder.strip(error_of<ArgumentError>([&] { write_weights(folder.path(), many, 8); })),
            "cannot write FOLDER: 10001 shards of at most 8 bytes; at most 10000 are accepted");
  EXPECT_EQ(folder.strip(error_of<WriteError>([&] { write_weights(folder / "none", letters(1)); })),
            "cannot write none/model.safetensors: No such file or directory");
}

TEST(Weights, SaysWhenOldWeightsCannotBeRemoved) {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "model-00001-of-00002.safetensors/x");
  EXPECT_EQ(folder.strip(error_of<WriteError>([&] { write_weights(folder.path(), letters(1)); })),
            "cannot remove old weights from FOLDER: Directory not empty");
}

TEST(Weights, ReadsARealModel) {
  const char* data = std::getenv("LUCE_TEST_DATA");
  if (data == nullptr) GTEST_SKIP() << "LUCE_TEST_DATA is not set";
  const Weights weights = Weights::open(fs::path(data) / "models/stories260k");
  ASSERT_NE(weights.find("model.embed_tokens.weight"), nullptr);
  EXPECT_EQ(weights.find("model.embed_tokens.weight")->shape, (std::vector<int64_t>{512, 64}));
  EXPECT_EQ(weights.find("lm_head.weight"), nullptr);
  EXPECT_EQ(values_of(weights, "model.norm.weight").size(), 64u);
}

}  // namespace
}  // namespace luce

#include "support/support.h"

#include <ATen/ATen.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "luce/base/file.h"
#include "luce/base/random.h"

namespace luce::test {
namespace fs = std::filesystem;

::testing::AssertionResult close(const Tensor& got_in, const Tensor& want_in, double atol,
                                 double rtol) {
  if (got_in.sizes() != want_in.sizes())
    return ::testing::AssertionFailure()
           << "shapes differ: got " << shown(got_in) << ", want " << shown(want_in);
  if (got_in.numel() == 0) return ::testing::AssertionSuccess();
  const Tensor got = got_in.detach().to(at::kDouble).reshape({-1}),
               want = want_in.detach().to(at::kDouble).reshape({-1});
  const Tensor excess = (got - want).abs() - (atol + rtol * want.abs());
  const Tensor bad = excess.nan_to_num(1e300);
  const auto worst = bad.argmax().item<int64_t>();
  if (bad[worst].item<double>() <= 0) return ::testing::AssertionSuccess();
  const double g = got[worst].item<double>(), w = want[worst].item<double>();
  return ::testing::AssertionFailure()
         << "worst at flat index " << worst << " of " << shown(got_in) << ": got " << g << ", want "
         << w << ", |difference| " << std::abs(g - w) << ", relative "
         << std::abs(g - w) / std::abs(w);
}

double relative_distance(const Tensor& got, const Tensor& want) {
  const double scale = want.to(at::kDouble).norm().item<double>();
  const double distance = (got.to(at::kDouble) - want.to(at::kDouble)).norm().item<double>();
  return scale > 0 ? distance / scale : distance;
}

double gradient_error(const std::function<double(const Tensor&)>& value, const Tensor& at,
                      const Tensor& gradient, double step) {
  double worst = 0;
  Tensor x = at.detach().clone().contiguous();
  double* place = x.data_ptr<double>();
  const Tensor g = gradient.detach().contiguous();
  for (int64_t i = 0; i < x.numel(); ++i) {
    const double keep = place[i];
    place[i] = keep + step;
    const double up = value(x);
    place[i] = keep - step;
    const double down = value(x);
    place[i] = keep;
    worst = std::max(worst, std::abs((up - down) / (2 * step) - g.data_ptr<double>()[i]));
  }
  return worst;
}

fs::path golden(const std::string& name) {
  return fs::path(LUCE_SOURCE_DIR) / "tests" / "golden" / name;
}

Json golden_json(const std::string& name) {
  const auto path = golden(name);
  return parse_json(read_file(path), path.string());
}

std::optional<fs::path> test_data() {
  const char* folder = std::getenv("LUCE_TEST_DATA");
  if (folder == nullptr || *folder == '\0') return std::nullopt;
  return fs::path(folder);
}

TemporaryFolder::TemporaryFolder() {
  std::string pattern = (fs::temp_directory_path() / "luce-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string TemporaryFolder::file(const std::string& name, const std::string& content) const {
  std::ofstream(path_ / name, std::ios::binary) << content;
  return (path_ / name).string();
}

std::shared_ptr<CausalLM> small_model(at::ScalarType dtype, bool tied, uint64_t seed) {
  ModelConfig c;
  c.vocab_size = 29;
  c.hidden_size = 16;
  c.intermediate_size = 24;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 4;
  c.max_position_embeddings = 64;
  c.initializer_range = 0.3;
  c.tie_word_embeddings = tied;
  return CausalLM::init(c, seed, {.dtype = dtype});
}

std::vector<Example> random_pairs(int64_t count, uint64_t seed, int64_t vocabulary) {
  const Random random(seed, Purpose::test);
  std::vector<Example> out;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t at = 0;
    const auto draw = [&](int64_t least, int64_t most) {
      return least + static_cast<int64_t>(random.bits(0, static_cast<uint64_t>(i), at++) %
                                          static_cast<uint64_t>(most - least + 1));
    };
    const auto tokens = [&](int64_t length) {
      std::vector<int64_t> ids(static_cast<size_t>(length));
      for (auto& id : ids) id = draw(0, vocabulary - 1);
      return ids;
    };
    Example e;
    e.row = i + 1;
    e.prompt = tokens(draw(1, 7));
    e.completions.push_back(tokens(draw(1, 9)));
    e.completions.push_back(tokens(draw(1, 9)));
    out.push_back(std::move(e));
  }
  return out;
}

std::vector<const Example*> pointers(const std::vector<Example>& rows) {
  std::vector<const Example*> out;
  for (const auto& row : rows) out.push_back(&row);
  return out;
}

}  // namespace luce::test

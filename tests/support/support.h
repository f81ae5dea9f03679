// What the tests share: comparing tensors with a report that helps, small models, data files.
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "luce/base/json.h"
#include "luce/data/dataset.h"
#include "luce/model/causal_lm.h"

namespace luce::test {

/// |got − want| ≤ atol + rtol·|want| everywhere; the failure names the worst place.
::testing::AssertionResult close(const Tensor& got, const Tensor& want, double atol,
                                 double rtol = 0);

/// ‖got − want‖ / ‖want‖, in f64; ‖got‖ where want is 0.
double relative_distance(const Tensor& got, const Tensor& want);

/// The largest difference between `gradient` and central differences of `value` around `at` (f64).
double gradient_error(const std::function<double(const Tensor&)>& value, const Tensor& at,
                      const Tensor& gradient, double step = 1e-6);

/// A folder of the repository.
std::filesystem::path golden(const std::string& name);
Json golden_json(const std::string& name);

/// The folder that LUCE_TEST_DATA names, where it is set.
std::optional<std::filesystem::path> test_data();

/// An empty folder that is removed with the object.
class TemporaryFolder {
 public:
  TemporaryFolder();
  ~TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }
  /// Writes a file and returns its path.
  std::string file(const std::string& name, const std::string& content) const;

 private:
  std::filesystem::path path_;
};

/// A small random model: 2 blocks, width 16, 4 heads on 2 key-value heads, vocabulary 29.
std::shared_ptr<CausalLM> small_model(at::ScalarType dtype, bool tied = true, uint64_t seed = 1);

/// Random pairs for it, of uneven lengths.
std::vector<Example> random_pairs(int64_t count, uint64_t seed = 7, int64_t vocabulary = 29);

std::vector<const Example*> pointers(const std::vector<Example>& rows);

/// Runs `call`, which must throw E, and gives the message.
template <class E, class Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& other) {
    ADD_FAILURE() << "another type of error: " << other.what();
    return "";
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace luce::test

/// Skips a test that reads extra data where there is none.
#define LUCE_NEEDS_TEST_DATA(variable)             \
  const auto variable = ::luce::test::test_data(); \
  if (!variable) GTEST_SKIP() << "LUCE_TEST_DATA is not set"

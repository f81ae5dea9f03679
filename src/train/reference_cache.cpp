#include "luce/train/reference_cache.h"

#include <ATen/ATen.h>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/log.h"
#include "luce/data/hash.h"
#include "luce/data/safetensors.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

std::string key_of(const CausalLM& model, const std::vector<const Example*>& rows) {
  Hasher hasher;
  hasher.field("reference log-probs, format 1").field(to_json(model.config(), "").dump());
  for (const auto& p : model.parameters()) {
    const Tensor t = p.work.detach().to(at::kCPU).contiguous();
    hasher.field(p.name).bytes({static_cast<const char*>(t.data_ptr()), t.nbytes()});
  }
  for (const Example* row : rows) hasher.field(static_cast<int64_t>(content_key(*row)));
  return hex(hasher.digest());
}

/// Keys, offsets and values of a file, or nothing where it does not hold what is needed.
PrecomputedLogps read(const fs::path& path) {
  const SafetensorsFile file(path);
  const auto tensor = [&](const char* name, DType dtype) -> const TensorInfo& {
    const TensorInfo* info = file.find(name);
    if (info == nullptr || info->dtype != dtype || info->shape.size() != 1)
      throw DataError(cat(path.string(), ": no list \"", name, "\""));
    return *info;
  };
  const auto& keys_info = tensor("keys", DType::i64);
  const auto& offset_info = tensor("offset", DType::i64);
  const auto& logps_info = tensor("logps", DType::f32);
  std::vector<uint64_t> keys(static_cast<size_t>(keys_info.shape[0]));
  std::vector<int64_t> offset(static_cast<size_t>(offset_info.shape[0]));
  std::vector<float> logps(static_cast<size_t>(logps_info.shape[0]));
  file.read(keys_info, keys.data());
  file.read(offset_info, offset.data());
  file.read(logps_info, logps.data());
  if (offset.size() != keys.size() + 1)
    throw DataError(cat(path.string(), ": lists of unequal length"));
  PrecomputedLogps out;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (offset[i] < 0 || offset[i] > offset[i + 1] ||
        offset[i + 1] > static_cast<int64_t>(logps.size()))
      throw DataError(cat(path.string(), ": offsets out of range"));
    out[keys[i]].assign(logps.begin() + offset[i], logps.begin() + offset[i + 1]);
  }
  return out;
}

void write(const fs::path& path, const PrecomputedLogps& logps) {
  std::vector<uint64_t> keys;
  std::vector<int64_t> offset{0};
  std::vector<float> values;
  for (const auto& [key, row] : logps) {
    keys.push_back(key);
    values.insert(values.end(), row.begin(), row.end());
    offset.push_back(static_cast<int64_t>(values.size()));
  }
  const auto count = [](const auto& v) {
    return std::vector<int64_t>{static_cast<int64_t>(v.size())};
  };
  make_folder(path.parent_path());
  write_safetensors(path,
                    {{"keys", DType::i64, count(keys), keys.data()},
                     {"offset", DType::i64, count(offset), offset.data()},
                     {"logps", DType::f32, count(values), values.data()}},
                    {});
}

}  // namespace

PrecomputedLogps cached_logps(const Reference& reference, const std::vector<Example>& train,
                              const std::vector<Example>& eval, const OfflineOptions& options,
                              const fs::path& cache_dir) {
  std::vector<const Example*> rows;
  for (const auto* set : {&train, &eval})
    for (const auto& row : *set) rows.push_back(&row);
  const fs::path path =
      cache_dir / ("reference-" + key_of(reference.model(), rows) + ".safetensors");
  if (fs::exists(path)) {
    try {
      PrecomputedLogps known = read(path);
      log::info("the reference's log-probs come from ", path.string());
      return known;
    } catch (const Error& failure) {
      log::warn("computing the reference's log-probs anew: ", failure.what());
    }
  }
  PrecomputedLogps out = precompute_logps(reference, train, options);
  out.merge(precompute_logps(reference, eval, options));
  write(path, out);
  log::info("the reference's log-probs of ", rows.size(), " rows are kept in ", path.string());
  return out;
}

}  // namespace luce

#include "luce/train/checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <charconv>
#include <map>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/json.h"
#include "luce/data/model_folder.h"
#include "luce/data/safetensors.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

const std::string kPrefix = "checkpoint-";

DType stored(const Tensor& t) { return t.scalar_type() == at::kDouble ? DType::f64 : DType::f32; }

/// Step → folder of every checkpoint that is there.
std::map<int64_t, fs::path> checkpoints(const fs::path& output_dir) {
  std::map<int64_t, fs::path> out;
  if (!fs::is_directory(output_dir)) return out;
  for (const auto& entry : fs::directory_iterator(output_dir)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(kPrefix)) continue;
    int64_t step = 0;
    const char* begin = name.data() + kPrefix.size();
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(begin, end, step);
    if (error == std::errc() && stop == end && fs::exists(entry.path() / "trainer_state.json"))
      out[step] = entry.path();
  }
  return out;
}

std::vector<std::pair<std::string, Tensor>> task_tensors(const fs::path& folder) {
  std::vector<std::pair<std::string, Tensor>> out;
  if (!fs::exists(folder / "task.safetensors")) return out;
  const SafetensorsFile file(folder / "task.safetensors");
  for (const TensorInfo& info : file.tensors()) {
    const auto type = info.dtype == DType::f64 ? at::kDouble : at::kFloat;
    if (info.dtype != DType::f64 && info.dtype != DType::f32)
      throw DataError(
          cat(folder.string(), "/task.safetensors: \"", info.name, "\" is neither f32 nor f64"));
    out.emplace_back(info.name, at::empty(info.shape, type));
    file.read(info, out.back().second.data_ptr());
  }
  return out;
}

/// Copies on the CPU of what goes into one file, until it is written.
class TensorFile {
 public:
  void add(const std::string& name, const Tensor& t) {
    alive_.push_back(t.to(at::kCPU));
    data_.push_back({name, stored(t), t.sizes().vec(), alive_.back().data_ptr()});
  }
  void write(const fs::path& path, const std::map<std::string, std::string>& more = {}) const {
    std::map<std::string, std::string> metadata = more;
    metadata["format"] = "pt";
    write_safetensors(path, data_, metadata);
  }
  bool empty() const { return data_.empty(); }

 private:
  std::vector<Tensor> alive_;
  std::vector<TensorData> data_;
};

/// Moments of an optimizer, and the weights that no model folder holds: masters of narrower ones,
/// or all where `with_weights`.
void write_optimizer(const fs::path& path, const std::vector<Parameter>& parameters,
                     AdamW& optimizer, bool with_weights) {
  TensorFile file;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const Parameter& p = parameters[i];
    file.add(p.name + ".m", optimizer.first_moments()[i]);
    file.add(p.name + ".v", optimizer.second_moments()[i]);
    if (with_weights || !p.master.is_same(p.work)) file.add(p.name + ".master", p.master.detach());
  }
  file.write(path, {{"steps", cat(optimizer.steps())}});
}

void read_optimizer(const fs::path& path, std::vector<Parameter>& parameters, AdamW& optimizer,
                    bool with_weights) {
  const SafetensorsFile file(path);
  const auto fill = [&](const std::string& name, const Tensor& into) {
    const TensorInfo* info = file.find(name);
    if (info == nullptr || info->dtype != stored(into) ||
        at::IntArrayRef(info->shape) != into.sizes())
      throw DataError(
          cat(path.string(), ": \"", name, "\" is missing or of another dtype or shape"));
    const Tensor host =
        into.is_cpu() ? into : at::empty(into.sizes(), into.options().device(at::kCPU));
    file.read(*info, host.data_ptr());
    if (!into.is_cpu()) Tensor(into).copy_(host);
  };
  for (size_t i = 0; i < parameters.size(); ++i) {
    Parameter& p = parameters[i];
    fill(p.name + ".m", optimizer.first_moments()[i]);
    fill(p.name + ".v", optimizer.second_moments()[i]);
    if (with_weights || !p.master.is_same(p.work)) fill(p.name + ".master", p.master.detach());
    if (with_weights && !p.master.is_same(p.work)) p.work.detach().copy_(p.master);
  }
  const auto steps = file.metadata().find("steps");
  if (steps == file.metadata().end())
    throw DataError(cat(path.string(), ": not the state of an optimizer"));
  optimizer.set_steps(std::atoll(steps->second.c_str()));
}

}  // namespace

fs::path save_checkpoint(const fs::path& output_dir, Task& task, AdamW& optimizer,
                         std::vector<AdamW>& companion_optimizers, const TrainerState& state,
                         const fs::path& model_source) {
  Trainable& model = task.trained();
  const fs::path folder = output_dir / cat(kPrefix, state.global_step);
  write_folder_atomic(folder, [&](const fs::path& temporary) {
    model.decoder().save(temporary);
    copy_tokenizer_files(model_source, temporary);
    write_optimizer(temporary / "optimizer.safetensors", model.parameters(), optimizer, false);
    const auto companions = task.companions();
    for (size_t i = 0; i < companions.size(); ++i)
      write_optimizer(temporary / (companions[i].name + ".safetensors"), *companions[i].parameters,
                      companion_optimizers[i], true);
    const TaskState own = task.save();
    TensorFile tensors;
    for (const auto& [name, tensor] : own.tensors) tensors.add(name, tensor);
    if (!tensors.empty()) tensors.write(temporary / "task.safetensors");
    Json json = {{"global_step", state.global_step}, {"num_input_tokens_seen", state.num_tokens}};
    json["best_metric"] = state.best_metric ? Json(*state.best_metric) : Json(nullptr);
    json["best_model_checkpoint"] = state.best_checkpoint;
    if (!own.values.is_null()) json["task"] = own.values;
    write_file_atomic(temporary / "trainer_state.json", json.dump(2) + "\n");
  });
  return folder;
}

TrainerState load_checkpoint(const fs::path& folder, Task& task, AdamW& optimizer,
                             std::vector<AdamW>& companion_optimizers) {
  const at::NoGradGuard no_grad;
  Trainable& model = task.trained();
  model.decoder().read_weights(folder);
  read_optimizer(folder / "optimizer.safetensors", model.parameters(), optimizer, false);
  const auto companions = task.companions();
  for (size_t i = 0; i < companions.size(); ++i)
    read_optimizer(folder / (companions[i].name + ".safetensors"), *companions[i].parameters,
                   companion_optimizers[i], true);
  const fs::path path = folder / "trainer_state.json";
  const Json json = parse_json(read_file(path, uint64_t{1} << 30), path.string());
  TrainerState state;
  if (!json.is_object() || !json.contains("global_step") ||
      !json["global_step"].is_number_integer())
    throw DataError(cat(path.string(), ": not the state of a training run"));
  state.global_step = json["global_step"].get<int64_t>();
  state.num_tokens = json.value("num_input_tokens_seen", 0.0);
  if (json.contains("best_metric") && json["best_metric"].is_number())
    state.best_metric = json["best_metric"].get<double>();
  state.best_checkpoint = json.value("best_model_checkpoint", "");
  task.load({.values = json.value("task", Json(nullptr)), .tensors = task_tensors(folder)});
  return state;
}

std::optional<fs::path> newest_checkpoint(const fs::path& output_dir) {
  const auto all = checkpoints(output_dir);
  if (all.empty()) return std::nullopt;
  return all.rbegin()->second;
}

void remove_old_checkpoints(const fs::path& output_dir, int64_t keep, const std::string& spared) {
  auto all = checkpoints(output_dir);
  std::erase_if(all, [&](const auto& entry) { return entry.second.filename() == spared; });
  std::error_code ignored;  // a checkpoint that cannot be removed is no reason to stop
  while (static_cast<int64_t>(all.size()) > keep) {
    fs::remove_all(all.begin()->second, ignored);
    all.erase(all.begin());
  }
}

}  // namespace luce

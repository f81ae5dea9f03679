// TensorBoard event files: what a run writes so that `tensorboard --logdir OUTPUT/runs` draws it.
// Format: TFRecord frames around the protocol buffers of tensorflow's event.proto and
// summary.proto.
#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace luce {

/// Writes one event file; each call reaches the operating system before it returns, so that a crash
/// loses nothing. Steps are optimizer steps of the whole run.
class EventFile {
 public:
  /// Makes `folder` and in it a new file `events.out.tfevents.<unix time>.<host>.<pid>.<n>`.
  /// Throws WriteError.
  explicit EventFile(const std::filesystem::path& folder);

  /// One point of each metric under `event_tag(name)`. Throws WriteError, like the others.
  void scalars(int64_t step, const std::map<std::string, double>& values);

  /// Markdown for the text tab.
  void text(std::string_view tag, std::string_view markdown, int64_t step = 0);

  /// How `values` are distributed, in 30 equal bins. Values that are not finite are left out;
  /// nothing is written where none is left.
  void histogram(std::string_view tag, const std::vector<double>& values, int64_t step);

  const std::filesystem::path& path() const { return path_; }

 private:
  void write_event(int64_t step, std::string_view summary);
  void write_record(std::string_view data);

  std::filesystem::path path_;
  std::ofstream out_;
};

/// "loss" → "train/loss", "eval_rewards/margins" → "eval/rewards/margins".
std::string event_tag(std::string_view name);

/// `output_dir/runs/<date>_<time>_<host>`: a folder of its own for a run that starts now.
std::filesystem::path run_folder(const std::filesystem::path& output_dir);

/// CRC-32C (Castagnoli, reflected 0x82F63B78), as in RFC 3720.
uint32_t crc32c(std::string_view data);

}  // namespace luce

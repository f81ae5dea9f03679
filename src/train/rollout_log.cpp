// Completions as files, tables and a part of the report.
#include <algorithm>

#include "luce/base/error.h"
#include "luce/base/file.h"
#include "luce/base/log.h"
#include "luce/data/training_report.h"
#include "luce/data/utf8.h"
#include "luce/train/rollouts.h"

namespace luce {
namespace {

/// A text in one line of so many characters, its end where it is longer.
std::string in_width(const std::string& text, size_t width) {
  std::vector<std::string_view> characters;
  for (std::string_view rest = text; !rest.empty();) {
    const size_t n = std::max<size_t>(1, utf8_length(rest));
    characters.push_back(rest.substr(0, n));
    rest.remove_prefix(n);
  }
  std::string out;
  const size_t n = characters.size();
  if (n > width) out = "…";
  for (size_t i = n > width ? n - width + 1 : 0; i < n; ++i) {
    const bool is_blank = characters[i] == "\n" || characters[i] == "\r" || characters[i] == "\t";
    out += is_blank ? " " : characters[i];
  }
  return out + std::string(n < width ? width - n : 0, ' ');
}

}  // namespace

std::string rollout_lines(const CollectedRollout& rollout, const std::vector<Prompt>& prompts,
                          const std::vector<NamedReward>& rewards,
                          const std::vector<double>& advantages, int64_t step) {
  std::string out;
  size_t c = 0;
  for (const auto& group : rollout.groups) {
    const Prompt& prompt = prompts[static_cast<size_t>(group.prompt)];
    for (size_t i = 0; i < group.samples.size(); ++i, ++c) {
      Json line = {{"step", step},
                   {"row", prompt.row},
                   {"prompt", prompt.text},
                   {"completion", group.texts[i]},
                   {"completion_ids", group.samples[i].ids},
                   {"reward", group.rewards[i]}};
      for (size_t k = 0; k < rewards.size(); ++k)
        line["rewards/" + rewards[k].name] = group.parts[i][k];
      if (c < advantages.size()) line["advantage"] = advantages[c];
      line["stopped"] = group.samples[i].stopped;
      out += line.dump() + "\n";
    }
  }
  return out;
}

void RolloutLog::operator()(const CollectedRollout& rollout, const RolloutSource& source,
                            const std::vector<double>& advantages, int64_t step) const {
  if (!folder.empty())
    write_file_atomic(
        folder / cat("step-", step, ".jsonl"),
        rollout_lines(rollout, source.prompts(), source.rewards().functions(), advantages, step));
  if (shown == 0) return;
  const Table table = rollout_table(rollout, source.prompts(), shown);
  std::string text = cat("step ", step, ": completions and what they earned");
  for (const auto& row : table.rows)
    text +=
        cat("\n  ", in_width(row[3], 9), " | ", in_width(row[0], 40), " | ", in_width(row[1], 80));
  log::info(text);
}

Json rollout_sections(const CollectedRollout& rollout, const std::vector<Prompt>& prompts) {
  constexpr int64_t kShown = 20;
  Json sections = Json::array();
  if (rollout.groups.empty()) return sections;
  sections.push_back({{"type", "heading"}, {"text", "Completions of the last rollout"}});
  sections.push_back(report_section(rollout_table(rollout, prompts, kShown)));
  return sections;
}

Table rollout_table(const CollectedRollout& rollout, const std::vector<Prompt>& prompts,
                    int64_t count) {
  Table out{.title = "Completions", .columns = {"prompt", "completion", "tokens", "reward"}};
  for (const auto& group : rollout.groups) {
    if (static_cast<int64_t>(out.rows.size()) == count) break;
    const auto n = group.samples.front().ids.size();
    out.rows.push_back({prompts[static_cast<size_t>(group.prompt)].text, group.texts.front(),
                        cat(n), cat(group.rewards.front())});
  }
  return out;
}

}  // namespace luce

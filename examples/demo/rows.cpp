#include "rows.h"

#include "luce/base/file.h"

namespace luce::demo {

Json text_row(const std::string& text) { return {{"text", text}}; }

Json preference_row(const std::string& prompt, const std::string& chosen,
                    const std::string& rejected) {
  return {{"prompt", prompt}, {"chosen", chosen}, {"rejected", rejected}};
}

Json prompt_row(const std::string& prompt) { return {{"prompt", prompt}}; }

void write_rows(const std::filesystem::path& path, const std::vector<Json>& rows) {
  std::string content;
  for (const Json& row : rows) content += row.dump() + "\n";
  write_file_atomic(path, content);
}

}  // namespace luce::demo

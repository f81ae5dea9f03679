#include "luce/data/model_folder.h"

#include "luce/base/error.h"
#include "luce/base/file.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kLimit = uint64_t{256} << 20;

void copy_if_there(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  if (fs::exists(from, ignored)) write_file_atomic(to, read_file(from, kLimit));
}

}  // namespace

void copy_tokenizer_files(const fs::path& from, const fs::path& to) {
  std::error_code ignored;
  if (fs::equivalent(from, to, ignored)) return;
  for (const char* name : {"tokenizer.model", "tokenizer.json", "tokenizer_config.json",
                           "special_tokens_map.json", "added_tokens.json", "vocab.json",
                           "merges.txt", "chat_template.jinja", "generation_config.json"})
    copy_if_there(from / name, to / name);

  const fs::path templates = from / "additional_chat_templates";
  if (!fs::is_directory(templates, ignored)) return;
  make_folder(to / templates.filename());
  for (fs::directory_iterator entry(templates, ignored), end; entry != end;
       entry.increment(ignored))
    if (entry->path().extension() == ".jinja")
      copy_if_there(entry->path(), to / templates.filename() / entry->path().filename());
}

}  // namespace luce

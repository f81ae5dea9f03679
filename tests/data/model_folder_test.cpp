#include "luce/data/model_folder.h"

#include <sys/stat.h>

#include "data/temporary_folder.h"
#include "luce/base/error.h"

namespace luce {
namespace {
namespace fs = std::filesystem;

TEST(ModelFolder, CopiesTheFilesThatAreThereAsBytes) {
  const TemporaryFolder from, to;
  const std::string bytes("\0\xff\r\n", 4);
  for (const char* name : {"tokenizer.model", "tokenizer.json", "tokenizer_config.json",
                           "special_tokens_map.json", "added_tokens.json", "vocab.json",
                           "merges.txt", "chat_template.jinja", "generation_config.json"})
    from.write(name, bytes + name);
  fs::create_directory(from / "additional_chat_templates");
  from.write("additional_chat_templates/tool_use.jinja", "{{ x }}");
  from.write("additional_chat_templates/notes.txt", "no");
  from.write("config.json", "{}");
  from.write("model.safetensors", "");
  copy_tokenizer_files(from.path(), to.path());
  EXPECT_EQ(read_file(to / "tokenizer.model"), bytes + "tokenizer.model");
  EXPECT_EQ(read_file(to / "chat_template.jinja"), bytes + "chat_template.jinja");
  EXPECT_EQ(read_file(to / "additional_chat_templates/tool_use.jinja"), "{{ x }}");
  EXPECT_FALSE(fs::exists(to / "additional_chat_templates/notes.txt"));
  EXPECT_FALSE(fs::exists(to / "config.json"));
  EXPECT_FALSE(fs::exists(to / "model.safetensors"));
  EXPECT_EQ(std::distance(fs::directory_iterator(to.path()), {}), 10);
}

TEST(ModelFolder, AFolderWithoutTokenizerOrOntoItselfIsNoError) {
  const TemporaryFolder from, to;
  to.write("tokenizer.model", "kept");
  copy_tokenizer_files(from.path(), to.path());
  copy_tokenizer_files(to.path(), to.path());
  EXPECT_EQ(read_file(to / "tokenizer.model"), "kept");
}

TEST(ModelFolder, SaysWhatCannotBeReadOrWritten) {
  const TemporaryFolder from, to;
  ASSERT_EQ(::mkfifo((from / "tokenizer.json").c_str(), 0600), 0);
  EXPECT_EQ(
      from.strip(error_of<MissingFileError>([&] { copy_tokenizer_files(from.path(), to.path()); })),
      "cannot read tokenizer.json: it is not a regular file");
  from.write("tokenizer.model", "x");
  EXPECT_EQ(to.strip(error_of<WriteError>([&] { copy_tokenizer_files(from.path(), to / "none"); })),
            "cannot write none/tokenizer.model: No such file or directory");
}

}  // namespace
}  // namespace luce

#include "luce/base/file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <set>

#include "data/temporary_folder.h"
#include "luce/base/error.h"

namespace luce {
namespace {

namespace fs = std::filesystem;

/// The names in a folder and below, a folder's with "/" at the end.
std::set<std::string> names(const fs::path& folder) {
  std::set<std::string> out;
  for (const auto& entry : fs::recursive_directory_iterator(folder))
    out.insert(fs::relative(entry.path(), folder).string() + (entry.is_directory() ? "/" : ""));
  return out;
}

/// While it lives, this process can write no file longer than `bytes`.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit now{bytes, before_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &now);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  void (*handler_)(int);
};

TEST(File, ReadsAllBytes) {
  const TemporaryFolder folder;
  std::string content;
  for (int i = 0; i < 100000; ++i) content += static_cast<char>(i * 7);
  EXPECT_EQ(read_file(folder.write("a", content)), content);
  EXPECT_EQ(read_file(folder.write("empty", "")), "");
}

TEST(File, RefusesMoreBytesThanTheLimit) {
  const TemporaryFolder folder;
  const fs::path path = folder.write("a", "12345");
  EXPECT_EQ(read_file(path, 5), "12345");
  EXPECT_EQ(folder.strip(error_of<DataError>([&] { read_file(path, 4); })),
            "a holds 5 bytes; at most 4 are accepted for a file of this kind");
}

TEST(File, ReadsRegularFilesAlone) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "folder");
  ASSERT_EQ(::mkfifo((folder / "fifo").c_str(), 0600), 0);
  fs::create_symlink("gone", folder / "link");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"none", "No such file or directory"}, {"none/below", "No such file or directory"},
      {"link", "No such file or directory"}, {"folder", "it is not a regular file"},
      {"fifo", "it is not a regular file"},  // and opening it does not wait for a writer
  };
  for (const auto& [name, why] : cases)
    EXPECT_EQ(folder.strip(error_of<MissingFileError>([&] { read_file(folder / name); })),
              "cannot read " + name + ": " + why);
  EXPECT_EQ(error_of<MissingFileError>([] { read_file("/dev/zero"); }),
            "cannot read /dev/zero: it is not a regular file");
  EXPECT_EQ(error_of<MissingFileError>([] { read_file(""); }),
            "cannot read : No such file or directory");
}

TEST(File, WritesAndReplacesAFileAndLeavesNothingElse) {
  const TemporaryFolder folder;
  const std::string zero("a\0b", 3);
  write_file_atomic(folder / "a", "first, and longer");
  write_file_atomic(folder / "a", zero);
  EXPECT_EQ(read_file(folder / "a"), zero);
  EXPECT_EQ(names(folder.path()), std::set<std::string>{"a"});
}

TEST(File, AFailedWriteKeepsTheOldFileAndLeavesNothingElse) {
  const TemporaryFolder folder;
  folder.write("a", "old");
  {
    const FileSizeLimit limit(1000);
    EXPECT_EQ(folder.strip(error_of<WriteError>(
                  [&] { write_file_atomic(folder / "a", std::string(5000, 'x')); })),
              "cannot write a: File too large");
  }
  EXPECT_EQ(read_file(folder / "a"), "old");
  EXPECT_EQ(names(folder.path()), std::set<std::string>{"a"});
}

TEST(File, SaysWhyAFileCannotBeWritten) {
  const TemporaryFolder folder;
  folder.write("file", "old");
  fs::create_directory(folder / "folder");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"file/below", "Not a directory"},
      {"none/below", "No such file or directory"},
      {"folder", "Is a directory"},
  };
  for (const auto& [name, why] : cases)
    EXPECT_EQ(folder.strip(error_of<WriteError>([&] { write_file_atomic(folder / name, "new"); })),
              "cannot write " + name + ": " + why);
  EXPECT_EQ(read_file(folder / "file"), "old");
  EXPECT_EQ(names(folder.path()), (std::set<std::string>{"file", "folder/"}));
}

TEST(File, WritesAFolderAndReplacesTheOldOneAsAWhole) {
  const TemporaryFolder folder;
  const auto fill = [](const std::string& name) {
    return [name](const fs::path& to) {
      fs::create_directory(to / "sub");
      write_file_atomic(to / "sub" / name, name);
    };
  };
  write_folder_atomic(folder / "out", fill("one"));
  EXPECT_EQ(names(folder.path()), (std::set<std::string>{"out/", "out/sub/", "out/sub/one"}));
  write_folder_atomic(folder / "out/", fill("two"));  // the same folder
  EXPECT_EQ(names(folder.path()), (std::set<std::string>{"out/", "out/sub/", "out/sub/two"}));
}

TEST(File, AFolderWhoseFillingFailsLeavesTheOldOneAndNothingElse) {
  const TemporaryFolder folder;
  write_folder_atomic(folder / "out", [](const fs::path& to) { write_file_atomic(to / "a", "1"); });
  EXPECT_EQ(error_of<SanityError>([&] {
              write_folder_atomic(folder / "out", [](const fs::path& to) {
                write_file_atomic(to / "b", "2");
                throw SanityError("no");
              });
            }),
            "no");
  EXPECT_EQ(folder.strip(error_of<WriteError>([&] {
    write_folder_atomic(folder / "out", [](const fs::path& to) {
      write_file_atomic(to / "b", "2");
      fs::rename(to / "none", to / "c");
    });
  })),
            "cannot write out: No such file or directory");
  EXPECT_EQ(names(folder.path()), (std::set<std::string>{"out/", "out/a"}));
  EXPECT_EQ(read_file(folder / "out" / "a"), "1");
}

TEST(File, AFolderClearsWhatACrashLeft) {
  const TemporaryFolder folder;
  // A crash between the two renames: the old folder beside an absent one.
  fs::create_directories(folder / "out.old" / "x");
  write_folder_atomic(folder / "out", [](const fs::path& to) { write_file_atomic(to / "a", "1"); });
  fs::create_directories(folder / "out.old" / "y");  // and one after them
  write_folder_atomic(folder / "out", [](const fs::path& to) { write_file_atomic(to / "b", "2"); });
  EXPECT_EQ(names(folder.path()), (std::set<std::string>{"out/", "out/b"}));
}

TEST(File, AFolderReplacesNoFile) {
  const TemporaryFolder folder;
  folder.write("thesis", "years of work");
  EXPECT_EQ(folder.strip(error_of<WriteError>(
                [&] { write_folder_atomic(folder / "thesis", [](const fs::path&) {}); })),
            "cannot write thesis: a file of that name is there");
  EXPECT_EQ(names(folder.path()), std::set<std::string>{"thesis"});
  EXPECT_EQ(read_file(folder / "thesis"), "years of work");
}

TEST(File, MakesFoldersOrSaysWhyNot) {
  const TemporaryFolder folder;
  make_folder(folder / "a/b/c");
  make_folder(folder / "a/b/c");
  make_folder(folder / "a/d/");
  EXPECT_EQ(names(folder.path()), (std::set<std::string>{"a/", "a/b/", "a/b/c/", "a/d/"}));
  folder.write("file", "x");
  const auto error = [&](const std::string& name) {
    return folder.strip(error_of<WriteError>([&] { make_folder(folder / name); }));
  };
  EXPECT_EQ(error("file"), "cannot make the folder file: a file of that name is there");
  EXPECT_EQ(error("file/below"), "cannot make the folder file/below: Not a directory");
  EXPECT_EQ(error_of<WriteError>([] { make_folder(""); }),
            "cannot make the folder : Invalid argument");
}

}  // namespace
}  // namespace luce

// What tests of files share.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>

#include "luce/base/error.h"
#include "luce/base/file.h"

namespace luce {

/// A new empty folder that goes away with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "luce-test-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = pattern;
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }
  /// Writes a file of the folder; its path.
  std::filesystem::path write(const std::string& name, std::string_view content) const {
    write_file_atomic(path_ / name, content);
    return path_ / name;
  }
  /// `text` without the folder's path, so that errors can be compared as a whole.
  std::string strip(std::string text) const {
    const std::string prefix = path_.string() + "/";
    for (size_t at; (at = text.find(prefix)) != std::string::npos;) text.erase(at, prefix.size());
    for (size_t at; (at = text.find(path_.string())) != std::string::npos;)
      text.replace(at, path_.string().size(), "FOLDER");
    return text;
  }

 private:
  std::filesystem::path path_;
};

/// A file in memory: thousands of rewrites cost no disk.
class MemoryFile {
 public:
  MemoryFile() : fd_(::memfd_create("luce-test", MFD_CLOEXEC)) {}
  ~MemoryFile() { ::close(fd_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  std::string path() const { return cat("/proc/self/fd/", fd_); }
  void set(const std::string& content) const {
    if (::ftruncate(fd_, 0) != 0 ||
        ::pwrite(fd_, content.data(), content.size(), 0) != static_cast<ssize_t>(content.size()))
      throw std::runtime_error("cannot write a file in memory");
  }

 private:
  int fd_;
};

/// The text of the `E` that `call` throws; "" where it throws none.
template <class E, class Call>
std::string error_of(const Call& call) {
  try {
    call();
  } catch (const E& failure) {
    return failure.what();
  }
  return "";
}

}  // namespace luce

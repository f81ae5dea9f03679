#include "luce/base/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "luce/base/error.h"

namespace luce {
namespace fs = std::filesystem;
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string reason() { return std::strerror(errno); }

void sync_path(const fs::path& path) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0 || ::fsync(file.get()) != 0)
    throw WriteError(cat("cannot sync ", path.string(), ": ", reason()));
}

fs::path parent_of(const fs::path& path) {
  const fs::path parent = path.parent_path();
  return parent.empty() ? fs::path(".") : parent;
}

fs::path temporary_sibling(const fs::path& path) {
  fs::path clean = path;
  if (!clean.has_filename()) clean = clean.parent_path();  // "out/" names the folder "out"
  return clean.string() + cat(".tmp-", ::getpid());
}

}  // namespace

std::string read_file(const fs::path& path, uint64_t limit) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) throw MissingFileError(cat("cannot read ", path.string(), ": ", reason()));
  struct stat info {};
  if (::fstat(file.get(), &info) != 0 || !S_ISREG(info.st_mode))
    throw MissingFileError(cat("cannot read ", path.string(), ": it is not a regular file"));
  if (static_cast<uint64_t>(info.st_size) > limit)
    throw DataError(cat(path.string(), " holds ", info.st_size, " bytes; at most ", limit,
                        " are accepted for a file of this kind"));
  std::string content(static_cast<size_t>(info.st_size), '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = ::read(file.get(), content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw MissingFileError(cat("cannot read ", path.string(), ": ", reason()));
    if (n == 0) break;  // the file became shorter under us
    done += static_cast<size_t>(n);
  }
  content.resize(done);
  return content;
}

void write_file_atomic(const fs::path& path, std::string_view content) {
  const fs::path temporary = temporary_sibling(path);
  const auto check = [&](bool good) {
    if (good) return;
    const std::string why = reason();
    ::unlink(temporary.c_str());
    throw WriteError(cat("cannot write ", path.string(), ": ", why));
  };
  {
    const Descriptor file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    check(file.get() >= 0);
    size_t done = 0;
    while (done < content.size()) {
      const ssize_t n = ::write(file.get(), content.data() + done, content.size() - done);
      if (n < 0 && errno == EINTR) continue;
      check(n > 0);
      done += static_cast<size_t>(n);
    }
    check(::fsync(file.get()) == 0);
  }
  check(::rename(temporary.c_str(), path.c_str()) == 0);
  sync_path(parent_of(path));
}

void write_folder_atomic(const fs::path& path, const std::function<void(const fs::path&)>& fill) {
  const fs::path temporary = temporary_sibling(path);
  fs::path target = path;
  if (!target.has_filename()) target = target.parent_path();
  const fs::path old = target.string() + ".old";
  std::error_code ignored;
  fs::remove_all(temporary, ignored);
  try {
    make_folder(temporary);
    fill(temporary);
    for (const auto& entry : fs::recursive_directory_iterator(temporary)) sync_path(entry.path());
    sync_path(temporary);
    if (fs::exists(target)) {
      if (!fs::is_directory(target))
        throw WriteError(cat("cannot write ", path.string(), ": a file of that name is there"));
      fs::remove_all(old);
      fs::rename(target, old);
    }
    fs::rename(temporary, target);
    sync_path(parent_of(target));
    fs::remove_all(old, ignored);
  } catch (const fs::filesystem_error& failure) {
    fs::remove_all(temporary, ignored);
    throw WriteError(cat("cannot write ", path.string(), ": ", failure.code().message()));
  } catch (...) {
    fs::remove_all(temporary, ignored);
    throw;
  }
}

void make_folder(const fs::path& path) {
  std::error_code failure, ignored;
  fs::create_directories(path, failure);
  if (!failure && fs::is_directory(path, ignored)) return;
  const auto status = fs::status(path, ignored);
  throw WriteError(cat("cannot make the folder ", path.string(), ": ",
                       fs::exists(status) && !fs::is_directory(status)
                           ? "a file of that name is there"
                           : failure.message()));
}

}  // namespace luce

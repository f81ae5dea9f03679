// posix_spawn: nothing of this process runs between fork and exec, so that locks that other threads
// hold at that moment do no harm, and a failed exec comes back as an error.
#include "spawn_child.h"

#include <fcntl.h>
#include <spawn.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <utility>

namespace luce {
namespace {

/// A pipe, closed where it goes out of scope. Both ends are above 2: the child's three are made
/// from them one after the other and must not be overwritten meanwhile.
struct Pipe {
  Pipe() {
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
      error = errno;
      ends = {-1, -1};
    }
    for (int& end : ends)
      if (end >= 0 && end <= 2) {
        const int higher = ::fcntl(end, F_DUPFD_CLOEXEC, 3);
        if (higher < 0) error = errno;
        ::close(std::exchange(end, higher));
      }
  }
  ~Pipe() {
    for (const int end : ends)
      if (end >= 0) ::close(end);
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  /// Hands one end over, which then does not block.
  int release(size_t end) {
    ::fcntl(ends[end], F_SETFL, O_NONBLOCK);  // only O_NONBLOCK can be set on a pipe of ours
    return std::exchange(ends[end], -1);
  }

  std::array<int, 2> ends{-1, -1};  // to read from, to write to
  int error = 0;
};

std::vector<std::string> environment_with(const std::map<std::string, std::string>& additions) {
  std::vector<std::string> out;
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const std::string text = *entry;
    if (!additions.contains(text.substr(0, text.find('=')))) out.push_back(text);
  }
  for (const auto& [key, value] : additions) out.push_back(key + "=" + value);
  return out;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> out;
  for (auto& s : strings) out.push_back(s.data());
  out.push_back(nullptr);
  return out;
}

}  // namespace

Spawned spawn_child(const std::vector<std::string>& command,
                    const std::map<std::string, std::string>& environment,
                    const std::filesystem::path& folder) {
  Pipe in, out, err;
  for (const Pipe* pipe : {&in, &out, &err})
    if (pipe->error != 0) return {.error = pipe->error};

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, in.ends[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out.ends[1], 1);
  posix_spawn_file_actions_adddup2(&actions, err.ends[1], 2);
  // Files that a library of this process left open for its children are none of the command's.
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  if (!folder.empty()) posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  sigset_t all, none;
  sigfillset(&all);
  sigemptyset(&none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);

  auto words = command, variables = environment_with(environment);
  Spawned child;
  child.error = ::posix_spawnp(&child.pid, words[0].c_str(), &actions, &attributes,
                               pointers(words).data(), pointers(variables).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (child.error != 0) return {.error = child.error};
  child.in = in.release(1);
  child.out = out.release(0);
  child.err = err.release(0);
  return child;
}

}  // namespace luce

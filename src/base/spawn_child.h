// Starting a child process with pipes to its three standard streams.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace luce {

struct Spawned {
  pid_t pid = -1;
  int in = -1, out = -1, err = -1;  // our ends, which do not block and close on exec
  int error = 0;                    // errno where nothing was started
};

/// Starts `command` as the leader of a new process group, with no descriptors but 0, 1 and 2, with
/// signals as a fresh process has them. Safe while other threads run.
Spawned spawn_child(const std::vector<std::string>& command,
                    const std::map<std::string, std::string>& environment,
                    const std::filesystem::path& folder);

}  // namespace luce

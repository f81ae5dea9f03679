// Logging: one line an event, to stderr. spdlog does the work behind this header, so that no file
// that sees torch ever sees spdlog (their fmt libraries clash).
#pragma once

#include <string_view>

#include "luce/base/error.h"

namespace luce::log {

enum class Level { debug, info, warn, error, off };

/// Sets the lowest level that is printed. Default: info.
void set_level(Level level);

/// Prints one line if `level` is enabled.
void write(Level level, std::string_view line);

template <class... Parts>
void debug(const Parts&... parts) {
  write(Level::debug, cat(parts...));
}
template <class... Parts>
void info(const Parts&... parts) {
  write(Level::info, cat(parts...));
}
template <class... Parts>
void warn(const Parts&... parts) {
  write(Level::warn, cat(parts...));
}
template <class... Parts>
void error(const Parts&... parts) {
  write(Level::error, cat(parts...));
}

}  // namespace luce::log

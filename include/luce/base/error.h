// Errors are sentences for the user: where, what was expected, what came, what to do.
// Each class knows the exit code that the command line gives for it.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace luce {

/// Exit codes of the `luce` program, the only ones it uses.
enum class Exit : int {
  ok = 0,
  usage = 64,         // command line or config
  data = 65,          // the content of a file
  missing = 66,       // a file that is missing or unreadable
  service = 69,       // a service or reward that failed for good
  bug = 70,           // ours
  resource = 71,      // memory or device
  cannot_write = 73,  //
  interrupted = 75,   // stopped by a signal with everything saved: start again
  sanity = 76,        // non-finite values or a failed sanity check
  sigint = 130,
};

/// The base of every error that Luce throws on purpose.
class Error : public std::runtime_error {
 public:
  Error(Exit code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Exit code() const { return code_; }

 private:
  Exit code_;
};

/// A command line or a config that cannot be obeyed.
struct UsageError : Error {
  explicit UsageError(const std::string& message) : Error(Exit::usage, message) {}
};
/// A file whose content is wrong: data, model, tokenizer, checkpoint.
struct DataError : Error {
  explicit DataError(const std::string& message) : Error(Exit::data, message) {}
};
/// A file that is missing or cannot be read.
struct MissingFileError : Error {
  explicit MissingFileError(const std::string& message) : Error(Exit::missing, message) {}
};
/// A file or folder that cannot be written.
struct WriteError : Error {
  explicit WriteError(const std::string& message) : Error(Exit::cannot_write, message) {}
};
/// A device or an amount of memory that is not to be had.
struct ResourceError : Error {
  explicit ResourceError(const std::string& message) : Error(Exit::resource, message) {}
};
/// A value that is not finite, or a check of the numbers that failed.
struct SanityError : Error {
  explicit SanityError(const std::string& message) : Error(Exit::sanity, message) {}
};
/// Arguments that a caller of the library got wrong (a shape, a dtype, an order of calls).
struct ArgumentError : Error {
  explicit ArgumentError(const std::string& message) : Error(Exit::bug, message) {}
};

/// Joins its arguments through `operator<<`: `cat("row ", 3, " is empty")`.
template <class... Parts>
std::string cat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace luce

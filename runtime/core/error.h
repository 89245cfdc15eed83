#pragma once

#include <fmt/format.h>

#include <cerrno>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace hogpen {

/// Base of every exception that hogpen throws: what went wrong and where; `hint()` says what to do about it.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, std::string hint = {})
      : std::runtime_error(message), hint_(std::move(hint)) {}
  [[nodiscard]] const std::string& hint() const noexcept { return hint_; }
  /// For who knows more than the place that threw. A hint that is there already stays.
  void add_hint(std::string hint) {
    if (hint_.empty()) hint_ = std::move(hint);
  }

 private:
  std::string hint_;
};

/// A wrong argument, option or configuration: the caller can mend it.
class UsageError : public Error {
 public:
  using Error::Error;
};

/// A system call failed. The message holds the call and the text of errno. Too many open files have a hint of their
/// own.
class SystemError : public Error {
 public:
  SystemError(std::string_view call, int error_number, std::string hint = {});
  [[nodiscard]] int error_number() const noexcept { return error_number_; }

 private:
  int error_number_;
};

/// A device that was asked for is absent, or this hogpen was built without it.
class DeviceError : public Error {
 public:
  using Error::Error;
};

/// A deadline passed before what was waited for came about, where that is an error and not an answer.
class TimeoutError : public Error {
 public:
  using Error::Error;
};

/// A message was put into a channel that was closed, or whose reader is gone.
class ClosedError : public Error {
 public:
  using Error::Error;
};

/// A file's or a text's content is not what its format says. `where` is a line, a byte or a column ("byte 8").
class FormatError : public Error {
 public:
  FormatError(std::string file, std::string where, const std::string& message, std::string hint = {});
  [[nodiscard]] const std::string& file() const noexcept { return file_; }
  [[nodiscard]] const std::string& where() const noexcept { return where_; }

 private:
  std::string file_;
  std::string where_;
};

/// How a worker ended.
struct WorkerExit {
  int rank = 0;
  std::string name = {};         ///< what it is called; empty: worker and its rank
  int pid = 0;                   ///< 0 for a worker that is a thread
  std::optional<int> exit_code;  ///< set when it ended by itself
  std::optional<int> signal;     ///< set when a signal ended it
  std::string message;           ///< its own last words: an exception's text, a crash report, or empty

  [[nodiscard]] bool ok() const noexcept { return exit_code == 0 && message.empty(); }
  /// One line for people: "worker 2 (pid 4711) was killed by SIGSEGV: …".
  [[nodiscard]] std::string describe() const;
};

/// A worker failed.
class WorkerError : public Error {
 public:
  explicit WorkerError(WorkerExit exit, std::string hint = {});
  [[nodiscard]] const WorkerExit& exit() const noexcept { return exit_; }

 private:
  WorkerExit exit_;
};

/// "SIGSEGV" for SIGSEGV, "signal 70" for one without a name.
[[nodiscard]] std::string signal_name(int signal);

/// Throws `UsageError` with the formatted message unless `ok`. The message says what must hold.
template <class... Args>
void require(bool ok, fmt::format_string<Args...> message, Args&&... args) {
  if (!ok) [[unlikely]]
    throw UsageError(fmt::format(message, std::forward<Args>(args)...));
}

/// Passes a system call's result on; throws `SystemError` with errno when it is negative.
template <class T>
T syscall_ok(T result, std::string_view call) {
  if (result < 0) [[unlikely]]
    throw SystemError(call, errno);
  return result;
}

}  // namespace hogpen

#pragma once

#include <optional>

namespace hogpen {

/// While one lives, SIGINT and SIGTERM do not end the process: they wait to be read. Handlers do it and not a blocked
/// mask, which would have to be set in every thread, also in those that a library has started before.
///
/// Several may live at a time: the signals are the process's, and each is read once. A child of
/// `Process::start` has none.
///
/// Sharing: any thread. Owns: a pipe and the two handlers, together with the others that live.
class StopSignals {
 public:
  StopSignals();
  ~StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;

  /// A descriptor that is readable while there is a signal to read: for epoll.
  [[nodiscard]] int fd() const noexcept;
  /// The next signal that has come, if there is one.
  [[nodiscard]] std::optional<int> next() noexcept;
};

}  // namespace hogpen

#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <type_traits>

#include "runtime/core/fd.h"
#include "runtime/memory/device_memory.h"
#include "runtime/process/process.h"

namespace hogpen::gpu_suite {

/// How long anybody waits for an answer: it is not slow then, it hangs.
inline constexpr std::chrono::seconds kPatience{45};

/// One end of a conversation between two processes.
///
/// Sharing: one process. Owns: its socket. Throws, all of it: Error when the other end is gone; TimeoutError when
/// nothing came within kPatience.
class Talk {
 public:
  explicit Talk(Fd socket) : socket_(std::move(socket)) {}

  template <class T>
  void say(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    write(&value, sizeof(value));
  }
  template <class T>
  [[nodiscard]] T hear() {
    static_assert(std::is_trivially_copyable_v<T>);
    T value{};
    read(&value, sizeof(value));
    return value;
  }
  /// A word that says no more than that it is time.
  void say_go() { say('g'); }
  void hear_go() { (void)hear<char>(); }

  void give(const DeviceShare& share);
  [[nodiscard]] DeviceShare take();

 private:
  void write(const void* bytes, std::size_t size);
  void read(void* bytes, std::size_t size);

  Fd socket_;
};

/// A child that may use CUDA, seen by the process that coordinates a case, which may not. It is killed when it is
/// destroyed.
///
/// Sharing: one process. Owns: the child and its end of the conversation. Throws: as Talk, with the child's own reason
/// where that has ended.
class Peer {
 public:
  [[nodiscard]] static Peer start(const std::string& name, const std::function<void(Talk&)>& body);

  template <class T>
  void say(const T& value) {
    blame([&] { talk_.say(value); });
  }
  template <class T>
  [[nodiscard]] T hear() {
    return blame([&] { return talk_.hear<T>(); });
  }
  void say_go() {
    blame([&] { talk_.say_go(); });
  }
  void hear_go() {
    blame([&] { talk_.hear_go(); });
  }
  void give(const DeviceShare& share) {
    blame([&] { talk_.give(share); });
  }
  [[nodiscard]] DeviceShare take() {
    return blame([&] { return talk_.take(); });
  }

  /// By SIGKILL; returns when it is dead. Throws: Error when it had ended by itself.
  void kill();
  /// Waits for its end. Throws: WorkerError unless it succeeded.
  void join();
  /// Waits for its end, whatever that is like.
  [[nodiscard]] WorkerExit wait();

 private:
  Peer(Process process, Fd socket) : process_(std::move(process)), talk_(std::move(socket)) {}

  template <class Call>
  std::invoke_result_t<Call> blame(const Call& call) {
    try {
      return call();
    } catch (const Error& error) {
      throw_reason(error);
    }
  }
  [[noreturn]] void throw_reason(const Error& error);

  Process process_;
  Talk talk_;
};

}  // namespace hogpen::gpu_suite

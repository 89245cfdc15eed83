#pragma once

#include <pthread.h>

#include <optional>

#include "runtime/core/deadline.h"

namespace hogpen {

/// A lock for processes and threads that survives the death of its holder. Place it in shared memory.
///
/// The next owner after a death is told so (`Guard::previous_owner_died`): the data under the lock may be half written,
/// and it is the new owner who must repair it.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
class Mutex {
 public:
  enum class Kind {
    plain,
    recursive,  ///< the thread that holds it may lock it again; it is free after as many unlocks
  };
  explicit Mutex(Kind kind = Kind::plain);
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;
  ~Mutex() = default;  // A peer may still hold it: destroying a shared mutex is nobody's right.

  class Guard {
   public:
    Guard(Guard&& other) noexcept;
    Guard& operator=(Guard&&) = delete;
    ~Guard();
    [[nodiscard]] bool previous_owner_died() const noexcept { return previous_owner_died_; }

   private:
    friend class Mutex;
    friend class Condition;
    Guard(pthread_mutex_t* mutex, bool previous_owner_died) noexcept;
    pthread_mutex_t* mutex_;
    bool previous_owner_died_;
  };

  /// Waits for the lock; nothing in time is no value. Throws: SystemError(EDEADLK) for the thread that holds it
  /// already, unless it is recursive.
  [[nodiscard]] std::optional<Guard> lock(Deadline deadline);
  /// Waits for the lock as long as it takes.
  [[nodiscard]] Guard lock();

 private:
  friend class Condition;
  // Whether the previous owner died; no value when the deadline passed.
  [[nodiscard]] static std::optional<bool> acquire(pthread_mutex_t* mutex, Deadline deadline);

  pthread_mutex_t mutex_;
};

}  // namespace hogpen

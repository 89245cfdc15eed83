#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/work/pool_core.h"

namespace hogpen {

namespace detail {
template <class R>
struct CallbackOf {
  using Type = std::function<void(R)>;
};
template <>
struct CallbackOf<void> {
  using Type = std::function<void()>;
};
}  // namespace detail

/// What a Pool will have computed. It stays valid when the Pool is gone.
///
/// Sharing: one thread at a time. Owns: a share of the job's memory. Dropping it does not stop the job.
template <class R>
class AsyncResult {
 public:
  using Read = R (*)(const Job&);
  AsyncResult(std::shared_ptr<PoolCore> pool, std::shared_ptr<Job> job, Read read)
      : pool_(std::move(pool)), job_(std::move(job)), read_(read) {}

  /// Waits for the result.
  ///
  /// Throws: TaskError with what the first task in order to fail threw; WorkerError when its worker died, as often as
  /// the pool tries; TimeoutError when it ran longer than `task_timeout`, or the deadline passed; CancelledError; Error
  /// when the pool is broken.
  R get(Deadline deadline = Deadline::never()) {
    if (!wait(deadline)) throw TimeoutError("the result of a task was not there in time");
    job_->require_success();
    return read_(*job_);
  }
  /// Waits until it is there, or has failed: false when the deadline passed first. Throws: when the pool is broken.
  bool wait(Deadline deadline = Deadline::never()) { return pool_->wait(*job_, deadline); }
  [[nodiscard]] bool ready() { return pool_->is_finished(*job_); }
  /// Whether it is there and no task has failed. Throws: UsageError before it is ready.
  [[nodiscard]] bool successful() {
    require(ready(), "a result must be ready before it is asked whether it was successful");
    try {
      job_->require_success();
      return true;
    } catch (const Error&) {
      return false;
    }
  }
  /// Cancels what no worker has begun, which then fails with CancelledError. False when there was no such thing.
  bool cancel() { return pool_->cancel(*job_); }

  /// Calls `callback(result)` once it is there, and `error_callback(exception_ptr)` if it fails: in the thread that
  /// next waits for any result of the pool, polls or joins it. What a callback throws comes out of that call.
  void then(typename detail::CallbackOf<R>::Type callback,
            std::function<void(std::exception_ptr)> error_callback = {}) {
    pool_->set_callback(
        *job_, [job = job_, read = read_, callback = std::move(callback), error_callback = std::move(error_callback)] {
          try {
            job->require_success();
          } catch (...) {
            if (error_callback) error_callback(std::current_exception());
            return;
          }
          if constexpr (std::is_void_v<R>) {
            if (callback) callback();
          } else {
            if (callback) callback(read(*job));
          }
        });
  }

 private:
  std::shared_ptr<PoolCore> pool_;
  std::shared_ptr<Job> job_;
  Read read_;
};

}  // namespace hogpen

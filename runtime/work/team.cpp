#include "runtime/work/team.h"

#include <sched.h>

#include "runtime/core/error.h"
#include "runtime/process/affinity.h"

namespace hogpen {

Team::Team(int threads) : cpus_(allowed_cpus()) {
  require(threads >= 1, "a Team must have at least one thread, not {}", threads);
  for (std::size_t i = 1; i < static_cast<std::size_t>(threads); ++i) helpers_.emplace_back([this, i] { help(i); });
}

Team::~Team() {
  run_all(nullptr, nullptr);
  for (std::thread& helper : helpers_) helper.join();
}

void Team::run_all(Call call, const void* body) {
  call_ = call;
  body_ = body;
  callers_cpu_ = ::sched_getcpu();
  working_.store(helpers_.size(), std::memory_order_relaxed);  // published by the round
  round_.fetch_add(1, std::memory_order_release);
  begin_.notify();
  if (call != nullptr) call(body, 0);
  end_.wait([this] { return working_.load(std::memory_order_acquire) == 0; }, Deadline::never());
}

void Team::help(std::size_t i) {
  for (std::uint64_t seen = 0;; ++seen) {
    begin_.wait([&] { return round_.load(std::memory_order_acquire) != seen; }, Deadline::never());
    const Call call = call_;
    if (call != nullptr) {
      // A scheduler may wake a helper on the very CPU that the caller keeps busy.
      leave_cpu(callers_cpu_, cpus_);
      call(body_, i);
    }
    if (working_.fetch_sub(1, std::memory_order_release) == 1) end_.notify();
    if (call == nullptr) return;
  }
}

}  // namespace hogpen

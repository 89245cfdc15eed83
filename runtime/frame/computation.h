#pragma once

#include <functional>
#include <memory>

#include "runtime/frame/frame.h"
#include "runtime/frame/plan.h"
#include "runtime/work/executor.h"

namespace hogpen::detail {

/// A run, with an executor of its own where the caller has none.
class Computation {
 public:
  Computation(const Plan& plan, const FrameOptions& options, bool keeps_chunks)
      : own_(options.executor ? nullptr : std::make_unique<Executor>()),
        run_(plan, own_ ? *own_ : *options.executor, keeps_chunks, telling(options)) {}
  [[nodiscard]] Run& run() noexcept { return run_; }

 private:
  static std::function<void(const Run&)> telling(const FrameOptions& options) {
    if (!options.on_progress) return {};
    return [tell = options.on_progress](const Run& run) { tell({run.bytes(), run.total_bytes()}); };
  }

  std::unique_ptr<Executor> own_;
  Run run_;
};

/// `Frame::for_each_chunk`, which may keep chunks that several plans need.
void for_each_chunk(const Plan& plan, const FrameOptions& options, bool keeps_chunks,
                    const std::function<void(const arrow::RecordBatch&)>& visit);

}  // namespace hogpen::detail

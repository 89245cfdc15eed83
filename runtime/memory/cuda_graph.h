#pragma once

#include <functional>
#include <memory>

#include "runtime/memory/cuda_driver.h"

namespace hogpen {

/// A point in a stream, for which the host can wait.
///
/// Sharing: one thread. Owns: the driver's event. A forked child gives nothing back.
class CudaEvent {
 public:
  /// Requires: a context is current. Throws: CudaError.
  CudaEvent();

  /// Moves it behind what is on the stream now. Throws: CudaError.
  void record(cuda::Stream stream);
  /// Waits until the GPU has come there. Throws: CudaError, also for what the GPU could not do before.
  void wait() const;

 private:
  std::shared_ptr<void> event_;
};

/// Work for a GPU that was recorded once, and is launched as a whole.
///
/// Sharing: one thread. Owns: the driver's graph, not the memory that its work uses. A forked child gives nothing back.
class CudaGraph {
 public:
  /// Records what `enqueue` puts on the stream, which must not be the default one; nothing of it is done. What other
  /// threads enqueue there meanwhile, as LibTorch's backward pass does, is recorded too.
  ///
  /// Throws: CudaError when something was called that cannot be recorded; what `enqueue` throws.
  CudaGraph(cuda::Stream stream, const std::function<void()>& enqueue);

  /// Enqueues all of it. Throws: CudaError.
  void launch(cuda::Stream stream) const;

 private:
  std::shared_ptr<void> executable_;
};

}  // namespace hogpen

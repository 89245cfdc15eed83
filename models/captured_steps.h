#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>

#include "models/gpu_step.h"
#include "runtime/memory/cuda_graph.h"

namespace hogpen {

/// Steps on a GPU as CUDA graphs, one for each number of samples that a batch has. The first step on so many is
/// launched as it is, and so warms up what cannot be captured; a step that cannot be captured at all is always launched
/// so.
///
/// Sharing: the thread that made it. Owns: the graphs, and the memory to which they write.
class CapturedSteps {
 public:
  /// Puts a step on so many samples on the calling thread's stream.
  using Enqueue = std::function<GpuGradients(std::size_t samples)>;

  CapturedSteps(c10::Device gpu, Enqueue enqueue) : gpu_(gpu), enqueue_(std::move(enqueue)) {}

  /// Enqueues a step; what it will have computed is there until the next one on as many samples. Requires: the thread
  /// has a stream of its own. Throws: CudaError; what `enqueue` throws where it is no step to capture.
  const GpuGradients& launch(std::size_t samples);

 private:
  struct Captured {
    std::optional<CudaGraph> graph;
    GpuGradients made;  // to which the graph writes
  };
  void capture(Captured& captured, std::size_t samples);

  c10::Device gpu_;
  Enqueue enqueue_;
  std::map<std::size_t, Captured> captured_;  // by the number of samples
  bool can_capture_ = true;
};

}  // namespace hogpen

#include "runtime/memory/cuda_graph.h"

#include <unistd.h>

#include <utility>

namespace hogpen {
namespace {

/// Calls `destroy` in the process that made the object, where it does not matter whether it fails.
std::shared_ptr<void> owned(void* object, const char* destroy) {
  return {object, [destroy, process = ::getpid()](void* one) {
            if (process == ::getpid()) (void)cuda_driver().result_of(destroy, one);
          }};
}

}  // namespace

CudaEvent::CudaEvent() {
  void* event = nullptr;
  cuda_driver().call("cuEventCreate", &event, cuda::kNoTiming);
  event_ = owned(event, "cuEventDestroy_v2");
}

void CudaEvent::record(cuda::Stream stream) {
  cuda_driver().call("cuEventRecord", event_.get(), stream);
}

void CudaEvent::wait() const {
  cuda_driver().call("cuEventSynchronize", event_.get());
}

CudaGraph::CudaGraph(cuda::Stream stream, const std::function<void()>& enqueue) {
  void* graph = nullptr;
  cuda_driver().call("cuStreamBeginCapture_v2", stream, cuda::kRelaxedCapture);
  try {
    enqueue();
  } catch (...) {
    (void)cuda_driver().result_of("cuStreamEndCapture", stream, &graph);  // an error, or half a graph
    if (graph != nullptr) (void)owned(graph, "cuGraphDestroy");
    throw;
  }
  cuda_driver().call("cuStreamEndCapture", stream, &graph);
  const std::shared_ptr<void> recorded = owned(graph, "cuGraphDestroy");
  void* executable = nullptr;
  cuda_driver().call("cuGraphInstantiateWithFlags", &executable, graph, 0ULL);
  executable_ = owned(executable, "cuGraphExecDestroy");
}

void CudaGraph::launch(cuda::Stream stream) const {
  cuda_driver().call("cuGraphLaunch", executable_.get(), stream);
}

}  // namespace hogpen

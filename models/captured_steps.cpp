#include "models/captured_steps.h"

#include <c10/util/Exception.h>

#include <exception>
#include <utility>

#include "runtime/core/log.h"
#include "runtime/memory/cuda_stream.h"

namespace hogpen {

const GpuGradients& CapturedSteps::launch(std::size_t samples) {
  Captured& captured = captured_[samples];
  const bool is_first = !captured.made.loss.defined();
  if (!is_first && !captured.graph && can_capture_) capture(captured, samples);
  if (captured.graph) {
    captured.graph->launch(current_stream(gpu_));
  } else {
    captured.made = enqueue_(samples);
  }
  return captured.made;
}

// What LibTorch says of a step that cannot be captured, as one that draws random numbers, comes as an exception.
void CapturedSteps::capture(Captured& captured, std::size_t samples) {
  const auto give_up = [&](const char* why) {
    log(LogLevel::warning, "steps on GPU {} are launched kernel by kernel, since they cannot be captured: {}",
        gpu_.index(), why);
    can_capture_ = false;
  };
  try {
    GpuGradients made;
    captured.graph.emplace(current_stream(gpu_), [&] { made = enqueue_(samples); });
    captured.made = std::move(made);
  } catch (const c10::Error& error) {
    give_up(error.what_without_backtrace());
  } catch (const std::exception& error) {
    give_up(error.what());
  }
}

}  // namespace hogpen

#include "models/train_device.h"

#include <unistd.h>

#include "kernels/transform.h"
#include "models/train_step.h"
#include "runtime/core/fd_passing.h"
#include "runtime/core/libtorch.h"
#include "runtime/memory/cuda_driver.h"

namespace hogpen::detail {
namespace {

void check_options(const TrainerOptions& options, Engine engine) {
  require(options.mode == UpdateMode::hogwild || options.mode == UpdateMode::atomic,
          "on a GPU the modes are hogwild and atomic, not {}", to_string(options.mode));
  require(options.replicas == Replicas::one, "on a GPU the workers train the parameters themselves, not replicas {}",
          to_string(options.replicas));
  require(options.engine != Engine::fused || engine == Engine::fused,
          "on a GPU the fused engine takes linear layers and activations alone: leave the engine to hogpen");
}

void check_build() {
  if (kernels::has_cuda_kernels()) return;
  throw DeviceError("this hogpen was built without CUDA kernels", "with nvcc 13: cmake --preset cuda");
}

/// How much of the GPU's memory is free, once all has been loaded that a worker loads.
std::size_t try_gpu(int gpu, Engine engine) {
  (void)cuda_driver();
  use_gpu(gpu);
  if (engine == Engine::autograd) load_libtorch_cuda();
  std::size_t free_bytes = 0;
  std::size_t total_bytes = 0;
  cuda_driver().call("cuMemGetInfo_v2", &free_bytes, &total_bytes);
  return free_bytes;
}

void check_gpu(int gpu, const TrainerOptions& options, Engine engine, std::size_t needed_bytes) {
  if (engine != Engine::own) check_build();  // An own step brings its kernels along.
  std::size_t free_bytes = 0;
  const auto [mine, childs] = socket_pair();
  try {
    run_isolated(options.launcher.workers_as, [&, socket = childs.get()] {
      const std::size_t found = try_gpu(gpu, engine);
      syscall_ok(::write(socket, &found, sizeof(found)), "write to the launcher");
    });
  } catch (const Error& error) {
    throw DeviceError(error.what(), error.hint());
  }
  syscall_ok(::read(mine.get(), &free_bytes, sizeof(free_bytes)), "read from the child that tried the GPU");
  if (free_bytes >= needed_bytes) return;
  throw DeviceError(
      fmt::format("GPU {} has {} MiB free, and this training needs {} MiB", gpu, free_bytes >> 20, needed_bytes >> 20),
      "end what else uses the GPU: nvidia-smi shows it");
}

}  // namespace

TrainDevice choose_device(const TrainerOptions& options, Engine engine, std::size_t needed_bytes) {
  const std::optional<int> gpu = gpu_named(options.device);
  if (!gpu) return {};
  const bool is_optional = options.device == "auto";
  try {
    check_options(options, engine);
    check_gpu(*gpu, options, engine, needed_bytes);
    return {.gpu = gpu, .reason = ""};
  } catch (const UsageError& error) {
    if (!is_optional) throw;
    return {.gpu = {}, .reason = error.what()};
  } catch (DeviceError& error) {
    if (is_optional) return {.gpu = {}, .reason = error.what()};
    error.add_hint("--device auto falls back to CPUs");
    throw;
  }
}

}  // namespace hogpen::detail

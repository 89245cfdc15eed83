#include "models/train_device.h"

#include <unistd.h>

#include "kernels/transform.h"
#include "models/train_gpu.h"
#include "runtime/cluster/nccl_library.h"
#include "runtime/core/fd_passing.h"
#include "runtime/core/libtorch.h"
#include "runtime/memory/cuda_driver.h"

namespace hogpen::detail {
namespace {

void check_workers(const TrainerOptions& options, std::size_t gpus) {
  const auto workers = static_cast<std::size_t>(options.launcher.workers);
  require(gpus <= kMostGpus, "a training takes at most {} GPUs, but {} has {}", kMostGpus, options.device, gpus);
  if (options.mode == UpdateMode::sync && workers != gpus) {
    throw UsageError(fmt::format("in mode sync each GPU has one worker, but there are {} workers for {} GPU{}", workers,
                                 gpus, gpus == 1 ? "" : "s"),
                     fmt::format("--workers {}", gpus));
  }
  if (workers < gpus) {
    throw UsageError(fmt::format("each GPU needs a worker, but there are {} GPUs and {} worker{}", gpus, workers,
                                 workers == 1 ? "" : "s"),
                     fmt::format("--workers {}, or fewer GPUs in --device", gpus));
  }
}

void check_options(const TrainerOptions& options, std::size_t gpus) {
  require(options.mode != UpdateMode::locked, "on a GPU the modes are hogwild, atomic and sync, not {}",
          to_string(options.mode));
  require(options.replicas == Replicas::one, "on a GPU the workers train the parameters themselves, not replicas {}",
          to_string(options.replicas));
  check_workers(options, gpus);
}

void check_build() {
  if (kernels::has_cuda_kernels()) return;
  throw DeviceError("this hogpen was built without CUDA kernels", "with nvcc 13: cmake --preset cuda");
}

/// How much memory each of the GPUs has free, once all has been loaded that a worker loads.
std::vector<std::size_t> try_gpus(const std::vector<int>& gpus, Engine engine) {
  for (const int gpu : gpus) use_gpu(gpu);
  if (gpus.size() > 1) (void)nccl_library();
  if (engine == Engine::autograd) load_libtorch_cuda();
  std::vector<std::size_t> free_bytes(gpus.size());
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    use_gpu(gpus[i]);
    free_bytes[i] = room_on_gpu().free_bytes;
  }
  return free_bytes;
}

/// Whether there is room for the samples.
bool check_gpus(const std::vector<int>& gpus, WorkersAs workers_as, Engine engine, const GpuNeeds& needs) {
  if (engine != Engine::own || gpus.size() > 1) check_build();  // An own step brings its own kernels, but no averages.
  std::vector<std::size_t> free_bytes(gpus.size());
  const std::size_t size = gpus.size() * sizeof(std::size_t);
  const auto [mine, childs] = socket_pair();
  try {
    run_isolated(workers_as, [&, socket = childs.get()] {
      const std::vector<std::size_t> found = try_gpus(gpus, engine);
      syscall_ok(::write(socket, found.data(), size), "write to the launcher");
    });
  } catch (const Error& error) {
    throw DeviceError(error.what(), error.hint());
  }
  syscall_ok(::read(mine.get(), free_bytes.data(), size), "read from the child that tried the GPUs");
  bool has_room_for_samples = true;
  for (std::size_t i = 0; i < gpus.size(); ++i) {
    if (free_bytes[i] < needs.state_bytes) {
      throw DeviceError(fmt::format("GPU {} has {} MiB free, and this training needs {} MiB", gpus[i],
                                    free_bytes[i] >> 20, needs.state_bytes >> 20),
                        "end what else uses the GPU: nvidia-smi shows it");
    }
    has_room_for_samples &= free_bytes[i] - needs.state_bytes >= needs.samples_bytes;
  }
  return has_room_for_samples;
}

}  // namespace

TrainDevice choose_device(const TrainerOptions& options, Engine engine, const GpuNeeds& needs) {
  const std::vector<int> gpus = gpus_named(options.device);
  if (gpus.empty()) return {};
  const bool is_optional = options.device == "auto";
  try {
    check_options(options, gpus.size());
    return {.gpus = gpus,
            .reason = "",
            .has_room_for_samples = check_gpus(gpus, options.launcher.workers_as, engine, needs)};
  } catch (const UsageError& error) {
    if (!is_optional) throw;
    return {.gpus = {}, .reason = error.what()};
  } catch (DeviceError& error) {
    if (is_optional) return {.gpus = {}, .reason = error.what()};
    error.add_hint("--device auto falls back to CPUs");
    throw;
  }
}

void load_what_threads_need(const TrainerOptions& options) noexcept {
  const bool may_need_them = options.device != "cpu" && options.engine != Engine::fused && !options.step;
  if (options.launcher.workers_as != WorkersAs::threads || !may_need_them) return;
  try {
    load_libtorch_cuda();
  } catch (const Error&) {
  }
}

}  // namespace hogpen::detail

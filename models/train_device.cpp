#include "models/train_device.h"

#include <unistd.h>

#include <algorithm>
#include <exception>
#include <string_view>

#include "kernels/transform.h"
#include "models/train_gpu.h"
#include "runtime/cluster/nccl_library.h"
#include "runtime/core/fd_passing.h"
#include "runtime/core/libtorch.h"
#include "runtime/memory/cuda_driver.h"

namespace hogpen::detail {
namespace {

constexpr std::string_view kAnyDevice = "auto";
constexpr std::size_t kLargestContext = std::size_t{1} << 30;  // Or others use the GPU too.

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

/// What was found out of a GPU.
struct GpuFound {
  int gpu = 0;
  bool has_room_for_samples = false;
};

/// Looks at the memory of a GPU of which this process has loaded all that a worker loads.
///
/// Throws: DeviceError when it is too little.
GpuFound look_at(int gpu, const TrainerOptions& options, std::size_t gpus, const GpuNeeds& needs) {
  use_gpu(gpu);
  const GpuRoom room = room_on_gpu();
  // What is not free is this process's context, if nobody else uses the GPU. Each process has one: workers and keeper.
  const std::size_t context_bytes = std::min(room.total_bytes - room.free_bytes, kLargestContext);
  const std::size_t workers = (static_cast<std::size_t>(options.launcher.workers) + gpus - 1) / gpus;
  const std::size_t others = options.launcher.workers_as == WorkersAs::processes ? workers : 0;
  const std::size_t needed = needs.state_bytes + workers * needs.worker_bytes + others * context_bytes;
  if (room.free_bytes < needed) {
    throw DeviceError(
        fmt::format("GPU {} has {} MiB free, and this training needs {} MiB", gpu, room.free_bytes >> 20, needed >> 20),
        fmt::format("end what else uses the GPU (nvidia-smi shows it){}",
                    workers > 1 ? ", or use fewer --workers" : ""));
  }
  return {gpu, room.free_bytes - needed >= needs.samples_bytes};
}

/// Throws: DeviceError for one that cannot be used.
std::vector<GpuFound> try_gpus(const std::vector<int>& gpus, const TrainerOptions& options, Engine engine,
                               const GpuNeeds& needs) {
  for (const int gpu : gpus) use_gpu(gpu);
  if (gpus.size() > 1) (void)nccl_library();
  if (engine == Engine::autograd) load_libtorch_cuda();
  std::vector<GpuFound> found;
  for (const int gpu : gpus) found.push_back(look_at(gpu, options, gpus.size(), needs));
  return found;
}

/// The first that can be used. Throws: why the first of all cannot.
std::vector<GpuFound> try_any_gpu(const TrainerOptions& options, Engine engine, const GpuNeeds& needs) {
  std::exception_ptr why;
  const int gpus = cuda_driver().initialise();
  for (int gpu = 0; gpu < gpus; ++gpu) {
    try {
      return try_gpus({gpu}, options, engine, needs);
    } catch (const Error&) {
      if (!why) why = std::current_exception();
    }
  }
  std::rethrow_exception(why);
}

TrainDevice check_gpus(const std::vector<int>& gpus, const TrainerOptions& options, Engine engine,
                       const GpuNeeds& needs) {
  if (engine != Engine::own || gpus.size() > 1) check_build();  // An own step brings its own kernels, but no averages.
  std::vector<GpuFound> found(gpus.size());
  const std::size_t size = gpus.size() * sizeof(GpuFound);
  const auto [mine, childs] = socket_pair();
  try {
    run_isolated(options.launcher.workers_as, [&, socket = childs.get()] {
      const auto usable =
          options.device == kAnyDevice ? try_any_gpu(options, engine, needs) : try_gpus(gpus, options, engine, needs);
      syscall_ok(::write(socket, usable.data(), size), "write to the launcher");
    });
  } catch (const Error& error) {
    throw DeviceError(error.what(), error.hint());
  }
  syscall_ok(::read(mine.get(), found.data(), size), "read from the child that tried the GPUs");
  TrainDevice device;
  for (const GpuFound& one : found) {
    device.gpus.push_back(one.gpu);
    device.has_room_for_samples &= one.has_room_for_samples;
  }
  return device;
}

}  // namespace

GpuNeeds needs_of(const TrainerOptions& options, const TrainMemory& memory, const Segment& samples) {
  const bool is_sync = options.mode == UpdateMode::sync;
  const std::size_t exchanged = is_sync ? 1 : gpus_named(options.device).size() > 1 ? 2 : 0;
  const std::size_t exchanged_bytes = exchanged * static_cast<std::size_t>(memory.facts.flat_numel) * sizeof(float);
  return {.state_bytes = GpuTraining::needed_bytes({memory.model.data().size(), memory.optimizer_state.data().size()}) +
                         exchanged_bytes,
          .samples_bytes = GpuTraining::needed_bytes({samples.size_bytes()}),
          .worker_bytes = GpuTraining::needed_bytes({memory.facts.worker_bytes_on_gpu})};
}

TrainDevice choose_device(const TrainerOptions& options, Engine engine, const GpuNeeds& needs) {
  const std::vector<int> gpus = gpus_named(options.device);
  if (gpus.empty()) return {};
  const bool is_optional = options.device == kAnyDevice;
  try {
    check_options(options, gpus.size());
    return check_gpus(gpus, options, engine, needs);
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

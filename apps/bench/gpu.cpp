#include "apps/bench/gpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "apps/bench/suites.h"
#include "apps/bench/trainings.h"
#include "runtime/core/error.h"
#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/device_memory.h"
#include "runtime/memory/shared.h"
#include "runtime/process/launcher.h"
#include "runtime/work/pool.h"

namespace hogpen {
namespace {

constexpr int kGpu = 0;
constexpr std::size_t kAttachedBytes = std::size_t{64} << 20;
constexpr std::size_t kMostCopiedBytes = std::size_t{256} << 20;
constexpr std::array kGpuWorkers = {1, 2, 4, 8};
constexpr int kGpuWorkersOfDefault = 4;

constexpr const char* kAttach = "attach to memory, once there is a context";
constexpr const char* kContext = "context of a process";
constexpr const char* kContextMemory = "memory of a context";
constexpr const char* kPageable = "copy to the GPU, pageable";
constexpr const char* kPageLocked = "copy to the GPU, page-locked";
constexpr const char* kWithin = "copy within the GPU, read and written";

std::string series_of(WorkersAs workers_as) {
  return workers_as == WorkersAs::processes ? "processes" : "threads";
}
std::string training_name(WorkersAs workers_as, int workers) {
  return fmt::format("train, {} {}", workers, series_of(workers_as));
}

bool wants_any(const Recorder& recorder) {
  std::vector<std::string> names = {kAttach, kContext, kContextMemory, kPageable, kPageLocked, kWithin};
  for (const int workers : kGpuWorkers) {
    for (const auto as : {WorkersAs::processes, WorkersAs::threads}) names.push_back(training_name(as, workers));
  }
  return std::ranges::any_of(names, [&](const std::string& name) { return recorder.wants(name); });
}

// Of the process that keeps the GPU in use while others come and go; what is made in it stays.

BlockId post_memory() {
  static const auto memory = DeviceMemory::create(kGpu, kAttachedBytes);
  return memory.post();
}

std::uint64_t free_bytes_of_gpu() {
  use_gpu(kGpu);
  return room_on_gpu().free_bytes;
}

enum class Copy { pageable_to_gpu, page_locked_to_gpu, within_gpu };

double gigabytes_per_second_of(Copy kind, std::size_t bytes) {
  static const CudaBuffer from(CudaBuffer::Place::gpu, kGpu, bytes);
  static const CudaBuffer to(CudaBuffer::Place::gpu, kGpu, bytes);
  static const CudaBuffer page_locked(CudaBuffer::Place::host, kGpu, bytes);
  static const std::vector<char> pageable(bytes, 1);
  use_gpu(kGpu);
  const auto size = static_cast<double>(bytes);
  switch (kind) {
    case Copy::pageable_to_gpu:
      return 1e-9 * size / seconds_of([&] { copy_to_gpu(to.data(), pageable.data(), bytes); });
    case Copy::page_locked_to_gpu:
      return 1e-9 * size / seconds_of([&] { copy_to_gpu(to.data(), page_locked.data(), bytes); });
    case Copy::within_gpu:
      break;
  }
  const c10::Device gpu(c10::DeviceType::CUDA, kGpu);
  return 1e-9 * 2 * size / seconds_of([&] { copy_on_gpu(to.data(), from.data(), bytes, gpu); });
}

/// What a process pays that has not used the GPU before.
struct Newcomer {
  double context_seconds = 0;
  double attach_seconds = 0;
  double context_bytes = 0;
};

Newcomer measure_newcomer(Pool& keeper) {
  const BlockId posted = keeper.apply(post_memory);
  const std::uint64_t free_before = keeper.apply(free_bytes_of_gpu);
  const Shared<Newcomer> newcomer;
  run_isolated(WorkersAs::processes, [&] {
    newcomer->context_seconds = seconds_of([] { use_gpu(kGpu); });
    newcomer->context_bytes = static_cast<double>(free_before) - static_cast<double>(free_bytes_of_gpu());
    newcomer->attach_seconds = seconds_of([&] { (void)DeviceMemory::find(posted); });
  });
  return *newcomer;
}

void measure_newcomers(Recorder& recorder, Pool& keeper) {
  recorder.measure(kAttach, "us", [&] { return 1e6 * measure_newcomer(keeper).attach_seconds; });
  recorder.measure(kContext, "ms", [&] { return 1e3 * measure_newcomer(keeper).context_seconds; });
  recorder.measure(kContextMemory, "MB", [&] { return 1e-6 * measure_newcomer(keeper).context_bytes; });
}

void measure_copies(Recorder& recorder, Pool& keeper) {
  const auto bytes = std::min(kMostCopiedBytes, sizeof(float) * static_cast<std::size_t>(recorder.max_elements()));
  const auto measure = [&](const char* name, Copy kind) {
    recorder.measure(name, "GB/s", [&] { return keeper.apply(gigabytes_per_second_of, kind, bytes); });
  };
  measure(kPageable, Copy::pageable_to_gpu);
  measure(kPageLocked, Copy::page_locked_to_gpu);
  measure(kWithin, Copy::within_gpu);
}

void measure_gpu_training(Recorder& recorder, Trainings& trainings, WorkersAs workers_as, int workers) {
  const FigureLabel label = {.name = training_name(workers_as, workers),
                             .unit = "samples/s",
                             .series = series_of(workers_as),
                             .size = workers,
                             .group = "training on a GPU",
                             .size_is = "workers"};
  if (!recorder.wants(label.name)) return;
  if (!recorder.is_selective() && workers != 1 && workers != kGpuWorkersOfDefault) return;
  TrainerOptions options;
  options.launcher = {.workers = workers, .workers_as = workers_as, .threads_per_worker = 1};
  options.device = fmt::format("cuda:{}", kGpu);
  options.max_steps = trainings.steps_for(options, trainings.sample_seconds());
  recorder.measure(label, [&] { return trainings.samples_per_second(options); });
}

/// The default model, by processes and by threads: what isolation costs.
void measure_gpu_trainings(Recorder& recorder) {
  Trainings trainings(recorder);
  try {
    for (const WorkersAs workers_as : {WorkersAs::processes, WorkersAs::threads}) {
      for (const int workers : kGpuWorkers) measure_gpu_training(recorder, trainings, workers_as, workers);
    }
  } catch (const DeviceError& error) {  // The memory can be used, but not kernels or LibTorch.
    recorder.note(fmt::format("train is not measured: {}", error.what()));
  }
}

}  // namespace

void require_gpu() {
  try {
    run_isolated(WorkersAs::processes, [] { use_gpu(kGpu); });
  } catch (const Error& error) {
    throw DeviceError(error.what(), error.hint());
  }
}

void bench_gpu(Recorder& recorder) {
  if (!wants_any(recorder)) return;
  try {
    require_gpu();
  } catch (const DeviceError& error) {
    return recorder.note(fmt::format("not measured: {}", error.what()));
  }
  {
    Pool keeper({.workers = 1});
    measure_newcomers(recorder, keeper);
    measure_copies(recorder, keeper);
  }
  measure_gpu_trainings(recorder);
}

}  // namespace hogpen

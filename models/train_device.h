#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "models/train_memory.h"
#include "models/trainer_options.h"

namespace hogpen::detail {

/// Where a training keeps its parameters and computes.
struct TrainDevice {
  std::vector<int> gpus;  ///< none: CPUs
  std::string reason;     ///< why it is not a GPU, where one was looked for
  bool has_room_for_samples = true;
};

/// The memory that a training takes on each GPU; the samples can stay on the host where it is too little for them.
struct GpuNeeds {
  std::size_t state_bytes = 0;
  std::size_t samples_bytes = 0;
  std::size_t worker_bytes = 0;  ///< of each worker's own numbers
};

/// Several GPUs each have their own numbers beside the training: twice the parameters for averages of replicas, once
/// for sums of gradients.
[[nodiscard]] GpuNeeds needs_of(const TrainerOptions& options, const TrainMemory& memory, const Segment& samples);

/// Decides by `TrainerOptions::device`, where `engine` would compute the steps on a GPU; "auto" takes the first GPU
/// that can be used. GPUs are tried in a child process where workers are processes: the launcher must not use CUDA.
///
/// Throws: UsageError for a text that names no device, and for options that GPUs do not take; DeviceError with the
/// reason when one that was asked for cannot be used, or has too little memory free, and when there are several but no
/// NCCL.
[[nodiscard]] TrainDevice choose_device(const TrainerOptions& options, Engine engine, const GpuNeeds& needs);

/// Where workers are threads, LibTorch's CUDA libraries must be there before its first operation, which making the
/// model is. Does nothing where they are not wanted, or cannot be loaded: `choose_device` will say so.
void load_what_threads_need(const TrainerOptions& options) noexcept;

}  // namespace hogpen::detail

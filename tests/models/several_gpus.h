#pragma once

#include <dlfcn.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "models/train_plan.h"
#include "runtime/cluster/nccl_threads.h"
#include "tests/models/gpu_training.h"

namespace hogpen {

/// Trainings on two GPUs of the fake driver, over the fake NCCL.
class OnSeveralGpus : public InGpuMemory {
 protected:
  /// In mode atomic no update is lost, so that steps can be counted.
  [[nodiscard]] TrainerOptions on_both(const std::string& run, int workers,
                                       UpdateMode mode = UpdateMode::atomic) const {
    TrainerOptions some;
    some.launcher = {.workers = workers, .threads_per_worker = 1};
    some.mode = mode;
    some.device = "cuda:0,1";
    some.average_every = 3;
    some.batch_size = 32;
    some.schedule.base_lr = 1.0;
    some.run_directory = directory_ / run;
    return some;
  }

  static void* nccl() {
    void* const library = ::dlopen(FAKE_NCCL, RTLD_NOW | RTLD_LOCAL);
    return library ? library : throw Error(::dlerror());
  }
  /// Lets the next calls of that function fail; "": no more.
  static void fail_nccl(const char* function) {
    reinterpret_cast<void (*)(const char*, int)>(::dlsym(nccl(), "fake_nccl_fail"))(function, *function ? 1 : 0);
  }

  /// In a process that has loaded the fake NCCL, as its children then have.
  static void alone(const std::function<void()>& body) {
    InGpuMemory::alone([&] {
      (void)nccl();
      body();
    });
  }
};

/// What a keeper has of a training on two GPUs, in a process that is not one.
struct KeeperOnGpus {
  KeeperOnGpus(const TrainerOptions& options, const ModelFactory& factory)
      : plan{.factory = factory,
             .data = {Dataset::synthetic(10, 8, 8, 4, 1), Dataset::synthetic(10, 8, 8, 4, 2)},
             .options = options,
             .model = share_memory(*plan.factory().module),
             .optimizer_state = Arena::create("state", Optimizer::state_specs({}, 1, 1)),
             .gpus = {0, 1}} {
    open_shared_heap();
    plan.share();
  }
  ~KeeperOnGpus() {
    group.reset();
    detail::GpuTraining::release(plan.shared().gpus);
  }

  /// What a keeper begins with, the first one and one that replaces a dead one.
  void begin() {
    group.emplace(plan.gpus);
    replicas = detail::GpuTraining::make(plan, &*group);
  }

  [[nodiscard]] float* parameters(std::size_t gpu) const {
    return static_cast<float*>(replicas[gpu].model.tensor("0.weight").mutable_data_ptr());
  }

  detail::TrainPlan plan;
  std::vector<detail::GpuTraining> replicas;
  std::optional<NcclThreads> group;
};

}  // namespace hogpen

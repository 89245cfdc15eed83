#include "models/replica_average.h"

#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/cuda_stream.h"

namespace hogpen::detail {
namespace {

using namespace std::chrono_literals;

constexpr auto kBetweenLooks = 1ms;  // whether an average is due

}  // namespace

/// What a member has on its GPU.
struct ReplicaAverage::Member {
  Member(c10::Device gpu_in, float* parameters_in, std::int64_t numel)
      : gpu(gpu_in),
        parameters(parameters_in),
        mean(tensor_on_gpu(gpu.index(), c10::ScalarType::Float, numel)),
        base(tensor_on_gpu(gpu.index(), c10::ScalarType::Float, numel)) {}

  c10::Device gpu;
  float* parameters;  // those that workers train
  at::Tensor mean;
  at::Tensor base;  // what the parameters were
};

ReplicaAverage::ReplicaAverage(const TrainPlan& plan, const ControlBlock& control, const SharedModel& on_host,
                               std::span<const GpuTraining> replicas, NcclThreads& group)
    : control_(control),
      group_(group),
      period_(static_cast<std::uint64_t>(plan.options.average_every) *
              static_cast<std::uint64_t>(plan.options.launcher.workers)),
      write_(plan.options.mode == UpdateMode::atomic ? kernels::Write::atomic : kernels::Write::plain),
      slices_(on_host.slices().begin(), on_host.slices().end()),
      due_at_(period_) {
  const auto* const flat = static_cast<const std::byte*>(on_host.flat().const_data_ptr());
  const auto offset = flat - on_host.arena().data().data();
  for (const GpuTraining& replica : replicas) {
    auto* const parameters = reinterpret_cast<float*>(replica.model.data().data() + offset);
    members_.push_back(std::make_unique<Member>(replica.model.device(), parameters, on_host.flat().numel()));
  }
  watcher_ = std::thread([this] { watch(); });
}

ReplicaAverage::~ReplicaAverage() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  ends_.notify_all();
  watcher_.join();
}

void ReplicaAverage::average() {
  const std::lock_guard lock(mutex_);
  begin();
}

void ReplicaAverage::check() {
  const std::lock_guard lock(mutex_);
  group_.check();
}

void ReplicaAverage::watch() noexcept {
  std::unique_lock lock(mutex_);
  try {
    while (!ends_.wait_for(lock, kBetweenLooks, [&] { return is_ending_; })) {
      if (control_.total_steps() >= due_at_) begin();
    }
  } catch (...) {
    // The group says it again, to who checks.
  }
}

void ReplicaAverage::begin() {
  due_at_ = control_.total_steps() + period_;
  group_.run([this](Group& member) { move_to_mean(member); });
}

void ReplicaAverage::move_to_mean(Group& member) {
  const Member& mine = *members_[static_cast<std::size_t>(member.rank())];
  auto* const mean = static_cast<float*>(mine.mean.mutable_data_ptr());
  auto* const base = static_cast<float*>(mine.base.mutable_data_ptr());
  copy_on_gpu(base, mine.parameters, mine.base.nbytes(), mine.gpu);
  copy_on_gpu(mean, base, mine.base.nbytes(), mine.gpu);
  member.all_reduce(mine.mean, Reduction::mean, Deadline::after(NcclThreads::kPatience));
  for (const FlatSlice& slice : slices_) {
    kernels::merge_cuda(write_, kernels::Write::plain, mine.parameters + slice.offset, mean + slice.offset,
                        base + slice.offset, static_cast<std::size_t>(slice.numel),
                        static_cast<CUstream_st*>(current_stream(mine.gpu)));
  }
  wait_for_current_stream(mine.gpu);
}

}  // namespace hogpen::detail

#include "models/replica_average.h"

#include <utility>

#include "runtime/cluster/nccl_group.h"
#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/cuda_stream.h"

namespace hogpen::detail {
namespace {

using namespace std::chrono_literals;

constexpr auto kBetweenLooks = 1ms;  // whether an average is due
constexpr auto kPatience = 60s;      // all members are threads of one process: it takes longer only if NCCL hangs

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

ReplicaAverage::ReplicaAverage(const TrainPlan& plan, const std::atomic<std::uint64_t>& claimed,
                               const SharedModel& on_host, std::span<const GpuTraining> replicas)
    : claimed_(claimed),
      period_(static_cast<std::uint64_t>(plan.options.average_every) *
              static_cast<std::uint64_t>(plan.options.launcher.workers)),
      write_(plan.options.mode == UpdateMode::atomic ? kernels::Write::atomic : kernels::Write::plain),
      slices_(on_host.slices().begin(), on_host.slices().end()),
      memory_({.world_size = static_cast<int>(replicas.size())}),
      due_at_(claimed.load() + period_) {
  const auto* const flat = static_cast<const std::byte*>(on_host.flat().const_data_ptr());
  const auto offset = flat - on_host.arena().data().data();
  for (const GpuTraining& replica : replicas) {
    auto* const parameters = reinterpret_cast<float*>(replica.model.data().data() + offset);
    members_.push_back(std::make_unique<Member>(replica.model.device(), parameters, on_host.flat().numel()));
  }
  for (std::size_t rank = 0; rank < members_.size(); ++rank) threads_.emplace_back([this, rank] { take_part(rank); });
}

ReplicaAverage::~ReplicaAverage() {
  end();
}

void ReplicaAverage::average() {
  std::unique_lock lock(mutex_);
  wait_until_over(lock);
  begin_round();
  wait_until_over(lock);
}

void ReplicaAverage::check() {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) return;
  }
  end();  // What the first to fail threw says more than what the others do, and may come after it.
  std::rethrow_exception(failure_);
}

void ReplicaAverage::wait_until_over(std::unique_lock<std::mutex>& lock) {
  changed_.wait(lock, [&] { return failure_ || is_round_over(); });
  if (!failure_) return;
  lock.unlock();
  check();
}

void ReplicaAverage::end() noexcept {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void ReplicaAverage::take_part(std::size_t rank) noexcept {
  Member& member = *members_[rank];
  try {
    const OwnStream stream(member.gpu);
    NcclGroup group(memory_, static_cast<int>(rank), {.gpu = member.gpu.index(), .stream = current_stream(member.gpu)},
                    Deadline::after(kPatience));
    for (std::uint64_t round = 1; wait_for(round, rank); ++round) {
      average_with(group, member);
      end_part();
    }
  } catch (const GroupError&) {
    fail(std::current_exception(), false);
  } catch (...) {
    fail(std::current_exception(), true);
  }
}

void ReplicaAverage::average_with(Group& group, Member& member) {
  auto* const mean = static_cast<float*>(member.mean.mutable_data_ptr());
  auto* const base = static_cast<float*>(member.base.mutable_data_ptr());
  copy_on_gpu(base, member.parameters, member.base.nbytes(), member.gpu);
  copy_on_gpu(mean, base, member.base.nbytes(), member.gpu);
  group.all_reduce(member.mean, Reduction::mean, Deadline::after(kPatience));
  for (const FlatSlice& slice : slices_) {
    kernels::merge_cuda(write_, kernels::Write::plain, member.parameters + slice.offset, mean + slice.offset,
                        base + slice.offset, static_cast<std::size_t>(slice.numel),
                        static_cast<CUstream_st*>(current_stream(member.gpu)));
  }
  wait_for_current_stream(member.gpu);
}

bool ReplicaAverage::wait_for(std::uint64_t round, std::size_t rank) {
  std::unique_lock lock(mutex_);
  while (begun_ < round && !is_ending_ && !failure_) {
    if (rank != 0) {
      changed_.wait(lock);
    } else if (is_round_over() && claimed_.load() >= due_at_) {
      begin_round();
    } else {
      changed_.wait_for(lock, kBetweenLooks);
    }
  }
  return begun_ >= round && !failure_;
}

void ReplicaAverage::begin_round() {
  ++begun_;
  due_at_ = claimed_.load() + period_;
  changed_.notify_all();
}

void ReplicaAverage::end_part() {
  const std::lock_guard lock(mutex_);
  ++parts_;
  changed_.notify_all();
}

void ReplicaAverage::fail(std::exception_ptr error, bool is_own) {
  const std::lock_guard lock(mutex_);
  if (!failure_ || (is_own && !is_failure_own_)) {
    failure_ = std::move(error);
    is_failure_own_ = is_own;
  }
  changed_.notify_all();
}

bool ReplicaAverage::is_round_over() const noexcept {
  return parts_ == begun_ * members_.size();
}

}  // namespace hogpen::detail

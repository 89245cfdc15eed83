#include "runtime/cluster/nccl_threads.h"

#include <utility>

#include "runtime/cluster/nccl_group.h"
#include "runtime/cluster/nccl_library.h"
#include "runtime/memory/cuda_stream.h"

namespace hogpen {

NcclThreads::NcclThreads(std::span<const int> gpus) : memory_({.world_size = static_cast<int>(gpus.size())}) {
  (void)nccl_library();  // Where there is none, one says so, and not each thread.
  for (std::size_t rank = 0; rank < gpus.size(); ++rank) {
    threads_.emplace_back([this, rank, gpu = gpus[rank]] { join_and_serve(static_cast<int>(rank), gpu); });
  }
}

NcclThreads::~NcclThreads() {
  end();
}

void NcclThreads::run(const Part& part) {
  {
    std::unique_lock lock(mutex_);
    part_ = &part;
    at_work_ = threads_.size();
    ++rounds_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return failure_ || at_work_ == 0; });
  }
  check();
}

void NcclThreads::check() {
  {
    const std::lock_guard lock(mutex_);
    if (!failure_) return;
  }
  end();  // What the first to fail threw says more than what the others do, and may come after it.
  std::rethrow_exception(failure_);
}

void NcclThreads::end() noexcept {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void NcclThreads::join_and_serve(int rank, int gpu) noexcept {
  try {
    const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(gpu));
    const OwnStream stream(device);
    NcclGroup group(memory_, rank, {.gpu = gpu, .stream = current_stream(device)}, Deadline::after(kPatience));
    std::uint64_t round = 0;
    while (const Part* const part = wait_for(++round)) do_part(*part, group);
  } catch (const GroupError&) {
    fail(std::current_exception(), false);
  } catch (...) {
    fail(std::current_exception(), true);
  }
}

void NcclThreads::do_part(const Part& part, Group& member) {
  try {
    part(member);
  } catch (...) {
    member.abort();  // Leaving would wait for the others.
    throw;
  }
  const std::lock_guard lock(mutex_);
  --at_work_;
  changed_.notify_all();
}

const NcclThreads::Part* NcclThreads::wait_for(std::uint64_t round) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return rounds_ >= round || is_ending_ || failure_; });
  return rounds_ >= round && !failure_ ? part_ : nullptr;
}

void NcclThreads::fail(std::exception_ptr error, bool is_own) {
  memory_.abort();  // One that failed before it joined is not waited for.
  const std::lock_guard lock(mutex_);
  if (!failure_ || (is_own && !is_failure_own_)) {
    failure_ = std::move(error);
    is_failure_own_ = is_own;
  }
  changed_.notify_all();
}

}  // namespace hogpen

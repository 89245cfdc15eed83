#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "runtime/cluster/group.h"
#include "runtime/cluster/shared_group.h"

namespace hogpen {

/// An NcclGroup whose members are threads of this process, one for each of several GPUs. So nobody is left in it: of a
/// process that dies the whole group is gone.
///
/// Sharing: one object, used by one thread at a time. Owns: the threads, their streams, the communicator.
class NcclThreads {
 public:
  /// What a member does in its thread, with a stream of its own for its GPU, on which NCCL works too.
  using Part = std::function<void(Group& member)>;

  /// For a verb. Nobody is held up by what another process does: it takes longer only if NCCL hangs.
  static constexpr std::chrono::seconds kPatience{60};

  /// The members begin to join; that of rank r has the GPU `gpus[r]`. Throws: DeviceError when there is no NCCL.
  explicit NcclThreads(std::span<const int> gpus);
  NcclThreads(const NcclThreads&) = delete;
  NcclThreads& operator=(const NcclThreads&) = delete;
  ~NcclThreads();

  /// Has every member do its part; returns when all have.
  ///
  /// Throws: as `check`. No member is in its part then.
  void run(const Part& part);
  /// Throws: what a member threw when it joined, see NcclGroup, or in its part. The group has then ended.
  void check();

 private:
  void join_and_serve(int rank, int gpu) noexcept;
  void do_part(const Part& part, Group& member);
  [[nodiscard]] const Part* wait_for(std::uint64_t round);
  void fail(std::exception_ptr error, bool is_own);
  void end() noexcept;

  SharedGroup::Memory memory_;
  std::mutex mutex_;  // for all below but the threads
  std::condition_variable changed_;
  const Part* part_ = nullptr;
  std::uint64_t rounds_ = 0;
  std::size_t at_work_ = 0;  // members that have not done their part of the latest round
  bool is_ending_ = false;
  bool is_failure_own_ = false;
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace hogpen

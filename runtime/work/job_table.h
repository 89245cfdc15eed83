#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "runtime/memory/heap_pointer.h"
#include "runtime/sync/mutex.h"
#include "runtime/sync/wait_point.h"

namespace hogpen {

/// What a chunk of a job is doing, in one word, which is the only truth about it. Free → running is the claim, by
/// compare-exchange; running → one of the others is the commit, by one store. So no death comes in between.
struct ChunkState {
  enum Status : std::uint32_t { free, running, done, failed, cancelled };
  Status status = free;
  std::uint32_t attempt = 0;  ///< how many workers have died of it
  std::uint32_t worker = 0;   ///< the place of the worker that runs it

  [[nodiscard]] static ChunkState of(std::uint32_t word) noexcept {
    return {static_cast<Status>(word & 7), word >> 3 & 0x1ff, word >> 12};
  }
  [[nodiscard]] std::uint32_t word() const noexcept { return status | attempt << 3 | worker << 12; }
  [[nodiscard]] bool is_final() const noexcept { return status > running; }
};

struct JobSlot;

/// The items [first, last) of a job, being run by a worker.
struct ItemRange {
  const JobSlot& job;
  std::uint64_t first;
  std::uint64_t last;
  std::uint64_t current;  ///< kept up to date for error messages
};
using RunItems = void (*)(ItemRange&);

/// One job: `items` items in chunks, which the workers claim. Written by its owner before the ticket, then by nobody,
/// but for the atomics.
struct JobSlot {
  static constexpr std::size_t kClosureBytes = 128;
  static constexpr std::size_t kInlineBytes = 448;  ///< payloads up to here need no block of the heap

  alignas(64) std::atomic<std::uint64_t> ticket{0};  ///< 0: no job
  RunItems run = nullptr;                            ///< in this program, when there is no `task`
  std::uint64_t task = 0;  ///< 0, or what detail::find_runner finds in any program; its name is the closure
  std::uint64_t items = 0;
  std::uint64_t chunk_size = 1;
  std::uint64_t chunks = 0;
  HeapPointer<std::byte> input;  ///< these three lie in one payload: a block of the heap, or `payload` below
  HeapPointer<std::byte> output;
  HeapPointer<std::atomic<std::uint32_t>> states;
  std::uint64_t entry = 0;  ///< 1 + where its latest entry in the order of jobs is; belongs to the table
  alignas(16) std::byte closure[kClosureBytes];
  /// Where free chunks begin: a hint. Its upper bits count repairs: a worker that has seen a chunk taken must not step
  /// over it once it is free again.
  alignas(64) std::atomic<std::uint64_t> cursor{0};
  std::atomic<std::uint64_t> failure{0};  ///< chunk << 32 | block, of the first in order that failed; 0: none
  alignas(64) std::byte payload[kInlineBytes];
};

/// What one worker tells the others.
struct alignas(64) WorkerPlace {
  /// (slot + 1) << 40 | chunk that it may be about to claim, or runs; 0: none. While it stands here the slot's owner
  /// keeps the job's memory, and when the worker dies this is where to look.
  std::atomic<std::uint64_t> at{0};
  std::atomic<std::int64_t> since{0};  ///< monotonic nanoseconds at the beginning of the task; 0: idle
  std::atomic<std::int32_t> pid{0};    ///< 0 for a thread
  enum Stage : std::uint32_t {
    starting,
    ready,
    spent,  ///< it has done as many tasks as one worker may
    left,   ///< the pool is over
  };
  std::atomic<Stage> stage{starting};
};

/// A chunk that a worker has claimed.
struct Claim {
  std::uint32_t slot;
  std::uint64_t chunk;
};

/// The jobs of a pool, in shared memory. One process submits, its workers claim, and a supervisor repairs what a dead
/// worker leaves.
///
/// Invariants: 1. A chunk becomes final once, and stays so until its job is retired. 2. A job with a free chunk has an
/// entry in `order_` at or after `head_`. 3. A slot's memory is not touched by its owner while a place points to it.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
class JobTable {
 public:
  static constexpr std::uint32_t kSlots = 1024;
  static constexpr std::uint32_t kMostWorkers = 512;
  static constexpr int kIndexBits = 40;  ///< of a chunk; above them the cursor counts repairs, and a place its slot

  /// Requires: 1 to kMostWorkers workers.
  explicit JobTable(std::uint32_t workers) noexcept : workers_(workers) {}

  [[nodiscard]] JobSlot& slot(std::uint32_t index) noexcept { return slots_[index]; }
  [[nodiscard]] std::uint32_t workers() const noexcept { return workers_; }
  [[nodiscard]] WorkerPlace& place(std::uint32_t worker) noexcept { return places_[worker]; }

  /// For the owner: lets the workers see the job in a slot. `ticket` is not 0.
  void open(std::uint32_t slot, std::uint64_t ticket);
  /// For the owner of a job all of whose chunks are final: false while a worker still looks at it.
  [[nodiscard]] bool retire(std::uint32_t slot) noexcept;
  /// Cancels the chunks that nobody has claimed. True if there was one.
  bool cancel(std::uint32_t slot) noexcept;

  /// For a worker: the next free chunk of the oldest job that has one.
  [[nodiscard]] std::optional<Claim> claim(std::uint32_t worker) noexcept;
  void finish(std::uint32_t worker, const Claim& claim, ChunkState::Status status) noexcept;

  /// For the supervisor: the chunk that a dead worker ran, if it did. It must be freed or failed next.
  [[nodiscard]] std::optional<Claim> chunk_of_the_dead(std::uint32_t worker) noexcept;
  /// Lets the chunk be claimed once more, unless that was so `most_attempts` times already: then false.
  [[nodiscard]] bool free_again(const Claim& claim, std::uint32_t most_attempts);
  void fail(const Claim& claim) noexcept;
  /// The last word about a dead worker: its place can be taken by another.
  void clear_place(std::uint32_t worker) noexcept;

  /// Keeps the failure of the first chunk in order. Returns the block that is not kept, or 0.
  [[nodiscard]] std::uint32_t offer_failure(const Claim& claim, std::uint32_t block) noexcept;
  /// For the supervisor, before a chunk is freed again: takes back the failure that its dead worker offered, if it was
  /// kept. Returns its block, or 0.
  [[nodiscard]] std::uint32_t withdraw_failure(const Claim& claim) noexcept;

  WaitPoint work;       ///< where idle workers wait
  WaitPoint completed;  ///< where those wait who want results

 private:
  static constexpr std::uint32_t kOrder = 2 * kSlots;  // at most kSlots + 1 entries lie at or after head_

  std::optional<std::uint64_t> claim_of(std::uint32_t slot, std::uint32_t worker) noexcept;
  void append(std::uint32_t slot);

  std::uint32_t workers_;
  Mutex append_lock_;
  alignas(64) std::atomic<std::uint64_t> head_{0};
  alignas(64) std::atomic<std::uint64_t> tail_{0};
  std::atomic<std::uint32_t> order_[kOrder]{};
  WorkerPlace places_[kMostWorkers]{};
  JobSlot slots_[kSlots]{};
};

}  // namespace hogpen

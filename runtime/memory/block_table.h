#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "runtime/core/fd.h"
#include "runtime/memory/life_line.h"
#include "runtime/memory/shared_heap.h"
#include "runtime/memory/size_class.h"

namespace hogpen {

/// What the heap knows of a block, in one cache line of shared memory.
///
/// `refs` counts all shares: one for each process in `holders`, and one for each `retain`. A share is counted before
/// its holder's bit is set, and a bit is cleared before it is counted off; so whenever a process dies, `refs` is at
/// least the number of shares, and nothing is freed under anybody.
struct alignas(64) BlockRecord {
  std::atomic<std::uint64_t> refs;
  std::array<std::atomic<std::uint64_t>, LifeLine::kPlaces / 64> holders;
  std::atomic<std::uint64_t> offset;  ///< in the memfd; it and the class never change
  std::atomic<std::uint64_t> size_bytes;
  std::atomic<std::uint32_t> next;  ///< in a list of free blocks
  std::atomic<std::uint32_t> size_class;
};
static_assert(sizeof(BlockRecord) == 64);

/// A list of free blocks of one class in shared memory: add and take from any process without a lock.
///
/// One word holds the first block (20 bits), how many there are (12 bits, and never more than 4095), and a count of all
/// changes (32 bits), by which a change that came in between is noticed. All zero is the empty list.
/// Source: IBM System/370, "Principles of Operation", appendix A (Treiber 1986).
class FreeList {
 public:
  void add(BlockRecord* records, std::uint32_t block) noexcept;
  /// 0 when there is none.
  [[nodiscard]] std::uint32_t take(BlockRecord* records) noexcept;
  [[nodiscard]] std::uint32_t first() const noexcept { return head_.load() & kBlockMask; }
  [[nodiscard]] std::uint32_t count() const noexcept { return head_.load() >> kCountShift & kMaxCount; }

 private:
  static constexpr unsigned kCountShift = 20;
  static constexpr unsigned kTagShift = 32;
  static constexpr std::uint32_t kBlockMask = (1U << kCountShift) - 1;
  static constexpr std::uint32_t kMaxCount = (1U << (kTagShift - kCountShift)) - 1;

  std::atomic<std::uint64_t> head_;
};

struct HeapHeader;

/// The blocks of the heap as they lie in its memfd: header, records, data. Finds free ones, makes new ones at the
/// frontier up to which the file is used, and takes the memory they need from the system beforehand. Knows nothing of
/// processes.
///
/// A freed block keeps its memory, for the next of its class; beyond 64 MiB in all, the memory of blocks of 16 KiB and
/// more is given back.
///
/// Sharing: all processes and threads. A kill inside `reuse` or `extend` loses the block it is about to return.
/// Owns: the descriptor and the mapping.
class BlockTable {
 public:
  /// Makes the memfd. Throws: SystemError.
  [[nodiscard]] static Fd create();
  /// Maps it. Throws: SystemError; UsageError when it is no heap.
  explicit BlockTable(Fd fd);
  BlockTable(const BlockTable&) = delete;
  BlockTable& operator=(const BlockTable&) = delete;

  /// A free block that has its memory, or 0.
  [[nodiscard]] std::uint32_t reuse(unsigned size_class) noexcept;
  /// Whether `extend` would take memory from the system.
  [[nodiscard]] bool must_take_memory(unsigned size_class) const noexcept;
  /// A block that has not been used before, or whose memory was given back. Throws: SystemError(ENOMEM).
  [[nodiscard]] std::uint32_t extend(unsigned size_class);
  /// Requires: nobody has a share in the block.
  void give_back(std::uint32_t block) noexcept;

  [[nodiscard]] BlockRecord& operator[](std::uint32_t block) const noexcept { return records_[block]; }
  [[nodiscard]] std::byte* data(const BlockRecord& record) const noexcept { return base_ + record.offset.load(); }
  /// One more than the last block's number; the first has number 1.
  [[nodiscard]] std::uint32_t end() const noexcept;
  [[nodiscard]] std::uint32_t max_blocks() const noexcept;
  [[nodiscard]] int fd() const noexcept { return fd_.get(); }
  [[nodiscard]] bool contains(const void* address) const noexcept;
  /// Tells this heap from others.
  [[nodiscard]] std::uint64_t file_number() const noexcept { return file_number_; }
  /// Set by a process that takes the place, and cleared when a dead one's shares have been given back.
  [[nodiscard]] std::atomic<std::uint32_t>& is_used(int place) const noexcept;
  /// Held by a thread while the heap grows: a fork must wait for it.
  [[nodiscard]] std::mutex& growth_mutex() noexcept { return growth_mutex_; }
  /// Blocks that no list and nobody has are lost. Requires: nobody changes the heap meanwhile.
  [[nodiscard]] SharedHeapUse use() const;

 private:
  [[nodiscard]] std::uint32_t create_block(unsigned size_class);
  [[nodiscard]] std::uint32_t refill(std::uint32_t block, unsigned size_class);
  [[nodiscard]] std::uint32_t reuse_larger(unsigned size_class);
  void back(std::atomic<std::uint64_t>& backed, std::uint64_t end, std::uint64_t limit);
  [[nodiscard]] std::size_t retained_bytes() const noexcept;
  void give_back_retained() noexcept;

  Fd fd_;
  std::uint64_t file_number_ = 0;
  std::byte* base_ = nullptr;
  HeapHeader* header_ = nullptr;
  BlockRecord* records_ = nullptr;
  std::mutex growth_mutex_;
};

}  // namespace hogpen

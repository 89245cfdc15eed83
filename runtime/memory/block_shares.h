#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>

#include "runtime/core/fd.h"
#include "runtime/memory/block_table.h"
#include "runtime/memory/life_line.h"

namespace hogpen {

/// How many SharedBlocks of this process refer to each block. The process has one share in a block, however many they
/// are; while a thread takes or gives back that share, the count says so and others wait. It is private memory, so a
/// forked child has a copy: what it counts are the SharedBlocks that the child has inherited.
///
/// Sharing: all threads. Owns: its memory, and never gives it back.
class HandleCounts {
 public:
  static constexpr std::uint32_t kChanging = 0xffff'ffff;

  explicit HandleCounts(std::size_t blocks);
  std::atomic<std::uint32_t>& operator[](std::uint32_t block) const noexcept { return counts_[block]; }

 private:
  std::atomic<std::uint32_t>* counts_ = nullptr;
};

/// The shares of this process in the blocks of the heap, those of processes that have died, and those of children about
/// to be forked.
///
/// Sharing: all threads. Owns: the BlockTable, and the process's place in the heap.
class BlockShares {
 public:
  explicit BlockShares(Fd fd);

  [[nodiscard]] BlockTable& table() noexcept { return table_; }

  /// A block with one handle. Throws: SystemError(ENOMEM), before memory is taken, when there is not enough.
  [[nodiscard]] std::uint32_t allocate(std::size_t bytes);
  /// One handle more; somebody must have a share meanwhile.
  void open(std::uint32_t block);
  /// One handle more where this process has one.
  void copy(std::uint32_t block) noexcept { handles_[block].fetch_add(1); }
  /// One handle less.
  void close(std::uint32_t block) noexcept;

  /// A share that belongs to no process.
  void retain(std::uint32_t block) noexcept { table_[block].refs.fetch_add(1); }
  void release(std::uint32_t block) noexcept;
  void release_shares_of_the_dead() noexcept;

  /// What pthread_atfork(3) is to call. Before the fork, the child's place is taken, and for it a share in whatever
  /// this process has handles of. So the child has them from its first instruction on, and its death gives them back.
  void prepare_fork() noexcept;
  void parent_after_fork() noexcept;
  void child_after_fork() noexcept;

 private:
  [[nodiscard]] int place();
  void claim(int place) noexcept;
  [[nodiscard]] bool take_childs_place() noexcept;
  void end_fork() noexcept;
  [[nodiscard]] bool begin_change(std::atomic<std::uint32_t>& count, std::uint32_t expected) noexcept;
  [[nodiscard]] std::atomic<std::uint64_t>& word_of(std::uint32_t block, int place) const noexcept;
  void take_share(std::uint32_t block, int place) noexcept;
  [[nodiscard]] bool has_share(std::uint32_t block, int place) const noexcept;
  [[nodiscard]] bool give_back_share(std::uint32_t block, int place) noexcept;
  void give_back_shares_of(int place) noexcept;
  void sweep_the_dead() noexcept;

  BlockTable table_;
  HandleCounts handles_;
  std::mutex place_mutex_;  // for line_, and for what is done with the places of the dead
  LifeLine line_;
  std::atomic<int> place_{-1};  // line_'s, without the lock; -1: not taken yet
  std::mutex fork_mutex_;
  std::atomic<bool> is_forking_{false};
  LifeLine childs_line_;
};

}  // namespace hogpen

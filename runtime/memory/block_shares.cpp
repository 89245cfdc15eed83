#include "runtime/memory/block_shares.h"

#include <sched.h>
#include <sys/mman.h>

#include <cerrno>
#include <exception>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace hogpen {
namespace {

std::uint64_t bit_of(int place) noexcept {
  return std::uint64_t{1} << (place % 64);
}

}  // namespace

HandleCounts::HandleCounts(std::size_t blocks) {
  void* memory = ::mmap(nullptr, (blocks + 1) * sizeof(*counts_), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw SystemError("mmap of the table of shared blocks", errno);
  counts_ = static_cast<std::atomic<std::uint32_t>*>(memory);
}

BlockShares::BlockShares(Fd fd) : table_(std::move(fd)), handles_(table_.max_blocks()) {}

std::uint32_t BlockShares::allocate(std::size_t bytes) {
  if (bytes > kMaxBlockBytes) throw SystemError(fmt::format("a shared block of {} bytes", bytes), ENOMEM);
  const unsigned size_class = size_class_of(bytes);
  std::uint32_t block = table_.reuse(size_class);
  if (block == 0 && table_.must_take_memory(size_class)) {
    release_shares_of_the_dead();
    block = table_.reuse(size_class);
  }
  if (block == 0) block = table_.extend(size_class);
  // Relaxed: who opens the block has its number from here, by a way that orders memory.
  table_[block].size_bytes.store(bytes, std::memory_order_relaxed);
  open(block);
  return block;
}

void BlockShares::open(std::uint32_t block) {
  const int mine = place();
  std::atomic<std::uint32_t>& count = handles_[block];
  for (std::uint32_t seen = count.load();;) {
    if (seen == HandleCounts::kChanging) {
      ::sched_yield();
    } else if (seen > 0) {
      if (count.compare_exchange_weak(seen, seen + 1)) return;
      continue;
    } else if (begin_change(count, 0)) {
      take_share(block, mine);
      count.store(1, std::memory_order_release);
      return;
    }
    seen = count.load();
  }
}

void BlockShares::close(std::uint32_t block) noexcept {
  std::atomic<std::uint32_t>& count = handles_[block];
  for (std::uint32_t seen = count.load();;) {
    if (seen > 1) {
      if (count.compare_exchange_weak(seen, seen - 1)) return;
      continue;
    }
    if (begin_change(count, 1)) {
      const int mine = place_.load();
      const bool is_last = mine >= 0 && give_back_share(block, mine);
      count.store(0, std::memory_order_release);
      if (is_last) table_.give_back(block);
      return;
    }
    seen = count.load();
  }
}

void BlockShares::release(std::uint32_t block) noexcept {
  if (table_[block].refs.fetch_sub(1) == 1) table_.give_back(block);
}

void BlockShares::release_shares_of_the_dead() noexcept {
  const std::lock_guard lock(place_mutex_);
  if (line_) sweep_the_dead();
}

void BlockShares::prepare_fork() noexcept {
  fork_mutex_.lock();
  place_mutex_.lock();
  table_.growth_mutex().lock();
  is_forking_.store(true);
  bool child_can_have_place = true;
  for (std::uint32_t block = 1; block < table_.end(); ++block) {
    while (handles_[block].load() == HandleCounts::kChanging) ::sched_yield();
    if (handles_[block].load() == 0) continue;
    if (!childs_line_ && child_can_have_place) child_can_have_place = take_childs_place();
    if (childs_line_) {
      take_share(block, childs_line_.place());
    } else {
      retain(block);  // Rather keep it for good than free it under the child.
    }
  }
}

void BlockShares::parent_after_fork() noexcept {
  childs_line_ = LifeLine();
  end_fork();
}

void BlockShares::child_after_fork() noexcept {
  line_ = std::move(childs_line_);
  place_.store(line_ ? line_.place() : -1);
  // Another thread of the parent may just have begun a change, to find the fork and step back. It does not exist here.
  for (std::uint32_t block = 1; block < table_.end(); ++block) {
    if (handles_[block].load() != HandleCounts::kChanging) continue;
    handles_[block].store(line_ && has_share(block, line_.place()) ? 1 : 0);
  }
  end_fork();
}

void BlockShares::end_fork() noexcept {
  is_forking_.store(false);
  table_.growth_mutex().unlock();
  place_mutex_.unlock();
  fork_mutex_.unlock();
}

// This process's place, taken at its first use of the heap.
int BlockShares::place() {
  const int known = place_.load();
  if (known >= 0) [[likely]]
    return known;
  const std::lock_guard lock(place_mutex_);
  if (line_) return line_.place();
  line_ = LifeLine::take(table_.fd());
  claim(line_.place());
  place_.store(line_.place());
  sweep_the_dead();
  return line_.place();
}

// Whoever had the place before is dead, and may have left shares behind.
void BlockShares::claim(int place) noexcept {
  if (table_.is_used(place).load() != 0) give_back_shares_of(place);
  table_.is_used(place).store(1);
}

bool BlockShares::take_childs_place() noexcept {
  try {
    childs_line_ = LifeLine::take(table_.fd());
    claim(childs_line_.place());
    return true;
  } catch (const std::exception& error) {
    log(LogLevel::warning, "shared memory that a forked child inherits will never be freed: {}", error.what());
    return false;
  }
}

// Marks the count as changing. False, with nothing done, when it was another than expected; or when a fork is under
// way, after the fork: the child's shares have been taken for the counts as they were.
bool BlockShares::begin_change(std::atomic<std::uint32_t>& count, std::uint32_t expected) noexcept {
  const std::uint32_t before = expected;
  if (!count.compare_exchange_strong(expected, HandleCounts::kChanging)) return false;
  if (!is_forking_.load()) [[likely]]
    return true;
  count.store(before);
  const std::lock_guard wait(fork_mutex_);
  return false;
}

std::atomic<std::uint64_t>& BlockShares::word_of(std::uint32_t block, int place) const noexcept {
  return table_[block].holders[static_cast<std::size_t>(place) / 64];
}

bool BlockShares::has_share(std::uint32_t block, int place) const noexcept {
  return (word_of(block, place).load() & bit_of(place)) != 0;
}

void BlockShares::take_share(std::uint32_t block, int place) noexcept {
  retain(block);
  word_of(block, place).fetch_or(bit_of(place));
}

// True if it was the last share of all: then the block is the caller's to free. Who clears the bit counts it off.
bool BlockShares::give_back_share(std::uint32_t block, int place) noexcept {
  if ((word_of(block, place).fetch_and(~bit_of(place)) & bit_of(place)) == 0) return false;
  return table_[block].refs.fetch_sub(1) == 1;
}

void BlockShares::give_back_shares_of(int place) noexcept {
  for (std::uint32_t block = 1; block < table_.end(); ++block) {
    if (has_share(block, place) && give_back_share(block, place)) table_.give_back(block);
  }
}

void BlockShares::sweep_the_dead() noexcept {
  for (int place = 0; place < LifeLine::kPlaces; ++place) {
    if (table_.is_used(place).load() == 0 || !line_.take_from_the_dead(place)) continue;
    give_back_shares_of(place);
    table_.is_used(place).store(0);
    line_.leave(place);
  }
}

}  // namespace hogpen

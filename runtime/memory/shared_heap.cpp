#include "runtime/memory/shared_heap.h"

#include <pthread.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/memory/block_shares.h"
#include "runtime/memory/block_table.h"
#include "runtime/memory/segment_board.h"

namespace hogpen {
namespace {

// What a process has of its heap. The pointer is set once; a forked child inherits it.
struct Opened {
  std::mutex mutex;
  std::atomic<BlockShares*> heap{nullptr};
};

Opened& opened() {
  static Opened& instance = *new Opened;
  return instance;
}

BlockShares* heap_if_open() noexcept {
  return opened().heap.load();
}

void open_with(Fd fd) {
  opened().heap.store(new BlockShares(std::move(fd)));
  ::pthread_atfork([] { heap_if_open()->prepare_fork(); }, [] { heap_if_open()->parent_after_fork(); },
                   [] { heap_if_open()->child_after_fork(); });
}

BlockShares& heap() {
  if (BlockShares* known = heap_if_open()) [[likely]]
    return *known;
  const std::lock_guard lock(opened().mutex);
  if (!heap_if_open()) {
    open_segment_board();
    open_with(BlockTable::create());
  }
  return *heap_if_open();
}

std::uint32_t number_of(BlockId id) noexcept {
  return static_cast<std::uint32_t>(id);
}

}  // namespace

SharedBlock SharedBlock::allocate(std::size_t bytes) {
  BlockShares& all = heap();
  const std::uint32_t block = all.allocate(bytes);
  return SharedBlock(static_cast<BlockId>(block), all.table().data(all.table()[block]), bytes);
}

SharedBlock SharedBlock::open(BlockId id) {
  BlockShares& all = heap();
  const std::uint32_t block = number_of(id);
  require(block != 0 && block < all.table().end(), "there is no block {} in this process's shared heap", block);
  all.open(block);
  const BlockRecord& record = all.table()[block];
  return SharedBlock(id, all.table().data(record), record.size_bytes.load());
}

SharedBlock::SharedBlock(const SharedBlock& other) noexcept : id_(other.id_), data_(other.data_), size_(other.size_) {
  if (!empty()) heap_if_open()->copy(number_of(id_));
}

SharedBlock::~SharedBlock() {
  if (!empty()) heap_if_open()->close(number_of(id_));
}

void retain(BlockId id) noexcept {
  heap_if_open()->retain(number_of(id));
}

void release(BlockId id) noexcept {
  heap_if_open()->release(number_of(id));
}

bool holds(BlockId id, std::size_t offset, std::uint64_t value) noexcept {
  BlockShares* all = heap_if_open();
  const std::uint32_t block = number_of(id);
  if (!all || block == 0 || block >= all->table().end()) return false;
  const BlockRecord& record = all->table()[block];
  if (record.refs.load() == 0 || offset + sizeof(value) > class_bytes(record.size_class.load())) return false;
  // Who had the block next may be writing to it: then it is another value, whatever is read.
  std::uint64_t found = 0;
  std::memcpy(&found, all->table().data(record) + offset, sizeof(found));
  return found == value;
}

void open_shared_heap() {
  (void)heap();
}

void release_shares_of_the_dead() noexcept {
  if (BlockShares* all = heap_if_open()) all->release_shares_of_the_dead();
}

int shared_heap_fd() {
  return heap().table().fd();
}

void join_shared_heap(Fd fd) {
  const std::lock_guard lock(opened().mutex);
  require(!heap_if_open(), "a process must join a shared heap before it has one of its own");
  open_with(std::move(fd));
}

std::uint64_t shared_heap_number() noexcept {
  BlockShares* all = heap_if_open();
  return all ? all->table().file_number() : 0;
}

BlockId block_at(const void* address) noexcept {
  if (!is_in_shared_heap(address)) return BlockId::none;
  const BlockTable& table = heap_if_open()->table();
  const auto* byte = static_cast<const std::byte*>(address);
  for (std::uint32_t block = 1; block < table.end(); ++block) {
    const BlockRecord& record = table[block];
    const std::byte* begin = table.data(record);
    if (record.refs.load() != 0 && byte >= begin && byte < begin + class_bytes(record.size_class.load())) {
      return static_cast<BlockId>(block);
    }
  }
  return BlockId::none;
}

bool is_in_shared_heap(const void* address) noexcept {
  BlockShares* all = heap_if_open();
  return all && all->table().contains(address);
}

SharedHeapUse shared_heap_use() {
  BlockShares* all = heap_if_open();
  return all ? all->table().use() : SharedHeapUse{};
}

}  // namespace hogpen

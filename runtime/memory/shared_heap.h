#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>

#include "runtime/core/fd.h"

namespace hogpen {

/// The number of a block of the shared heap: the same in every process of the family, whatever its address there.
enum class BlockId : std::uint64_t { none = 0 };

/// A share of this process in a block of the shared heap.
///
/// All processes of a family have one heap: one memfd, made before they are forked and mapped once by each, so that a
/// block is memory for all of them without a descriptor or a mapping of its own. A block is freed when nobody has a
/// share in it any more: neither a process nor, by `retain`, something that lies in shared memory itself. What a
/// process holds at a fork, its child holds, too. A process that dies, however it dies, gives its shares back: see
/// `release_shares_of_the_dead`.
///
/// Sharing: the bytes are shared by all processes and threads; the object is a value, copies are shares of their own.
/// Owns: a share of the block.
class SharedBlock {
 public:
  SharedBlock() = default;  ///< empty
  /// A new block, aligned to 64 bytes; its contents are undefined. Makes the heap if there is none yet.
  ///
  /// Throws: SystemError(ENOMEM), before memory is taken, when there is not enough.
  [[nodiscard]] static SharedBlock allocate(std::size_t bytes);
  /// A further share in a block in which somebody else holds one meanwhile.
  [[nodiscard]] static SharedBlock open(BlockId id);

  SharedBlock(const SharedBlock& other) noexcept;
  SharedBlock(SharedBlock&& other) noexcept { swap(other); }
  SharedBlock& operator=(SharedBlock other) noexcept {
    swap(other);
    return *this;
  }
  ~SharedBlock();

  [[nodiscard]] std::byte* data() const noexcept { return data_; }
  [[nodiscard]] std::size_t size_bytes() const noexcept { return size_; }  ///< as asked of `allocate`
  [[nodiscard]] BlockId id() const noexcept { return id_; }
  [[nodiscard]] bool empty() const noexcept { return id_ == BlockId::none; }
  void swap(SharedBlock& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }

 private:
  SharedBlock(BlockId id, std::byte* data, std::size_t size) noexcept : id_(id), data_(data), size_(size) {}

  BlockId id_ = BlockId::none;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// A share that belongs to no process but to something in shared memory, such as a message. Whoever calls `retain`
/// holds a share at that time. No death gives such a share back: its owner's next user must.
void retain(BlockId id) noexcept;
/// Gives back a share taken by `retain`.
void release(BlockId id) noexcept;

/// Whether anybody has a share in a block, and its memory holds that value at that offset: whether it is still the
/// block that the value was written to, for a value that no other ever gets.
[[nodiscard]] bool holds(BlockId id, std::size_t offset, std::uint64_t value) noexcept;

/// Makes the heap of this family now, if there is none, so that children forked later have the same one.
///
/// Throws: SystemError.
void open_shared_heap();

/// Gives back what dead processes held. Also happens when a process begins to use the heap, and before the heap grows.
void release_shares_of_the_dead() noexcept;

/// The descriptor that a program started by exec inherits and gives to `join_shared_heap` before it calls anything else
/// here.
[[nodiscard]] int shared_heap_fd();
void join_shared_heap(Fd fd);

/// A number that tells this process's heap from those of other families; 0 when it has none.
[[nodiscard]] std::uint64_t shared_heap_number() noexcept;
/// The block in which an address of this process lies, or `none`. Takes time in proportion to the number of blocks.
[[nodiscard]] BlockId block_at(const void* address) noexcept;
/// Whether an address of this process lies in the heap.
[[nodiscard]] bool is_in_shared_heap(const void* address) noexcept;

/// How the heap is used: exact as long as nobody else uses it.
struct SharedHeapUse {
  std::size_t blocks = 0;        ///< in which somebody has a share
  std::size_t bytes = 0;         ///< of those blocks
  std::size_t free_blocks = 0;   ///< waiting to be used again
  std::size_t lost_blocks = 0;   ///< neither: at most one for each process that was killed
  std::size_t backed_bytes = 0;  ///< memory that the heap has taken from the system
};
[[nodiscard]] SharedHeapUse shared_heap_use();

}  // namespace hogpen

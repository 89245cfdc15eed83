#pragma once

#include <c10/core/Storage.h>

#include <cstdint>

#include "runtime/memory/shared_heap.h"

namespace hogpen {

/// Where a storage lies in shared memory, in numbers that mean the same to every process of the family. A plain value,
/// without padding.
struct StoragePlace {
  enum class Kind : std::uint64_t { nowhere, heap, segment, gpu, empty_on_gpu };

  Kind kind = Kind::nowhere;
  std::uint64_t device = 0;  ///< of a segment's file; of an empty storage, the GPU's number
  std::uint64_t file = 0;    ///< its inode, or the number of the block's heap
  std::uint64_t block = 0;   ///< of the heap; of a GPU's memory, the one that stands for it
  std::uint64_t begin = 0;   ///< in the block or segment
  std::uint64_t size_bytes = 0;
  friend bool operator==(const StoragePlace&, const StoragePlace&) = default;
};

/// `nowhere` when the storage is not in shared memory, or is empty on the CPU. GPU memory that others cannot find yet
/// is posted. An empty storage has no memory that says which GPU it is on: the number does, so processes that number
/// their GPUs differently take it for another one's.
///
/// Throws: what `post_segment` and `DeviceMemory::post` throw.
[[nodiscard]] StoragePlace place_of(const c10::Storage& storage);
[[nodiscard]] bool is_in_shared_memory(const c10::Storage& storage) noexcept;

/// A new storage in a block of the shared heap, or in memory of a GPU; its contents are undefined.
///
/// Throws: SystemError(ENOMEM); what `DeviceMemory::create` throws.
[[nodiscard]] c10::Storage new_shared_storage(std::size_t size_bytes, c10::Device device);
/// Moves a storage there, in place: on a GPU, when all has been done that was enqueued on the current stream.
///
/// Throws: as above; CudaError.
void move_to_shared_memory(const c10::Storage& storage);

/// The storage at that place: one and the same as long as it is in use in this process.
///
/// Throws: Error when the place is not one of this process's family.
[[nodiscard]] c10::Storage storage_at(const StoragePlace& place);

}  // namespace hogpen

#pragma once

#include <cstdint>

#include "runtime/memory/device_memory.h"
#include "runtime/memory/shared_heap.h"

namespace hogpen::detail {

/// GPU memory on the board of the family. Whoever has a share in a block of the shared heap, which holds the handle,
/// has one in the memory; so a message keeps it as it keeps other blocks, and no death leaves it behind.

/// Posts it. The memory stays as long as anybody has a share in the block that this returns.
///
/// Throws: what `SharedBlock::allocate` and `post_on_board` throw; Error when the board is full.
[[nodiscard]] SharedBlock post_device_memory(const DeviceShare& share);

/// What was posted with that block. Throws: Error when the block is of something else.
[[nodiscard]] DeviceShare find_device_memory(const SharedBlock& block);

/// Takes off the board what nobody has a share in any more, so that the driver frees it.
void forget_dead_device_memory() noexcept;

}  // namespace hogpen::detail

#pragma once

#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <c10/util/ArrayRef.h>

#include <cstddef>
#include <span>
#include <vector>

#include "runtime/memory/shared_heap.h"

namespace at {
class Tensor;
}

namespace hogpen {

/// Moves the storage of a tensor into shared memory, unless it lies there: in the shared heap, in a Segment (and so in
/// an Arena), or in DeviceMemory of the GPU that it is on. Once, in place, and for all views of that storage, as
/// torch's `share_memory_()`; afterwards it cannot be resized. Pointers into the old memory are dangling.
///
/// On a GPU each storage takes whole pages, of 2 MiB: share many small tensors in one Arena.
///
/// Sharing: other threads must not use the tensor meanwhile.
/// Throws: UsageError for tensors that are not dense, on another device, or require a gradient without being leaves;
/// SystemError(ENOMEM); what `DeviceMemory::create` throws.
void share_memory(const at::Tensor& tensor);

/// A new tensor in the shared heap, or in a GPU's shared memory, contiguous; its contents are undefined.
///
/// Throws: UsageError for a negative size, or more bytes than can be counted; SystemError(ENOMEM); what
/// `DeviceMemory::create` throws.
[[nodiscard]] at::Tensor empty_shared(c10::IntArrayRef sizes, c10::ScalarType dtype,
                                      c10::Device device = c10::DeviceType::CPU);

/// Whether a tensor lies in shared memory; one without elements in its storage does.
[[nodiscard]] bool is_shared(const at::Tensor& tensor);

/// Appends to `bytes` where a tensor lies, with its dtype, sizes, strides, and whether it requires a gradient; shares
/// it first if it is not. Appends to `blocks` the block it lies in, if any: the caller retains it for the message.
///
/// What has been enqueued for a CUDA tensor on the current stream is waited for, so that the receiver sees it.
///
/// A Segment is posted the first time, so that processes find it that have not inherited it; from then on its memory
/// stays until the family has ended, and there can be some hundreds of them. Tensors that lie in none have no such
/// limit. Of a GPU's memory as many pieces can be posted, too, but at a time: each goes with its last user.
///
/// Throws: what `share_memory` throws; Error when too many Segments were sent, or too many pieces of GPU memory are in
/// use, or this program was executed by a member of the family and the tensor lies in either.
void write_tensor(const at::Tensor& tensor, std::vector<std::byte>& bytes, std::vector<BlockId>& blocks);

/// The tensor that `write_tensor` wrote: the same memory. Tensors whose storage was the same have the same Storage
/// here, as long as any of them is there. Advances `bytes`.
///
/// Requires: the message, or somebody else, has a share in the block meanwhile.
/// Throws: Error when the bytes are not such a tensor's, or it lies where this process has no access.
[[nodiscard]] at::Tensor read_tensor(std::span<const std::byte>& bytes);

}  // namespace hogpen

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "runtime/core/fd.h"
#include "runtime/memory/cuda_driver.h"
#include "runtime/memory/mapping.h"
#include "runtime/memory/shared_heap.h"

namespace hogpen {

namespace detail {
class DeviceAllocation;
}

/// What another process must know of GPU memory to attach to it. A plain value, to be sent as its bytes.
struct DeviceHandle {
  /// How the memory gets from one process to another.
  enum class Way : std::uint64_t {
    automatic,   ///< to `create`: descriptor where the GPU's driver can, else cuda_ipc
    descriptor,  ///< virtual memory management: a descriptor goes beside the handle, and keeps the memory
    cuda_ipc,    ///< the handle is all; the memory is its maker's, who must keep it while others use it
  };

  Way way = Way::automatic;
  std::uint64_t size_bytes = 0;
  std::uint64_t layout_hash = 0;
  cuda::Uuid gpu;
  cuda::IpcHandle ipc;  ///< way cuda_ipc
};

/// GPU memory on its way to another process: the handle's bytes, and by `send_fd` the descriptor, which is empty in the
/// way cuda_ipc.
struct DeviceShare {
  DeviceHandle handle;
  Fd fd;
};

/// A fixed-size piece of one GPU's memory that processes share: the counterpart of a Segment.
///
/// It has no name. Shared by descriptor, the driver frees it when nobody has it mapped and no descriptor of it is open,
/// however its users die: whoever made it may give it up, or be killed, while others use it. CUDA IPC is for GPUs whose
/// driver cannot do that.
///
/// Sharing: the bytes are shared by all who attach; the object is a handle, and a copy is another one to the same
/// mapping. In a child that is forked later it is dead: it can be dropped there, no more.
/// Owns: with its copies, one mapping and one allocation handle. Views must not outlive them all.
/// Source: CUDA driver API, virtual memory management and interprocess communication.
class DeviceMemory {
 public:
  using Access = Mapping::Access;
  using Way = DeviceHandle::Way;

  struct Options {
    std::uint64_t layout_hash = 0;  ///< says what lies in it, as Arena's does
    Way way = Way::automatic;
  };

  /// Takes memory of GPU `gpu`, not initialised.
  ///
  /// Throws: UsageError for size 0 and in a forked child of a process that used CUDA; DeviceError without such a GPU;
  /// CudaError, which for too little memory says how much was asked for and how much is free.
  [[nodiscard]] static DeviceMemory create(int gpu, std::size_t size_bytes, const Options& options);
  [[nodiscard]] static DeviceMemory create(int gpu, std::size_t size_bytes) { return create(gpu, size_bytes, {}); }

  /// Maps the memory that `share` gave; the descriptor may then be closed.
  ///
  /// Throws: UsageError for another size or layout hash than expected, and for read_only in the way cuda_ipc, which
  /// has no such maps; DeviceError when this process does not see that GPU; CudaError when the memory is no more, or is
  /// not what the handle says; and as `create`.
  [[nodiscard]] static DeviceMemory attach(const DeviceShare& share, std::size_t size_bytes,
                                           std::uint64_t layout_hash = 0, Access access = Access::read_write);

  /// For another process. Throws: CudaError; UsageError in a forked child.
  [[nodiscard]] DeviceShare share() const;

  /// Posts it for all processes of the family, unless it is posted, and returns the block of the shared heap that
  /// stands for it: in the way descriptor, the memory stays as long as anybody has a share in that block.
  ///
  /// Throws: as `share`; Error when too much has been posted.
  [[nodiscard]] BlockId post() const;
  /// What a process of the family has posted, as one and the same mapping as long as it is in use in this process.
  ///
  /// Requires: somebody has a share in the block meanwhile. Throws: as `attach`; Error for a block of something else.
  [[nodiscard]] static DeviceMemory find(BlockId block);
  /// The memory of this process in which an address lies.
  [[nodiscard]] static std::optional<DeviceMemory> at(const void* address);

  /// The driver maps memory in multiples of this. Throws: DeviceError, CudaError.
  [[nodiscard]] static std::size_t granularity_bytes(int gpu);

  [[nodiscard]] std::byte* data() const noexcept;  ///< an address of the GPU, not of the host
  [[nodiscard]] std::size_t size_bytes() const noexcept;
  [[nodiscard]] std::uint64_t layout_hash() const noexcept;
  [[nodiscard]] int gpu() const noexcept;

 private:
  explicit DeviceMemory(std::shared_ptr<const detail::DeviceAllocation> allocation) noexcept
      : allocation_(std::move(allocation)) {}

  std::shared_ptr<const detail::DeviceAllocation> allocation_;
};

}  // namespace hogpen

#pragma once

#include <cstddef>
#include <memory>
#include <utility>

#include "runtime/core/fd.h"
#include "runtime/memory/mapping.h"

namespace hogpen {

/// A fixed-size piece of one GPU's memory that processes share: the counterpart of a Segment.
///
/// It has no name: the driver frees it when nobody has it mapped and no descriptor of it is open, however its users
/// die. Whoever made it may give it up, or be killed, while others use it.
///
/// Sharing: the bytes are shared by all who attach; the object is a handle, and a copy is another one to the same
/// mapping. In a child that is forked later it is dead: it can be dropped there, no more.
/// Owns: with its copies, one mapping and one allocation handle. Views must not outlive them all.
/// Source: CUDA driver API, virtual memory management.
class DeviceMemory {
 public:
  using Access = Mapping::Access;

  /// Takes memory of GPU `gpu`, not initialised.
  ///
  /// Throws: UsageError for size 0 and in a forked child of a process that used CUDA; DeviceError without such a GPU;
  /// CudaError, which for too little memory says how much was asked for and how much is free.
  [[nodiscard]] static DeviceMemory create(int gpu, std::size_t size_bytes);

  /// Maps the memory behind a descriptor that `share` gave; the descriptor may then be closed.
  ///
  /// Requires: gpu and size as in `create`. Throws: as `create`; CudaError for a descriptor of something else, and for
  /// another size where that takes another number of `granularity_bytes`.
  [[nodiscard]] static DeviceMemory attach(const Fd& fd, int gpu, std::size_t size_bytes,
                                           Access access = Access::read_write);

  /// The driver maps memory in multiples of this. Throws: DeviceError, CudaError.
  [[nodiscard]] static std::size_t granularity_bytes(int gpu);

  /// A descriptor for another process, to be sent with `send_fd`. Throws: CudaError; UsageError in a forked child.
  [[nodiscard]] Fd share() const;

  [[nodiscard]] std::byte* data() const noexcept;  ///< an address of the GPU, not of the host
  [[nodiscard]] std::size_t size_bytes() const noexcept;
  [[nodiscard]] int gpu() const noexcept;

 private:
  struct State;
  explicit DeviceMemory(std::shared_ptr<const State> state) noexcept : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace hogpen

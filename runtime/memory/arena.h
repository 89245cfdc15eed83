#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/memory/device_memory.h"
#include "runtime/memory/safetensors.h"
#include "runtime/memory/segment.h"

namespace hogpen {

/// Named tensors in one Segment, or in one piece of a GPU's memory: one descriptor and one mapping however many they
/// are.
///
/// The Segment is a valid safetensors file. So a checkpoint is a copy of it, and any program that reads safetensors can
/// look into a live model. Data begins on a page, every tensor on 64 bytes. An Arena of 100 tensors or more has a
/// LayoutTable in its first tensor, a filler, so that nobody who attaches to it need parse its JSON.
///
/// A copy of an Arena is another handle to the same memory. Tensors keep the mapping alive, also when every Arena
/// handle is gone. An Arena on a GPU has its data there, and its header in the Segment of the Arena that it was made
/// from, whose data is untouched: a place for the GPU's to be copied to.
///
/// Sharing: tensors are shared memory; const members may be called from several threads.
/// Owns: a share of the Segment, and of the GPU memory.
class Arena {
 public:
  /// Makes a zero-filled Arena. `label` shows in /proc/PID/maps.
  ///
  /// Throws: what `lay_out` and `Segment::create` throw.
  [[nodiscard]] static Arena create(std::string_view label, std::span<const TensorSpec> specs,
                                    std::map<std::string, std::string> metadata = {});

  /// Attaches to an Arena that another process made. With `expected_layout` the layout need not be read now.
  ///
  /// Throws: FormatError when the Segment is not a safetensors file or its tensors are not aligned for views;
  /// UsageError when `expected_layout` is given and is not `layout_hash()`.
  [[nodiscard]] static Arena attach(Segment segment, std::optional<std::uint64_t> expected_layout = {});

  /// The same tensors on a GPU, by the same names, in memory that `device_memory` made or that was attached to.
  /// Its contents stay as they are: see `copy`.
  ///
  /// Throws: UsageError unless the memory has as many bytes as `data`, and this `layout_hash`.
  [[nodiscard]] Arena on(DeviceMemory memory) const;
  /// Memory for `on`. Throws: what `DeviceMemory::create` throws.
  [[nodiscard]] DeviceMemory device_memory(int gpu) const;

  /// A view of the named tensor. Throws: UsageError for a name that is not there.
  [[nodiscard]] at::Tensor tensor(std::string_view name) const;
  /// A view of the i-th entry of `header()`.
  [[nodiscard]] at::Tensor tensor(std::size_t index) const;
  /// The bytes [begin, end) of the data section as one 1-D float32 tensor, fillers included.
  ///
  /// Requires: begin and end multiples of 4, within the data section.
  [[nodiscard]] at::Tensor flat(std::size_t begin, std::size_t end) const;

  /// What the file's header says. Nothing else needs it, so that an attached Arena may read it only now.
  ///
  /// Throws: FormatError when it is damaged.
  [[nodiscard]] const SafetensorsHeader& header() const;
  [[nodiscard]] std::span<std::byte> data() const noexcept;  ///< the data section; on a GPU, addresses of the GPU
  [[nodiscard]] c10::Device device() const noexcept;
  [[nodiscard]] const Segment& segment() const noexcept;
  /// A hash of names, dtypes, shapes and places: equal where two processes may share.
  [[nodiscard]] std::uint64_t layout_hash() const noexcept;

 private:
  struct State;
  explicit Arena(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

/// Copies all data from one Arena to another, to or from a GPU or within the host; done when it returns. Of a GPU's
/// streams it waits for the default one alone.
///
/// Throws: UsageError for different layouts, and for two Arenas on GPUs; CudaError.
void copy(const Arena& from, const Arena& to);

}  // namespace hogpen

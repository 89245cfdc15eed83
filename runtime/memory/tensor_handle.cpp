#include "runtime/memory/tensor_handle.h"

#include <ATen/core/Tensor.h>
#include <c10/core/TensorImpl.h>

#include <array>
#include <cstdint>
#include <cstring>

#include "runtime/core/error.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/shared_storage.h"
#include "runtime/memory/view.h"

namespace hogpen {
namespace {

// A tensor as it travels; its sizes and then its strides follow.
struct Wire {
  StoragePlace place;
  std::int64_t storage_offset;  // in elements
  std::uint32_t dims;
  std::uint16_t dtype;
  std::uint16_t flags;
};
static_assert(sizeof(Wire) == 64, "no padding, because it would carry old memory along");

constexpr std::uint16_t kRequiresGrad = 1;
constexpr std::uint16_t kConjugate = 2;
constexpr std::uint16_t kNegative = 4;
constexpr std::uint32_t kMostDims = 64;

// Not by `require`, which would put the texts together for every tensor.
void require_shareable(const at::Tensor& tensor) {
  require(tensor.defined(), "a tensor must be defined to be shared");
  if (tensor.layout() != c10::kStrided || tensor.is_nested() || !tensor.has_storage()) {
    throw UsageError(fmt::format("only dense tensors can be shared, and this one's layout is {}: call to_dense() first",
                                 tensor.is_nested() ? "Nested" : c10::str(tensor.layout())));
  }
  if (!tensor.device().is_cpu() && !tensor.device().is_cuda()) {
    throw UsageError(fmt::format("only tensors on the CPU or on CUDA can be shared, and this one is on {}: call cpu()",
                                 tensor.device().str()));
  }
  require(!tensor.is_quantized(), "quantized tensors cannot be shared: call dequantize() first");
  require(
      !tensor.requires_grad() || tensor.is_leaf(),
      "a tensor that requires a gradient must be a leaf to be shared, since its graph cannot be: call detach() first");
}

void append(std::vector<std::byte>& bytes, const void* data, std::size_t size) {
  const auto* first = static_cast<const std::byte*>(data);
  bytes.insert(bytes.end(), first, first + size);
}

void take(std::span<const std::byte>& bytes, void* data, std::size_t size) {
  if (bytes.size() < size) throw Error("a message ends in the middle of a tensor");
  std::memcpy(data, bytes.data(), size);
  bytes = bytes.subspan(size);
}

std::uint16_t flags_of(const at::Tensor& tensor) {
  std::uint16_t flags = 0;
  if (tensor.requires_grad()) flags |= kRequiresGrad;
  if (tensor.is_conj()) flags |= kConjugate;
  if (tensor.is_neg()) flags |= kNegative;
  return flags;
}

// Whether all elements lie in the storage, so that a damaged message cannot make a tensor that reaches beyond.
bool fits(const Wire& wire, c10::IntArrayRef sizes, c10::IntArrayRef strides, std::size_t element_bytes) {
  std::uint64_t end = static_cast<std::uint64_t>(wire.storage_offset) + 1;
  bool is_too_large = wire.storage_offset < 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] == 0) return true;
    std::uint64_t step = 0;
    is_too_large |= sizes[i] < 0 || strides[i] < 0 || __builtin_mul_overflow(sizes[i] - 1, strides[i], &step) ||
                    __builtin_add_overflow(end, step, &end);
  }
  return !is_too_large && end <= wire.place.size_bytes / element_bytes;
}

}  // namespace

void share_memory(const at::Tensor& tensor) {
  require_shareable(tensor);
  if (!is_in_shared_memory(tensor.storage())) move_to_shared_memory(tensor.storage());
}

at::Tensor empty_shared(c10::IntArrayRef sizes, c10::ScalarType dtype, c10::Device device) {
  require(device.is_cpu() || device.is_cuda(), "tensors can be shared on the CPU and on CUDA, not on {}", device.str());
  const caffe2::TypeMeta type = c10::scalarTypeToTypeMeta(dtype);
  std::uint64_t size_bytes = type.itemsize();
  bool is_too_large = false;
  for (const std::int64_t size : sizes) {
    if (size < 0) throw UsageError(fmt::format("the sizes of a tensor must not be negative: {}", c10::str(sizes)));
    is_too_large |= __builtin_mul_overflow(size_bytes, static_cast<std::uint64_t>(size), &size_bytes);
  }
  // The product of all sizes but a zero may overflow, too; such a tensor has no elements, and nobody needs it.
  if (is_too_large) throw UsageError(fmt::format("a tensor of {} does not fit into any memory", c10::str(sizes)));
  at::Tensor tensor = tensor_in(new_shared_storage(size_bytes, device), type);
  tensor.unsafeGetTensorImpl()->set_sizes_contiguous(sizes);
  return tensor;
}

bool is_shared(const at::Tensor& tensor) {
  return tensor.defined() && tensor.has_storage() && is_in_shared_memory(tensor.storage());
}

void write_tensor(const at::Tensor& tensor, std::vector<std::byte>& bytes, std::vector<BlockId>& blocks) {
  share_memory(tensor);
  if (tensor.is_cuda()) wait_for_current_stream(tensor.device());
  const StoragePlace place = place_of(tensor.storage());
  const c10::IntArrayRef sizes = tensor.sizes();
  const c10::IntArrayRef strides = tensor.strides();
  const Wire wire = {.place = place,
                     .storage_offset = tensor.storage_offset(),
                     .dims = static_cast<std::uint32_t>(sizes.size()),
                     .dtype = static_cast<std::uint16_t>(tensor.scalar_type()),
                     .flags = flags_of(tensor)};
  require(wire.dims <= kMostDims, "a tensor of a message must have at most {} dimensions, not {}", kMostDims,
          wire.dims);
  append(bytes, &wire, sizeof(wire));
  append(bytes, sizes.data(), sizes.size() * sizeof(std::int64_t));
  append(bytes, strides.data(), strides.size() * sizeof(std::int64_t));
  const bool is_of_block = place.kind == StoragePlace::Kind::heap || place.kind == StoragePlace::Kind::gpu;
  if (is_of_block) blocks.push_back(static_cast<BlockId>(place.block));
}

at::Tensor read_tensor(std::span<const std::byte>& bytes) {
  Wire wire;
  take(bytes, &wire, sizeof(wire));
  if (wire.dims > kMostDims || wire.dtype >= static_cast<std::uint16_t>(c10::ScalarType::NumOptions)) {
    throw Error("a message must hold a tensor where one is read");
  }
  std::array<std::int64_t, kMostDims> sizes;
  std::array<std::int64_t, kMostDims> strides;
  take(bytes, sizes.data(), wire.dims * sizeof(std::int64_t));
  take(bytes, strides.data(), wire.dims * sizeof(std::int64_t));
  const c10::IntArrayRef shape(sizes.data(), wire.dims);
  const c10::IntArrayRef steps(strides.data(), wire.dims);
  const caffe2::TypeMeta dtype = c10::scalarTypeToTypeMeta(static_cast<c10::ScalarType>(wire.dtype));
  if (!fits(wire, shape, steps, dtype.itemsize())) throw Error("a tensor of a message must lie in its storage");
  at::Tensor tensor = tensor_in(storage_at(wire.place), dtype);
  c10::TensorImpl* impl = tensor.unsafeGetTensorImpl();
  impl->set_sizes_and_strides(shape, steps, wire.storage_offset);
  if ((wire.flags & kConjugate) != 0) impl->_set_conj(true);
  if ((wire.flags & kNegative) != 0) impl->_set_neg(true);
  if ((wire.flags & kRequiresGrad) != 0) impl->set_requires_grad(true);
  return tensor;
}

}  // namespace hogpen

#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Storage.h>
#include <c10/core/TensorImpl.h>

#include <cstddef>
#include <utility>

namespace hogpen {

/// A storage over bytes [begin, begin + size_bytes) of memory, which it keeps: a Segment, or DeviceMemory.
template <class Memory>
c10::Storage storage_in(Memory memory, std::size_t begin, std::size_t size_bytes, c10::Device device) {
  std::byte* data = memory.data() + begin;
  auto* keeper = new Memory(std::move(memory));
  at::DataPtr pointer(data, keeper, [](void* context) { delete static_cast<Memory*>(context); }, device);
  return {c10::Storage::use_byte_size_t(), size_bytes, std::move(pointer)};
}

/// What at::from_blob makes, without its way through the dispatcher: an empty tensor whose shape is to be set. On a GPU
/// it needs none of LibTorch's CUDA libraries.
inline at::Tensor tensor_in(c10::Storage storage, caffe2::TypeMeta dtype) {
  const bool is_on_gpu = storage.device_type() == c10::DeviceType::CUDA;
  const c10::DispatchKey key = is_on_gpu ? c10::DispatchKey::CUDA : c10::DispatchKey::CPU;
  return at::detail::make_tensor<c10::TensorImpl>(std::move(storage), c10::DispatchKeySet(key), dtype);
}

/// A contiguous tensor of that shape from the given byte on.
inline at::Tensor view_in(c10::Storage storage, c10::ScalarType dtype, std::size_t offset, c10::IntArrayRef shape) {
  at::Tensor tensor = tensor_in(std::move(storage), c10::scalarTypeToTypeMeta(dtype));
  c10::TensorImpl* impl = tensor.unsafeGetTensorImpl();
  impl->set_storage_offset(static_cast<std::int64_t>(offset / c10::elementSize(dtype)));
  impl->set_sizes_contiguous(shape);
  return tensor;
}

}  // namespace hogpen

#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "runtime/channel/codec.h"

namespace c10 {
struct IValue;
}

namespace hogpen {

/// A tensor travels as a handle: the receiver has the same memory, also of a slice or a transposed one. A tensor that
/// is not in shared memory is moved there first, once (`share_memory`). Its memory stays as long as anybody has it,
/// also when its sender has ended; a message keeps it until it is taken. That holds for CUDA tensors too, unless the
/// GPU's driver gives no descriptors (`DeviceHandle::Way`): then the sender must keep it while others use it.
///
/// Throws: what `write_tensor` and `read_tensor` throw.
template <>
struct Codec<at::Tensor> {
  static void encode(Encoder& to, const at::Tensor& tensor);
  static at::Tensor decode(Decoder& from);
};

template <>
struct Codec<std::vector<at::Tensor>> {
  static void encode(Encoder& to, const std::vector<at::Tensor>& tensors);
  static std::vector<at::Tensor> decode(Decoder& from);
};

/// Numbers, strings, lists, tuples and dictionaries of them, and tensors, which travel as above.
///
/// Throws: as above; Error for what TorchScript's pickler cannot write.
template <>
struct Codec<c10::IValue> {
  static void encode(Encoder& to, const c10::IValue& value);
  static c10::IValue decode(Decoder& from);
};

}  // namespace hogpen

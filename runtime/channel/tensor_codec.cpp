#include "runtime/channel/tensor_codec.h"

#include <torch/csrc/jit/serialization/pickle.h>

#include "runtime/memory/tensor_handle.h"

namespace hogpen {

void Codec<at::Tensor>::encode(Encoder& to, const at::Tensor& tensor) {
  write_tensor(tensor, to.bytes, to.blocks);
}

at::Tensor Codec<at::Tensor>::decode(Decoder& from) {
  return read_tensor(from.bytes);
}

void Codec<std::vector<at::Tensor>>::encode(Encoder& to, const std::vector<at::Tensor>& tensors) {
  to.value<std::uint64_t>(tensors.size());
  for (const at::Tensor& tensor : tensors) write_tensor(tensor, to.bytes, to.blocks);
}

std::vector<at::Tensor> Codec<std::vector<at::Tensor>>::decode(Decoder& from) {
  const auto count = from.value<std::uint64_t>();
  std::vector<at::Tensor> tensors;
  tensors.reserve(std::min<std::size_t>(count, from.bytes.size()));
  for (std::uint64_t i = 0; i < count; ++i) tensors.push_back(read_tensor(from.bytes));
  return tensors;
}

void Codec<c10::IValue>::encode(Encoder& to, const c10::IValue& value) {
  std::vector<at::Tensor> tensors;
  std::vector<char> pickled;
  try {
    pickled = torch::jit::pickle(value, &tensors);
  } catch (const c10::Error& error) {
    throw Error(
        fmt::format("this value of type {} cannot be sent: {}", value.tagKind(), error.what_without_backtrace()));
  }
  to.value(tensors);
  to.value(pickled);
}

c10::IValue Codec<c10::IValue>::decode(Decoder& from) {
  const auto tensors = from.value<std::vector<at::Tensor>>();
  const auto length = from.value<std::uint64_t>();
  const auto pickled = from.take(length);
  std::size_t read = 0;
  const auto reader = [&](char* to, std::size_t size) {
    size = std::min(size, pickled.size() - read);
    std::memcpy(to, pickled.data() + read, size);
    read += size;
    return size;
  };
  return torch::jit::unpickle(reader, nullptr, tensors);
}

}  // namespace hogpen

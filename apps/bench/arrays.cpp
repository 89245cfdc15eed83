#include "apps/bench/arrays.h"

#include <algorithm>
#include <bit>

#include "runtime/memory/limits.h"
#include "runtime/memory/tensor_handle.h"

namespace hogpen {

std::int64_t most_elements(const Recorder& recorder, std::size_t arrays, std::int64_t wished) {
  const std::uint64_t room = memory_limit().available_bytes / 4 / (arrays * sizeof(float));
  const std::uint64_t allowed = std::min<std::uint64_t>(
      {static_cast<std::uint64_t>(wished), room, static_cast<std::uint64_t>(recorder.max_elements())});
  return static_cast<std::int64_t>(std::bit_floor(std::max<std::uint64_t>(allowed, 1024)));
}

at::Tensor filled_array(std::int64_t elements) {
  const at::Tensor array = empty_shared({elements}, c10::ScalarType::Float);
  auto* const values = array.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < elements; ++i) values[i] = static_cast<float>(i % 1001) * 0.01F - 5.0F;
  return array;
}

}  // namespace hogpen

#pragma once

#include <c10/macros/Macros.h>

#include <cstdint>

namespace hogpen::kernels {

/// From number to number, a state of `split_mix` grows by this.
constexpr std::uint64_t kSplitMixStep = 0x9E3779B97F4A7C15U;

/// The next number of the stream that `state` stands for: any number begins one, and every bit of a result depends on
/// every bit of the state.
///
/// Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014 (SplitMix64).
[[nodiscard]] C10_HOST_DEVICE inline std::uint64_t split_mix(std::uint64_t& state) noexcept {
  state += kSplitMixStep;
  std::uint64_t bits = state;
  bits = (bits ^ (bits >> 30U)) * 0xBF58476D1CE4E5B9U;
  bits = (bits ^ (bits >> 27U)) * 0x94D049BB133111EBU;
  return bits ^ (bits >> 31U);
}

}  // namespace hogpen::kernels

#pragma once

namespace hogpen::kernels {

/// The vector instructions that loops are compiled for; each is a namespace of *_simd.cpp.
enum class InstructionSet { x86_64, avx2, avx512 };

/// The widest that this CPU has.
[[nodiscard]] InstructionSet instruction_set() noexcept;

/// Of what *_simd.cpp defines once for each set, that of this CPU.
template <class T>
[[nodiscard]] const T& for_this_cpu(const T& x86_64, const T& avx2, const T& avx512) noexcept {
  const InstructionSet set = instruction_set();
  return set == InstructionSet::avx512 ? avx512 : set == InstructionSet::avx2 ? avx2 : x86_64;
}

/// "x86-64", "AVX2", "AVX-512".
[[nodiscard]] const char* name_of(InstructionSet set) noexcept;

}  // namespace hogpen::kernels

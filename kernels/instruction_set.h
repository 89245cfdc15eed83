#pragma once

namespace hogpen::kernels {

/// The vector instructions that loops are compiled for; each is a namespace of *_simd.cpp.
enum class InstructionSet { x86_64, avx2, avx512 };

/// The widest that this CPU has.
[[nodiscard]] InstructionSet instruction_set() noexcept;

/// "x86-64", "AVX2", "AVX-512".
[[nodiscard]] const char* name_of(InstructionSet set) noexcept;

}  // namespace hogpen::kernels

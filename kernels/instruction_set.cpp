#include "kernels/instruction_set.h"

namespace hogpen::kernels {
namespace {

InstructionSet look() noexcept {
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    return InstructionSet::avx512;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c")) {
    return InstructionSet::avx2;
  }
  return InstructionSet::x86_64;
}

}  // namespace

InstructionSet instruction_set() noexcept {
  static const InstructionSet found = look();
  return found;
}

const char* name_of(InstructionSet set) noexcept {
  switch (set) {
    case InstructionSet::avx512:
      return "AVX-512";
    case InstructionSet::avx2:
      return "AVX2";
    case InstructionSet::x86_64:
      break;
  }
  return "x86-64";
}

}  // namespace hogpen::kernels

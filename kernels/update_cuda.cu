// The counterpart of update.cpp: the kernel `racy_update` is the same allowed data race in GPU memory, where an aligned
// float does not tear either.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "kernels/cuda_check.h"
#include "kernels/update_rules.h"

namespace hogpen::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::size_t kMaxBlocks = 4096;  // enough to fill any GPU; the loops stride over the rest

template <class Rule>
struct Operands {
  float* parameters;
  const float* gradients;
  float* states[Rule::kStates + 1];  // the last is unused: an array needs an element
  std::size_t n;
};

/// What one load or store moves.
template <std::size_t kWidth>
struct alignas(kWidth * sizeof(float)) Pack {
  float lane[kWidth];
};

template <std::size_t kWidth>
__device__ Pack<kWidth>& pack(float* array, std::size_t i) {
  return reinterpret_cast<Pack<kWidth>*>(array)[i];
}

__device__ std::size_t thread_index() {
  return blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
}
__device__ std::size_t thread_count() {
  return gridDim.x * std::size_t{blockDim.x};
}

/// Updates elements [i * kWidth, (i + 1) * kWidth).
template <std::size_t kWidth, class Rule>
__device__ void update_pack(const Rule& rule, const Operands<Rule>& m, std::size_t i) {
  Pack<kWidth> p = pack<kWidth>(m.parameters, i);
  const Pack<kWidth> gradient = reinterpret_cast<const Pack<kWidth>*>(m.gradients)[i];
  Pack<kWidth> states[Rule::kStates + 1];
  for (int k = 0; k < Rule::kStates; ++k) states[k] = pack<kWidth>(m.states[k], i);
  for (std::size_t lane = 0; lane < kWidth; ++lane) {
    const float g = rule.gradient(p.lane[lane], gradient.lane[lane]);
    float fresh[Rule::kStates + 1] = {};
    for (int k = 0; k < Rule::kStates; ++k) {
      fresh[k] = states[k].lane[lane] = rule.state(k, states[k].lane[lane], g, fresh);
    }
    p.lane[lane] = rule.parameter(p.lane[lane], rule.delta(g, fresh));
  }
  for (int k = 0; k < Rule::kStates; ++k) pack<kWidth>(m.states[k], i) = states[k];
  pack<kWidth>(m.parameters, i) = p;
}

/// Packs of kWidth, and then the elements that are left of the last one.
template <std::size_t kWidth, class Rule>
__global__ void racy_update(Rule rule, Operands<Rule> m) {
  const std::size_t packs = m.n / kWidth;
  for (std::size_t i = thread_index(); i < packs; i += thread_count()) update_pack<kWidth>(rule, m, i);
  for (std::size_t i = packs * kWidth + thread_index(); i < m.n; i += thread_count()) update_pack<1>(rule, m, i);
}

/// place = f(place), retried until no other thread came between; returns the value stored.
template <class F>
__device__ float exchange(float& place, const F& f) {
  auto* const bits = reinterpret_cast<unsigned*>(&place);
  unsigned old = *const_cast<const volatile unsigned*>(bits);
  while (true) {
    const float next = f(__uint_as_float(old));
    const unsigned seen = atomicCAS(bits, old, __float_as_uint(next));
    if (seen == old) return next;
    old = seen;
  }
}

template <class Rule>
__global__ void update_atomically(Rule rule, Operands<Rule> m) {
  for (std::size_t i = thread_index(); i < m.n; i += thread_count()) {
    const float p = *const_cast<const volatile float*>(m.parameters + i);
    const float g = rule.gradient(p, m.gradients[i]);
    float fresh[Rule::kStates + 1] = {};
    for (int k = 0; k < Rule::kStates; ++k) {
      fresh[k] = exchange(m.states[k][i], [&](float old) { return rule.state(k, old, g, fresh); });
    }
    atomicAdd(m.parameters + i, rule.delta(g, fresh));
  }
}

template <class Rule>
bool packs_of_four(const Operands<Rule>& m) {
  auto bits = reinterpret_cast<std::uintptr_t>(m.parameters) | reinterpret_cast<std::uintptr_t>(m.gradients);
  for (int k = 0; k < Rule::kStates; ++k) bits |= reinterpret_cast<std::uintptr_t>(m.states[k]);
  return bits % sizeof(Pack<4>) == 0;
}

unsigned blocks(std::size_t work) {
  return static_cast<unsigned>(std::clamp<std::size_t>((work + kThreads - 1) / kThreads, 1, kMaxBlocks));
}

template <class Rule>
void launch(Write write, const Rule& rule, const Operands<Rule>& m, CUstream_st* stream) {
  if (m.n == 0) return;
  if (write == Write::atomic) {
    update_atomically<<<blocks(m.n), kThreads, 0, stream>>>(rule, m);
  } else if (packs_of_four(m)) {
    racy_update<4><<<blocks(m.n / 4), kThreads, 0, stream>>>(rule, m);
  } else {
    racy_update<1><<<blocks(m.n), kThreads, 0, stream>>>(rule, m);
  }
  detail::cuda_ok(cudaGetLastError(), "launch of the SGD update on the GPU");
}

}  // namespace

void sgd_cuda(Write write, float* parameters, const float* gradients, float* momentum_buffer, std::size_t n,
              const SgdScalars& scalars, CUstream_st* stream) {
  if (scalars.momentum == 0.0) {
    launch<detail::SgdRule>(write, detail::SgdRule(scalars), {parameters, gradients, {}, n}, stream);
  } else {
    launch<detail::SgdMomentumRule>(write, detail::SgdMomentumRule(scalars),
                                    {parameters, gradients, {momentum_buffer}, n}, stream);
  }
}

}  // namespace hogpen::kernels

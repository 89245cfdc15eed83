// The counterpart of update.cpp: the kernels `racy_update` and `racy_merge` are the same allowed data race in GPU
// memory, where an aligned float does not tear either.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <new>
#include <nv/target>
#include <type_traits>

#include "kernels/cuda_check.h"
#include "kernels/update_rules.h"

namespace hogpen::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr std::size_t kMaxBlocks = 1024;  // about what runs at once: every block makes its rule first

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
template <std::size_t kWidth>
__device__ const Pack<kWidth>& pack(const float* array, std::size_t i) {
  return reinterpret_cast<const Pack<kWidth>*>(array)[i];
}

/// f(width, i) for each pack i of kWidth elements, and then, with width 1, for each element left over.
template <std::size_t kWidth, class F>
__device__ void for_each_pack(std::size_t n, const F& f) {
  const std::size_t thread = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
  const std::size_t threads = gridDim.x * std::size_t{blockDim.x};
  const std::size_t packs = n / kWidth;
  for (std::size_t i = thread; i < packs; i += threads) f(std::integral_constant<std::size_t, kWidth>{}, i);
  for (std::size_t i = packs * kWidth + thread; i < n; i += threads) f(std::integral_constant<std::size_t, 1>{}, i);
}

__device__ bool is_to_update(const float* loss) {
  return loss == nullptr || isfinite(*loss);
}

/// The rule of these scalars; one thread makes it for its block, since it takes doubles, and the scalars may lie in the
/// host's memory. Null where the loss is given and is no number. To be called by all threads of a block.
template <class Rule, class Scalars>
__device__ const Rule* rule_of_block(const Scalars* scalars, const float* loss) {
  __shared__ alignas(Rule) unsigned char place[sizeof(Rule)];
  __shared__ const Rule* rule;
  if (threadIdx.x == 0) rule = is_to_update(loss) ? new (place) Rule(*scalars) : nullptr;
  __syncthreads();
  return rule;
}

template <std::size_t kWidth, class Rule>
__device__ void update_pack(const Rule& rule, const Operands<Rule>& m, std::size_t i) {
  Pack<kWidth> p = pack<kWidth>(m.parameters, i);
  const Pack<kWidth> gradient = pack<kWidth>(m.gradients, i);
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

template <std::size_t kWidth, class Rule, class Scalars>
__global__ void racy_update(const Scalars* scalars, const float* loss, Operands<Rule> m) {
  const Rule* const shared = rule_of_block<Rule>(scalars, loss);
  if (shared == nullptr) return;
  const Rule rule = *shared;
  for_each_pack<kWidth>(m.n, [&](auto width, std::size_t i) { update_pack<decltype(width)::value>(rule, m, i); });
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

__device__ void add(Pack<1>& place, const Pack<1>& delta) {
  atomicAdd(place.lane, delta.lane[0]);
}

/// Atomic for each element, not for the four.
__device__ void add(Pack<4>& place, const Pack<4>& delta) {
  NV_IF_ELSE_TARGET(
      NV_PROVIDES_SM_90,
      (asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(&place)),
                    "f"(delta.lane[0]), "f"(delta.lane[1]), "f"(delta.lane[2]), "f"(delta.lane[3]) : "memory");),
      (for (int lane = 0; lane < 4; ++lane) atomicAdd(place.lane + lane, delta.lane[lane]);))
}

template <std::size_t kWidth, class Rule>
__device__ void update_pack_atomically(const Rule& rule, const Operands<Rule>& m, std::size_t i) {
  const Pack<kWidth> p = pack<kWidth>(m.parameters, i);
  const Pack<kWidth> gradient = pack<kWidth>(m.gradients, i);
  Pack<kWidth> delta;
  for (std::size_t lane = 0; lane < kWidth; ++lane) {
    const float g = rule.gradient(p.lane[lane], gradient.lane[lane]);
    float fresh[Rule::kStates + 1] = {};
    for (int k = 0; k < Rule::kStates; ++k) {
      fresh[k] = exchange(m.states[k][i * kWidth + lane], [&](float old) { return rule.state(k, old, g, fresh); });
    }
    delta.lane[lane] = rule.delta(g, fresh);
  }
  if constexpr (Rule::kAdds) {
    add(pack<kWidth>(m.parameters, i), delta);
  } else {
    for (std::size_t lane = 0; lane < kWidth; ++lane) {
      exchange(m.parameters[i * kWidth + lane], [&](float old) { return rule.parameter(old, delta.lane[lane]); });
    }
  }
}

template <std::size_t kWidth, class Rule, class Scalars>
__global__ void update_atomically(const Scalars* scalars, const float* loss, Operands<Rule> m) {
  const Rule* const shared = rule_of_block<Rule>(scalars, loss);
  if (shared == nullptr) return;
  const Rule rule = *shared;
  for_each_pack<kWidth>(m.n,
                        [&](auto width, std::size_t i) { update_pack_atomically<decltype(width)::value>(rule, m, i); });
}

__global__ void begin_step(std::int64_t* steps, const double* next_lr, double* lr, std::int64_t* step,
                           const float* loss) {
  if (!is_to_update(loss)) return;
  static_assert(sizeof(unsigned long long) == sizeof *steps);
  const unsigned long long before = atomicAdd(reinterpret_cast<unsigned long long*>(steps), 1ULL);
  if (step != nullptr) *step = static_cast<std::int64_t>(before) + 1;
  *lr = *static_cast<const volatile double*>(next_lr);
}

// As in update.cpp.
__device__ float merged(float replica, float center, float base) {
  return replica + (center - base);
}

template <std::size_t kWidth>
__global__ void racy_merge(float* center, float* replica, float* base, std::size_t n) {
  for_each_pack<kWidth>(n, [&](auto width, std::size_t i) {
    constexpr std::size_t kLanes = decltype(width)::value;
    Pack<kLanes> fresh = pack<kLanes>(center, i);
    const Pack<kLanes> mine = pack<kLanes>(replica, i);
    const Pack<kLanes> before = pack<kLanes>(base, i);
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      fresh.lane[lane] = merged(mine.lane[lane], fresh.lane[lane], before.lane[lane]);
    }
    pack<kLanes>(center, i) = fresh;
    pack<kLanes>(replica, i) = fresh;
    pack<kLanes>(base, i) = fresh;
  });
}

__global__ void merge_atomically(Write to_replica, float* center, float* replica, float* base, std::size_t n) {
  for_each_pack<1>(n, [&](auto, std::size_t i) {
    const float mine = *const_cast<const volatile float*>(replica + i);
    const float fresh = exchange(center[i], [&](float old) { return merged(mine, old, base[i]); });
    base[i] = fresh;
    if (to_replica == Write::plain) {
      replica[i] = fresh;
    } else {
      exchange(replica[i], [&](float old) { return old == mine ? fresh : merged(old, fresh, mine); });
    }
  });
}

template <class... Arrays>
bool are_aligned(const Arrays*... arrays) {
  return (... && (reinterpret_cast<std::uintptr_t>(arrays) % alignof(Pack<4>) == 0));
}

unsigned blocks(std::size_t work) {
  return static_cast<unsigned>(std::clamp<std::size_t>((work + kThreads - 1) / kThreads, 1, kMaxBlocks));
}

template <class Rule, class Scalars>
void launch(Write write, const Operands<Rule>& m, const Scalars* scalars, const float* loss, CUstream_st* stream) {
  if (m.n == 0) return;
  bool by_four = are_aligned(m.parameters, m.gradients);
  for (int k = 0; k < Rule::kStates; ++k) by_four = by_four && are_aligned(m.states[k]);
  const auto one = write == Write::plain ? racy_update<1, Rule, Scalars> : update_atomically<1, Rule, Scalars>;
  const auto four = write == Write::plain ? racy_update<4, Rule, Scalars> : update_atomically<4, Rule, Scalars>;
  const unsigned count = blocks(by_four ? m.n / 4 : m.n);
  (by_four ? four : one)<<<count, kThreads, 0, stream>>>(scalars, loss, m);
  detail::cuda_ok(cudaGetLastError(), "launch of an optimizer's update on the GPU");
}

template <detail::Decay kDecay>
using AdamRule = detail::AdamRule<kDecay, detail::PortablePower>;

}  // namespace

void sgd_cuda(Write write, float* parameters, const float* gradients, float* momentum_buffer, std::size_t n,
              const SgdScalars* scalars, const float* loss, CUstream_st* stream) {
  if (momentum_buffer == nullptr) {
    launch<detail::SgdRule>(write, {parameters, gradients, {}, n}, scalars, loss, stream);
  } else {
    launch<detail::SgdMomentumRule>(write, {parameters, gradients, {momentum_buffer}, n}, scalars, loss, stream);
  }
}

void adam_cuda(Write write, float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq, std::size_t n,
               const AdamScalars* scalars, const float* loss, CUstream_st* stream) {
  launch<AdamRule<detail::Decay::l2>>(write, {parameters, gradients, {exp_avg, exp_avg_sq}, n}, scalars, loss, stream);
}

void adamw_cuda(Write write, float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq,
                std::size_t n, const AdamScalars* scalars, const float* loss, CUstream_st* stream) {
  launch<AdamRule<detail::Decay::decoupled>>(write, {parameters, gradients, {exp_avg, exp_avg_sq}, n}, scalars, loss,
                                             stream);
}

void adagrad_cuda(Write write, float* parameters, const float* gradients, float* sum, std::size_t n,
                  const AdagradScalars* scalars, const float* loss, CUstream_st* stream) {
  launch<detail::AdagradRule>(write, {parameters, gradients, {sum}, n}, scalars, loss, stream);
}

void rmsprop_cuda(Write write, float* parameters, const float* gradients, float* square_avg, float* momentum_buffer,
                  std::size_t n, const RmspropScalars* scalars, const float* loss, CUstream_st* stream) {
  if (momentum_buffer == nullptr) {
    launch<detail::RmspropRule>(write, {parameters, gradients, {square_avg}, n}, scalars, loss, stream);
  } else {
    launch<detail::RmspropMomentumRule>(write, {parameters, gradients, {square_avg, momentum_buffer}, n}, scalars, loss,
                                        stream);
  }
}

void begin_step_cuda(std::int64_t* steps, const double* next_lr, double* lr, std::int64_t* step, const float* loss,
                     CUstream_st* stream) {
  begin_step<<<1, 1, 0, stream>>>(steps, next_lr, lr, step, loss);
  detail::cuda_ok(cudaGetLastError(), "launch of the beginning of an optimizer's step on the GPU");
}

void merge_cuda(Write to_center, Write to_replica, float* center, float* replica, float* base, std::size_t n,
                CUstream_st* stream) {
  if (n == 0) return;
  if (to_center == Write::atomic || to_replica == Write::atomic) {
    merge_atomically<<<blocks(n), kThreads, 0, stream>>>(to_replica, center, replica, base, n);
  } else if (are_aligned(center, replica, base)) {
    racy_merge<4><<<blocks(n / 4), kThreads, 0, stream>>>(center, replica, base, n);
  } else {
    racy_merge<1><<<blocks(n), kThreads, 0, stream>>>(center, replica, base, n);
  }
  detail::cuda_ok(cudaGetLastError(), "launch of a replica's merge on the GPU");
}

}  // namespace hogpen::kernels

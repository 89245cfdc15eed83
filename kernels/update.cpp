// The one allowed data race of hogpen is in this file: `racy_update` and `racy_merge`, the loops of Write::plain.
// Several workers run them over the same parameters (and shared state) without synchronising, as Hogwild does: Niu,
// Recht, Ré and Wright, "Hogwild!", 2011. An aligned float never tears on x86-64, so what can happen is that one
// worker's addition to an element is overwritten by another's; with small steps, training does not mind.
// tests/tsan.supp names the functions for ThreadSanitizer.
#include "kernels/update.h"

#include <atomic>

#include "kernels/update_rules.h"

// Code for AVX2 and for any x86-64, chosen when the program starts; wider vectors were no faster. Not under a
// sanitizer, whose runtime is not up yet when the choosing function runs.
#if defined(__x86_64__) && !defined(HOGPEN_SANITIZED)
#define HOGPEN_SIMD_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define HOGPEN_SIMD_CLONES
#endif

namespace hogpen::kernels {
namespace {

template <class Rule>
struct Operands {
  float* parameters;
  const float* gradients;
  float* states[Rule::kStates + 1];  // the last is unused: an array needs an element
  std::size_t n;
};

static_assert(std::atomic_ref<float>::is_always_lock_free);

/// place = f(place), retried until no other worker came between; returns the value stored.
///
/// Relaxed is enough: each element stands for itself, and no other memory is published through it.
template <class F>
float exchange(float& place, const F& f) {
  std::atomic_ref<float> shared(place);
  float old = shared.load(std::memory_order_relaxed);
  float next = f(old);
  while (!shared.compare_exchange_weak(old, next, std::memory_order_relaxed)) next = f(old);
  return next;
}

template <class Rule>
void update_atomically(const Rule& rule, const Operands<Rule>& m) {
  for (std::size_t i = 0; i < m.n; ++i) {
    const float p = std::atomic_ref<float>(m.parameters[i]).load(std::memory_order_relaxed);
    const float g = rule.gradient(p, m.gradients[i]);
    float fresh[Rule::kStates + 1] = {};
    for (int k = 0; k < Rule::kStates; ++k) {
      fresh[k] = exchange(m.states[k][i], [&](float old) { return rule.state(k, old, g, fresh); });
    }
    const float delta = rule.delta(g, fresh);
    exchange(m.parameters[i], [&](float old) { return rule.parameter(old, delta); });
  }
}

// Not inlined, so that the stacks of ThreadSanitizer show the name that tests/tsan.supp suppresses.
template <class Rule>
[[gnu::noinline]] HOGPEN_SIMD_CLONES void racy_update(const Rule rule, const Operands<Rule> m) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < m.n; ++i) {
    const float p = m.parameters[i];
    const float g = rule.gradient(p, m.gradients[i]);
    float fresh[Rule::kStates + 1] = {};
    for (int k = 0; k < Rule::kStates; ++k) fresh[k] = rule.state(k, m.states[k][i], g, fresh);
    for (int k = 0; k < Rule::kStates; ++k) m.states[k][i] = fresh[k];
    m.parameters[i] = rule.parameter(p, rule.delta(g, fresh));
  }
}

// The replica plus what the center has gained since: the same as the center plus what the replica has gained, but to
// the bit the replica where the center has not changed.
float merged(float replica, float center, float base) {
  return replica + (center - base);
}

void merge_atomically(Write to_replica, float* center, float* replica, float* base, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i) {
    const float mine = std::atomic_ref<float>(replica[i]).load(std::memory_order_relaxed);
    const float fresh = exchange(center[i], [&](float old) { return merged(mine, old, base[i]); });
    base[i] = fresh;
    if (to_replica == Write::plain) {
      replica[i] = fresh;
    } else {
      exchange(replica[i], [&](float old) { return old == mine ? fresh : merged(old, fresh, mine); });
    }
  }
}

[[gnu::noinline]] HOGPEN_SIMD_CLONES void racy_merge(float* center, float* replica, float* base, std::size_t n) {
#pragma GCC ivdep
  for (std::size_t i = 0; i < n; ++i) {
    const float fresh = merged(replica[i], center[i], base[i]);
    center[i] = fresh;
    replica[i] = fresh;
    base[i] = fresh;
  }
}

template <class Rule>
void update(Write write, const Rule& rule, const Operands<Rule>& m) {
  write == Write::plain ? racy_update(rule, m) : update_atomically(rule, m);
}

}  // namespace

void merge(Write to_center, Write to_replica, float* center, float* replica, float* base, std::size_t n) {
  if (to_center == Write::plain && to_replica == Write::plain) {
    racy_merge(center, replica, base, n);
  } else {
    merge_atomically(to_replica, center, replica, base, n);
  }
}

void sgd(Write write, float* parameters, const float* gradients, float* momentum_buffer, std::size_t n,
         const SgdScalars& scalars) {
  if (scalars.momentum == 0.0) {
    update<detail::SgdRule>(write, detail::SgdRule(scalars), {parameters, gradients, {}, n});
  } else {
    update<detail::SgdMomentumRule>(write, detail::SgdMomentumRule(scalars),
                                    {parameters, gradients, {momentum_buffer}, n});
  }
}

void adam(Write write, float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq, std::size_t n,
          const AdamScalars& scalars) {
  using Rule = detail::AdamRule<detail::Decay::l2, detail::LibraryPower>;
  update<Rule>(write, Rule(scalars), {parameters, gradients, {exp_avg, exp_avg_sq}, n});
}

void adamw(Write write, float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq, std::size_t n,
           const AdamScalars& scalars) {
  using Rule = detail::AdamRule<detail::Decay::decoupled, detail::LibraryPower>;
  update<Rule>(write, Rule(scalars), {parameters, gradients, {exp_avg, exp_avg_sq}, n});
}

void adagrad(Write write, float* parameters, const float* gradients, float* sum, std::size_t n,
             const AdagradScalars& scalars) {
  update<detail::AdagradRule>(write, detail::AdagradRule(scalars), {parameters, gradients, {sum}, n});
}

void rmsprop(Write write, float* parameters, const float* gradients, float* square_avg, float* momentum_buffer,
             std::size_t n, const RmspropScalars& scalars) {
  if (scalars.momentum == 0.0) {
    update<detail::RmspropRule>(write, detail::RmspropRule(scalars), {parameters, gradients, {square_avg}, n});
  } else {
    update<detail::RmspropMomentumRule>(write, detail::RmspropMomentumRule(scalars),
                                        {parameters, gradients, {square_avg, momentum_buffer}, n});
  }
}

}  // namespace hogpen::kernels

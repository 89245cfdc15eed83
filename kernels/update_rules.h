#pragma once

#include <cmath>

#include "kernels/power.h"
#include "kernels/update.h"

/// What each optimizer does to one element; the loops over elements are the drivers' (update.cpp, update_cuda.cu).
///
/// A rule holds its scalars as float and has
///   kStates                    how many state buffers it keeps
///   kAdds                      whether parameter(old, delta) is old + delta, to the bit
///   gradient(p, g)             the gradient that counts: with the L2 penalty
///   state(k, old, g, fresh)    the new value of state k; fresh[0], …, fresh[k - 1] are the new values before it
///   delta(g, fresh)            what is added to the parameter
///   parameter(old, delta)      the new parameter
/// All are constexpr, so that device code may call them too, and C++17, which is what nvcc compiles.
namespace hogpen::kernels::detail {

struct SgdRule {
  static constexpr int kStates = 0;
  static constexpr bool kAdds = true;
  float lr, weight_decay;

  constexpr explicit SgdRule(const SgdScalars& s)
      : lr(static_cast<float>(s.lr)), weight_decay(static_cast<float>(s.weight_decay)) {}
  constexpr float gradient(float p, float g) const { return g + weight_decay * p; }
  constexpr float state(int, float old, float, const float*) const { return old; }
  constexpr float delta(float g, const float*) const { return -lr * g; }
  constexpr float parameter(float old, float delta) const { return old + delta; }
};

/// torch.optim sets the buffer to the first gradient. Here it starts as zero and the first step is undampened: the same
/// for one worker, and with shared state no first step wipes out another worker's.
struct SgdMomentumRule {
  static constexpr int kStates = 1;
  static constexpr bool kAdds = true;
  float lr, weight_decay, momentum, undampened;
  bool nesterov;

  constexpr explicit SgdMomentumRule(const SgdScalars& s)
      : lr(static_cast<float>(s.lr)),
        weight_decay(static_cast<float>(s.weight_decay)),
        momentum(static_cast<float>(s.momentum)),
        undampened(s.step <= 1 ? 1.0F : static_cast<float>(1.0 - s.dampening)),
        nesterov(s.nesterov) {}
  constexpr float gradient(float p, float g) const { return g + weight_decay * p; }
  constexpr float state(int, float old, float g, const float*) const { return old * momentum + undampened * g; }
  constexpr float delta(float g, const float* fresh) const {
    return -lr * (nesterov ? g + momentum * fresh[0] : fresh[0]);
  }
  constexpr float parameter(float old, float delta) const { return old + delta; }
};

/// Where Adam's weight decay goes: into the gradient, or, as AdamW has it, into what is kept of the parameter.
enum class Decay { l2, decoupled };

template <Decay kDecay, class Power>
struct AdamRule {
  static constexpr int kStates = 2;
  static constexpr bool kAdds = kDecay == Decay::l2;
  float penalty, kept, beta1, beta2, rest1, rest2, correction2_sqrt, eps, step_size;

  constexpr explicit AdamRule(const AdamScalars& s)
      : penalty(kDecay == Decay::l2 ? static_cast<float>(s.weight_decay) : 0.0F),
        kept(kDecay == Decay::l2 ? 1.0F : static_cast<float>(1.0 - s.lr * s.weight_decay)),
        beta1(static_cast<float>(s.beta1)),
        beta2(static_cast<float>(s.beta2)),
        rest1(static_cast<float>(1.0 - s.beta1)),
        rest2(static_cast<float>(1.0 - s.beta2)),
        correction2_sqrt(static_cast<float>(std::sqrt(1.0 - Power()(s.beta2, s.step)))),
        eps(static_cast<float>(s.eps)),
        step_size(static_cast<float>(s.lr / (1.0 - Power()(s.beta1, s.step)))) {}
  constexpr float gradient(float p, float g) const { return g + penalty * p; }
  constexpr float state(int k, float old, float g, const float*) const {
    return k == 0 ? old * beta1 + rest1 * g : old * beta2 + rest2 * g * g;
  }
  constexpr float delta(float, const float* fresh) const {
    return -step_size * fresh[0] / (std::sqrt(fresh[1]) / correction2_sqrt + eps);
  }
  constexpr float parameter(float old, float delta) const { return old * kept + delta; }
};

struct AdagradRule {
  static constexpr int kStates = 1;
  static constexpr bool kAdds = true;
  float lr, eps, weight_decay;

  constexpr explicit AdagradRule(const AdagradScalars& s)
      : lr(static_cast<float>(s.lr / (1.0 + static_cast<double>(s.step - 1) * s.lr_decay))),
        eps(static_cast<float>(s.eps)),
        weight_decay(static_cast<float>(s.weight_decay)) {}
  constexpr float gradient(float p, float g) const { return g + weight_decay * p; }
  constexpr float state(int, float old, float g, const float*) const { return old + g * g; }
  constexpr float delta(float g, const float* fresh) const { return -lr * g / (std::sqrt(fresh[0]) + eps); }
  constexpr float parameter(float old, float delta) const { return old + delta; }
};

struct RmspropRule {
  static constexpr int kStates = 1;
  static constexpr bool kAdds = true;
  float lr, alpha, rest, eps, weight_decay;

  constexpr explicit RmspropRule(const RmspropScalars& s)
      : lr(static_cast<float>(s.lr)),
        alpha(static_cast<float>(s.alpha)),
        rest(static_cast<float>(1.0 - s.alpha)),
        eps(static_cast<float>(s.eps)),
        weight_decay(static_cast<float>(s.weight_decay)) {}
  constexpr float gradient(float p, float g) const { return g + weight_decay * p; }
  constexpr float state(int, float old, float g, const float*) const { return old * alpha + rest * g * g; }
  constexpr float delta(float g, const float* fresh) const { return -lr * g / (std::sqrt(fresh[0]) + eps); }
  constexpr float parameter(float old, float delta) const { return old + delta; }
};

struct RmspropMomentumRule : RmspropRule {
  static constexpr int kStates = 2;
  float momentum;

  constexpr explicit RmspropMomentumRule(const RmspropScalars& s)
      : RmspropRule(s), momentum(static_cast<float>(s.momentum)) {}
  constexpr float state(int k, float old, float g, const float* fresh) const {
    return k == 0 ? RmspropRule::state(k, old, g, fresh) : old * momentum + g / (std::sqrt(fresh[0]) + eps);
  }
  constexpr float delta(float, const float* fresh) const { return -lr * fresh[1]; }
};

}  // namespace hogpen::kernels::detail

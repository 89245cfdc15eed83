// The loops of `transform`. Compiled once for each instruction set, as ATen compiles its own kernels: CPU_CAPABILITY
// names the set, and with it the namespace of LibTorch's vectorised headers and of what is defined here.
#include "kernels/transform_simd.h"

#include <ATen/cpu/vec/vec.h>
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <type_traits>

namespace hogpen::kernels::CPU_CAPABILITY {
namespace {

using at::vec::Vectorized;

struct Exp {
  explicit Exp(UnaryOp) {}
  template <class V>
  V operator()(V x) const {
    return x.exp();
  }
};

struct Log {
  explicit Log(UnaryOp) {}
  template <class V>
  V operator()(V x) const {
    return x.log();
  }
};

// With the exponential of a negative number, which cannot overflow, both halves keep their small results.
struct Sigmoid {
  explicit Sigmoid(UnaryOp) {}
  template <class V>
  V operator()(V x) const {
    const V one(1);
    const V e = x.abs().neg().exp();
    return V::blendv(one, e, x < V(0)) / (one + e);
  }
};

struct Tanh {
  explicit Tanh(UnaryOp) {}
  template <class V>
  V operator()(V x) const {
    return x.tanh();
  }
};

struct Relu {
  explicit Relu(UnaryOp) {}
  template <class V>
  V operator()(V x) const {
    return at::vec::clamp_min(x, V(0));
  }
};

struct Sqrt {
  explicit Sqrt(UnaryOp) {}
  template <class V>
  V operator()(V x) const {
    return x.sqrt();
  }
};

struct Abs {
  explicit Abs(UnaryOp) {}
  template <class V>
  V operator()(V x) const {
    return x.abs();
  }
};

struct Negate {
  explicit Negate(UnaryOp) {}
  template <class V>
  V operator()(V x) const {
    return x.neg();
  }
};

struct Square {
  explicit Square(UnaryOp) {}
  template <class V>
  V operator()(V x) const {
    return x * x;
  }
};

class ScaleShift {
 public:
  explicit ScaleShift(UnaryOp op) : scale_(op.scale), shift_(op.shift) {}
  template <class V>
  V operator()(V x) const {
    using Scalar = typename V::value_type;
    return at::vec::fmadd(x, V(static_cast<Scalar>(scale_)), V(static_cast<Scalar>(shift_)));
  }

 private:
  double scale_;
  double shift_;
};

/// One vector: computed in float when T is narrower.
template <class T, class F>
Vectorized<T> apply(const F& f, const Vectorized<T>& x) {
  if constexpr (std::is_same_v<T, c10::BFloat16>) {
    const auto [low, high] = at::vec::convert_bfloat16_float(x);
    return at::vec::convert_float_bfloat16(f(low), f(high));
  } else if constexpr (std::is_same_v<T, c10::Half>) {
    const auto [low, high] = at::vec::convert_half_float(x);
    return at::vec::convert_float_half(f(low), f(high));
  } else {
    return f(x);
  }
}

template <class T>
void stream(T* out, const Vectorized<T>& values) {
#if defined(CPU_CAPABILITY_AVX512)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(out), reinterpret_cast<const __m512i&>(values));
#elif defined(CPU_CAPABILITY_AVX2)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(out), reinterpret_cast<const __m256i&>(values));
#else
  values.store(out);
#endif
}

/// Elements from `i` on until `out` is aligned for streaming stores: less than a vector. `out` is aligned to T.
template <class T>
std::size_t head_of(const T* out, std::size_t n) {
  constexpr std::size_t kBytes = Vectorized<T>::size() * sizeof(T);
  const std::size_t misalignment = reinterpret_cast<std::uintptr_t>(out) % kBytes;
  return misalignment == 0 ? 0 : std::min(n, (kBytes - misalignment) / sizeof(T));
}

/// `count` elements, at most a vector of them.
template <class T, class F>
void transform_some(const F& f, const T* in, T* out, std::size_t count) {
  const auto some = static_cast<std::int16_t>(count);  // which every Vectorized takes
  apply<T>(f, Vectorized<T>::loadu(in, some)).store(out, some);
}

template <class T, class F>
void transform_array(UnaryOp op, const void* in_bytes, void* out_bytes, std::size_t n, Store store) {
  constexpr std::size_t kWidth = Vectorized<T>::size();
  const F f(op);
  const auto* in = static_cast<const T*>(in_bytes);
  auto* out = static_cast<T*>(out_bytes);
  std::size_t i = 0;
  if (store == Store::streaming && reinterpret_cast<std::uintptr_t>(out) % sizeof(T) == 0) {
    i = head_of(out, n);
    if (i != 0) transform_some(f, in, out, i);
    for (; i + kWidth <= n; i += kWidth) stream(out + i, apply<T>(f, Vectorized<T>::loadu(in + i)));
    _mm_sfence();  // streaming stores are not ordered with what publishes the results
  } else {
    for (; i + kWidth <= n; i += kWidth) apply<T>(f, Vectorized<T>::loadu(in + i)).store(out + i);
  }
  if (i < n) transform_some(f, in + i, out + i, n - i);
}

template <class F>
constexpr TransformLoops kLoopsOf = {transform_array<float, F>, transform_array<double, F>,
                                     transform_array<c10::BFloat16, F>, transform_array<c10::Half, F>};

}  // namespace

const TransformLoops& transform_loops(UnaryOp::Kind kind) {
  switch (kind) {
    using enum UnaryOp::Kind;
    case exp:
      return kLoopsOf<Exp>;
    case log:
      return kLoopsOf<Log>;
    case sigmoid:
      return kLoopsOf<Sigmoid>;
    case tanh:
      return kLoopsOf<Tanh>;
    case relu:
      return kLoopsOf<Relu>;
    case sqrt:
      return kLoopsOf<Sqrt>;
    case abs:
      return kLoopsOf<Abs>;
    case negate:
      return kLoopsOf<Negate>;
    case square:
      return kLoopsOf<Square>;
    case scale_shift:
      break;
  }
  return kLoopsOf<ScaleShift>;
}

}  // namespace hogpen::kernels::CPU_CAPABILITY

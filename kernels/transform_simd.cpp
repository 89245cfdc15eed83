// The loops of `transform`. See kernels/simd.h for how it is compiled.
#include "kernels/transform_simd.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include "kernels/simd.h"

namespace hogpen::kernels::CPU_CAPABILITY {
namespace {

using at::vec::Vectorized;

template <class V>
V exponential(V x) {
  return x.exp();
}

#if defined(CPU_CAPABILITY_AVX512)
// Ours, because SLEEF's is limited by its call and by the fifteen constants that each call loads, which is 1.7 times
// the work, and keeps large arrays from going as fast as memory does.
//
// e^x = 2^n e^r, where n is x / ln 2 rounded and so |r| <= ln 2 / 2. ln 2 is taken in two parts, the first of 16 bits,
// so that n times it is exact (Cody and Waite, "Software Manual for the Elementary Functions", 1980). e^r = 1 + r + r^2
// q(r): q is of degree 4, fitted for the least relative error, which is 0.07 * 2^-24. What rounding takes from 1 + r is
// added to the small terms (Dekker's fast two-sum). At most 0.80 ulp, over all floats.
template <>
Vectorized<float> exponential(Vectorized<float> x) {
  const auto all = [](float value) { return _mm512_set1_ps(value); };
  // Beyond these all results are 0 or infinity. A NaN is the second operand of each, which is what they return then.
  const __m512 y = _mm512_min_ps(all(89.0F), _mm512_max_ps(all(-104.5F), x));
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC;
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(y, all(0x1.715476p+0F)), kNearest);
  const __m512 coarse = _mm512_fnmadd_ps(n, all(0x1.62e4p-1F), y);
  const __m512 r = _mm512_fnmadd_ps(n, all(0x1.7f7d1cp-20F), coarse);
  __m512 q = all(0x1.6a2256p-10F);
  for (const float coefficient : {0x1.123b02p-7F, 0x1.5558f8p-5F, 0x1.55549p-3F, 0x1.fffffcp-2F}) {
    q = _mm512_fmadd_ps(q, r, all(coefficient));
  }
  const __m512 high = _mm512_add_ps(all(1.0F), r);
  const __m512 low = _mm512_sub_ps(r, _mm512_sub_ps(high, all(1.0F)));
  const __m512 small = _mm512_fmadd_ps(_mm512_mul_ps(r, r), q, low);
  return _mm512_scalef_ps(_mm512_add_ps(high, small), n);  // rounds subnormal results, and overflows to infinity
}
#endif

struct Exp {
  explicit Exp(UnaryOp) {}
  template <class V>
  V operator()(V x) const {
    return exponential(x);
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
    const V e = exponential(x.abs().neg());
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
void transform_row(const F& f, const T* in, T* out, std::size_t n) {
  constexpr std::size_t kWidth = Vectorized<T>::size();
  std::size_t i = 0;
  for (; i + kWidth <= n; i += kWidth) apply<T>(f, Vectorized<T>::loadu(in + i)).store(out + i);
  if (i < n) transform_some(f, in + i, out + i, n - i);
}

/// As `transform_row`, past the cache. Requires: `out` is aligned to T.
template <class T, class F>
void stream_row(const F& f, const T* in, T* out, std::size_t n) {
  constexpr std::size_t kWidth = Vectorized<T>::size();
  std::size_t i = head_of(out, n);
  if (i != 0) transform_some(f, in, out, i);
  for (; i + kWidth <= n; i += kWidth) stream(out + i, apply<T>(f, Vectorized<T>::loadu(in + i)));
  _mm_sfence();  // streaming stores are not ordered with what publishes the results
  if (i < n) transform_some(f, in + i, out + i, n - i);
}

template <class T, class F>
void transform_rows(UnaryOp op, const Rows& rows, Store store) {
  const F f(op);
  const auto* in = static_cast<const std::byte*>(rows.in);
  auto* out = static_cast<std::byte*>(rows.out);
  const bool is_streamed = store == Store::streaming && reinterpret_cast<std::uintptr_t>(out) % sizeof(T) == 0;
  for (std::size_t row = 0; row < rows.count; ++row, in += rows.in_pitch_bytes, out += rows.out_pitch_bytes) {
    const auto* const from = reinterpret_cast<const T*>(in);
    auto* const to = reinterpret_cast<T*>(out);
    is_streamed ? stream_row(f, from, to, rows.width) : transform_row(f, from, to, rows.width);
  }
}

template <class F>
constexpr TransformLoops kLoopsOf = {transform_rows<float, F>, transform_rows<double, F>,
                                     transform_rows<c10::BFloat16, F>, transform_rows<c10::Half, F>};

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

// The loops of `transform`. See kernels/simd.h for how it is compiled.
#include "kernels/transform_simd.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <tuple>
#include <type_traits>

#include "kernels/exponential_simd.h"
#include "kernels/simd.h"

namespace hogpen::kernels::CPU_CAPABILITY {
namespace {

using at::vec::Vectorized;

struct Exp {
  explicit Exp(UnaryOp) {}
  template <class V>
  V operator()(V x) const {  // a vector, or several
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

/// Whether several vectors are computed together, for exponential_simd.h's sake.
template <class T, class F>
constexpr bool kIsTogether = false;
#if defined(CPU_CAPABILITY_AVX2)
template <>
constexpr bool kIsTogether<float, Exp> = true;
#endif

constexpr std::size_t kLineBytes = 64;

/// Vectors of a step: a cache line of them, or two lines that are computed together.
template <class T, class F>
constexpr std::size_t kStep = (kIsTogether<T, F> ? 2 : 1) * kLineBytes / (Vectorized<T>::size() * sizeof(T));

template <class T, class F>
std::array<Vectorized<T>, kStep<T, F>> apply(const F& f, std::array<Vectorized<T>, kStep<T, F>> x) {
  if constexpr (kIsTogether<T, F>) return f(x);
  for (Vectorized<T>& one : x) one = apply<T>(f, one);
  return x;
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

/// Asks for input that is read once and some time from now. Where computing takes as long as memory does, a CPU does
/// not look far enough ahead to do both at once, and its own prefetching stops at each page.
template <class T>
void prefetch(const T* in, std::size_t n) {
  constexpr std::size_t kAheadBytes = 3072;  // from 2 KiB on exp goes as fast as memory, without at 76 to 80 % of that
  const auto* const ahead = reinterpret_cast<const char*>(in) + kAheadBytes;
  for (std::size_t at = 0; at < n * sizeof(T); at += kLineBytes) _mm_prefetch(ahead + at, _MM_HINT_NTA);
}

/// store(i, vector) for each vector from `i` on that is full; returns where the rest begins.
template <Store kStore, class T, class F, class StoreVector>
std::size_t transform_vectors(const F& f, const T* in, std::size_t i, std::size_t n, const StoreVector& store) {
  using V = Vectorized<T>;
  constexpr std::size_t kElements = kStep<T, F> * V::size();
  for (; i + kElements <= n; i += kElements) {
    if constexpr (kStore == Store::streaming) prefetch(in + i, kElements);
    std::array<V, kStep<T, F>> x;
    for (std::size_t j = 0; j < x.size(); ++j) x[j] = V::loadu(in + i + j * V::size());
    x = apply<T>(f, x);
    for (std::size_t j = 0; j < x.size(); ++j) store(i + j * V::size(), x[j]);
  }
  for (; i + V::size() <= n; i += V::size()) store(i, apply<T>(f, V::loadu(in + i)));
  return i;
}

template <class T, class F>
void transform_row(const F& f, const T* in, T* out, std::size_t n) {
  const auto store = [out](std::size_t at, const Vectorized<T>& x) { x.store(out + at); };
  const std::size_t i = transform_vectors<Store::cached>(f, in, 0, n, store);
  if (i < n) transform_some(f, in + i, out + i, n - i);
}

/// As `transform_row`, past the cache. Requires: `out` is aligned to T.
template <class T, class F>
void stream_row(const F& f, const T* in, T* out, std::size_t n) {
  std::size_t i = head_of(out, n);
  if (i != 0) transform_some(f, in, out, i);
  const auto store = [out](std::size_t at, const Vectorized<T>& x) { stream(out + at, x); };
  i = transform_vectors<Store::streaming>(f, in, i, n, store);
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

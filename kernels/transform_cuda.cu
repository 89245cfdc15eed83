#include <c10/core/ScalarType.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>

#include "kernels/cuda_check.h"
#include "kernels/transform.h"

namespace hogpen::kernels {
namespace {

constexpr unsigned kThreads = 256;
constexpr unsigned kBlocksPerSm = 8;  // 2048 threads, all that fit
constexpr std::size_t kPackBytes = 16;

// The functions; float and double, of CUDA's own library, without its fast and less accurate forms.
struct Exp {
  explicit Exp(UnaryOp) {}
  __device__ float operator()(float x) const { return expf(x); }
  __device__ double operator()(double x) const { return exp(x); }
};

struct Log {
  explicit Log(UnaryOp) {}
  __device__ float operator()(float x) const { return logf(x); }
  __device__ double operator()(double x) const { return log(x); }
};

struct Sigmoid {
  explicit Sigmoid(UnaryOp) {}
  __device__ float operator()(float x) const {
    const float e = expf(-fabsf(x));
    return (x < 0.0F ? e : 1.0F) / (1.0F + e);
  }
  __device__ double operator()(double x) const {
    const double e = exp(-fabs(x));
    return (x < 0.0 ? e : 1.0) / (1.0 + e);
  }
};

struct Tanh {
  explicit Tanh(UnaryOp) {}
  __device__ float operator()(float x) const { return tanhf(x); }
  __device__ double operator()(double x) const { return tanh(x); }
};

struct Relu {
  explicit Relu(UnaryOp) {}
  template <class T>
  __device__ T operator()(T x) const {
    return x < T{0} ? T{0} : x;
  }
};

struct Sqrt {
  explicit Sqrt(UnaryOp) {}
  __device__ float operator()(float x) const { return sqrtf(x); }
  __device__ double operator()(double x) const { return sqrt(x); }
};

struct Abs {
  explicit Abs(UnaryOp) {}
  __device__ float operator()(float x) const { return fabsf(x); }
  __device__ double operator()(double x) const { return fabs(x); }
};

struct Negate {
  explicit Negate(UnaryOp) {}
  template <class T>
  __device__ T operator()(T x) const {
    return -x;
  }
};

struct Square {
  explicit Square(UnaryOp) {}
  template <class T>
  __device__ T operator()(T x) const {
    return x * x;
  }
};

class ScaleShift {
 public:
  explicit ScaleShift(UnaryOp op) : scale_(op.scale), shift_(op.shift) {}
  __device__ float operator()(float x) const { return fmaf(x, static_cast<float>(scale_), static_cast<float>(shift_)); }
  __device__ double operator()(double x) const { return fma(x, scale_, shift_); }

 private:
  double scale_;
  double shift_;
};

__device__ float compute(float x) {
  return x;
}
__device__ double compute(double x) {
  return x;
}
__device__ float compute(__half x) {
  return __half2float(x);
}
__device__ float compute(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

__device__ void round_to(float& to, float x) {
  to = x;
}
__device__ void round_to(double& to, double x) {
  to = x;
}
__device__ void round_to(__half& to, float x) {
  to = __float2half_rn(x);
}
__device__ void round_to(__nv_bfloat16& to, float x) {
  to = __float2bfloat16_rn(x);
}

template <class T>
union Pack {
  uint4 bits;
  T lane[kPackBytes / sizeof(T)];
  __device__ Pack() : bits() {}
};

/// out[i] = f(in[i]) for i < n: first `head` elements one by one until both arrays are aligned for packs, then packs,
/// and then what is left of the last one. Data is read and written once, past the caches.
template <class T, class F>
__global__ void transform_packs(F f, const T* in, T* out, std::size_t n, std::size_t head) {
  constexpr std::size_t kLanes = kPackBytes / sizeof(T);
  const std::size_t thread = blockIdx.x * std::size_t{blockDim.x} + threadIdx.x;
  const std::size_t threads = gridDim.x * std::size_t{blockDim.x};
  const std::size_t packs = (n - head) / kLanes;
  const auto* const from = reinterpret_cast<const uint4*>(in + head);
  auto* const to = reinterpret_cast<uint4*>(out + head);
  for (std::size_t i = thread; i < packs; i += threads) {
    Pack<T> pack;
    pack.bits = __ldcs(from + i);
#pragma unroll
    for (std::size_t lane = 0; lane < kLanes; ++lane) round_to(pack.lane[lane], f(compute(pack.lane[lane])));
    __stcs(to + i, pack.bits);
  }
  const std::size_t rest = n - packs * kLanes;  // head and tail
  for (std::size_t i = thread; i < rest; i += threads) {
    const std::size_t at = i < head ? i : i + packs * kLanes;
    round_to(out[at], f(compute(in[at])));
  }
}

template <class T>
std::size_t head_of(const T* in, const T* out, std::size_t n) {
  const auto from = reinterpret_cast<std::uintptr_t>(in) % kPackBytes;
  const auto to = reinterpret_cast<std::uintptr_t>(out) % kPackBytes;
  if (from != to) return n;  // never both aligned
  return std::min(n, (kPackBytes - from) % kPackBytes / sizeof(T));
}

template <class T, class F>
void launch(UnaryOp op, const void* in_bytes, void* out_bytes, std::size_t n, CUstream_st* stream) {
  if (n == 0) return;
  const auto* const in = static_cast<const T*>(in_bytes);
  auto* const out = static_cast<T*>(out_bytes);
  int device = 0;
  int processors = 0;
  detail::cuda_ok(cudaGetDevice(&device), "cudaGetDevice");
  detail::cuda_ok(cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device),
                  "cudaDeviceGetAttribute");
  const std::size_t head = head_of(in, out, n);
  const std::size_t lanes = head == n ? 1 : kPackBytes / sizeof(T);
  const std::size_t wanted = (n / lanes + kThreads) / kThreads;
  const auto blocks = static_cast<unsigned>(std::min<std::size_t>(wanted, kBlocksPerSm * processors));
  transform_packs<T, F><<<blocks, kThreads, 0, stream>>>(F(op), in, out, n, head);
  detail::cuda_ok(cudaGetLastError(), "launch of an elementwise kernel on the GPU");
}

template <class F>
void launch(UnaryOp op, c10::ScalarType dtype, const void* in, void* out, std::size_t n, CUstream_st* stream) {
  switch (dtype) {
    case c10::ScalarType::Float:
      return launch<float, F>(op, in, out, n, stream);
    case c10::ScalarType::Double:
      return launch<double, F>(op, in, out, n, stream);
    case c10::ScalarType::BFloat16:
      return launch<__nv_bfloat16, F>(op, in, out, n, stream);
    case c10::ScalarType::Half:
      return launch<__half, F>(op, in, out, n, stream);
    default:
      throw std::invalid_argument(std::string("no elementwise op for dtype ") + c10::toString(dtype));
  }
}

}  // namespace

void transform_cuda(UnaryOp op, c10::ScalarType dtype, const void* in, void* out, std::size_t n, CUstream_st* stream) {
  using Kind = UnaryOp::Kind;
  switch (op.kind) {
    case Kind::exp:
      return launch<Exp>(op, dtype, in, out, n, stream);
    case Kind::log:
      return launch<Log>(op, dtype, in, out, n, stream);
    case Kind::sigmoid:
      return launch<Sigmoid>(op, dtype, in, out, n, stream);
    case Kind::tanh:
      return launch<Tanh>(op, dtype, in, out, n, stream);
    case Kind::relu:
      return launch<Relu>(op, dtype, in, out, n, stream);
    case Kind::sqrt:
      return launch<Sqrt>(op, dtype, in, out, n, stream);
    case Kind::abs:
      return launch<Abs>(op, dtype, in, out, n, stream);
    case Kind::negate:
      return launch<Negate>(op, dtype, in, out, n, stream);
    case Kind::square:
      return launch<Square>(op, dtype, in, out, n, stream);
    case Kind::scale_shift:
      return launch<ScaleShift>(op, dtype, in, out, n, stream);
  }
}

}  // namespace hogpen::kernels

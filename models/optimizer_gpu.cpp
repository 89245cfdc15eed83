#include "models/optimizer_gpu.h"

#include <algorithm>
#include <atomic>

#include "runtime/memory/cuda_driver.h"
#include "runtime/memory/cuda_stream.h"

namespace hogpen::detail {
namespace {

constexpr std::size_t kScalarsBytes = std::max({sizeof(kernels::SgdScalars), sizeof(kernels::AdamScalars),
                                                sizeof(kernels::AdagradScalars), sizeof(kernels::RmspropScalars)});

}  // namespace

GpuSteps::GpuSteps(const OptimizerOptions& options, c10::Device gpu, kernels::Write write)
    : options_(options),
      gpu_(gpu),
      write_(write),
      next_lr_(CudaBuffer::Place::host, gpu.index(), sizeof(double)),
      scalars_(CudaBuffer::Place::gpu, gpu.index(), kScalarsBytes) {
  set_lr(0.0);
  put_scalars();
}

void GpuSteps::put_scalars() {
  switch (options_.kind) {
    case OptimizerKind::sgd:
      return put(sgd_scalars(options_, 0.0, 0));
    case OptimizerKind::adam:
    case OptimizerKind::adamw:
      return put(adam_scalars(options_, 0.0, 0));
    case OptimizerKind::adagrad:
      return put(adagrad_scalars(options_, 0.0, 0));
    case OptimizerKind::rmsprop:
      return put(rmsprop_scalars(options_, 0.0));
  }
}

template <class Scalars>
void GpuSteps::put(const Scalars& scalars) {
  copy_to_gpu(scalars_.data(), &scalars, sizeof(Scalars));
  auto* const there = static_cast<Scalars*>(scalars_.data());  // addresses of its members, of which none is read here
  lr_ = &there->lr;
  if constexpr (requires { there->step; }) step_ = &there->step;
}

void GpuSteps::set_lr(double lr) noexcept {
  std::atomic_ref(*static_cast<double*>(next_lr_.data())).store(lr, std::memory_order_release);
}

void GpuSteps::begin(std::int64_t* steps, const StepOnGpu& there, CUstream_st* stream) {
  const double* const lr = there.lr != nullptr ? there.lr : static_cast<const double*>(next_lr_.data());
  kernels::begin_step_cuda(steps, lr, lr_, step_, there.loss, stream);
}

void GpuSteps::update(const UpdateArrays& a, const float* loss, CUstream_st* stream) {
  using namespace kernels;
  switch (options_.kind) {
    case OptimizerKind::sgd:
      return sgd_cuda(write_, a.parameters, a.gradients, a.first, a.n, scalars<SgdScalars>(), loss, stream);
    case OptimizerKind::adam:
      return adam_cuda(write_, a.parameters, a.gradients, a.first, a.second, a.n, scalars<AdamScalars>(), loss, stream);
    case OptimizerKind::adamw:
      return adamw_cuda(write_, a.parameters, a.gradients, a.first, a.second, a.n, scalars<AdamScalars>(), loss,
                        stream);
    case OptimizerKind::adagrad:
      return adagrad_cuda(write_, a.parameters, a.gradients, a.first, a.n, scalars<AdagradScalars>(), loss, stream);
    case OptimizerKind::rmsprop:
      return rmsprop_cuda(write_, a.parameters, a.gradients, a.first, a.second, a.n, scalars<RmspropScalars>(), loss,
                          stream);
  }
}

std::int64_t GpuSteps::count(const std::int64_t* steps) const {
  wait_for_current_stream(gpu_);
  std::int64_t number = 0;
  copy_from_gpu(&number, steps, sizeof(number));
  return number;
}

void GpuSteps::set_count(std::int64_t* steps, std::int64_t number) const {
  wait_for_current_stream(gpu_);
  copy_to_gpu(steps, &number, sizeof(number));
}

CUstream_st* GpuSteps::stream() const {
  use_gpu(gpu_.index());
  return static_cast<CUstream_st*>(current_stream(gpu_));
}

}  // namespace hogpen::detail

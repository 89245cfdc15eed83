#include "models/sync_gradients.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <new>
#include <utility>

#include "runtime/cluster/nccl_group.h"
#include "runtime/cluster/shared_group.h"
#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/view.h"

namespace hogpen::detail {
namespace {

class HostGradients final : public SyncGradients {
 public:
  HostGradients(std::unique_ptr<SharedGroup> group, std::int64_t numel, std::span<const FlatSlice> slices)
      : SyncGradients(std::move(group)),
        flat_(at::from_blob(static_cast<SharedGroup&>(*group_).buffer().data(), {numel}, at::kFloat)) {
    for (const FlatSlice& slice : slices) {
      slices_.push_back(at::from_blob(flat_.data_ptr<float>() + slice.offset, {slice.numel}, at::kFloat));
    }
  }

  void put(std::span<const at::Tensor> gradients, float weight) override {
    for (std::size_t i = 0; i < slices_.size(); ++i) {
      put(gradients.empty() ? at::Tensor() : gradients[i], weight, slices_[i]);
    }
  }

  void add_up() override { group_->all_reduce(flat_, Reduction::sum, Deadline::after(kPatienceInSync)); }

 private:
  static void put(const at::Tensor& gradient, float weight, const at::Tensor& to) {
    auto* out = to.data_ptr<float>();
    const std::int64_t numel = to.numel();
    if (!gradient.defined()) {
      std::fill_n(out, numel, 0.0f);
      return;
    }
    const at::Tensor dense = gradient.contiguous();
    const auto* in = dense.data_ptr<float>();
    for (std::int64_t i = 0; i < numel; ++i) out[i] = weight * in[i];
  }

  at::Tensor flat_;
};

class GpuGradients final : public SyncGradients {
 public:
  GpuGradients(std::unique_ptr<Group> group, int gpu, std::int64_t numel, std::span<const FlatSlice> slices)
      : SyncGradients(std::move(group)),
        flat_(tensor_on_gpu(gpu, c10::ScalarType::Float, numel)),
        scalars_(CudaBuffer::Place::host, gpu, sizeof(kernels::SgdScalars)) {
    for (const FlatSlice& slice : slices) {
      slices_.push_back(view_in(flat_.storage(), c10::ScalarType::Float,
                                static_cast<std::size_t>(slice.offset) * sizeof(float), slice.numel));
    }
  }

  // A step of SGD from zero with the rate -weight: 0 - (-weight) * gradient.
  void put(std::span<const at::Tensor> gradients, float weight) override {
    const c10::Device gpu = flat_.device();
    use_gpu(gpu.index());
    const cuda::Stream stream = current_stream(gpu);
    const auto* const scalars = new (scalars_.data()) kernels::SgdScalars{.lr = -weight};
    cuda_driver().call("cuMemsetD8Async", cuda::address_of(flat_.data_ptr()), static_cast<unsigned char>(0),
                       flat_.nbytes(), stream);
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      if (!gradients[i].defined()) continue;
      const at::Tensor dense = gradients[i].contiguous();
      kernels::sgd_cuda(kernels::Write::plain, slices_[i].mutable_data_ptr<float>(), dense.const_data_ptr<float>(),
                        nullptr, static_cast<std::size_t>(dense.numel()), scalars, nullptr,
                        static_cast<CUstream_st*>(stream));
    }
    wait_for_current_stream(gpu);
  }

  void add_up() override {
    if (group_->world_size() > 1) group_->all_reduce(flat_, Reduction::sum, Deadline::after(kPatienceInSync));
  }

 private:
  at::Tensor flat_;
  CudaBuffer scalars_;
};

}  // namespace

std::unique_ptr<SyncGradients> SyncGradients::make(const TrainPlan& plan, int rank, std::span<const FlatSlice> slices) {
  const SharedGroup::Memory& memory = plan.group.value();
  if (plan.gpus.empty()) {
    return std::make_unique<HostGradients>(std::make_unique<SharedGroup>(memory, rank), plan.flat_numel, slices);
  }
  const int gpu = plan.gpus[static_cast<std::size_t>(rank)];
  std::unique_ptr<Group> group;
  if (plan.gpus.size() == 1) {
    group = std::make_unique<SharedGroup>(memory, rank);  // NCCL may not be there.
  } else {
    const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(gpu));
    group = std::make_unique<NcclGroup>(memory, rank, NcclGroup::Options{.gpu = gpu, .stream = current_stream(device)},
                                        Deadline::after(kPatienceInSync));
  }
  return std::make_unique<GpuGradients>(std::move(group), gpu, plan.flat_numel, slices);
}

}  // namespace hogpen::detail

#include <utility>

#include "models/gpu_step.h"
#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/view.h"

namespace hogpen {
namespace {

class WaitingGpuStep final : public TrainStep {
 public:
  WaitingGpuStep(std::unique_ptr<GpuStep> step, const SharedModel& model, std::int64_t batch_size)
      : step_(std::move(step)),
        gpu_(model.flat().device()),
        samples_(tensor_on_gpu(gpu_.index(), c10::ScalarType::Int, batch_size)) {}

  double forward(std::span<const std::uint32_t> samples) override {
    use_gpu(gpu_.index());
    copy_to_gpu(samples_.mutable_data_ptr(), samples.data(), samples.size_bytes());
    const auto count = static_cast<std::int64_t>(samples.size());
    made_ = step_->enqueue(view_in(samples_.storage(), c10::ScalarType::Int, 0, count));
    wait_for_current_stream(gpu_);
    float loss = 0.0F;
    copy_from_gpu(&loss, made_.loss.const_data_ptr(), sizeof(loss));
    return loss;
  }

  void backward() override { gradients_ = made_.gradients; }

 private:
  std::unique_ptr<GpuStep> step_;
  c10::Device gpu_;
  at::Tensor samples_;
  GpuGradients made_;
};

}  // namespace

std::unique_ptr<TrainStep> make_waiting_step(std::unique_ptr<GpuStep> step, const SharedModel& model,
                                             std::int64_t batch_size) {
  return std::make_unique<WaitingGpuStep>(std::move(step), model, batch_size);
}

}  // namespace hogpen

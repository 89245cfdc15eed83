#include "models/captured_steps.h"
#include "models/gpu_step.h"
#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/view.h"

namespace hogpen {
namespace {

class WaitingGpuStep final : public TrainStep {
 public:
  WaitingGpuStep(const GpuStepMaker& make_step, const SharedModel& model, std::int64_t batch_size)
      : gpu_(model.flat().device()),
        stream_(gpu_),
        samples_(tensor_on_gpu(gpu_.index(), c10::ScalarType::Int, batch_size)),
        step_(make_step()),
        steps_(gpu_, [this](std::size_t samples) {
          return step_->enqueue(
              view_in(samples_.storage(), c10::ScalarType::Int, 0, static_cast<std::int64_t>(samples)));
        }) {}

  double forward(std::span<const std::uint32_t> samples) override {
    use_gpu(gpu_.index());
    copy_to_gpu(samples_.mutable_data_ptr(), samples.data(), samples.size_bytes());
    const GpuGradients& made = steps_.launch(samples.size());
    stream_.wait();
    float loss = 0.0F;
    copy_from_gpu(&loss, made.loss.const_data_ptr(), sizeof(loss));
    gradients_ = made.gradients;
    return loss;
  }

  void backward() override {}  // The graph has both passes.

 private:
  c10::Device gpu_;
  OwnStream stream_;
  at::Tensor samples_;
  std::unique_ptr<GpuStep> step_;
  CapturedSteps steps_;
};

}  // namespace

std::unique_ptr<TrainStep> make_waiting_step(const GpuStepMaker& make_step, const SharedModel& model,
                                             std::int64_t batch_size) {
  return std::make_unique<WaitingGpuStep>(make_step, model, batch_size);
}

}  // namespace hogpen

#include <torch/nn/functional/loss.h>

#include <utility>

#include "models/gpu_step.h"

namespace hogpen {
namespace {

class AutogradGpuStep final : public GpuStep {
 public:
  AutogradGpuStep(SharedModel& model, BatchBuffer buffer) : model_(model), buffer_(std::move(buffer)) {}

  GpuGradients enqueue(const at::Tensor& samples) override {
    const BatchBuffer::Batch batch = buffer_.gather_on_gpu(samples);
    const at::Tensor loss = torch::nn::functional::cross_entropy(model_.forward(batch.inputs), batch.labels);
    for (const at::Tensor& parameter : model_.parameters()) parameter.mutable_grad().reset();
    loss.backward();
    GpuGradients made = {.loss = loss.detach()};
    for (const at::Tensor& parameter : model_.parameters()) {
      const at::Tensor& gradient = parameter.grad();
      made.gradients.push_back(gradient.defined() ? gradient.contiguous() : gradient);
    }
    return made;
  }

 private:
  SharedModel& model_;
  BatchBuffer buffer_;
};

}  // namespace

std::unique_ptr<GpuStep> make_autograd_gpu_step(SharedModel& model, BatchBuffer buffer) {
  return std::make_unique<AutogradGpuStep>(model, std::move(buffer));
}

}  // namespace hogpen

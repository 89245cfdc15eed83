#include "models/train_step.h"

#include <torch/nn/functional/loss.h>
#include <torch/nn/module.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

std::vector<std::int64_t> input_shape(const Dataset& data, std::int64_t batch_size, bool takes_images) {
  if (takes_images) return {batch_size, 1, data.height(), data.width()};
  return {batch_size, data.sample_numel()};
}

class AutogradStep final : public TrainStep {
 public:
  AutogradStep(SharedModel& model, BatchBuffer buffer) : model_(model), buffer_(std::move(buffer)) {}

  double forward(std::span<const std::uint32_t> samples) override {
    const BatchBuffer::Batch batch = buffer_.fill(samples);
    loss_ = torch::nn::functional::cross_entropy(model_.forward(batch.inputs), batch.labels);
    return loss_.item<float>();
  }

  void backward() override {
    // Without a gradient from before, autograd hands its own tensor over instead of adding to a copy.
    gradients_.clear();
    for (const at::Tensor& parameter : model_.parameters()) parameter.mutable_grad().reset();
    loss_.backward();
    for (const at::Tensor& parameter : model_.parameters()) gradients_.push_back(parameter.grad());
    loss_.reset();
  }

 private:
  SharedModel& model_;
  BatchBuffer buffer_;
  at::Tensor loss_;
};

}  // namespace

BatchBuffer::BatchBuffer(const Dataset& data, const Dataset::Normalization& normalization, std::int64_t batch_size,
                         bool takes_images, at::Tensor samples_on_gpu)
    : data_(data),
      normalization_(normalization),
      inputs_(at::empty(input_shape(data, batch_size, takes_images), at::kFloat)),
      labels_(at::empty({batch_size}, at::kLong)),
      samples_on_gpu_(std::move(samples_on_gpu)) {}

BatchBuffer::Batch BatchBuffer::fill(std::span<const std::uint32_t> samples) {
  if (samples_on_gpu_.defined()) {
    const std::vector<std::int32_t> numbers(samples.begin(), samples.end());
    return gather_on_gpu(at::tensor(numbers).to(samples_on_gpu_.device()));
  }
  const auto count = static_cast<std::int64_t>(samples.size());
  Batch batch{inputs_.narrow(0, 0, count), labels_.narrow(0, 0, count)};
  data_.gather(samples, normalization_,
               {batch.inputs.data_ptr<float>(), static_cast<std::size_t>(batch.inputs.numel())},
               {batch.labels.data_ptr<std::int64_t>(), samples.size()});
  return batch;
}

BatchBuffer::Batch BatchBuffer::gather_on_gpu(const at::Tensor& samples) const {
  std::vector<std::int64_t> shape = inputs_.sizes().vec();
  shape[0] = samples.numel();
  const auto labels_at = static_cast<std::int64_t>(data_.labels_offset());
  const at::Tensor numbers =
      samples_on_gpu_.narrow(0, 0, labels_at).view(data_.has_features() ? at::kFloat : at::kByte);
  const at::Tensor rows = numbers.view({data_.size(), data_.sample_numel()}).index_select(0, samples);
  const at::Tensor labels = samples_on_gpu_.narrow(0, labels_at, data_.size()).index_select(0, samples).to(at::kLong);
  if (data_.has_features()) return {rows.view(shape), labels};
  return {rows.to(at::kFloat).div_(255.0).sub_(normalization_.mean).div_(normalization_.stddev).view(shape), labels};
}

std::unique_ptr<TrainStep> make_autograd_step(SharedModel& model, BatchBuffer buffer) {
  return std::make_unique<AutogradStep>(model, std::move(buffer));
}

Score evaluate(SharedModel& model, const Dataset& data, const Dataset::Normalization& normalization) {
  constexpr std::int64_t kBatch = 500;
  const c10::NoGradGuard no_gradients;
  torch::nn::Module& module = *model.model().module;
  const bool was_training = module.is_training();
  module.eval();
  BatchBuffer buffer(data, normalization, std::min(kBatch, data.size()), model.model().takes_images);
  std::vector<std::uint32_t> samples(static_cast<std::size_t>(data.size()));
  std::iota(samples.begin(), samples.end(), 0u);
  double loss = 0.0;
  std::int64_t correct = 0;
  for (std::int64_t begin = 0; begin < data.size(); begin += kBatch) {
    const auto count = static_cast<std::size_t>(std::min(kBatch, data.size() - begin));
    const BatchBuffer::Batch batch = buffer.fill({samples.data() + begin, count});
    const at::Tensor logits = model.forward(batch.inputs);
    loss += torch::nn::functional::cross_entropy(logits, batch.labels).item<float>() * static_cast<double>(count);
    correct += logits.argmax(1).eq(batch.labels).sum().item<std::int64_t>();
  }
  module.train(was_training);
  const auto size = static_cast<double>(data.size());
  return {.loss = loss / size, .accuracy = static_cast<double>(correct) / size};
}

}  // namespace hogpen

#include <algorithm>
#include <limits>

#include "models/fused_gpu_stage.h"
#include "models/fused_layers.h"
#include "models/gpu_step.h"
#include "runtime/core/error.h"
#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/view.h"

namespace hogpen {
namespace {

using detail::FusedLayerPlan;
using detail::GpuStage;
using detail::GpuStagePlan;
using kernels::LayerInput;

/// Throws: UsageError for more than the kernels count.
void check_batch_size(std::span<const FusedLayerPlan> layers, std::int64_t batch_size) {
  constexpr std::size_t kMost = std::numeric_limits<std::int32_t>::max();
  for (const FusedLayerPlan& layer : layers) {
    const std::size_t numel = std::max(layer.input.numel(), layer.output.numel());
    if (numel <= kMost / static_cast<std::size_t>(batch_size)) continue;
    throw UsageError(fmt::format("a batch of {} samples of {} numbers each, as a layer has them, is too large for the "
                                 "fused engine on a GPU, which takes {} numbers",
                                 batch_size, numel, kMost),
                     fmt::format("choose a batch size of at most {}, or the engine autograd", kMost / numel));
  }
}

float* data_of(const at::Tensor& numbers) {
  return static_cast<float*>(numbers.mutable_data_ptr());
}

/// Numbers between two stages, of a sample.
std::int64_t widest(std::span<const GpuStagePlan> plans) {
  std::size_t numel = 0;
  for (const GpuStagePlan& plan : plans) numel = std::max(numel, plan.layer.output.numel());
  return static_cast<std::int64_t>(numel);
}

class FusedGpuStep final : public GpuStep {
 public:
  static constexpr std::size_t kOutputGradients = 2;  // of a stage, and of the one before it

  FusedGpuStep(std::span<const FusedLayerPlan> layers, const SharedModel& model, const BatchBuffer& buffer,
               std::int64_t batch_size)
      : samples_on_gpu_(buffer.samples_on_gpu()),
        gpu_(samples_on_gpu_.device()),
        flat_gradient_(numbers(model.flat().numel())),
        loss_(numbers(1)),
        random_(tensor_on_gpu(gpu_.index(), c10::ScalarType::Long, 1)) {
    const Dataset& data = buffer.data();
    const auto* const bytes = static_cast<const std::uint8_t*>(samples_on_gpu_.const_data_ptr());
    if (data.has_features()) {
      samples_ = {.values = reinterpret_cast<const float*>(bytes)};
    } else {
      samples_ = {.pixels = bytes, .scale = buffer.normalization().scale(), .shift = buffer.normalization().shift()};
    }
    labels_ = bytes + data.labels_offset();
    for (const FlatSlice& slice : model.slices()) {
      gradients_.push_back(view_in(flat_gradient_.storage(), c10::ScalarType::Float,
                                   static_cast<std::size_t>(slice.offset) * sizeof(float), slice.numel));
    }
    const std::uint64_t seed = detail::draw_seed();
    copy_to_gpu(random_.mutable_data_ptr(), &seed, sizeof(seed));
    const std::vector<GpuStagePlan> plans = detail::plan_gpu_stages(layers);
    for (const GpuStagePlan& plan : plans) add(plan, model, batch_size);
    const auto first = std::find_if(plans.begin(), plans.end(), [](const auto& p) { return p.layer.parameters > 0; });
    first_to_train_ = static_cast<std::size_t>(first - plans.begin());
    for (at::Tensor& one : output_gradients_) one = numbers(batch_size * widest(plans));
  }

  GpuGradients enqueue(const at::Tensor& samples) override {
    const auto rows = static_cast<std::size_t>(samples.numel());
    const auto* const numbers_of_samples = static_cast<const std::uint32_t*>(samples.const_data_ptr());
    auto* const stream = static_cast<CUstream_st*>(current_stream(gpu_));
    samples_.samples = numbers_of_samples;
    for (std::size_t i = 0; i < stages_.size(); ++i) stages_[i].forward(input_of(i), rows, stream);
    float* gradient = stages_.back().output();  // the cross-entropy makes the one the other
    launch(kernels::SoftmaxCrossEntropy{gradient, labels_, numbers_of_samples, data_of(loss_), rows,
                                        stages_.back().layer().output.numel()},
           stream);
    for (std::size_t i = stages_.size(); i-- > first_to_train_;) {
      stages_[i].differentiate(gradient, input_of(i), rows, stream);
      if (i == first_to_train_) break;
      float* const of_input = data_of(output_gradients_[i % kOutputGradients]);
      stages_[i].backward(gradient, stages_[i - 1], of_input, rows, stream);
      gradient = of_input;
    }
    if (random_numbers_ > 0) launch(kernels::SkipRandom{random_state(), random_numbers_}, stream);
    return {.loss = loss_, .gradients = gradients_};
  }

 private:
  void add(const GpuStagePlan& plan, const SharedModel& model, std::int64_t batch_size) {
    const auto parameter = [&](std::size_t i) -> GpuStage::Parameter {
      if (i >= plan.layer.parameters) return {};
      const std::size_t place = plan.layer.first_parameter + i;
      return {data_of(model.parameters()[place]), data_of(gradients_[place])};
    };
    stages_.emplace_back(plan, gpu_, batch_size, parameter(0), parameter(1),
                         GpuStage::Random{random_state(), random_numbers_});
    random_numbers_ += GpuStage::random_numbers(plan, batch_size);
  }

  [[nodiscard]] LayerInput input_of(std::size_t stage) const {
    return stage == 0 ? samples_ : LayerInput{.values = stages_[stage - 1].output()};
  }
  [[nodiscard]] std::uint64_t* random_state() const { return static_cast<std::uint64_t*>(random_.mutable_data_ptr()); }
  [[nodiscard]] at::Tensor numbers(std::int64_t numel) const {
    return tensor_on_gpu(gpu_.index(), c10::ScalarType::Float, numel);
  }

  at::Tensor samples_on_gpu_;
  c10::Device gpu_;
  at::Tensor flat_gradient_;           // laid out as SharedModel::flat, so that neighbours are updated as one
  std::vector<at::Tensor> gradients_;  // its parts
  at::Tensor loss_;
  at::Tensor random_;               // the state of dropouts' stream of random numbers
  std::size_t random_numbers_ = 0;  // of a step
  LayerInput samples_;              // of the batch
  const std::uint8_t* labels_ = nullptr;
  std::vector<GpuStage> stages_;
  std::size_t first_to_train_ = 0;
  at::Tensor output_gradients_[kOutputGradients];
};

}  // namespace

std::size_t fused_gpu_step_bytes(const SharedModel& model, const Dataset& data, std::int64_t batch_size) {
  const std::vector<GpuStagePlan> plans = detail::plan_gpu_stages(detail::plan_fused_layers(model, data));
  std::size_t bytes =
      FusedGpuStep::kOutputGradients * static_cast<std::size_t>(batch_size * widest(plans)) * sizeof(float);
  for (const GpuStagePlan& plan : plans) bytes += GpuStage::needed_bytes(plan, batch_size);
  return bytes;
}

std::unique_ptr<GpuStep> make_fused_gpu_step(SharedModel& model, const BatchBuffer& buffer, std::int64_t batch_size) {
  const std::vector<FusedLayerPlan> layers = detail::plan_fused_layers(model, buffer.data());
  require(!layers.empty(), "the fused engine does not take this model: see can_fuse");
  check_batch_size(layers, batch_size);
  return std::make_unique<FusedGpuStep>(layers, model, buffer, batch_size);
}

}  // namespace hogpen

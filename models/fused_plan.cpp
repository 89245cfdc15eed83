#include "models/fused_plan.h"

#include <algorithm>
#include <limits>
#include <span>

namespace hogpen::detail {
namespace {

SampleShape samples_of(const SharedModel& model, const Dataset& data) {
  if (!model.model().takes_images) return {.channels = static_cast<std::size_t>(data.sample_numel())};
  return {.channels = 1,
          .height = static_cast<std::size_t>(data.height()),
          .width = static_cast<std::size_t>(data.width()),
          .is_image = true};
}

/// Plans one layer after the other. Each function returns whether the layer can take such samples, and its parameters
/// are all there.
class Planner {
 public:
  Planner(std::span<const at::Tensor> parameters, const SampleShape& samples)
      : parameters_(parameters), shape_(samples) {}

  bool add(const LayerSpec& spec) {
    FusedLayerPlan layer = {.kind = spec.kind, .input = shape_, .output = shape_, .first_parameter = taken_};
    if (!complete(layer, spec)) return false;
    layer.parameters = taken_ - layer.first_parameter;
    shape_ = layer.output;
    layers_.push_back(layer);
    return true;
  }
  void flatten() { shape_ = {.channels = shape_.numel()}; }

  /// Whether they make logits of so many classes, from all parameters.
  [[nodiscard]] bool is_whole(std::int64_t classes) const {
    return taken_ == parameters_.size() && !shape_.is_image && shape_.numel() >= static_cast<std::size_t>(classes);
  }
  [[nodiscard]] const std::vector<FusedLayerPlan>& layers() const noexcept { return layers_; }

 private:
  bool complete(FusedLayerPlan& layer, const LayerSpec& spec) {
    switch (spec.kind) {
      case LayerSpec::Kind::linear:
        return complete_linear(layer, spec);
      case LayerSpec::Kind::conv2d:
        return complete_convolution(layer, spec);
      case LayerSpec::Kind::max_pool2d:
        return complete_pool(layer, spec);
      case LayerSpec::Kind::dropout2d:
        layer.group = shape_.height * shape_.width;
        layer.p = spec.number("p");
        return shape_.is_image;
      case LayerSpec::Kind::dropout:
        layer.p = spec.number("p");
        return true;
      default:
        return activation_of(spec.kind).has_value();
    }
  }

  bool complete_linear(FusedLayerPlan& layer, const LayerSpec& spec) {
    const std::int64_t in = spec.integer("in");
    const std::int64_t out = spec.integer("out");
    layer.output = {.channels = static_cast<std::size_t>(out)};
    return !shape_.is_image && shape_.numel() == static_cast<std::size_t>(in) && take({out, in}) &&
           (spec.integer("bias") == 0 || take({out}));
  }

  bool complete_convolution(FusedLayerPlan& layer, const LayerSpec& spec) {
    const std::int64_t in = spec.integer("in");
    const std::int64_t out = spec.integer("out");
    const std::int64_t kernel = spec.integer("kernel");
    return shape_.channels == static_cast<std::size_t>(in) &&
           move_windows(layer, spec, static_cast<std::size_t>(spec.integer("stride")),
                        static_cast<std::size_t>(spec.integer("padding")), static_cast<std::size_t>(out)) &&
           take({out, in, kernel, kernel}) && take({out});
  }

  bool complete_pool(FusedLayerPlan& layer, const LayerSpec& spec) {
    constexpr std::size_t kLargestPlace = std::numeric_limits<std::int32_t>::max();
    const std::int64_t stride = spec.integer("stride");
    return move_windows(layer, spec, static_cast<std::size_t>(stride != 0 ? stride : spec.integer("kernel")), 0,
                        shape_.channels) &&
           shape_.height * shape_.width <= kLargestPlace;
  }

  bool move_windows(FusedLayerPlan& layer, const LayerSpec& spec, std::size_t stride, std::size_t padding,
                    std::size_t channels) {
    kernels::Windows& windows = layer.windows;
    windows = {.channels = shape_.channels,
               .height = shape_.height,
               .width = shape_.width,
               .kernel = static_cast<std::size_t>(spec.integer("kernel")),
               .stride = stride,
               .padding = padding};
    if (!shape_.is_image || windows.kernel > std::min(shape_.height, shape_.width) + 2 * padding) return false;
    layer.output = {.channels = channels, .height = windows.rows(), .width = windows.columns(), .is_image = true};
    return true;
  }

  /// Takes the next parameter. The successor of a frozen one, which is not among them, mostly has another shape.
  bool take(c10::IntArrayRef shape) { return taken_ < parameters_.size() && parameters_[taken_++].sizes() == shape; }

  std::span<const at::Tensor> parameters_;
  SampleShape shape_;
  std::size_t taken_ = 0;
  std::vector<FusedLayerPlan> layers_;
};

}  // namespace

std::vector<FusedLayerPlan> plan_fused_layers(const SharedModel& model, const Dataset& data) {
  Planner planner(model.parameters(), samples_of(model, data));
  const std::span<const LayerSpec> specs = layers_of(model.model());
  for (const LayerSpec& spec : specs) {
    if (spec.kind == LayerSpec::Kind::flatten) {
      planner.flatten();
    } else if (spec.kind == LayerSpec::Kind::log_softmax && &spec == &specs.back()) {
      // Cross-entropy takes logits, and is the same for their logarithmic softmax.
    } else if (!planner.add(spec)) {
      return {};
    }
  }
  return planner.is_whole(data.classes()) ? planner.layers() : std::vector<FusedLayerPlan>();
}

std::optional<kernels::Activation> activation_of(LayerSpec::Kind kind) noexcept {
  switch (kind) {
    case LayerSpec::Kind::relu:
      return kernels::Activation::relu;
    case LayerSpec::Kind::tanh:
      return kernels::Activation::tanh;
    case LayerSpec::Kind::sigmoid:
      return kernels::Activation::sigmoid;
    case LayerSpec::Kind::gelu:
      return kernels::Activation::gelu;
    default:
      return {};
  }
}

}  // namespace hogpen::detail

#include "models/model.h"

#include <torch/nn/modules/activation.h>
#include <torch/nn/modules/container/sequential.h>
#include <torch/nn/modules/conv.h>
#include <torch/nn/modules/dropout.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/pooling.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "models/layer_spec.h"
#include "runtime/core/error.h"
#include "runtime/memory/limits.h"

namespace hogpen {
namespace {

namespace nn = torch::nn;
using Kind = LayerSpec::Kind;

bool is_elementwise(Kind kind) {
  return kind != Kind::linear && kind != Kind::conv2d && kind != Kind::max_pool2d && kind != Kind::dropout2d &&
         kind != Kind::flatten;
}

bool takes_images(const std::vector<LayerSpec>& layers) {
  const auto first = std::find_if(layers.begin(), layers.end(), [](const auto& l) { return !is_elementwise(l.kind); });
  return first != layers.end() && first->kind != Kind::linear;
}

/// Follows what flows from layer to layer, so that layers that cannot follow one another are found before training.
class FlowCheck {
 public:
  FlowCheck(const ModelText& text, bool images) : text_(text), images_(images) {}

  void pass(const LayerSpec& layer) {
    if (is_elementwise(layer.kind)) return;
    if (layer.kind == Kind::flatten) {
      if (images_) width_ = 0;
      images_ = false;
      return;
    }
    const bool wants_images = layer.kind != Kind::linear;
    if (wants_images != images_) refuse_kind(layer);
    if (layer.kind == Kind::max_pool2d || layer.kind == Kind::dropout2d) return;
    if (width_ != 0 && width_ != layer.integer("in")) refuse_width(layer);
    width_ = layer.integer("out");
  }

 private:
  [[nodiscard]] std::string name(const LayerSpec& layer) const {
    return text_.str().substr(layer.begin, layer.end - layer.begin);
  }
  [[noreturn]] void refuse_kind(const LayerSpec& layer) const {
    if (images_) text_.fail(layer.begin, name(layer) + " cannot take images", "put Flatten before it");
    text_.fail(layer.begin, name(layer) + " takes images, but behind Linear or Flatten there are none",
               "put it before them");
  }
  [[noreturn]] void refuse_width(const LayerSpec& layer) const {
    text_.fail(layer.begin, fmt::format("{} takes {} {}, but the layers before it give {}", name(layer),
                                        layer.integer("in"), images_ ? "channels" : "features", width_));
  }

  const ModelText& text_;
  bool images_;
  std::int64_t width_ = 0;  ///< features or channels; 0, unknown, at first and behind Flatten
};

// In double, because the product of the sizes can be beyond 64 bits.
double parameter_bytes(const LayerSpec& layer) {
  if (layer.kind != Kind::linear && layer.kind != Kind::conv2d) return 0.0;
  const double kernel = layer.kind == Kind::conv2d ? layer.number("kernel") : 1.0;
  return sizeof(float) * layer.number("out") * (layer.number("in") * kernel * kernel + 1.0);
}

// LibTorch fills the weights at once, and the kernel kills whom it likes when they do not fit.
void check_memory(const ModelText& text, const std::vector<LayerSpec>& layers) {
  const MemoryLimit limit = memory_limit();
  double bytes = 0.0;
  for (const LayerSpec& layer : layers) {
    bytes += parameter_bytes(layer);
    if (bytes <= static_cast<double>(limit.available_bytes)) continue;
    text.fail(layer.begin, fmt::format("the parameters up to this layer take {:.0f} bytes, and {} are available by {}",
                                       bytes, limit.available_bytes, limit.source));
  }
}

nn::Conv2d make_conv2d(const LayerSpec& layer) {
  return nn::Conv2d(nn::Conv2dOptions(layer.integer("in"), layer.integer("out"), layer.integer("kernel"))
                        .stride(layer.integer("stride"))
                        .padding(layer.integer("padding")));
}

nn::MaxPool2d make_max_pool2d(const LayerSpec& layer) {
  const std::int64_t stride = layer.integer("stride");
  return nn::MaxPool2d(nn::MaxPool2dOptions(layer.integer("kernel")).stride(stride ? stride : layer.integer("kernel")));
}

void append(nn::Sequential& net, const LayerSpec& layer) {
  switch (layer.kind) {
    case Kind::linear:
      return net->push_back(
          nn::Linear(nn::LinearOptions(layer.integer("in"), layer.integer("out")).bias(layer.integer("bias") != 0)));
    case Kind::conv2d:
      return net->push_back(make_conv2d(layer));
    case Kind::max_pool2d:
      return net->push_back(make_max_pool2d(layer));
    case Kind::flatten:
      return net->push_back(nn::Flatten());
    case Kind::dropout:
      return net->push_back(nn::Dropout(layer.number("p")));
    case Kind::dropout2d:
      return net->push_back(nn::Dropout2d(layer.number("p")));
    case Kind::relu:
      return net->push_back(nn::ReLU());
    case Kind::tanh:
      return net->push_back(nn::Tanh());
    case Kind::sigmoid:
      return net->push_back(nn::Sigmoid());
    case Kind::gelu:
      return net->push_back(nn::GELU());
    case Kind::log_softmax:
      return net->push_back(nn::LogSoftmax(nn::LogSoftmaxOptions(-1)));
  }
}

struct SequentialForward {
  nn::Sequential net;
  std::vector<LayerSpec> layers;

  at::Tensor operator()(const at::Tensor& input) { return net->forward(input); }
};

}  // namespace

std::span<const LayerSpec> layers_of(const Model& model) {
  const auto* const forward = model.forward.target<SequentialForward>();
  if (forward == nullptr) return {};
  return forward->layers;
}

Model parse_model(const std::string& source) {
  const ModelText text(source);
  const std::vector<LayerSpec> layers = parse_layers(text);
  const bool images = takes_images(layers);
  FlowCheck flow(text, images);
  for (const LayerSpec& layer : layers) flow.pass(layer);
  check_memory(text, layers);
  nn::Sequential net;
  for (const LayerSpec& layer : layers) append(net, layer);
  const auto module = net.ptr();
  return {module, SequentialForward{std::move(net), layers}, images};
}

}  // namespace hogpen

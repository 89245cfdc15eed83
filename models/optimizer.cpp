#include "models/optimizer.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <utility>

#include "models/optimizer_gpu.h"
#include "models/optimizer_scalars.h"
#include "runtime/core/error.h"
#include "runtime/memory/cuda_stream.h"

namespace hogpen {
namespace {

constexpr std::array<std::pair<OptimizerKind, const char*>, 5> kOptimizerNames = {{
    {OptimizerKind::sgd, "sgd"},
    {OptimizerKind::adam, "adam"},
    {OptimizerKind::adamw, "adamw"},
    {OptimizerKind::adagrad, "adagrad"},
    {OptimizerKind::rmsprop, "rmsprop"},
}};

bool is_adam(OptimizerKind kind) {
  return kind == OptimizerKind::adam || kind == OptimizerKind::adamw;
}

/// The state buffers, in the order in which the kernels take them.
std::vector<std::string> buffer_names(const OptimizerOptions& options) {
  std::vector<std::string> names;
  if (is_adam(options.kind)) names = {"exp_avg", "exp_avg_sq"};
  if (options.kind == OptimizerKind::adagrad) names = {"sum"};
  if (options.kind == OptimizerKind::rmsprop) names = {"square_avg"};
  if (options.momentum != 0.0) names.emplace_back("momentum_buffer");
  return names;
}

void check_not_negative(const char* field, double value) {
  require(std::isfinite(value) && value >= 0.0, "{} is {}: it must be 0 or a positive number", field, value);
}

void check_fraction(const char* field, double value) {
  require(value >= 0.0 && value < 1.0, "{} is {}: it must be at least 0 and less than 1", field, value);
}

void check_unused(const char* field, bool is_default, OptimizerKind kind) {
  require(is_default, "{} is set, but {} does not use it", field, to_string(kind));
}

std::string name_of(c10::Device device) {
  return device.is_cpu() ? "the CPU" : fmt::format("GPU {}", static_cast<int>(device.index()));
}

/// Whatever number is given to the CPU.
bool is_on(c10::Device one, c10::Device other) {
  return one == other || (one.is_cpu() && other.is_cpu());
}

/// The tensor of that name in the state, if it is what `state_specs` says.
at::Tensor state_tensor(const Arena& state, const TensorSpec& spec) {
  at::Tensor tensor = state.tensor(spec.name);
  require(tensor.scalar_type() == spec.dtype && tensor.sizes() == at::IntArrayRef(spec.shape),
          "optimizer state '{}' is {} [{}], but these options and this model need {} [{}]", spec.name,
          c10::toString(tensor.scalar_type()), fmt::join(tensor.sizes(), ", "), c10::toString(spec.dtype),
          fmt::join(spec.shape, ", "));
  return tensor;
}

}  // namespace

void OptimizerOptions::check() const {
  const bool is_sgd = kind == OptimizerKind::sgd;
  check_not_negative("momentum", momentum);
  check_not_negative("weight_decay", weight_decay);
  check_not_negative("eps", eps);
  check_not_negative("lr_decay", lr_decay);
  check_fraction("beta1", beta1);
  check_fraction("beta2", beta2);
  check_fraction("alpha", alpha);
  require(std::isfinite(dampening), "dampening is {}: it must be a number", dampening);
  check_unused("momentum", is_sgd || kind == OptimizerKind::rmsprop || momentum == 0.0, kind);
  check_unused("dampening", is_sgd || dampening == 0.0, kind);
  check_unused("nesterov", is_sgd || !nesterov, kind);
  check_unused("lr_decay", kind == OptimizerKind::adagrad || lr_decay == 0.0, kind);
  require(!nesterov || (momentum > 0.0 && dampening == 0.0),
          "nesterov needs momentum and no dampening: momentum is {}, dampening {}", momentum, dampening);
}

OptimizerOptions default_optimizer(const std::string& name) {
  const auto* found = std::find_if(kOptimizerNames.begin(), kOptimizerNames.end(),
                                   [&](const auto& entry) { return name == entry.second; });
  require(found != kOptimizerNames.end(), "optimizer '{}' is unknown: it must be sgd, adam, adamw, adagrad or rmsprop",
          name);
  OptimizerOptions options{.kind = found->first};
  if (options.kind == OptimizerKind::adamw) options.weight_decay = 1e-2;
  if (options.kind == OptimizerKind::adagrad) options.eps = 1e-10;
  return options;
}

std::string to_string(OptimizerKind kind) {
  return kOptimizerNames.at(static_cast<std::size_t>(kind)).second;
}

std::vector<TensorSpec> Optimizer::state_specs(const OptimizerOptions& options, std::int64_t flat_numel, int workers) {
  options.check();
  require(flat_numel >= 0, "flat_numel is {}: it must not be negative", flat_numel);
  require(workers > 0, "workers is {}: it must be positive", workers);
  const std::int64_t copies = options.state == StateSharing::shared ? 1 : workers;
  std::vector<TensorSpec> specs;
  for (std::string& name : buffer_names(options)) {
    specs.push_back({.name = std::move(name), .dtype = c10::ScalarType::Float, .shape = {copies, flat_numel}});
  }
  specs.push_back({.name = "step", .dtype = c10::ScalarType::Long, .shape = {copies}});
  return specs;
}

Optimizer::Optimizer(const OptimizerOptions& options, at::Tensor parameters, Arena state, int rank,
                     kernels::Write write)
    : options_(options), parameters_(std::move(parameters)), state_(std::move(state)), write_(write) {
  require((parameters_.is_cpu() || parameters_.is_cuda()) && parameters_.scalar_type() == c10::ScalarType::Float &&
              parameters_.dim() == 1 && parameters_.is_contiguous(),
          "an optimizer's parameters must be one contiguous 1-D float32 tensor on the CPU or a GPU");
  require(is_on(parameters_.device(), state_.device()),
          "an optimizer's state must lie where the parameters lie: on {}, but it lies on {}",
          name_of(parameters_.device()), name_of(state_.device()));
  flat_ = parameters_.data_ptr<float>();
  const std::int64_t numel = parameters_.numel();
  const std::int64_t copies = state_.tensor("step").numel();
  const std::int64_t row = options_.state == StateSharing::shared ? 0 : rank;
  require(row >= 0 && row < copies, "rank is {}, but the optimizer's state has rows for {} workers", rank, copies);
  const std::vector<TensorSpec> specs = state_specs(options_, numel, static_cast<int>(copies));
  for (std::size_t i = 0; i + 1 < specs.size(); ++i) {
    buffers_[i] = state_tensor(state_, specs[i]).data_ptr<float>() + row * numel;
  }
  step_ = state_tensor(state_, specs.back()).data_ptr<std::int64_t>() + row;
  if (parameters_.is_cuda()) on_gpu_ = std::make_shared<detail::GpuSteps>(options_, parameters_.device(), write_);
}

void Optimizer::step(double lr, std::span<const FlatSlice> slices, std::span<const at::Tensor> gradients) {
  if (on_gpu_ != nullptr) {
    wait_for_current_stream(parameters_.device());
    set_lr(lr);
    enqueue(slices, gradients);
    return wait_for_current_stream(parameters_.device());
  }
  check(slices, gradients);
  const std::int64_t count = next_step();
  for (std::size_t i = 0; i < slices.size(); ++i) {
    if (gradients[i].defined()) update(lr, count, arrays(slices[i], gradients[i]));
  }
}

void Optimizer::enqueue(std::span<const FlatSlice> slices, std::span<const at::Tensor> gradients,
                        const StepOnGpu& there) {
  detail::GpuSteps& gpu = on_gpu();
  check(slices, gradients);
  CUstream_st* const stream = gpu.stream();
  gpu.begin(step_, there, stream);
  detail::UpdateArrays joined = {};  // What lies side by side is one launch.
  for (std::size_t i = 0; i < slices.size(); ++i) {
    if (!gradients[i].defined()) continue;
    const detail::UpdateArrays next = arrays(slices[i], gradients[i]);
    if (joined.parameters + joined.n == next.parameters && joined.gradients + joined.n == next.gradients) {
      joined.n += next.n;
      continue;
    }
    if (joined.n != 0) gpu.update(joined, there.loss, stream);
    joined = next;
  }
  if (joined.n != 0) gpu.update(joined, there.loss, stream);
}

void Optimizer::set_lr(double lr) {
  on_gpu().set_lr(lr);
}

detail::GpuSteps& Optimizer::on_gpu() const {
  require(on_gpu_ != nullptr, "this optimizer's parameters lie on the CPU, where `step` is all there is");
  return *on_gpu_;
}

// Relaxed: the counter orders nothing. Two workers may take each other's turn with the state, as in every Hogwild step.
std::int64_t Optimizer::next_step() noexcept {
  if (options_.state == StateSharing::private_) return ++*step_;
  return std::atomic_ref(*step_).fetch_add(1, std::memory_order_relaxed) + 1;
}

bool Optimizer::is_plain_sgd() const noexcept {
  return options_.kind == OptimizerKind::sgd && options_.momentum == 0.0 && options_.weight_decay == 0.0 &&
         write_ == kernels::Write::plain;
}

void Optimizer::count_step() {
  if (on_gpu_ != nullptr) return on_gpu_->set_count(step_, steps() + 1);
  (void)next_step();
}

std::int64_t Optimizer::steps() const {
  if (on_gpu_ != nullptr) return on_gpu_->count(step_);
  return std::atomic_ref(*step_).load(std::memory_order_relaxed);
}

void Optimizer::check(std::span<const FlatSlice> slices, std::span<const at::Tensor> gradients) const {
  require(slices.size() == gradients.size(), "{} slices, but {} gradients", slices.size(), gradients.size());
  for (std::size_t i = 0; i < slices.size(); ++i) check(slices[i], gradients[i]);
}

void Optimizer::check(const FlatSlice& slice, const at::Tensor& gradient) const {
  const std::int64_t flat_numel = parameters_.numel();
  require(slice.offset >= 0 && slice.numel >= 0 && slice.numel <= flat_numel - slice.offset,
          "a slice [{}, {}) lies outside the parameters, which are {} elements", slice.offset,
          slice.offset + slice.numel, flat_numel);
  if (!gradient.defined()) return;
  require(gradient.numel() == slice.numel, "a gradient has {} elements, but its parameter, at {}, has {}",
          gradient.numel(), slice.offset, slice.numel);
  require(is_on(parameters_.device(), gradient.device()) && gradient.scalar_type() == c10::ScalarType::Float &&
              gradient.is_contiguous(),
          "the gradient of the parameter at {} must be a contiguous float32 tensor on {}", slice.offset,
          name_of(parameters_.device()));
}

detail::UpdateArrays Optimizer::arrays(const FlatSlice& slice, const at::Tensor& gradient) const {
  const auto part = [&](float* buffer) { return buffer != nullptr ? buffer + slice.offset : nullptr; };
  return {.parameters = flat_ + slice.offset,
          .gradients = gradient.const_data_ptr<float>(),
          .first = part(buffers_[0]),
          .second = part(buffers_[1]),
          .n = static_cast<std::size_t>(slice.numel)};
}

void Optimizer::update(double lr, std::int64_t step, const detail::UpdateArrays& a) {
  const OptimizerOptions& o = options_;
  switch (o.kind) {
    case OptimizerKind::sgd:
      return kernels::sgd(write_, a.parameters, a.gradients, a.first, a.n, detail::sgd_scalars(o, lr, step));
    case OptimizerKind::adam:
    case OptimizerKind::adamw: {
      const auto kernel = o.kind == OptimizerKind::adam ? kernels::adam : kernels::adamw;
      return kernel(write_, a.parameters, a.gradients, a.first, a.second, a.n, detail::adam_scalars(o, lr, step));
    }
    case OptimizerKind::adagrad:
      return kernels::adagrad(write_, a.parameters, a.gradients, a.first, a.n, detail::adagrad_scalars(o, lr, step));
    case OptimizerKind::rmsprop:
      return kernels::rmsprop(write_, a.parameters, a.gradients, a.first, a.second, a.n,
                              detail::rmsprop_scalars(o, lr));
  }
}

}  // namespace hogpen

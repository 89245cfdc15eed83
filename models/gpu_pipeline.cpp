#include "models/gpu_pipeline.h"

#include <cstring>

#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/memory/view.h"

namespace hogpen {
namespace {

constexpr std::size_t kSamplesAt = sizeof(double);  // in what is staged, behind the learning rate

std::size_t staged_bytes(std::size_t samples) noexcept {
  return kSamplesAt + samples * sizeof(std::uint32_t);
}

}  // namespace

GpuPipeline::Slot::Slot(int gpu, std::size_t batch_size)
    : memory(CudaBuffer::Place::host, gpu, staged_bytes(batch_size) + sizeof(float)) {}

GpuPipeline::GpuPipeline(const SharedModel& model, std::int64_t batch_size, Optimizer& optimizer,
                         const GpuStepMaker& make_step)
    : model_(model),
      gpu_(model.flat().device()),
      batch_size_(static_cast<std::size_t>(batch_size)),
      optimizer_(optimizer),
      stream_(gpu_),
      steps_(gpu_, [this](std::size_t samples) { return enqueue(samples); }) {
  const int gpu = gpu_.index();
  for (std::size_t i = 0; i < kMostOnTheirWay; ++i) slots_.push_back(std::make_unique<Slot>(gpu, batch_size_));
  staged_ = tensor_on_gpu(gpu, c10::ScalarType::Byte, static_cast<std::int64_t>(staged_bytes(batch_size_)));
  step_ = make_step();
}

GpuPipeline::~GpuPipeline() {
  try {
    stream_.wait();  // before its memory goes
  } catch (const Error& error) {
    log(LogLevel::warning, "steps on GPU {} did not end: {}", gpu_.index(), error.what());
  }
}

float* GpuPipeline::loss_in(Slot& slot) const noexcept {
  return reinterpret_cast<float*>(static_cast<std::byte*>(slot.memory.data()) + staged_bytes(batch_size_));
}

void GpuPipeline::begin(std::span<const std::uint32_t> samples, double lr) {
  require(!is_full() && !samples.empty() && samples.size() <= batch_size_,
          "a step takes 1 to {} samples, not {}, while fewer than {} are on their way", batch_size_, samples.size(),
          kMostOnTheirWay);
  Slot& slot = slot_of(begun_);
  auto* const staged = static_cast<std::byte*>(slot.memory.data());
  std::memcpy(staged, &lr, sizeof(lr));
  std::memcpy(staged + kSamplesAt, samples.data(), samples.size_bytes());
  const cuda::Stream stream = current_stream(gpu_);
  enqueue_copy_to_gpu(staged_.mutable_data_ptr(), staged, staged_bytes(samples.size()), stream);
  const GpuGradients& made = steps_.launch(samples.size());
  enqueue_copy_from_gpu(loss_in(slot), made.loss.const_data_ptr(), sizeof(float), stream);
  slot.done.record(stream);
  ++begun_;
}

double GpuPipeline::finish() {
  require(on_their_way() > 0, "no step is on its way");
  Slot& slot = slot_of(finished_);
  slot.done.wait();
  ++finished_;
  return *loss_in(slot);
}

GpuGradients GpuPipeline::enqueue(std::size_t samples) {
  const at::Tensor numbers =
      view_in(staged_.storage(), c10::ScalarType::Int, kSamplesAt, static_cast<std::int64_t>(samples));
  GpuGradients made = step_->enqueue(numbers);
  optimizer_.enqueue(model_.slices(), made.gradients,
                     {.loss = static_cast<const float*>(made.loss.const_data_ptr()),
                      .lr = static_cast<const double*>(staged_.const_data_ptr())});
  return made;
}

}  // namespace hogpen

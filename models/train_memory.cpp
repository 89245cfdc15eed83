#include "models/train_memory.h"

#include <ATen/Context.h>
#include <ATen/core/grad_mode.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <utility>

#include "models/checkpoint.h"
#include "models/gpu_step.h"
#include "models/shared_model.h"
#include "models/train_step.h"
#include "runtime/core/error.h"
#include "runtime/core/fd_passing.h"

namespace hogpen::detail {
namespace {

using namespace std::chrono_literals;

/// An optimizer's state made by another number of workers: each rank takes over an old one's, in turn.
void load_optimizer_state(const std::filesystem::path& file, int copies, const TrainerOptions& options,
                          const TrainMemory& memory) {
  if (copies == optimizer_copies(options)) return load_safetensors(file, memory.optimizer_state);
  require(copies >= 1 && copies <= 4096, "a checkpoint's optimizer_copies must be 1 to 4096, but is {}", copies);
  const Arena old =
      Arena::create("old optimizer state", Optimizer::state_specs(options.optimizer, memory.facts.flat_numel, copies));
  load_safetensors(file, old);
  for (const TensorEntry& entry : memory.optimizer_state.header().entries) {
    if (is_padding(entry)) continue;
    const at::Tensor to = memory.optimizer_state.tensor(entry.spec.name);
    const at::Tensor from = old.tensor(entry.spec.name);
    for (std::int64_t rank = 0; rank < to.size(0); ++rank) to[rank].copy_(from[rank % from.size(0)]);
  }
}

void check_fit(const Model& model, const Dataset& data) {
  BatchBuffer buffer(data, data.normalization(), 1, model.takes_images);
  const std::uint32_t first = 0;
  const at::Tensor input = buffer.fill({&first, 1}).inputs;
  at::Tensor output;
  try {
    const c10::NoGradGuard no_gradients;
    output = model.forward(input);
  } catch (const c10::Error& error) {
    throw UsageError(fmt::format("the model does not take the data's samples, of shape [{}]: {}",
                                 fmt::join(input.sizes(), ", "), error.what_without_backtrace()));
  }
  require(output.dim() == 2 && output.size(1) >= data.classes(),
          "the model must have an output for each of the data's {} classes, but its output has the shape [{}]",
          data.classes(), fmt::join(output.sizes(), ", "));
}

/// What computes the steps: asked once, before there is a worker.
Engine resolve_engine(const TrainerOptions& options, const SharedModel& model, const Dataset& data) {
  if (options.step) return Engine::own;
  if (options.engine == Engine::autograd) return Engine::autograd;
  if (can_fuse(model, data)) return Engine::fused;
  if (options.engine == Engine::automatic) return Engine::autograd;
  throw UsageError("the fused engine does not take this model",
                   "models/train_step.h says which it takes: leave the engine to hogpen, or say autograd");
}

/// A worker's gradients, and what its engine keeps if that is ours.
std::size_t bytes_on_gpu(const TrainerOptions& options, Engine engine, const SharedModel& model, const Dataset& data) {
  const std::size_t gradients = model.flat().nbytes();
  if (engine != Engine::fused) return gradients;
  return gradients + fused_gpu_step_bytes(model, data, std::min(options.batch_size, data.size()));
}

TrainMemory make_memory(const ModelFactory& factory, const std::string& description, const Dataset& data,
                        const TrainerOptions& options, const nlohmann::json& record) {
  at::manual_seed(options.seed);
  Model model = factory();
  check_fit(model, data);
  const Arena parameters = share_memory(*model.module, {{"format", "pt"}, {"model", description}});
  SharedModel shared(std::move(model), parameters);
  const Engine engine = resolve_engine(options, shared, data);
  const TrainMemory::Facts facts{shared.flat().numel(), engine, bytes_on_gpu(options, engine, shared, data)};
  const auto specs = Optimizer::state_specs(options.optimizer, facts.flat_numel, optimizer_copies(options));
  TrainMemory memory{parameters, Arena::create("optimizer", specs), facts};
  if (!options.resume) return memory;
  load_safetensors(model_file(*options.resume), memory.model);
  if (!record.empty()) {
    const int copies = record.at("optimizer_copies").get<int>();
    load_optimizer_state(*options.resume / "optimizer.safetensors", copies, options, memory);
  }
  return memory;
}

}  // namespace

int optimizer_copies(const TrainerOptions& options) {
  return options.mode == UpdateMode::sync ? 1 : options.launcher.workers;
}

TrainMemory make_train_memory(const ModelFactory& factory, const std::string& description, const Dataset& data,
                              const TrainerOptions& options, const nlohmann::json& record) {
  const auto [mine, childs] = socket_pair();
  run_isolated(options.launcher.workers_as, [&, socket = childs.get()] {
    const TrainMemory made = make_memory(factory, description, data, options, record);
    send_fd(socket, made.model.segment().fd());
    send_fd(socket, made.optimizer_state.segment().fd());
    syscall_ok(::write(socket, &made.facts, sizeof(made.facts)), "write to the launcher");
  });
  const Deadline soon = Deadline::after(1s);
  Arena model = Arena::attach(Segment::attach(receive_fd(mine.get(), soon)));
  Arena optimizer_state = Arena::attach(Segment::attach(receive_fd(mine.get(), soon)));
  TrainMemory::Facts facts;
  syscall_ok(::read(mine.get(), &facts, sizeof(facts)), "read from the child that made the model");
  return {std::move(model), std::move(optimizer_state), facts};
}

}  // namespace hogpen::detail

#include "models/train_gpu.h"

#include <span>
#include <thread>
#include <utility>

#include "models/train_plan.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/device_board.h"
#include "runtime/memory/page_lock.h"
#include "runtime/memory/view.h"

namespace hogpen::detail {
namespace {

using namespace std::chrono_literals;

constexpr auto kLookUp = 1ms;  // how often a worker looks whether the memory is there
constexpr std::size_t kPage = std::size_t{2} << 20;

/// What lies in the host's memory for a piece, and its layout.
struct Source {
  std::span<const std::byte> bytes;
  std::uint64_t layout_hash = 0;
};

Source source_of(const TrainPlan& plan, GpuPieces::Piece piece) {
  switch (piece) {
    case GpuPieces::model:
      return {plan.model.data(), plan.model.layout_hash()};
    case GpuPieces::optimizer_state:
      return {plan.optimizer_state.data(), plan.optimizer_state.layout_hash()};
    default:
      return {plan.data.train.samples().bytes(), 0};
  }
}

DeviceMemory make_piece(const TrainPlan& plan, std::size_t place, GpuPieces::Piece piece) {
  const Source source = source_of(plan, piece);
  auto memory = DeviceMemory::create(plan.gpus[place], source.bytes.size(), {.layout_hash = source.layout_hash});
  const BlockId block = memory.post();
  retain(block);
  plan.shared().gpus[place].blocks[piece].store(static_cast<std::uint64_t>(block));
  return memory;
}

DeviceMemory find_or_make(const TrainPlan& plan, std::size_t place, GpuPieces::Piece piece) {
  const auto block = static_cast<BlockId>(plan.shared().gpus[place].blocks[piece].load());
  return block == BlockId::none ? make_piece(plan, place, piece) : DeviceMemory::find(block);
}

template <class Memory>
at::Tensor as_bytes(Memory memory, std::size_t size, int gpu) {
  const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(gpu));
  return view_in(storage_in(std::move(memory), 0, size, device), c10::ScalarType::Byte, 0,
                 static_cast<std::int64_t>(size));
}

/// Samples that stay on the host.
struct LockedSamples {
  [[nodiscard]] std::byte* data() const { return lock->on_gpu(); }
  Segment segment;
  std::shared_ptr<const PageLock> lock;
};

at::Tensor samples_for(const TrainPlan& plan, std::size_t place) {
  const int gpu = plan.gpus[place];
  if (plan.has_samples_on_gpus) {
    DeviceMemory memory = find_or_make(plan, place, GpuPieces::samples);
    const std::size_t size = memory.size_bytes();
    return as_bytes(std::move(memory), size, gpu);
  }
  const Segment& samples = plan.data.train.samples();
  const std::size_t size = samples.size_bytes();
  return as_bytes(LockedSamples{samples, std::make_shared<PageLock>(samples.data(), size, gpu)}, size, gpu);
}

/// On the GPU in that place of `plan.gpus`.
GpuTraining open(const TrainPlan& plan, std::size_t place) {
  return {.model = plan.model.on(find_or_make(plan, place, GpuPieces::model)),
          .optimizer_state = plan.optimizer_state.on(find_or_make(plan, place, GpuPieces::optimizer_state)),
          .samples = samples_for(plan, place)};
}

void copy_from_host(const TrainPlan& plan, const GpuTraining& to) {
  copy(plan.model, to.model);
  copy(plan.optimizer_state, to.optimizer_state);
  if (!plan.has_samples_on_gpus) return;
  const std::span<const std::byte> samples = plan.data.train.samples().bytes();
  copy_to_gpu(to.samples.mutable_data_ptr(), samples.data(), samples.size());
}

/// Gives all GPUs what the first one has.
void broadcast(const TrainPlan& plan, std::span<const GpuTraining> gpus, NcclThreads& group) {
  group.run([&](Group& member) {
    const GpuTraining& mine = gpus[static_cast<std::size_t>(member.rank())];
    const auto receive = [&](const at::Tensor& piece) {
      member.broadcast(piece, 0, Deadline::after(NcclThreads::kPatience));
    };
    receive(mine.model.flat(0, mine.model.data().size()));
    receive(mine.optimizer_state.flat(0, mine.optimizer_state.data().size()));
    if (plan.has_samples_on_gpus) receive(mine.samples);
  });
}

}  // namespace

std::vector<GpuTraining> GpuTraining::make(const TrainPlan& plan, NcclThreads* group) {
  std::vector<GpuTraining> made;
  for (std::size_t place = 0; place < plan.gpus.size(); ++place) made.push_back(open(plan, place));
  std::atomic<std::uint32_t>& are_ready = plan.shared().gpus_are_ready;
  if (made.empty() || are_ready.load() != 0) return made;
  copy_from_host(plan, made[0]);
  if (group) broadcast(plan, made, *group);
  are_ready.store(1);
  return made;
}

std::optional<GpuTraining> GpuTraining::wait_for(const TrainPlan& plan, const Worker& worker) {
  while (plan.shared().gpus_are_ready.load() == 0) {
    if (worker.should_stop()) return {};
    worker.beat();
    std::this_thread::sleep_for(kLookUp);
  }
  return open(plan, static_cast<std::size_t>(worker.rank()) % plan.gpus.size());
}

std::size_t GpuTraining::needed_bytes(std::initializer_list<std::size_t> pieces_bytes) {
  std::size_t bytes = 0;
  for (const std::size_t size : pieces_bytes) bytes += (size + kPage - 1) / kPage * kPage;
  return bytes;
}

void GpuTraining::release(std::span<GpuPieces> gpus) noexcept {
  for (GpuPieces& pieces : gpus) {
    for (auto& block : pieces.blocks) {
      const auto id = static_cast<BlockId>(block.exchange(0));
      if (id != BlockId::none) hogpen::release(id);
    }
  }
  forget_dead_device_memory();
}

void copy_optimizer_state(std::span<const GpuTraining> from, const Arena& to) {
  copy(from[0].optimizer_state, to);
  for (const TensorEntry& entry : to.header().entries) {
    if (is_padding(entry)) continue;
    const auto rows = static_cast<std::size_t>(entry.spec.shape[0]);
    const std::size_t row_bytes = (entry.end - entry.begin) / rows;
    for (std::size_t row = 1; row < rows; ++row) {
      const std::size_t place = row % from.size();
      if (place == 0) continue;
      const Arena& state = from[place].optimizer_state;
      const std::size_t begin = entry.begin + row * row_bytes;
      use_gpu(state.device().index());
      copy_from_gpu(to.data().data() + begin, state.data().data() + begin, row_bytes);
    }
  }
}

}  // namespace hogpen::detail

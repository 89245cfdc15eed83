#include "runtime/work/elementwise.h"

#include <ATen/MemoryOverlap.h>
#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <tuple>

#include "kernels/transform.h"
#include "runtime/channel/tensor_codec.h"
#include "runtime/core/error.h"
#include "runtime/memory/tensor_handle.h"
#include "runtime/work/pool.h"
#include "runtime/work/strided_pair.h"
#include "runtime/work/team.h"

namespace hogpen {
namespace {

using kernels::UnaryOp;

void check_input(const at::Tensor& in) {
  require(in.defined(), "a tensor must be defined to be transformed");
  if (in.layout() != c10::kStrided || !in.has_storage()) throw UsageError("only dense tensors can be transformed");
  if (!kernels::is_transformable(in.scalar_type())) {
    throw UsageError(fmt::format("elementwise ops take float32, float64, bfloat16 and float16, not {}",
                                 c10::toString(in.scalar_type())),
                     "convert it: tensor.to(at::kFloat)");
  }
  if (!in.device().is_cpu() && !in.device().is_cuda()) {
    throw UsageError(fmt::format("elementwise ops run on CPUs and on CUDA, not on {}", in.device().str()));
  }
  require(!in.is_neg(), "a tensor with the negative bit must be resolved first: call resolve_neg()");
  require(!(c10::GradMode::is_enabled() && in.requires_grad()),
          "elementwise ops record no gradients: detach the tensor, or hold a torch::NoGradGuard");
}

bool is_same_place(const at::Tensor& a, const at::Tensor& b) {
  return a.const_data_ptr() == b.const_data_ptr() && a.strides() == b.strides();
}

// No `require` with arguments here: it would put the texts together for every call.
void check_pair(const at::Tensor& in, const at::Tensor& out) {
  check_input(out);
  const auto mismatch = [](const char* what, const std::string& wanted, const std::string& got) {
    throw UsageError(fmt::format("the output must have the {} of the input, {}, not {}", what, wanted, got));
  };
  if (in.sizes() != out.sizes()) mismatch("shape", c10::str(in.sizes()), c10::str(out.sizes()));
  if (in.scalar_type() != out.scalar_type()) {
    mismatch("dtype", c10::toString(in.scalar_type()), c10::toString(out.scalar_type()));
  }
  if (in.device() != out.device()) mismatch("device", in.device().str(), out.device().str());
  require(at::has_internal_overlap(out.unsafeGetTensorImpl()) != at::MemOverlap::Yes,
          "elements of the output must not lie in the same place: clone() the expanded tensor first");
  require(is_same_place(in, out) || at::get_overlap_status(in.unsafeGetTensorImpl(), out.unsafeGetTensorImpl()) !=
                                        at::MemOverlapStatus::Partial,
          "the output must be the input, or not overlap it");
}

enum class Target { other, in_place };

Choice choose_for(UnaryOp op, std::uint64_t elements, const at::Tensor& sample, Target target,
                  const Executor& executor) {
  using enum Choice::Reason;
  const ExecutorOptions& options = executor.options();
  const auto choice = [&](Place place, Choice::Reason reason, std::uint64_t from) {
    const int workers = place == Place::threads     ? executor.threads()
                        : place == Place::processes ? options.processes->workers()
                                                    : 1;
    return Choice{.place = place, .workers = workers, .reason = reason, .elements = elements, .from = from};
  };
  if (sample.is_cuda()) return choice(Place::gpu, data, 0);
  // A piece is done again when its worker was killed; one that was done halfway in place would be done twice.
  const bool may_use_processes = target == Target::other;
  if (options.place != Place::automatic) {
    require(options.place != Place::processes || may_use_processes,
            "processes cannot work in place, since what a killed worker has begun is done again: give another output");
    return choice(options.place, asked, 0);
  }
  const BreakEven& from = options.calibration.of(op.kind);
  if (elements >= from.gpu && kernels::cuda_devices() > 0) return choice(Place::gpu, size, from.gpu);
  if (may_use_processes && options.processes != nullptr && elements >= from.processes && is_shared(sample)) {
    return choice(Place::processes, size, from.processes);
  }
  if (executor.threads() > 1 && elements >= from.threads) return choice(Place::threads, size, from.threads);
  return choice(Place::caller, size, 0);
}

/// Some elements of a pair of tensors.
struct Piece {
  const StridedPair* pair;
  std::uint64_t begin;
  std::uint64_t end;
};

/// Pieces for several threads. Each has a share of neighbours, so that the same call again, or the next op on the same
/// tensor, finds them in the cache of the same core; who is done helps the others.
class SharedPieces {
 public:
  SharedPieces(UnaryOp op, std::span<const Piece> pieces, int workers)
      : op_(op), pieces_(pieces), shares_(static_cast<std::size_t>(workers)) {
    for (std::size_t i = 0; i < shares_.size(); ++i) {
      shares_[i].next = i * pieces.size() / shares_.size();
      shares_[i].end = (i + 1) * pieces.size() / shares_.size();
    }
  }

  void work(std::size_t worker) {
    for (std::size_t i = 0; i < shares_.size(); ++i) finish(shares_[(worker + i) % shares_.size()]);
  }

 private:
  struct alignas(64) Share {
    std::atomic<std::size_t> next{0};
    std::size_t end = 0;
  };

  void finish(Share& share) {
    // Relaxed: a piece is claimed by the value alone; what was written is published by the end of the pool's task.
    for (std::size_t i = share.next.fetch_add(1, std::memory_order_relaxed); i < share.end;
         i = share.next.fetch_add(1, std::memory_order_relaxed)) {
      pieces_[i].pair->transform(op_, pieces_[i].begin, pieces_[i].end);
    }
  }

  UnaryOp op_;
  std::span<const Piece> pieces_;
  std::vector<Share> shares_;
};

void transform_by_threads(UnaryOp op, std::span<const Piece> pieces, Executor& executor) {
  SharedPieces shared(op, pieces, executor.threads());
  if (pieces.size() == 1) return shared.work(0);
  executor.team().run([&](std::size_t worker) { shared.work(worker); });
}

using ProcessTask = std::tuple<UnaryOp, at::Tensor, at::Tensor, std::uint64_t, std::uint64_t>;

void transform_by_processes(const std::vector<ProcessTask>& tasks, Pool& pool) {
  pool.starmap([](UnaryOp op, const at::Tensor& in, const at::Tensor& out, std::uint64_t begin,
                  std::uint64_t end) { StridedPair(in, out).transform(op, begin, end); },
               tasks, {.chunk_size = 1});
}

void require_shared(const at::Tensor& tensor) {
  require(is_shared(tensor), "a pool of processes needs tensors in shared memory: call share_memory(tensor) first");
}

void transform_cuda_tensor(UnaryOp op, const at::Tensor& in, const at::Tensor& out) {
  const c10::DeviceGuard guard(in.device());
  if (in.is_non_overlapping_and_dense() && in.strides() == out.strides()) {
    const c10::impl::VirtualGuardImpl cuda(c10::DeviceType::CUDA);
    kernels::transform_cuda(op, in.scalar_type(), in.const_data_ptr(), out.mutable_data_ptr(),
                            static_cast<std::size_t>(in.numel()),
                            static_cast<CUstream_st*>(cuda.getStream(in.device()).native_handle()));
    return;
  }
  const at::Tensor dense = in.clone(at::MemoryFormat::Contiguous);
  transform_cuda_tensor(op, dense, dense);
  out.copy_(dense);
}

void transform_through_gpu(UnaryOp op, const at::Tensor& in, const at::Tensor& out) {
  const StridedPair pair(in, out);
  if (pair.is_flat()) {
    kernels::transform_through_cuda(op, pair.dtype(), pair.in(), pair.out(), pair.numel(), 0);
    return;
  }
  const at::Tensor dense = in.clone(at::MemoryFormat::Contiguous);
  transform_through_gpu(op, dense, dense);
  out.copy_(dense);
}

/// How many elements a worker takes at a time: enough to be worth it, few enough that all end together. A multiple of
/// what a cache line holds.
std::uint64_t piece_size(std::uint64_t elements, int workers) {
  constexpr std::uint64_t kLeast = 8192;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 18;
  const std::uint64_t share = elements / (4 * static_cast<std::uint64_t>(workers)) + 1;
  return std::clamp(share, kLeast, kMost) / 64 * 64;
}

template <class F>
void for_each_piece(std::uint64_t elements, std::uint64_t size, const F& take) {
  for (std::uint64_t begin = 0; begin < elements; begin += size) take(begin, std::min(begin + size, elements));
}

void transform_checked(UnaryOp op, const at::Tensor& in, const at::Tensor& out, const Choice& choice,
                       Executor& executor) {
  if (in.numel() == 0) return;
  const auto elements = static_cast<std::uint64_t>(in.numel());
  switch (choice.place) {
    case Place::gpu:
      return in.is_cuda() ? transform_cuda_tensor(op, in, out) : transform_through_gpu(op, in, out);
    case Place::processes: {
      require_shared(in);
      require_shared(out);
      std::vector<ProcessTask> tasks;
      for_each_piece(elements, piece_size(elements, choice.workers),
                     [&](std::uint64_t begin, std::uint64_t end) { tasks.emplace_back(op, in, out, begin, end); });
      return transform_by_processes(tasks, *executor.options().processes);
    }
    case Place::threads: {
      const StridedPair pair(in, out);
      std::vector<Piece> pieces;
      for_each_piece(elements, piece_size(elements, choice.workers),
                     [&](std::uint64_t begin, std::uint64_t end) { pieces.push_back({&pair, begin, end}); });
      return transform_by_threads(op, pieces, executor);
    }
    default:
      StridedPair(in, out).transform(op, 0, elements);
  }
}

at::Tensor output_for(const at::Tensor& in, Place place) {
  return place == Place::processes ? empty_shared(in.sizes(), in.scalar_type()) : at::empty_like(in);
}

}  // namespace

Choice choose(UnaryOp op, const at::Tensor& in, const Executor& executor) {
  check_input(in);
  return choose_for(op, static_cast<std::uint64_t>(in.numel()), in, Target::other, executor);
}

at::Tensor transform(UnaryOp op, const at::Tensor& in, Executor& executor) {
  const Choice choice = choose(op, in, executor);
  at::Tensor out = output_for(in, choice.place);
  transform_checked(op, in, out, choice, executor);
  return out;
}

void transform_into(UnaryOp op, const at::Tensor& in, const at::Tensor& out, Executor& executor) {
  check_input(in);
  check_pair(in, out);
  const Target target = is_same_place(in, out) ? Target::in_place : Target::other;
  const Choice choice = choose_for(op, static_cast<std::uint64_t>(in.numel()), in, target, executor);
  transform_checked(op, in, out, choice, executor);
}

std::vector<at::Tensor> transform(UnaryOp op, std::span<const at::Tensor> chunks, Executor& executor) {
  std::uint64_t elements = 0;
  for (const at::Tensor& chunk : chunks) {
    check_input(chunk);
    elements += static_cast<std::uint64_t>(chunk.numel());
  }
  std::vector<at::Tensor> results;
  if (chunks.empty()) return results;
  const Choice choice = choose_for(op, elements, chunks[0], Target::other, executor);
  for (const at::Tensor& chunk : chunks) results.push_back(output_for(chunk, choice.place));
  if (choice.place == Place::processes) {
    std::vector<ProcessTask> tasks;
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      require_shared(chunks[i]);
      tasks.emplace_back(op, chunks[i], results[i], 0, static_cast<std::uint64_t>(chunks[i].numel()));
    }
    transform_by_processes(tasks, *executor.options().processes);
  } else if (choice.place == Place::threads) {
    std::vector<StridedPair> pairs;
    for (std::size_t i = 0; i < chunks.size(); ++i) pairs.emplace_back(chunks[i], results[i]);
    std::vector<Piece> pieces;
    for (const StridedPair& pair : pairs) pieces.push_back({&pair, 0, pair.numel()});
    transform_by_threads(op, pieces, executor);
  } else {
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      transform_checked(op, chunks[i], results[i], choose_for(op, elements, chunks[i], Target::other, executor),
                        executor);
    }
  }
  return results;
}

}  // namespace hogpen

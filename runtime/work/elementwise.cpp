#include "runtime/work/elementwise.h"

#include <ATen/ops/empty_like.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cstdint>
#include <stdexcept>
#include <tuple>

#include "kernels/transform.h"
#include "runtime/channel/tensor_codec.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/tensor_handle.h"
#include "runtime/work/overlap.h"
#include "runtime/work/pool.h"
#include "runtime/work/strided_pair.h"
#include "runtime/work/team.h"

namespace hogpen {
namespace {

using kernels::UnaryOp;

using Tensors = std::span<const at::Tensor>;

// No `require` with arguments in these two: it would put the texts together for every call.
void check_input(const at::Tensor& in) {
  require(in.defined(), "a tensor must be defined to be transformed");
  if (in.layout() != c10::kStrided || in.is_nested() || !in.has_storage()) {
    throw UsageError("only dense tensors can be transformed", "call to_dense() first");
  }
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

void check_output(const at::Tensor& in, const at::Tensor& out) {
  check_input(out);
  const auto mismatch = [](const char* what, const std::string& wanted, const std::string& got) {
    throw UsageError(fmt::format("the output must have the {} of the input, {}, not {}", what, wanted, got));
  };
  if (in.sizes() != out.sizes()) mismatch("shape", c10::str(in.sizes()), c10::str(out.sizes()));
  if (in.scalar_type() != out.scalar_type()) {
    mismatch("dtype", c10::toString(in.scalar_type()), c10::toString(out.scalar_type()));
  }
  if (in.device() != out.device()) mismatch("device", in.device().str(), out.device().str());
  require(!may_overlap_itself(out),
          "elements of the output must not lie in the same place: clone() the expanded tensor first");
  require(is_same_view(in, out) || !may_overlap(in, out), "the output must be the input, or not overlap it");
}

Tensors one(const at::Tensor& tensor) {
  return {&tensor, 1};
}

std::uint64_t elements_of(Tensors tensors) {
  std::uint64_t sum = 0;
  for (const at::Tensor& tensor : tensors) sum += static_cast<std::uint64_t>(tensor.numel());
  return sum;
}

bool are_shared(Tensors tensors) {
  return std::ranges::all_of(tensors, is_shared);
}

bool is_any_in_place(Tensors in, Tensors out) {
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (is_same_view(in[i], out[i])) return true;
  }
  return false;
}

// `out` is empty where the outputs are still to be made.
Choice choose_for(UnaryOp op, Tensors in, Tensors out, const Executor& executor) {
  using enum Choice::Reason;
  const ExecutorOptions& options = executor.options();
  const std::uint64_t elements = elements_of(in);
  const auto choice = [&](Place place, Choice::Reason reason, std::uint64_t from) {
    const int workers = place == Place::threads     ? executor.threads()
                        : place == Place::processes ? options.processes->workers()
                                                    : 1;
    return Choice{.place = place, .workers = workers, .reason = reason, .elements = elements, .from = from};
  };
  if (in[0].is_cuda()) return choice(Place::gpu, data, 0);
  // A piece is done again when its worker was killed; one that was done halfway in place would be done twice.
  const bool is_in_place = is_any_in_place(in, out);
  if (options.place != Place::automatic) {
    require(options.place != Place::processes || !is_in_place,
            "processes cannot work in place, since what a killed worker has begun is done again: give another output");
    return choice(options.place, asked, 0);
  }
  const BreakEven& from = options.calibration.of(op.kind);
  // Each tensor goes to a GPU by itself.
  if (elements / in.size() >= from.gpu && kernels::cuda_devices() > 0) return choice(Place::gpu, size, from.gpu);
  const bool may_use_processes = options.processes != nullptr && !is_in_place;
  if (may_use_processes && elements >= from.processes && are_shared(in) && are_shared(out)) {
    return choice(Place::processes, size, from.processes);
  }
  if (executor.threads() > 1 && elements >= from.threads) return choice(Place::threads, size, from.threads);
  return choice(Place::caller, executor.threads() > 1 || may_use_processes ? size : alone, 0);
}

/// Some elements of a pair of tensors.
struct Piece {
  std::size_t pair;
  std::uint64_t begin;
  std::uint64_t end;
};

/// How many elements a worker takes at a time: enough to be worth it, few enough that all end together. A multiple of
/// what a cache line holds.
std::uint64_t piece_size(std::uint64_t elements, int workers) {
  constexpr std::uint64_t kLeast = 8192;
  constexpr std::uint64_t kMost = std::uint64_t{1} << 18;
  const std::uint64_t share = elements / (4 * static_cast<std::uint64_t>(workers)) + 1;
  return std::clamp(share, kLeast, kMost) / 64 * 64;
}

std::vector<Piece> pieces_of(Tensors tensors, int workers) {
  const std::uint64_t size = piece_size(elements_of(tensors), workers);
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto elements = static_cast<std::uint64_t>(tensors[i].numel());
    for (std::uint64_t begin = 0; begin < elements; begin += size) {
      pieces.push_back({i, begin, std::min(begin + size, elements)});
    }
  }
  return pieces;
}

void transform_by_threads(UnaryOp op, Tensors in, Tensors out, Executor& executor) {
  std::vector<StridedPair> pairs;
  for (std::size_t i = 0; i < in.size(); ++i) pairs.emplace_back(in[i], out[i]);
  const std::vector<Piece> pieces = pieces_of(in, executor.threads());
  const auto transform_piece = [&](std::size_t i) {
    pairs[pieces[i].pair].transform(op, pieces[i].begin, pieces[i].end);
  };
  if (pieces.size() == 1) return transform_piece(0);
  executor.team().for_each(pieces.size(), transform_piece);
}

void transform_by_processes(UnaryOp op, Tensors in, Tensors out, Pool& pool) {
  require(are_shared(in) && are_shared(out),
          "a pool of processes needs tensors in shared memory: call share_memory(tensor) first");
  std::vector<std::tuple<UnaryOp, at::Tensor, at::Tensor, std::uint64_t, std::uint64_t>> tasks;
  for (const Piece& piece : pieces_of(in, pool.workers())) {
    tasks.emplace_back(op, in[piece.pair], out[piece.pair], piece.begin, piece.end);
  }
  pool.starmap([](UnaryOp task, const at::Tensor& from, const at::Tensor& to, std::uint64_t begin,
                  std::uint64_t end) { StridedPair(from, to).transform(task, begin, end); },
               tasks, {.chunk_size = 1});
}

// The GPU's kernels take dense arrays of the same order alone.
void transform_by_gpu(UnaryOp op, const at::Tensor& in, const at::Tensor& out) {
  if (!in.is_non_overlapping_and_dense() || in.strides() != out.strides()) {
    const at::Tensor dense = in.clone(at::MemoryFormat::Contiguous);
    transform_by_gpu(op, dense, dense);
    out.copy_(dense);
    return;
  }
  const auto n = static_cast<std::size_t>(in.numel());
  if (!in.is_cuda()) {
    kernels::transform_through_cuda(op, in.scalar_type(), in.const_data_ptr(), out.mutable_data_ptr(), n, 0);
    return;
  }
  const c10::DeviceGuard guard(in.device());
  kernels::transform_cuda(op, in.scalar_type(), in.const_data_ptr(), out.mutable_data_ptr(), n,
                          static_cast<CUstream_st*>(current_stream(in.device())));
}

/// Whether a GPU that was chosen for host data has done it, and not failed: too little memory is no reason to give up.
bool try_gpu(UnaryOp op, const at::Tensor& in, const at::Tensor& out, const Executor& executor) try {
  transform_by_gpu(op, in, out);
  return true;
} catch (const std::runtime_error& error) {
  // In place, some elements may be done already.
  if (executor.options().place != Place::automatic || in.is_cuda() || is_same_view(in, out)) throw;
  log(LogLevel::warning, "the GPU could not do {} elements, threads will: {}", in.numel(), error.what());
  return false;
}

void perform(UnaryOp op, Tensors in, Tensors out, const Choice& choice, Executor& executor) {
  if (choice.elements == 0) return;
  if (choice.place == Place::threads) return transform_by_threads(op, in, out, executor);
  if (choice.place == Place::processes) return transform_by_processes(op, in, out, *executor.options().processes);
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i].numel() == 0) continue;
    if (choice.place == Place::gpu) {
      if (!try_gpu(op, in[i], out[i], executor)) transform_by_threads(op, one(in[i]), one(out[i]), executor);
    } else {
      StridedPair(in[i], out[i]).transform(op, 0, static_cast<std::uint64_t>(in[i].numel()));
    }
  }
}

}  // namespace

Choice choose(UnaryOp op, const at::Tensor& in, const Executor& executor) {
  check_input(in);
  return choose_for(op, one(in), {}, executor);
}

Choice choose(UnaryOp op, const at::Tensor& in, const at::Tensor& out, const Executor& executor) {
  check_input(in);
  check_output(in, out);
  return choose_for(op, one(in), one(out), executor);
}

at::Tensor transform(UnaryOp op, const at::Tensor& in, Executor& executor) {
  return transform(op, one(in), executor)[0];
}

void transform_into(UnaryOp op, const at::Tensor& in, const at::Tensor& out, Executor& executor) {
  perform(op, one(in), one(out), choose(op, in, out, executor), executor);
  if (!out.is_inference()) out.unsafeGetTensorImpl()->bump_version();  // for who has saved it for a backward pass
}

std::vector<at::Tensor> transform(UnaryOp op, Tensors chunks, Executor& executor) {
  for (const at::Tensor& chunk : chunks) {
    check_input(chunk);
    if (chunk.device() != chunks[0].device()) {
      throw UsageError(fmt::format("all chunks must be on one device, not on {} and {}", chunks[0].device().str(),
                                   chunk.device().str()));
    }
  }
  std::vector<at::Tensor> results;
  if (chunks.empty()) return results;
  const Choice choice = choose_for(op, chunks, {}, executor);
  for (const at::Tensor& chunk : chunks) {
    results.push_back(choice.place == Place::processes ? empty_shared(chunk.sizes(), chunk.scalar_type())
                                                       : at::empty_like(chunk));
  }
  perform(op, chunks, results, choice, executor);
  return results;
}

}  // namespace hogpen

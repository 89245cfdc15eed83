#include "runtime/cluster/nccl_group.h"

#include <ATen/ops/from_blob.h>

#include <thread>
#include <utility>
#include <vector>

#include "runtime/cluster/group_board.h"
#include "runtime/core/log.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kSpin = 100us;          // as long as a small collective takes
constexpr auto kSleep = 50us;          // between two looks after that
constexpr auto kBetweenChecks = 10ms;  // to look for dead members is a system call for each
constexpr auto kMostToFinalize = 5s;

at::Tensor bytes_of(void* data, std::size_t size) {
  return at::from_blob(data, {static_cast<std::int64_t>(size)}, at::kByte);
}

int nccl_type(c10::ScalarType dtype) {
  return dtype == c10::kFloat ? nccl::kFloat32 : nccl::kFloat64;
}

/// Calls `is_over` until it is true: at first all the time, then now and then, and `check` every few milliseconds.
template <class IsOver, class Check>
void poll(const IsOver& is_over, const Check& check) {
  const Deadline spin_until = Deadline::after(kSpin);
  Deadline next_check = Deadline::after(kBetweenChecks);
  while (!is_over()) {
    if (next_check.has_passed()) {
      check();
      next_check = Deadline::after(kBetweenChecks);
    }
    spin_until.has_passed() ? std::this_thread::sleep_for(kSleep) : std::this_thread::yield();
  }
}

}  // namespace

NcclGroup::NcclGroup(SharedGroup::Memory memory, int rank, const Options& options, Deadline deadline)
    : memory_(std::move(memory)), host_(memory_, rank), options_(options), nccl_(nccl_library()) {
  use_gpu(options.gpu);
  refuse_shared_gpus(deadline);
  connect(deadline);
}

NcclGroup::~NcclGroup() {
  if (!communicator_ || !memory_.board().leave(rank())) return;
  try {
    // Of a group that has ended, somebody is not coming.
    if (!memory_.board().has_ended()) finalize();
  } catch (const Error& error) {
    log(LogLevel::warning, "the communicator of rank {} did not end well: {}", rank(), error.what());
  }
  abort_communicator();
}

void NcclGroup::refuse_shared_gpus(Deadline deadline) {
  std::vector<cuda::Uuid> gpus(static_cast<std::size_t>(world_size()));
  gpus[static_cast<std::size_t>(rank())] = uuid_of_gpu(options_.gpu);
  for (int root = 0; root < world_size(); ++root) {
    cuda::Uuid& gpu = gpus[static_cast<std::size_t>(root)];
    host_.broadcast(bytes_of(&gpu, sizeof(gpu)), root, deadline);
    for (int other = 0; other < root; ++other) {
      require(gpus[static_cast<std::size_t>(other)] != gpu,
              "ranks {} and {} have the same GPU, but NCCL wants one for each rank", other, root);
    }
  }
}

void NcclGroup::connect(Deadline deadline) {
  nccl::UniqueId id;
  if (rank() == 0) nccl_.check("ncclGetUniqueId", nccl_.result_of("ncclGetUniqueId", &id));
  host_.broadcast(bytes_of(id.bytes, sizeof(id.bytes)), 0, deadline);
  nccl::Config config;
  run("joining the group", "ncclCommInitRankConfig", deadline,
      [&] { return nccl_.result_of("ncclCommInitRankConfig", &communicator_, world_size(), id, rank(), &config); });
}

void NcclGroup::require_takes(const at::Tensor& tensor) const {
  require(tensor.defined() && tensor.layout() == c10::kStrided && tensor.device().is_cuda() &&
              tensor.device().index() == options_.gpu && tensor.is_contiguous(),
          "this group takes dense and contiguous tensors on cuda:{}", options_.gpu);
}

void NcclGroup::broadcast(const at::Tensor& tensor, int root, Deadline deadline) {
  require_takes(tensor);
  require(root >= 0 && root < world_size(), "the root of a broadcast must be rank 0 to {}, but is {}", world_size() - 1,
          root);
  run("broadcast", "ncclBroadcast", deadline, [&] {
    return nccl_.result_of("ncclBroadcast", static_cast<const void*>(tensor.data_ptr()), tensor.data_ptr(),
                           tensor.nbytes(), nccl::kUint8, root, communicator_, options_.stream);
  });
}

void NcclGroup::all_reduce(const at::Tensor& tensor, Reduction reduction, Deadline deadline) {
  require_takes(tensor);
  require(tensor.scalar_type() == c10::kFloat || tensor.scalar_type() == c10::kDouble,
          "all_reduce takes float32 and float64, but not {}", c10::toString(tensor.scalar_type()));
  run("all_reduce", "ncclAllReduce", deadline, [&] {
    return nccl_.result_of("ncclAllReduce", static_cast<const void*>(tensor.data_ptr()), tensor.data_ptr(),
                           static_cast<std::size_t>(tensor.numel()), nccl_type(tensor.scalar_type()),
                           reduction == Reduction::mean ? nccl::kAverage : nccl::kSum, communicator_, options_.stream);
  });
}

void NcclGroup::run(const char* verb, const char* function, Deadline deadline, const Start& start) {
  detail::GroupBoard& board = memory_.board();
  board.check(rank(), verb);
  board.arrive(rank());
  try {
    nccl_.check(function, start(), communicator_);
    bool is_enqueued = false;
    const auto is_over = [&] {
      if (!is_enqueued) is_enqueued = !is_in_progress(function);
      if (is_enqueued && !is_stream_busy()) return true;
      if (deadline.has_passed()) board.give_up(rank(), verb);
      return false;
    };
    poll(is_over, [&] {
      (void)is_in_progress(function);
      board.check(rank(), verb);
    });
  } catch (...) {
    board.abort(rank());
    abort_communicator();
    throw;
  }
  board.pass(rank());
}

bool NcclGroup::is_in_progress(const char* function) const {
  int state = nccl::kSuccess;
  nccl_.check("ncclCommGetAsyncError", nccl_.result_of("ncclCommGetAsyncError", communicator_, &state));
  nccl_.check(function, state, communicator_);
  return state == nccl::kInProgress;
}

bool NcclGroup::is_stream_busy() const {
  const int state = cuda_driver().result_of("cuStreamQuery", options_.stream);
  if (state != 0 && state != cuda::kNotReady) cuda_driver().throw_error("cuStreamQuery", state);
  return state == cuda::kNotReady;
}

void NcclGroup::finalize() {
  const Deadline deadline = Deadline::after(kMostToFinalize);
  nccl_.check("ncclCommFinalize", nccl_.result_of("ncclCommFinalize", communicator_), communicator_);
  const auto is_over = [&] { return !is_in_progress("ncclCommFinalize") || deadline.has_passed(); };
  poll(is_over, [] {});
  if (deadline.has_passed()) throw TimeoutError("ncclCommFinalize did not end within 5 s");
  const nccl::Communicator finished = std::exchange(communicator_, nullptr);
  nccl_.check("ncclCommDestroy", nccl_.result_of("ncclCommDestroy", finished));
}

void NcclGroup::abort_communicator() noexcept {
  const nccl::Communicator lost = std::exchange(communicator_, nullptr);
  if (!lost) return;
  try {
    nccl_.check("ncclCommAbort", nccl_.result_of("ncclCommAbort", lost));
  } catch (const Error& error) {
    log(LogLevel::warning, "the communicator of rank {} was not given back: {}", rank(), error.what());
  }
}

}  // namespace hogpen

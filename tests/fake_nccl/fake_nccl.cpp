#include "tests/fake_nccl/fake_nccl.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <set>
#include <string>

// The part of NCCL's API that hogpen calls, over host memory: the ranks meet in a memfd that the unique id names. It is
// stricter than NCCL: a communicator must be one that never blocks, nothing but a look at its state may be called while
// it is in progress, and the use of one that was given back ends the process. As in NCCL, nobody notices a dead peer.
//
// FAKE_NCCL_VERSION is what ncclGetVersion says.
namespace {

enum Result : int {
  success = 0,
  unhandled_cuda_error = 1,
  system_error = 2,
  invalid_argument = 4,
  invalid_usage = 5,
  in_progress = 7
};
enum Type : int { uint8 = 1, float32 = 7, float64 = 8 };
enum Op : int { sum = 0, average = 4, copy = -1 };

constexpr int kMostRanks = 8;
constexpr std::size_t kPart = std::size_t{8} << 20;  // of the memfd, which is sparse; a larger collective is refused
constexpr std::uint64_t kMagic = 0x68675f6e63636c;

// Laid out as in nccl.h, written down a second time: what hogpen passes is read as NCCL would read it.
struct FakeId {
  std::uint64_t magic;
  int pid;
  int fd;
  char rest[112];
};
static_assert(sizeof(FakeId) == 128);

struct FakeConfig {
  std::size_t size;
  unsigned magic;
  unsigned version;
  int blocking;
  int undefined_1[3];
  const char* null_1;
  int undefined_2[2];
  const char* null_2;
  int undefined_3[6];
};

struct Meeting {
  std::atomic<int> joined;
  std::atomic<std::uint64_t> brought[kMostRanks];  // so many collectives' numbers
  std::atomic<std::uint64_t> taken[kMostRanks];    // so many collectives' results
  std::atomic<int> finalized;
};

struct Operation {
  const void* from = nullptr;
  void* to = nullptr;
  std::size_t count = 0;
  int type = uint8;
  int op = copy;
  int root = 0;
};

enum class State { joining, idle, to_bring, to_take, finalizing, finalized };

struct Comm {
  Meeting* meeting = nullptr;
  int ranks = 0;
  int rank = 0;
  State state = State::joining;
  std::uint64_t collectives = 0;
  Operation operation;
};

struct Fake {
  std::recursive_mutex mutex;  // of all members; NCCL needs none
  std::set<Comm*> live;
  int aborted = 0;
  std::string failing;
  int failure = 0;
  int async_error = 0;
};

Fake& fake() {
  static Fake& instance = *new Fake;
  return instance;
}

constexpr std::size_t kHeader = 4096;
constexpr std::size_t kSize = kHeader + kMostRanks * kPart;

std::byte* part(const Comm& comm, int rank) {
  return reinterpret_cast<std::byte*>(comm.meeting) + kHeader + static_cast<std::size_t>(rank) * kPart;
}

std::size_t size_of(int type) {
  return type == uint8 ? 1 : type == float32 ? 4 : 8;
}

std::size_t bytes_of(const Operation& operation) {
  return operation.count * size_of(operation.type);
}

/// What every call begins with.
int begin_call(const char* name, Comm* comm, bool must_be_idle) {
  if (comm && !fake().live.contains(comm)) {
    std::fprintf(stderr, "fake NCCL: %s of a communicator that was given back\n", name);
    std::abort();
  }
  if (fake().failing == name) return fake().failure;
  return must_be_idle && comm->state != State::idle ? invalid_usage : success;
}

bool have_all(const std::atomic<std::uint64_t>* counts, const Comm& comm, std::uint64_t count) {
  for (int rank = 0; rank < comm.ranks; ++rank) {
    if (counts[rank].load() < count) return false;
  }
  return true;
}

template <class T>
void reduce(const Comm& comm) {
  T* to = static_cast<T*>(comm.operation.to);
  for (std::size_t i = 0; i < comm.operation.count; ++i) {
    T total = 0;
    for (int rank = 0; rank < comm.ranks; ++rank) total += reinterpret_cast<const T*>(part(comm, rank))[i];
    to[i] = comm.operation.op == average ? total / static_cast<T>(comm.ranks) : total;
  }
}

void take(Comm& comm) {
  const Operation& operation = comm.operation;
  if (operation.op == copy) {
    std::copy_n(part(comm, operation.root), bytes_of(operation), static_cast<std::byte*>(operation.to));
  } else if (operation.type == float32) {
    reduce<float>(comm);
  } else {
    reduce<double>(comm);
  }
  comm.meeting->taken[comm.rank].store(comm.collectives);
}

/// One piece of the work that NCCL does in threads of its own and on the GPU.
void advance(Comm& comm) {
  Meeting& meeting = *comm.meeting;
  if (comm.state == State::joining && meeting.joined.load() == comm.ranks) {
    comm.state = State::idle;
  } else if (comm.state == State::to_bring && have_all(meeting.taken, comm, comm.collectives - 1)) {
    std::copy_n(static_cast<const std::byte*>(comm.operation.from), bytes_of(comm.operation), part(comm, comm.rank));
    meeting.brought[comm.rank].store(comm.collectives);
    comm.state = State::to_take;
  } else if (comm.state == State::to_take && have_all(meeting.brought, comm, comm.collectives)) {
    take(comm);
    comm.state = State::idle;
  } else if (comm.state == State::finalizing && meeting.finalized.load() == comm.ranks) {
    comm.state = State::finalized;
  }
}

/// What was enqueued on the stream comes first. Of streams the fake driver alone knows, if there is one.
int wait_for(void* stream) {
  void* const driver = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  const auto wait = reinterpret_cast<int (*)(void*)>(driver ? ::dlsym(driver, "cuStreamSynchronize") : nullptr);
  return wait && wait(stream) != 0 ? unhandled_cuda_error : success;
}

int start(const char* name, Comm* comm, const Operation& operation, void* stream) {
  if (const int error = wait_for(stream)) return error;
  const std::lock_guard guard(fake().mutex);
  if (const int error = begin_call(name, comm, true)) return error;
  if (bytes_of(operation) > kPart) return invalid_argument;
  if (operation.op != copy && operation.type != float32 && operation.type != float64) return invalid_argument;
  comm->operation = operation;
  comm->state = State::to_bring;
  ++comm->collectives;
  return in_progress;
}

void give_back(Comm* comm) {
  ::munmap(comm->meeting, kSize);
  fake().live.erase(comm);
  delete comm;
}

}  // namespace

extern "C" {

void fake_nccl_fail(const char* function, int result) {
  fake().failing = function;
  fake().failure = result;
}

void fake_nccl_async_error(int result) {
  const std::lock_guard guard(fake().mutex);
  fake().async_error = result;
}

int fake_nccl_live() {
  return static_cast<int>(fake().live.size());
}

int fake_nccl_aborted() {
  return fake().aborted;
}

int ncclGetVersion(int* version) {
  const char* text = std::getenv("FAKE_NCCL_VERSION");
  *version = text ? std::atoi(text) : 22809;
  return success;
}

const char* ncclGetErrorString(int result) {
  return result == 6 ? "remote process exited or there was a network error" : "some error";
}

const char* ncclGetLastError(void*) {
  return "the fake's last words";
}

int ncclGetUniqueId(FakeId* id) {
  if (const int error = begin_call("ncclGetUniqueId", nullptr, false)) return error;
  const int fd = ::memfd_create("fake-nccl", MFD_CLOEXEC);  // NCCL's root, too, is there as long as its process
  if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(kSize)) != 0) return system_error;
  *id = {.magic = kMagic, .pid = ::getpid(), .fd = fd, .rest = {}};
  return success;
}

int ncclCommInitRankConfig(Comm** comm, int ranks, FakeId id, int rank, const FakeConfig* config) {
  const std::lock_guard guard(fake().mutex);
  if (const int error = begin_call("ncclCommInitRankConfig", nullptr, false)) return error;
  const bool is_good = config->size == sizeof(FakeConfig) && config->magic == 0xcafebeef && config->version == 22809 &&
                       config->blocking == 0 && !config->null_1 && !config->null_2;
  if (!is_good || id.magic != kMagic || ranks > kMostRanks || rank < 0 || rank >= ranks) return invalid_argument;
  for (const int number : config->undefined_1)
    if (number != INT_MIN) return invalid_argument;
  for (const int number : config->undefined_2)
    if (number != INT_MIN) return invalid_argument;
  for (const int number : config->undefined_3)
    if (number != INT_MIN) return invalid_argument;
  const std::string path = "/proc/" + std::to_string(id.pid) + "/fd/" + std::to_string(id.fd);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return system_error;
  void* const memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (memory == MAP_FAILED) return system_error;
  *comm = new Comm{.meeting = static_cast<Meeting*>(memory), .ranks = ranks, .rank = rank, .operation = {}};
  fake().live.insert(*comm);
  ++(*comm)->meeting->joined;
  return in_progress;
}

int ncclCommGetAsyncError(Comm* comm, int* state) {
  const std::lock_guard guard(fake().mutex);
  if (const int error = begin_call("ncclCommGetAsyncError", comm, false)) return error;
  advance(*comm);
  const bool is_done = comm->state == State::idle || comm->state == State::finalized;
  *state = fake().async_error != 0 ? fake().async_error : is_done ? success : in_progress;
  return success;
}

int ncclBroadcast(const void* from, void* to, std::size_t count, int type, int root, Comm* comm, void* stream) {
  return start("ncclBroadcast", comm, {from, to, count, type, copy, root}, stream);
}

int ncclAllReduce(const void* from, void* to, std::size_t count, int type, int op, Comm* comm, void* stream) {
  if (op != sum && op != average) return invalid_argument;
  return start("ncclAllReduce", comm, {from, to, count, type, op, 0}, stream);
}

int ncclCommFinalize(Comm* comm) {
  const std::lock_guard guard(fake().mutex);
  if (const int error = begin_call("ncclCommFinalize", comm, true)) return error;
  ++comm->meeting->finalized;
  comm->state = State::finalizing;
  return in_progress;
}

int ncclCommDestroy(Comm* comm) {
  const std::lock_guard guard(fake().mutex);
  if (const int error = begin_call("ncclCommDestroy", comm, false)) return error;
  if (comm->state != State::finalized) return invalid_usage;
  give_back(comm);
  return success;
}

int ncclCommAbort(Comm* comm) {
  const std::lock_guard guard(fake().mutex);
  if (const int error = begin_call("ncclCommAbort", comm, false)) return error;
  ++fake().aborted;
  give_back(comm);
  return success;
}
}

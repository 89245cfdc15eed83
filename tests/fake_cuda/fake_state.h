#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstddef>
#include <map>
#include <mutex>
#include <set>
#include <string>

// What the parts of the fake driver know of each other.
//
// It is stricter than the driver: what the documentation asks for is an error here when it is missing, and a call from
// a forked child ends the process. The environment of the process decides what it is like:
//   FAKE_GPUS            how many GPUs there are; negative is the error with which cuInit fails
//   FAKE_FIRST_GPU       which GPU of the machine is number 0 here, as CUDA_VISIBLE_DEVICES decides
//   FAKE_DELAY           NAME:N: each call of a process of that name takes so many milliseconds
//   FAKE_KILL            NAME:N:FILE: the first process of that name kills itself at its N-th call, and makes FILE
//   FAKE_FAULT           the same, but each call from the N-th on fails, as after an illegal access of a kernel's
//   FAKE_BYTES           how much memory a GPU has, if not 1 GiB
//   FAKE_NO_DESCRIPTORS  set: no virtual memory management, as on a driver that has none
namespace fake {

using Address = unsigned long long;
using Handle = unsigned long long;

enum Result : int {
  success = 0,
  invalid_value = 1,
  out_of_memory = 2,
  not_initialized = 3,
  no_device = 100,
  invalid_device = 101,
  invalid_context = 201,
  not_ready = 600,
  illegal_address = 700,
  capture_unsupported = 900,
  capture_invalidated = 901,
  not_supported = 801,
  unknown = 999,
};

constexpr std::size_t kGranularity = std::size_t{2} << 20;
constexpr std::size_t kGpuBytes = std::size_t{1} << 30;

/// Reserved addresses, with what is mapped there.
struct Range {
  std::size_t size = 0;
  std::size_t allocation_size = 0;  // of what is mapped there, else 0
  int rights = 0;
};

struct Driver {
  pid_t process = 0;  // 0 before cuInit
  std::atomic<int> calls = 0;
  std::atomic<int> busy_queries = 0;
  std::size_t bytes_from_host = 0;
  int failing_call = 0;
  bool is_broken = false;  // by FAKE_FAULT
  Handle next_handle = 1;
  std::map<Handle, int> allocations;  // their memfds
  std::map<Address, Range> ranges;
  std::map<Address, int> plain;  // memfds of cuMemAlloc
  std::set<void*> page_locked;
  struct Opened {
    Address address = 0;
    int count = 0;
  };
  std::map<std::string, Opened> opened;  // by their CUDA IPC handles
};

Driver& driver();
/// Of the context that is current in the calling thread; -1 for none.
int& current_device();
/// A call of the driver API: one at a time, whatever the threads.
struct Call {
  std::unique_lock<std::recursive_mutex> lock;
  int error = success;
};
std::recursive_mutex& driver_mutex();
/// What every call but cuInit begins with.
Call begin_call();
bool has_gpu(int device);
bool has_descriptors();

/// A memfd as the memory of that GPU; -1 and lower: the error.
int make_memory(int device, std::size_t size);
/// The GPU whose memory it is; -1 for something else.
int device_of_memory(int fd);
std::size_t size_of(int fd);
/// Maps a memfd at `address`, or anywhere; null when that fails.
void* map_memory(void* address, std::size_t size, int fd, int rights);
/// Whether all of it is mapped with these rights. Requires: it lies in one range.
bool has_rights(Address address, std::size_t bytes, int rights);

/// Streams, events and graphs that were not given back.
int live_on_streams();

}  // namespace fake

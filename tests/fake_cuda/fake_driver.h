#pragma once

#include <cstddef>
#include <functional>

// What a test asks of the fake driver besides the driver API, by dlsym: the library is opened as NVIDIA's is.
extern "C" {

/// Calls of the driver API so far.
int fake_driver_calls();
/// How much the calls that wait for their copy have copied from the host so far.
std::size_t fake_driver_bytes_from_host();
/// Lets the count-th call from now on fail with CUDA_ERROR_UNKNOWN.
void fake_driver_fail_call(int count);
/// The next queries of a stream find work on it.
void fake_driver_busy_queries(int count);
/// Takes the work of a kernel for a stream: done when somebody waits for it, as late as may be, or recorded where the
/// stream is captured. False for the default stream, where the caller does it at once.
bool fake_driver_enqueue(void* stream, std::function<void()>& work);
/// Allocation handles, address ranges, page-locked memories, streams, events and graphs that were not given back.
int fake_driver_live();

// As in cuda.h, written down a second time: what hogpen passes is read as the driver would read it.
struct FakeProperties {
  int type;
  int handle_types;
  int location_type;
  int device;
  void* win32;
  unsigned char flags[8];
};

struct FakeRights {
  int location_type;
  int device;
  int flags;
};
}

#pragma once

#include <functional>

#include "tests/fake_cuda/fake_driver.h"
#include "tests/fake_cuda/of_fake.h"

struct CUstream_st;

namespace hogpen::kernels {

/// Gives the work of a kernel to the fake driver; without it, does it at once.
inline void enqueue(CUstream_st* stream, std::function<void()> work) {
  const auto take = of_fake<decltype(fake_driver_enqueue)>("fake_driver_enqueue");
  if (take == nullptr || !take(stream, work)) work();
}

[[nodiscard]] CUstream_st* stream_of_last_launch();

}  // namespace hogpen::kernels

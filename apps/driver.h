#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace hogpen {

/// A GPU as NVIDIA's driver sees it.
struct Gpu {
  std::string name;
  std::uint64_t memory_bytes = 0;
};

/// What NVIDIA's driver has to say. It is opened at run time: the same program starts where there is none.
struct DriverReport {
  std::string trouble;       ///< why there are no GPUs; empty when there are
  std::string cuda_version;  ///< the newest CUDA the driver can serve, "13.0"; empty without a driver
  std::vector<Gpu> gpus;
};

/// Asks the driver, which takes memory and descriptors of this process until it ends, and forbids forking workers.
[[nodiscard]] DriverReport ask_driver();

}  // namespace hogpen

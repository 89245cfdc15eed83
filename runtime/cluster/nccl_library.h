#pragma once

#include <climits>
#include <cstddef>
#include <string>

#include "runtime/core/error.h"

/// What hogpen needs of nccl.h, declared here: it builds without NCCL and starts without it.
/// Source: nccl.h of NCCL 2.28.9, with which tests/cluster/nccl_types.cpp compares them.
namespace hogpen::nccl {

using Communicator = void*;

constexpr int kSuccess = 0;
constexpr int kInProgress = 7;
constexpr int kSum = 0;
constexpr int kAverage = 4;
constexpr int kUint8 = 1;
constexpr int kFloat32 = 7;
constexpr int kFloat64 = 8;
constexpr int kUndefined = INT_MIN;
constexpr int kVersion = 22809;  ///< of the Config below; a newer NCCL takes it, too

struct UniqueId {
  char bytes[128] = {};
};

struct Config {
  std::size_t size = sizeof(Config);
  unsigned int magic = 0xcafebeef;
  unsigned int version = kVersion;
  int blocking = 0;
  int cga_cluster_size = kUndefined;
  int min_ctas = kUndefined;
  int max_ctas = kUndefined;
  const char* net_name = nullptr;
  int split_share = kUndefined;
  int traffic_class = kUndefined;
  const char* comm_name = nullptr;
  int collnet_enable = kUndefined;
  int cta_policy = kUndefined;
  int shrink_share = kUndefined;
  int nvls_ctas = kUndefined;
  int channels_per_net_peer = kUndefined;
  int nvlink_centric_sched = kUndefined;
};

}  // namespace hogpen::nccl

namespace hogpen {

/// A call of NCCL failed.
class NcclError : public Error {
 public:
  NcclError(const std::string& message, int code) : Error(message), code_(code) {}
  [[nodiscard]] int code() const noexcept { return code_; }  ///< an ncclResult_t

 private:
  int code_;
};

/// NVIDIA's collective communication library, opened at run time.
///
/// Sharing: all threads. Owns: nothing; the library stays open, since it cannot be unloaded safely.
class NcclLibrary {
 public:
  /// Opens libnccl.so.2: the one that this process has loaded already; else the one that was installed with LibTorch;
  /// else the system's.
  ///
  /// Throws: DeviceError when there is none, or it is older than `nccl::kVersion`.
  NcclLibrary();

  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  [[nodiscard]] int version() const noexcept { return version_; }  ///< 22809 for 2.28.9

  /// Calls a function by its name and returns its ncclResult_t. Requires: arguments of the very types that nccl.h
  /// declares. Throws: NcclError when there is no such function.
  template <class... Args>
  [[nodiscard]] int result_of(const char* name, Args... args) const {
    return reinterpret_cast<int (*)(Args...)>(symbol(name))(args...);
  }
  /// Throws: NcclError with the name and NCCL's own texts unless `result` says that the function succeeded, or that it
  /// is in progress.
  void check(const char* name, int result, nccl::Communicator communicator = nullptr) const;

 private:
  [[nodiscard]] void* symbol(const char* name) const;

  void* library_ = nullptr;
  std::string path_;
  int version_ = 0;
};

/// NCCL of this process. Throws: what the constructor throws.
[[nodiscard]] const NcclLibrary& nccl_library();

}  // namespace hogpen

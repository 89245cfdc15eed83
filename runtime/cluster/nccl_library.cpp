#include "runtime/cluster/nccl_library.h"

#include <dlfcn.h>

#include "runtime/core/libtorch.h"

namespace hogpen {
namespace {

constexpr const char* kName = "libnccl.so.2";
constexpr int kMajor = 10'000;  // in a version
constexpr int kMinor = 100;

std::string dotted(int version) {
  return fmt::format("{}.{}.{}", version / kMajor, version % kMajor / kMinor, version % kMinor);
}

/// The file of a library that is loaded, by a function of it.
std::string file_of(const void* function) {
  Dl_info info = {};
  return ::dladdr(function, &info) != 0 && info.dli_fname ? info.dli_fname : "";
}

/// Where the wheel that LibTorch was linked with lies: what LibTorch's own RPATH says.
std::string beside_libtorch() {
  return (libtorch_directory() / "../../nvidia/nccl/lib" / kName).lexically_normal();
}

void* open_first() {
  if (void* const loaded = ::dlopen(kName, RTLD_NOW | RTLD_NOLOAD)) return loaded;
  if (void* const torchs = ::dlopen(beside_libtorch().c_str(), RTLD_NOW | RTLD_LOCAL)) return torchs;
  return ::dlopen(kName, RTLD_NOW | RTLD_LOCAL);
}

}  // namespace

NcclLibrary::NcclLibrary() : library_(open_first()) {
  if (!library_) {
    throw DeviceError(fmt::format("no NCCL: there is neither {} nor a {} of the system", beside_libtorch(), kName),
                      "pip install nvidia-nccl-cu13==2.28.9");
  }
  path_ = file_of(symbol("ncclGetVersion"));
  check("ncclGetVersion", result_of("ncclGetVersion", &version_));
  if (version_ < nccl::kVersion / kMinor * kMinor) {
    throw DeviceError(fmt::format("{} is NCCL {}, but hogpen needs {} or newer", path_, dotted(version_),
                                  dotted(nccl::kVersion / kMinor * kMinor)),
                      "pip install nvidia-nccl-cu13==2.28.9");
  }
}

void NcclLibrary::check(const char* name, int result, nccl::Communicator communicator) const {
  if (result == nccl::kSuccess || result == nccl::kInProgress) return;
  using TextOf = const char* (*)(int);
  using LastError = const char* (*)(nccl::Communicator);
  const char* const text = reinterpret_cast<TextOf>(symbol("ncclGetErrorString"))(result);
  const char* const last = reinterpret_cast<LastError>(symbol("ncclGetLastError"))(communicator);
  throw NcclError(fmt::format("{} says: {} (error {}){}{}", name, text ? text : "unknown", result,
                              last && *last != '\0' ? ": " : "", last ? last : ""),
                  result);
}

void* NcclLibrary::symbol(const char* name) const {
  constexpr int kInvalidUsage = 5;
  void* const found = ::dlsym(library_, name);
  if (!found) throw NcclError(fmt::format("{} has no {}", kName, name), kInvalidUsage);
  return found;
}

const NcclLibrary& nccl_library() {
  static const NcclLibrary& instance = *new NcclLibrary;  // Never destroyed: its threads may outlive main.
  return instance;
}

}  // namespace hogpen

#include "runtime/core/libtorch.h"

#include <ATen/Context.h>
#include <c10/core/DeviceType.h>
#include <dlfcn.h>

#include <system_error>

#include "runtime/core/error.h"

namespace hogpen {

std::filesystem::path libtorch_directory() {
  Dl_info info = {};
  if (::dladdr(reinterpret_cast<const void*>(&c10::DeviceTypeName), &info) == 0 || !info.dli_fname) return {};
  std::error_code ignored;
  return std::filesystem::canonical(info.dli_fname, ignored).parent_path();
}

void load_libtorch_cuda() {
  const std::string file = libtorch_directory() / "libtorch_cuda.so";
  if (!::dlopen(file.c_str(), RTLD_NOW | RTLD_GLOBAL)) {
    const char* const reason = ::dlerror();
    throw DeviceError(fmt::format("LibTorch's CUDA libraries cannot be loaded: {}", reason ? reason : file),
                      "install the whole of torch, with its dependencies: pip install torch==2.11.0");
  }
  // Whoever asks LibTorch about CUDA before they are loaded, as at::manual_seed does, is told for good that there is
  // none.
  if (at::globalContext().hasCUDA()) return;
  throw DeviceError(
      "LibTorch finds no GPU: its driver is too old, or LibTorch was used before its CUDA libraries were loaded",
      "call hogpen::load_libtorch_cuda() before anything of LibTorch's; PyTorch tells of an old driver");
}

}  // namespace hogpen

#pragma once

#include <filesystem>

namespace hogpen {

/// Where the LibTorch lies that this process has loaded; empty when that cannot be told.
[[nodiscard]] std::filesystem::path libtorch_directory();

/// Loads LibTorch's CUDA libraries, so that its operations take CUDA tensors. Hogpen is not linked with them: it starts
/// where they are not.
///
/// Requires: no operation of LibTorch has asked before whether there is CUDA. Throws: DeviceError with the linker's
/// text, or when LibTorch then sees no GPU.
void load_libtorch_cuda();

}  // namespace hogpen

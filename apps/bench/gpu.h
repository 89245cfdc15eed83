#pragma once

namespace hogpen {

/// Tries GPU 0 in a child: a process that has used CUDA can fork no more. Throws: DeviceError with the reason when it
/// cannot be used.
void require_gpu();

}  // namespace hogpen

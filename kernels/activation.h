#pragma once

namespace hogpen::kernels {

/// What stands behind a layer. Here, and not in dense.h, for kernels of GPUs: those are compiled as C++17.
enum class Activation { identity, relu, tanh, sigmoid, gelu };

}  // namespace hogpen::kernels

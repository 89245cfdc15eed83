#pragma once

#include "kernels/transform.h"

namespace hogpen::kernels {

using TransformLoop = void (*)(UnaryOp op, const Rows& rows, Store store);

/// The loops of one op.
struct TransformLoops {
  TransformLoop float32;
  TransformLoop float64;
  TransformLoop bfloat16;
  TransformLoop float16;
};

// One for each instruction set that transform_simd.cpp is compiled for.
namespace DEFAULT {
const TransformLoops& transform_loops(UnaryOp::Kind kind);
}
namespace AVX2 {
const TransformLoops& transform_loops(UnaryOp::Kind kind);
}
namespace AVX512 {
const TransformLoops& transform_loops(UnaryOp::Kind kind);
}

}  // namespace hogpen::kernels

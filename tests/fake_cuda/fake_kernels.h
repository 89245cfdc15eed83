#pragma once

struct CUstream_st;

namespace hogpen::kernels {

[[nodiscard]] CUstream_st* stream_of_last_launch();

}  // namespace hogpen::kernels

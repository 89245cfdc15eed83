// exp of a column of a 100 x 100 frame, in four chunks of 25 rows on a pool of processes.
#include <ATen/Parallel.h>
#include <ATen/ops/allclose.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/rand.h>
#include <fmt/core.h>

#include <vector>

#include "runtime/memory/tensor_handle.h"
#include "runtime/work/elementwise.h"
#include "runtime/work/pool.h"

int main() {
  at::set_num_threads(1);  // A parallel operation would start threads, and a process with threads must not fork.
  hogpen::Pool pool({.workers = 4});
  hogpen::Executor executor({.place = hogpen::Place::processes, .processes = &pool});

  const at::Tensor frame = at::rand({100, 100});
  hogpen::share_memory(frame);
  const at::Tensor column = frame.select(1, 0);
  const std::vector<at::Tensor> chunks = column.split(25);  // Views: no row is copied, here or on the way.

  const std::vector<at::Tensor> parts = hogpen::transform({hogpen::kernels::UnaryOp::Kind::exp}, chunks, executor);
  const at::Tensor result = at::cat(parts);

  fmt::print("{} chunks of {} rows, {} values\n", chunks.size(), chunks[0].size(0), result.size(0));
  fmt::print("{}\n", at::allclose(result, column.exp()) ? "as in one piece" : "WRONG");
}

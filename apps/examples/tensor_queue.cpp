// Tensors through a queue: a handle travels, the memory is shared.
#include <ATen/Parallel.h>
#include <ATen/ops/arange.h>
#include <fmt/core.h>

#include "runtime/channel/queue.h"
#include "runtime/channel/tensor_codec.h"
#include "runtime/process/process.h"

using namespace hogpen;

int main() {
  at::set_num_threads(1);  // A parallel operation would start threads, and a process with threads must not fork.
  Queue<at::Tensor> to_child;
  Queue<at::Tensor> to_parent;

  Process child = Process::start([&] {
    at::Tensor row = to_child.get().value();
    row.mul_(10);                 // In place: the parent sees it.
    to_parent.put(row.square());  // A new tensor moves to shared memory once, and outlives this process.
  });

  const at::Tensor matrix = at::arange(6.0).view({2, 3});
  to_child.put(matrix[1]);  // A slice arrives as a slice: its matrix is shared now, too.
  child.join();

  fmt::print("the matrix sums up to {}\n", matrix.sum().item<double>());
  fmt::print("the squares sum up to {}\n", to_parent.get()->sum().item<double>());
}

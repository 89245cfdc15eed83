// Hogwild by hand: four processes train one model in shared memory, without a lock and without a parameter server.
#include <ATen/Context.h>
#include <ATen/Parallel.h>
#include <ATen/ops/cross_entropy_loss.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <fmt/core.h>

#include "runtime/memory/arena.h"
#include "runtime/process/spawn.h"

using at::Tensor;
using hogpen::Arena;

Tensor forward(const std::vector<Tensor>& p, const Tensor& points) {
  return at::linear(at::linear(points, p[0], p[1]).relu(), p[2], p[3]);
}
Tensor classes_of(const Tensor& points) {
  return points.norm(2, 1).gt(1.2).to(at::kLong);  // inside a circle, or outside
}

int main() {
  at::set_num_threads(1);  // A parallel operation would start threads, and a process with threads must not fork.
  at::manual_seed(1);
  const Arena model = Arena::create("model", std::vector<hogpen::TensorSpec>{{"0.weight", at::kFloat, {32, 2}},
                                                                             {"0.bias", at::kFloat, {32}},
                                                                             {"2.weight", at::kFloat, {2, 32}},
                                                                             {"2.bias", at::kFloat, {2}}});
  std::vector<Tensor> parameters;  // Views of the Arena: the children write the same memory.
  for (const char* name : {"0.weight", "0.bias", "2.weight", "2.bias"}) parameters.push_back(model.tensor(name));
  for (Tensor& parameter : parameters) parameter.uniform_(-0.5, 0.5).requires_grad_();

  const auto train = [&](int rank) {
    at::manual_seed(static_cast<std::uint64_t>(100 + rank));
    for (int step = 0; step < 500; ++step) {
      const Tensor points = at::randn({64, 2});
      at::cross_entropy_loss(forward(parameters, points), classes_of(points)).backward();
      for (Tensor& parameter : parameters) {
        parameter.detach().add_(parameter.grad(), -0.2);  // The race of Hogwild: an update may be lost, and it learns.
        parameter.mutable_grad().reset();                 // Gradients are private.
      }
    }
  };
  hogpen::spawn(train, 4);

  const Tensor points = at::randn({1000, 2});
  const Tensor right = forward(parameters, points).argmax(1).eq(classes_of(points));
  fmt::print("4 processes, 2000 steps: {:.0f} % right\n", 100.0 * right.to(at::kFloat).mean().item<float>());
}

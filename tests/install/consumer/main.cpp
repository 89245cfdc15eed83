// What a program that embeds hogpen does first: share a model's parameters, and run it on them.
#include <torch/torch.h>

#include <iostream>

#include "models/model.h"
#include "models/shared_model.h"

int main() {
  hogpen::Model model = hogpen::parse_model("Linear(4,3) ReLU Linear(3,2)");
  const hogpen::Arena arena = hogpen::share_memory(*model.module);
  hogpen::SharedModel shared(model, arena);
  arena.tensor("2.weight").zero_();
  arena.tensor("2.bias").fill_(7);
  const at::Tensor output = shared.forward(torch::ones({1, 4}));
  std::cout << "consumer: " << output.sum().item<float>() << '\n';
  return output.sum().item<float>() == 14 ? 0 : 1;
}

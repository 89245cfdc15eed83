// Hogwild training in an eager loop of LibTorch alone, with nothing of hogpen but the reading of the data: the peer
// that compare.py runs beside hogpen. Arguments: workers, epochs of each, batch size. One JSON object on stdout.
#include <sys/mman.h>
#include <sys/wait.h>
#include <torch/torch.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <vector>

#include "models/dataset.h"

namespace {

void* shared_bytes(std::size_t size) {
  void* bytes = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (bytes == MAP_FAILED) std::abort();
  return bytes;
}

void train(torch::nn::Sequential model, const at::Tensor& images, const at::Tensor& labels, int epochs,
           std::int64_t batch_size) {
  torch::optim::SGD optimizer(model->parameters(), 0.1);
  for (int epoch = 0; epoch < epochs; ++epoch) {
    for (std::int64_t begin = 0; begin < images.size(0); begin += batch_size) {
      const std::int64_t end = std::min(begin + batch_size, images.size(0));
      optimizer.zero_grad();
      torch::nn::functional::cross_entropy(model->forward(images.slice(0, begin, end)), labels.slice(0, begin, end))
          .backward();
      optimizer.step();
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const int workers = argc > 1 ? std::atoi(argv[1]) : 2;
  const int epochs = argc > 2 ? std::atoi(argv[2]) : 2;
  const std::int64_t batch_size = argc > 3 ? std::atoll(argv[3]) : 64;
  at::set_num_threads(1);
  const hogpen::Dataset data = hogpen::open_dataset("fashion-mnist").train;
  const std::int64_t count = data.size();
  const at::Tensor images = at::empty({count, data.sample_numel()});
  const at::Tensor labels = at::empty({count}, at::kLong);
  std::vector<std::uint32_t> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0u);
  data.gather(all, data.normalization(), {images.data_ptr<float>(), static_cast<std::size_t>(images.numel())},
              {labels.data_ptr<std::int64_t>(), static_cast<std::size_t>(count)});

  torch::nn::Sequential model(torch::nn::Linear(784, 128), torch::nn::ReLU(), torch::nn::Linear(128, 10));
  for (at::Tensor& parameter : model->parameters()) {
    const at::Tensor shared = at::from_blob(shared_bytes(parameter.nbytes()), parameter.sizes());
    shared.copy_(parameter.detach());
    parameter.set_data(shared);
  }
  auto* ready = new (shared_bytes(sizeof(std::atomic<int>))) std::atomic<int>(0);
  for (int rank = 0; rank < workers; ++rank) {
    if (::fork() != 0) continue;
    ready->fetch_add(1);
    while (ready->load() <= workers) ::usleep(100);
    train(model, images, labels, epochs, batch_size);
    ::_exit(0);
  }
  while (ready->load() < workers) ::usleep(100);
  const auto began = std::chrono::steady_clock::now();
  ready->fetch_add(1);
  for (int rank = 0; rank < workers; ++rank) {
    int status = 0;
    if (::wait(&status) < 0 || status != 0) return 1;
  }
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  const double samples = static_cast<double>(count) * workers * epochs;
  std::printf("{\"samples\": %.0f, \"seconds\": %.6f, \"samples_per_second\": %.1f}\n", samples, seconds,
              samples / seconds);
}

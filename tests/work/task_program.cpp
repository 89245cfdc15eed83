// The workers of named_task_test: a program of its own, whose addresses are other ones.
#include <ATen/core/Tensor.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>

#include "runtime/channel/tensor_codec.h"
#include "runtime/core/error.h"
#include "runtime/memory/tensor_handle.h"
#include "runtime/process/thread_budget.h"
#include "runtime/work/named_task.h"
#include "runtime/work/serve_pool.h"

namespace {

double square(double value) {
  return value * value;
}
HOGPEN_TASK(square);

std::string repeat(const std::string& text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}
HOGPEN_TASK(repeat);

int fail_at(int place) {
  if (place == 3) throw std::out_of_range("no place " + std::to_string(place));
  return place;
}
HOGPEN_TASK(fail_at);

int process_id(int) {
  return ::getpid();
}
HOGPEN_TASK(process_id);

int crash(int signal) {
  return ::raise(signal);
}
HOGPEN_TASK(crash);

int thread_budget() {
  return hogpen::default_workers();
}
HOGPEN_TASK(thread_budget);

void add_one(const at::Tensor& tensor) {
  tensor.add_(1);
}
HOGPEN_TASK(add_one);

at::Tensor make_on_gpu(int gpu) {
  const c10::Device device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(gpu));
  return hogpen::empty_shared({4}, c10::ScalarType::Float, device);
}
HOGPEN_TASK(make_on_gpu);

}  // namespace

int main() {
  try {
    return hogpen::serve_pool();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "task_program: %s\n", error.what());
    return 2;
  }
}

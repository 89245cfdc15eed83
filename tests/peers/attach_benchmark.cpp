// What it costs to share a model of many tensors: prints the median microseconds of attaching to its Arena by
// descriptor and of making a view of every tensor, in a process that has done it before and in workers that are freshly
// forked. Arguments: repeats in the warm process, number of forked workers.
#include <ATen/core/Tensor.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <new>
#include <span>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/memory/arena.h"

namespace {

using hogpen::Arena;
using hogpen::Segment;

constexpr std::size_t kTensors = 1000;
constexpr std::int64_t kWidth = 64;

/// Names and shapes as PyTorch has them for a GPT-2 of 83 blocks.
std::vector<hogpen::TensorSpec> gpt2() {
  struct Layer {
    const char* name;
    std::int64_t in, out;
  };
  std::vector<hogpen::TensorSpec> specs;
  const auto add = [&specs](std::string name, std::vector<std::int64_t> shape) {
    specs.push_back({std::move(name), c10::ScalarType::Float, std::move(shape)});
  };
  add("transformer.wte.weight", {512, kWidth});
  add("transformer.wpe.weight", {128, kWidth});
  for (int block = 0; specs.size() + 12 <= kTensors; ++block) {
    for (const auto& [name, in, out] :
         {Layer{"ln_1", kWidth, 1}, Layer{"attn.c_attn", kWidth, 3 * kWidth}, Layer{"attn.c_proj", kWidth, kWidth},
          Layer{"ln_2", kWidth, 1}, Layer{"mlp.c_fc", kWidth, 4 * kWidth}, Layer{"mlp.c_proj", 4 * kWidth, kWidth}}) {
      const std::string prefix = fmt::format("transformer.h.{}.{}", block, name);
      add(prefix + ".weight", out == 1 ? std::vector{in} : std::vector{in, out});
      add(prefix + ".bias", {out == 1 ? in : out});
    }
  }
  add("transformer.ln_f.weight", {kWidth});
  add("transformer.ln_f.bias", {kWidth});
  hogpen::require(specs.size() == kTensors, "the benchmark must have {} tensors, not {}", kTensors, specs.size());
  return specs;
}

double microseconds_of(const std::function<void()>& body) {
  const auto began = std::chrono::steady_clock::now();
  body();
  return std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - began).count();
}

Arena attach(hogpen::Fd fd, const Arena& to) {
  return Arena::attach(Segment::attach(std::move(fd)), to.layout_hash());
}

void make_views(const Arena& arena, std::vector<at::Tensor>& views) {
  for (std::size_t i = 0; i < kTensors; ++i) views.push_back(arena.tensor(i));
}

/// Attaching, views of what was attached, views of what was inherited.
struct Sample {
  double attach = 0, views = 0, inherited = 0;
};

Sample measure(const Arena& inherited) {
  Sample sample;
  hogpen::Fd fd(hogpen::syscall_ok(::dup(inherited.segment().fd()), "dup"));
  std::vector<at::Tensor> views;
  views.reserve(kTensors);
  std::optional<Arena> arena;
  sample.attach = microseconds_of([&] { arena = attach(std::move(fd), inherited); });
  sample.views = microseconds_of([&] { make_views(*arena, views); });
  return sample;
}

double measure_inherited(const Arena& inherited) {
  std::vector<at::Tensor> views;
  views.reserve(kTensors);
  return microseconds_of([&] { make_views(inherited, views); });
}

/// Calls `body` in a child that does nothing else.
double in_a_child(double* result, const std::function<double()>& body) {
  const pid_t child = hogpen::syscall_ok(::fork(), "fork");
  if (child == 0) {
    *result = body();
    ::_exit(0);
  }
  int status = 0;
  hogpen::syscall_ok(::waitpid(child, &status, 0), "waitpid");
  hogpen::require(status == 0, "a child of the benchmark must end well");
  return *result;
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::ranges::nth_element(values, middle);
  return *middle;
}

double median_of(std::span<const Sample> samples, double (*value)(const Sample&)) {
  std::vector<double> values;
  for (const Sample& sample : samples) values.push_back(value(sample));
  return median(std::move(values));
}

void print(const char* where, std::span<const Sample> samples) {
  std::printf("%-22s %10.1f %14.1f %16.1f\n", where, median_of(samples, [](const Sample& s) { return s.attach; }),
              median_of(samples, [](const Sample& s) { return s.attach + s.views; }),
              median_of(samples, [](const Sample& s) { return s.inherited; }));
}

}  // namespace

int main(int argc, char** argv) {
  const int repeats = argc > 1 ? std::atoi(argv[1]) : 500;
  const int workers = argc > 2 ? std::atoi(argv[2]) : 100;
  const Arena arena = Arena::create("benchmark", gpt2());
  void* shared = ::mmap(nullptr, sizeof(Sample), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) return 1;
  auto* result = new (shared) Sample();

  std::vector<Sample> forked;
  std::vector<Sample> warm;
  // Before this process is warm: a child would inherit that.
  for (int i = 0; i < workers; ++i) {
    in_a_child(&result->attach, [&] {
      *result = measure(arena);
      return result->attach;
    });
    in_a_child(&result->inherited, [&] { return measure_inherited(arena); });
    forked.push_back(*result);
  }
  for (int i = 0; i < repeats; ++i) {
    warm.push_back(measure(arena));
    warm.back().inherited = measure_inherited(arena);
  }
  std::printf("median microseconds for %zu tensors (header of %zu bytes)\n", kTensors, arena.header().data_begin);
  std::printf("%-22s %10s %14s %16s\n", "", "attach", "attach + views", "views, inherited");
  print("warm process", warm);
  print("freshly forked worker", forked);
}

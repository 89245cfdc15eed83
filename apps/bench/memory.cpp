#include <ATen/core/Tensor.h>
#include <fmt/format.h>

#include "apps/bench/arrays.h"
#include "apps/bench/suites.h"
#include "kernels/stream.h"
#include "runtime/process/thread_budget.h"
#include "runtime/work/team.h"

namespace hogpen {
namespace {

constexpr std::int64_t kStreamElements = std::int64_t{1} << 26;  // beyond any cache
constexpr std::size_t kArrays = 3;

void measure_with(Recorder& recorder, Team& team, const std::vector<at::Tensor>& arrays) {
  float* const a = arrays[0].mutable_data_ptr<float>();
  float* const b = arrays[1].mutable_data_ptr<float>();
  const float* const c = arrays[2].const_data_ptr<float>();
  const std::int64_t elements = arrays[0].numel();
  const auto measure = [&](const char* name, double bytes_an_element, const auto& loop) {
    const std::string threads = fmt::format("{} thread{}", team.threads(), team.threads() == 1 ? "" : "s");
    const FigureLabel label = {.name = fmt::format("{}, {}", name, threads), .unit = "GB/s"};
    recorder.measure(label, [&] {
      const double seconds = seconds_of([&] { for_each_piece(team, elements, loop); });
      return 1e-9 * bytes_an_element * static_cast<double>(elements) / seconds;
    });
  };
  measure("copy", 8, [&](std::size_t i, std::size_t n) { kernels::stream_copy(b + i, a + i, n); });
  measure("scale", 8, [&](std::size_t i, std::size_t n) { kernels::stream_scale(a + i, b + i, 0.5F, n); });
  measure("triad", 12, [&](std::size_t i, std::size_t n) { kernels::stream_triad(a + i, b + i, c + i, 0.5F, n); });
}

}  // namespace

void bench_memory(Recorder& recorder) {
  const std::int64_t elements = most_elements(recorder, kArrays, kStreamElements);
  std::vector<at::Tensor> arrays;
  for (std::size_t i = 0; i < kArrays; ++i) arrays.push_back(filled_array(elements));
  Team alone(1);
  measure_with(recorder, alone, arrays);
  if (default_workers() == 1) return;
  Team team(default_workers());
  measure_with(recorder, team, arrays);
}

}  // namespace hogpen

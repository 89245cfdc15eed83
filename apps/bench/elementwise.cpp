#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/square.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>
#include <vector>

#include "apps/bench/arrays.h"
#include "apps/bench/suites.h"
#include "kernels/stream.h"
#include "kernels/transform.h"
#include "runtime/process/thread_budget.h"
#include "runtime/work/elementwise.h"
#include "runtime/work/pool.h"
#include "runtime/work/team.h"

namespace hogpen {
namespace {

using kernels::UnaryOp;

constexpr int kLeastLog2 = 10;
constexpr std::int64_t kMostElements = std::int64_t{1} << 28;
constexpr std::int64_t kBeyondCache = std::int64_t{1} << 25;  // arrays of 128 MiB: from here on memory is the limit
constexpr double kBytesAnElement = 8;                         // one read, one written

struct Subject {
  UnaryOp op;
  const char* name;
  std::function<void(at::Tensor&, const at::Tensor&)> libtorch;
};

/// Who does the work: a curve in the plot.
struct Contender {
  std::string series;
  std::function<void(const Subject&, const at::Tensor& in, at::Tensor& out)> run;
  std::function<void()> finish = [] {};  ///< waits for what `run` has only begun
  /// What its memory allows, for arrays beyond the cache.
  enum class Limit {
    in_turns,  ///< the host's, measured in turns with it
    known,     ///< the host's, as others have measured it last for this size. For who uses OpenMP: its threads spin for
               ///< milliseconds after each call, and would take a core from what is measured next
    own,       ///< `copied`, in turns
    none,
  };
  Limit limit = Limit::in_turns;
  Executor* streams = nullptr;  ///< its threads measure the limit: those that do the work, so that none must wake up
  std::function<void()> copied = {};  ///< the same reads and writes of its own memory, done after `finish`
};

/// Calls of one sample: a small array is done so often that the clock does not matter.
std::int64_t calls_for(std::int64_t elements) {
  return std::max<std::int64_t>(1, (std::int64_t{1} << 18) / elements);
}

template <class Call, class Finish>
double gigabytes_per_second(std::int64_t elements, const Call& call, const Finish& finish) {
  const std::int64_t calls = calls_for(elements);
  const double seconds = seconds_of([&] {
    for (std::int64_t i = 0; i < calls; ++i) call();
    finish();
  });
  return 1e-9 * kBytesAnElement * static_cast<double>(elements * calls) / seconds;
}

/// Medians in GB/s, by series and then by size.
using Curves = std::map<std::string, std::map<std::int64_t, double>>;

std::string power_of_two(std::int64_t elements) {
  return fmt::format("2^{}", std::bit_width(static_cast<std::uint64_t>(elements)) - 1);
}

/// From which size on `other` was faster than `one` at every size.
std::optional<std::int64_t> break_even(const std::map<std::int64_t, double>& one,
                                       const std::map<std::int64_t, double>& other) {
  std::optional<std::int64_t> found;
  for (auto it = other.rbegin(); it != other.rend(); ++it) {
    const auto same_size = one.find(it->first);
    if (same_size == one.end() || it->second <= same_size->second) break;
    found = it->first;
  }
  return found;
}

void note_break_even(Recorder& recorder, const Subject& subject, const Curves& curves, const std::string& base,
                     std::string_view who = "") {
  const auto of_base = curves.find(base);
  if (of_base == curves.end()) return;
  for (const auto& [series, curve] : curves) {
    if (series == base || !series.starts_with(who)) continue;
    const auto from = break_even(of_base->second, curve);
    recorder.note(
        from ? fmt::format("{}: {} faster than {} from {} elements on", subject.name, series, base, power_of_two(*from))
             : fmt::format("{}: {} nowhere faster than {}", subject.name, series, base));
  }
}

/// The suite's arrays, and what memory itself allows for the same pattern of reads and writes.
class Stage {
 public:
  Stage(Recorder& recorder, std::int64_t elements)
      : recorder_(recorder), in_(filled_array(elements)), out_(filled_array(elements)) {}

  void measure(const Subject& subject, const Contender& contender, std::int64_t elements, Curves& curves) {
    const at::Tensor in = in_.narrow(0, 0, elements);
    at::Tensor out = out_.narrow(0, 0, elements);
    const FigureLabel label = {
        .name = fmt::format("{}, {}, {}", subject.name, contender.series, power_of_two(elements)),
        .unit = "GB/s",
        .series = contender.series,
        .size = elements,
        .group = subject.name};
    const auto run = [&] { contender.run(subject, in, out); };
    const auto limit = elements >= kBeyondCache ? limit_of(contender, elements) : nullptr;
    const auto figure =
        recorder_.measure(label, [&] { return gigabytes_per_second(elements, run, contender.finish); }, limit);
    if (!figure) return;
    curves[contender.series][elements] = figure->median;
    if (contender.limit == Contender::Limit::in_turns) known_limits_[elements] = figure->limit;
  }

 private:
  std::function<double()> limit_of(const Contender& contender, std::int64_t elements) {
    switch (contender.limit) {
      case Contender::Limit::in_turns:
        return [this, elements, &team = contender.streams->team()] { return streamed(elements, team); };
      case Contender::Limit::known:
        if (const auto known = known_limits_.find(elements); known != known_limits_.end()) {
          return [limit = known->second] { return limit; };
        }
        return {};
      case Contender::Limit::own:
        return [&contender, elements] { return gigabytes_per_second(elements, contender.copied, contender.finish); };
      case Contender::Limit::none:
        break;
    }
    return {};
  }

  double streamed(std::int64_t elements, Team& team) {
    float* const out = out_.mutable_data_ptr<float>();
    const float* const in = in_.const_data_ptr<float>();
    const auto scale = [&](std::size_t i, std::size_t n) { kernels::stream_scale(out + i, in + i, 0.5F, n); };
    return gigabytes_per_second(elements, [&] { for_each_piece(team, elements, scale); }, [] {});
  }

  Recorder& recorder_;
  at::Tensor in_;
  at::Tensor out_;
  std::map<std::int64_t, double> known_limits_;
};

// The seed of the mission: a column of 100 numbers in four chunks.
void measure_chunks(Recorder& recorder, Executor& executor) {
  constexpr std::size_t kCalls = 2000;
  const at::Tensor column = filled_array(100);
  const std::vector<at::Tensor> chunks = column.split(25);
  recorder.measure(fmt::format("exp of four chunks of 25, {}", name_of(executor.options().place)), "us", [&] {
    return median_microseconds(kCalls, [&] { (void)transform({UnaryOp::Kind::exp}, chunks, executor); });
  });
}

/// The GPU, when there is one that can be used: on data that is there, and with its copies.
void add_gpu(std::vector<Contender>& contenders) {
  if (kernels::cuda_devices() == 0) return;
  const auto executor = std::make_shared<Executor>(ExecutorOptions{.place = Place::gpu});
  contenders.push_back({"CUDA with copies",
                        [executor](const Subject& subject, const at::Tensor& in, at::Tensor& out) {
                          transform_into(subject.op, in, out, *executor);
                        },
                        [] {}, Contender::Limit::none});
  // LibTorch's own tensors in GPU memory; this program is not linked with its CUDA half, so that it starts without one.
  if (::dlopen("libtorch_cuda.so", RTLD_NOW | RTLD_GLOBAL) == nullptr) return;
  const auto on_gpu = std::make_shared<std::pair<at::Tensor, at::Tensor>>();
  contenders.push_back({"CUDA resident",
                        [executor, on_gpu](const Subject& subject, const at::Tensor& in, at::Tensor&) {
                          if (!on_gpu->first.defined() || on_gpu->first.numel() != in.numel()) {
                            on_gpu->first = in.to(at::Device(at::kCUDA, 0));
                            on_gpu->second = at::empty_like(on_gpu->first);
                          }
                          transform_into(subject.op, on_gpu->first, on_gpu->second, *executor);
                        },
                        [] { c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA).synchronizeDevice(0); },
                        Contender::Limit::own, nullptr, [on_gpu] { on_gpu->second.copy_(on_gpu->first); }});
}

}  // namespace

void bench_elementwise(Recorder& recorder) {
  const int threads = default_workers();
  Pool pool({.workers = threads});  // first: it forks
  Executor caller({.place = Place::caller});
  Executor by_threads({.place = Place::threads, .threads = threads});
  Executor by_processes({.place = Place::processes, .processes = &pool});
  Executor automatic({.threads = threads});
  measure_chunks(recorder, by_processes);
  measure_chunks(recorder, caller);

  const std::vector<Subject> subjects = {
      {{UnaryOp::Kind::exp}, "exp", [](at::Tensor& out, const at::Tensor& in) { at::exp_out(out, in); }},
      {{UnaryOp::Kind::square}, "square", [](at::Tensor& out, const at::Tensor& in) { at::square_out(out, in); }}};
  const auto by = [](std::string series, Executor& executor, Executor& streams) {
    const auto run = [&executor](const Subject& subject, const at::Tensor& in, at::Tensor& out) {
      transform_into(subject.op, in, out, executor);
    };
    return Contender{.series = std::move(series), .run = run, .streams = &streams};
  };
  std::vector<Contender> contenders = {by("calling thread", caller, by_threads)};
  if (threads > 1) contenders.push_back(by(fmt::format("{} threads", threads), by_threads, by_threads));
  contenders.push_back(by(fmt::format("{} processes", threads), by_processes, by_threads));
  contenders.push_back(by("automatic", automatic, automatic));
  add_gpu(contenders);
  // Last, and then there is a pause.
  if (at::get_num_threads() != threads) at::set_num_threads(threads);
  contenders.push_back(
      {fmt::format("LibTorch, {} threads", threads),
       [](const Subject& subject, const at::Tensor& in, at::Tensor& out) { subject.libtorch(out, in); }, [] {},
       Contender::Limit::known});
  const std::int64_t most = most_elements(recorder, 2, kMostElements);
  Stage stage(recorder, most);
  std::map<std::string, Curves> curves;
  for (std::int64_t elements = std::int64_t{1} << kLeastLog2; elements <= most; elements *= 2) {
    for (const Subject& subject : subjects) {
      for (const Contender& contender : contenders) stage.measure(subject, contender, elements, curves[subject.name]);
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  for (const Subject& subject : subjects) {
    note_break_even(recorder, subject, curves[subject.name], "calling thread");
    note_break_even(recorder, subject, curves[subject.name], fmt::format("{} threads", threads), "CUDA");
  }
}

}  // namespace hogpen

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstdint>
#include <thread>
#include <vector>

#include "apps/bench/suites.h"
#include "runtime/channel/pipe.h"
#include "runtime/channel/queue.h"
#include "runtime/channel/tensor_codec.h"
#include "runtime/channel/thread_queue.h"
#include "runtime/core/error.h"
#include "runtime/process/process.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kPatience = 30s;
constexpr std::size_t kQueueRoundTrips = 2'000;
constexpr auto kSpinThrough = 1ms;  // longer than any round trip: nobody sleeps

template <class T>
T expect(std::optional<T> message) {
  if (!message) throw TimeoutError("a benchmark's peer gave no answer in 30 s");
  return std::move(*message);
}

template <class T>
T next(Queue<T>& queue) {
  return expect(queue.get(Deadline::after(kPatience)));
}

void measure_round_trip(Recorder& recorder, const char* name, const QueueOptions& options) {
  Queue<std::int64_t> ask(options);
  Queue<std::int64_t> reply(options);
  Process echo = Process::start([&] {
    while (const auto message = ask.get()) reply.put(*message);
  });
  recorder.measure(name, "us", [&] {
    return median_microseconds(kQueueRoundTrips, [&] {
      ask.put(1);
      (void)next(reply);
    });
  });
  ask.close();
  echo.join();
}

void measure_pipe(Recorder& recorder) {
  auto [ours, theirs] = pipe<std::int64_t>();
  Process echo = Process::start([&end = theirs] {
    while (const auto message = end.recv()) end.send(*message);
  });
  recorder.measure("pipe round trip", "us", [&end = ours] {
    return median_microseconds(kQueueRoundTrips, [&] {
      end.send(1);
      (void)expect(end.recv(Deadline::after(kPatience)));
    });
  });
  ours.close();
  echo.join();
}

// Messages per second from a child that puts `message` again and again.
template <class T>
double rate_from_child(std::size_t count, const std::function<T()>& make) {
  Queue<T> queue;
  Process producer = Process::start([&] {
    const T message = make();
    for (std::size_t i = 0; i <= count; ++i) queue.put(message);
  });
  (void)next(queue);  // The child has started.
  const double seconds = seconds_of([&] {
    for (std::size_t i = 0; i < count; ++i) (void)next(queue);
  });
  producer.join();
  return static_cast<double>(count) / seconds;
}

double rate_between_threads() {
  constexpr std::size_t kMessages = 2'000'000;
  ThreadQueue<std::int64_t> queue;
  return kMessages / seconds_of([&] {
           std::thread producer([&] {
             for (std::size_t i = 0; i < kMessages; ++i) queue.put(1);
           });
           for (std::size_t i = 0; i < kMessages; ++i) (void)queue.get();
           producer.join();
         });
}

// What travels is a handle of some 100 bytes, so the size of the tensor does not matter; it is the peers' 1 MB.
constexpr std::int64_t kFloatsOfOneMegabyte = 1 << 18;

double rate_of_one_tensor() {
  return rate_from_child<at::Tensor>(100'000, [] { return at::empty({kFloatsOfOneMegabyte}); });
}

// Each tensor is allocated, moved to shared memory by the put, and freed once the peer has dropped it.
double rate_of_new_tensors() {
  constexpr std::size_t kTensors = 2'000;
  Queue<at::Tensor> queue;
  Process producer = Process::start([&] {
    for (std::size_t i = 0; i <= kTensors; ++i) queue.put(at::empty({kFloatsOfOneMegabyte}));
  });
  (void)next(queue);
  const double seconds = seconds_of([&] {
    for (std::size_t i = 0; i < kTensors; ++i) (void)next(queue);
  });
  producer.join();
  return kTensors / seconds;
}

double microseconds_of_500_tensors() {
  Queue<std::vector<at::Tensor>> queue;
  Process producer = Process::start([&] {
    std::vector<at::Tensor> tensors(500);
    for (at::Tensor& tensor : tensors) tensor = at::empty({16});
    for (int i = 0; i <= 20; ++i) queue.put(tensors);
  });
  (void)next(queue);
  const double duration = median_microseconds(20, [&] { (void)next(queue); });
  producer.join();
  return duration;
}

}  // namespace

void bench_queue(Recorder& recorder) {
  measure_round_trip(recorder, "round trip", {});
  measure_round_trip(recorder, "round trip, spinning", {.spin = kSpinThrough});
  measure_pipe(recorder);
  recorder.measure("small messages between processes", "1/s",
                   [] { return rate_from_child<std::int64_t>(500'000, [] { return std::int64_t{1}; }); });
  recorder.measure("small messages between threads", "1/s", rate_between_threads);
  recorder.measure("tensors of 1 MB, one sent again and again", "1/s", rate_of_one_tensor);
  recorder.measure("tensors of 1 MB, each a new one", "1/s", rate_of_new_tensors);
  recorder.measure("message of 500 tensors", "us", microseconds_of_500_tensors);
}

}  // namespace hogpen

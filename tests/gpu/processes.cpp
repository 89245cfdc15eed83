// What processes cost, and how they share the time of a GPU.
#include <vector>

#include "tests/gpu/cases.h"
#include "tests/gpu/gpu_memory.h"
#include "tests/gpu/peer.h"
#include "tests/gpu/suite_kernels.h"

namespace hogpen::gpu_suite {
namespace {

constexpr int kMost = 8;
constexpr std::size_t kWorkBytes = 8192 * sizeof(float);  // what small_work wants
constexpr double kMilliseconds = 800;                     // of one measurement
constexpr int kLaunches = 64;                             // in each stream, between two waits

/// Launches a second by that many streams; `talk` says when to begin.
void be_launcher(Talk& talk, int streams, double milliseconds) {
  use_gpu(kGpu);
  const auto memory = DeviceMemory::create(kGpu, static_cast<std::size_t>(streams) * kWorkBytes);
  std::vector<Stream> all(static_cast<std::size_t>(streams));
  const auto launch = [&] {
    for (int i = 0; i < kLaunches; ++i) {
      for (std::size_t s = 0; s < all.size(); ++s) {
        small_work(cells_of(memory) + s * kWorkBytes / sizeof(float), all[s].get());
      }
    }
    for (const Stream& stream : all) stream.wait();
  };
  launch();
  talk.say_go();
  talk.hear_go();
  double count = 0;
  double ms = 0;
  for (; ms < milliseconds; count += kLaunches * streams) ms += milliseconds_of(launch);
  talk.say(1e3 * count / ms);
}

double rate_of(int processes, int streams, double milliseconds) {
  std::vector<Peer> peers;
  for (int i = 0; i < processes; ++i) {
    peers.push_back(Peer::start("launcher", [=](Talk& talk) { be_launcher(talk, streams, milliseconds); }));
  }
  for (Peer& peer : peers) peer.hear_go();
  for (Peer& peer : peers) peer.say_go();
  double rate = 0;
  for (Peer& peer : peers) rate += peer.hear<double>();
  for (Peer& peer : peers) peer.join();
  return rate;
}

/// Tells what is free, whenever it is asked.
void be_observer(Talk& talk) {
  const auto memory = DeviceMemory::create(kGpu, kWorkBytes);
  while (talk.hear<bool>()) {
    talk.say(free_bytes());
    talk.give(memory.share());
  }
}

void be_newcomer(Talk& talk) {
  talk.hear_go();
  talk.say(milliseconds_of([] { use_gpu(kGpu); }));
  const DeviceShare share = talk.take();
  std::vector<DeviceMemory> memory;
  talk.say(milliseconds_of([&] { memory.push_back(DeviceMemory::attach(share, kWorkBytes)); }));
  talk.hear_go();
}

}  // namespace

void processes_and_streams(Trial& trial) {
  const double milliseconds = static_cast<double>(trial.scaled(kMilliseconds, 50));
  for (int count = 1; count <= kMost; count *= 2) {
    trial.check_time(fmt::format("up to {} processes", count / 2));
    trial.number(fmt::format("launches_per_s_{}_processes", count), rate_of(count, 1, milliseconds));
    trial.number(fmt::format("launches_per_s_{}_streams", count), rate_of(1, count, milliseconds));
  }
}

void cost_of_a_process(Trial& trial) {
  Peer observer = Peer::start("observer", be_observer);
  const auto observe = [&](DeviceShare& share) {
    observer.say(true);
    const auto free = observer.hear<std::uint64_t>();
    share = observer.take();
    return static_cast<double>(free);
  };
  std::vector<double> context_ms;
  std::vector<double> attach_ms;
  std::vector<double> context_mib;
  for (std::int64_t i = 0; i < trial.scaled(kMost, 2); ++i) {
    Peer newcomer = Peer::start("newcomer", be_newcomer);
    DeviceShare share;
    const double before = observe(share);
    newcomer.say_go();
    context_ms.push_back(newcomer.hear<double>());
    context_mib.push_back((before - observe(share)) / (1 << 20));
    newcomer.give(share);
    attach_ms.push_back(newcomer.hear<double>());
    newcomer.say_go();
    newcomer.join();
  }
  observer.say(false);
  observer.join();
  trial.number("context_ms_median", median_of(context_ms));
  trial.number("context_mib_median", median_of(context_mib));
  trial.number("attach_ms_median", median_of(attach_ms));
  trial.number("attach_ms_most", attach_ms.back());
}

}  // namespace hogpen::gpu_suite

// Whoever made the memory is killed.
#include <algorithm>
#include <vector>

#include "runtime/memory/cuda_graph.h"
#include "tests/gpu/cases.h"
#include "tests/gpu/gpu_memory.h"
#include "tests/gpu/peer.h"
#include "tests/gpu/suite_kernels.h"

namespace hogpen::gpu_suite {
namespace {

using Way = DeviceMemory::Way;

constexpr int kAtOnce = 10;
constexpr std::size_t kBytes = std::size_t{32} << 20;  // kAtOnce of them are more than the slack: what is left shows

std::uint32_t number_of(int exporter, int piece) {
  return static_cast<std::uint32_t>(1000 + 10 * exporter + piece);
}

DeviceMemory make(Way way, std::uint32_t number) {
  const auto memory = DeviceMemory::create(kGpu, kBytes, {.way = way});
  write_number(memory, 0, number);
  write_number(memory, kBytes - sizeof(number), number);
  return memory;
}

void expect_number(const DeviceMemory& memory, std::uint32_t number, const char* which) {
  for (const std::size_t at : {std::size_t{0}, kBytes - sizeof(number)}) {
    const std::uint32_t found = read_number(memory, at);
    check(found == number, "{}: {} was read where {} had been written", which, found, number);
  }
}

/// Of three pieces of memory it shares two, and is killed.
void be_exporter(Talk& talk, Way way, int number) {
  const auto mapped = make(way, number_of(number, 0));
  const auto held = make(way, number_of(number, 1));
  const auto alone = make(way, number_of(number, 2));
  talk.give(mapped.share());
  talk.give(held.share());
  talk.hear_go();  // which never comes
}

/// A round of T1: `talk` gives what exporters share, and says when they are dead.
void import_once(Talk& talk, std::uint64_t free_before) {
  std::vector<DeviceMemory> memories;
  for (int i = 0; i < kAtOnce; ++i) {
    const DeviceShare share = talk.take();
    talk.say(milliseconds_of([&] { memories.push_back(DeviceMemory::attach(share, kBytes)); }));
    expect_number(memories.back(), number_of(i, 0), "mapped");
  }
  talk.hear_go();
  for (int i = 0; i < kAtOnce; ++i) {
    const auto& memory = memories[static_cast<std::size_t>(i)];
    expect_number(memory, number_of(i, 0), "mapped when its maker was killed");
    write_number(memory, 4, 77);
    check(read_number(memory, 4) == 77, "mapped when its maker was killed: a write is lost");
  }
  for (int i = 0; i < kAtOnce; ++i) {
    memories.push_back(DeviceMemory::attach(talk.take(), kBytes));
    expect_number(memories.back(), number_of(i, 1), "held by descriptor when its maker was killed");
  }
  memories.clear();
  const std::uint64_t free_now = free_bytes_again(free_before);
  check(free_now + kSlackBytes >= free_before, "{} MiB did not come back", (free_before - free_now) >> 20);
  talk.say_go();
}

void be_importer(Talk& talk) {
  {
    const auto first = make(Way::descriptor, 0);  // What the first use of all takes is there from now on.
    expect_number(DeviceMemory::attach(first.share(), kBytes), 0, "the first");
  }
  const std::uint64_t before = free_bytes();
  while (talk.hear<bool>()) import_once(talk, before);
}

/// Exporters, and what they shared.
struct Exporters {
  explicit Exporters(Way way) {
    for (int i = 0; i < kAtOnce; ++i) {
      peers.push_back(Peer::start("exporter", [=](Talk& talk) { be_exporter(talk, way, i); }));
    }
    for (Peer& peer : peers) {
      mapped.push_back(peer.take());
      held.push_back(peer.take());
    }
  }
  void kill() {
    for (Peer& peer : peers) peer.kill();
  }

  std::vector<Peer> peers;
  std::vector<DeviceShare> mapped;
  std::vector<DeviceShare> held;
};

/// What an importer of T2 found, by CUDA IPC.
struct Found {
  int readable = 0;
  int unreadable = 0;
  int refused = 0;
  int attached = 0;
  bool came_back = false;
};

template <class Body>
bool succeeds(const Body& body) {
  try {
    body();
    return true;
  } catch (const Error&) {
    return false;
  }
}

void be_ipc_importer(Talk& talk) {
  const std::uint64_t before = free_bytes();
  talk.say_go();
  Found found;
  std::vector<DeviceMemory> memories;
  for (int i = 0; i < kAtOnce; ++i) memories.push_back(DeviceMemory::attach(talk.take(), kBytes));
  talk.say_go();
  talk.hear_go();
  for (int i = 0; i < kAtOnce; ++i) {
    const auto& memory = memories[static_cast<std::size_t>(i)];
    ++(succeeds([&] { expect_number(memory, number_of(i, 0), "mapped"); }) ? found.readable : found.unreadable);
    const DeviceShare held = talk.take();
    ++(succeeds([&] { (void)DeviceMemory::attach(held, kBytes); }) ? found.attached : found.refused);
  }
  memories.clear();
  found.came_back = succeeds([&] { check(free_bytes_again(before) + kSlackBytes >= before, "not free"); });
  talk.say(found);
}

Found import_by_ipc() {
  // First, so that what is free then is without the exporters'.
  Peer importer = Peer::start("importer", be_ipc_importer);
  importer.hear_go();
  Exporters exporters(Way::cuda_ipc);
  for (const DeviceShare& share : exporters.mapped) importer.give(share);
  importer.hear_go();
  exporters.kill();
  importer.say_go();
  for (const DeviceShare& share : exporters.held) importer.give(share);
  return importer.hear<Found>();
}

constexpr std::size_t kCells = 1000;
constexpr std::uint64_t kAddsOfReplay = 1000;
constexpr int kReplays = 10;

void be_replayer(Talk& talk) {
  use_gpu(kGpu);
  const auto memory = DeviceMemory::attach(talk.take(), kBytes);
  const Stream stream;
  fill(cells_of(memory), kCells, 0);
  const auto add = [&](std::uint64_t times) { add_atomically(cells_of(memory), kCells, times, stream.get()); };
  add(0);  // A kernel is loaded when it is first launched, which cannot be captured.
  stream.wait();
  const CudaGraph graph(stream.driver_stream(), [&] { add(kAddsOfReplay); });
  const auto replay = [&] {
    for (int i = 0; i < kReplays; ++i) graph.launch(stream.driver_stream());
    stream.wait();
  };
  replay();
  talk.say_go();
  talk.hear_go();
  replay();
  for (const float cell : read_cells(cells_of(memory), kCells)) {
    check(cell == 2.0F * kReplays * kAddsOfReplay, "a cell is {} instead of {}", cell, 2 * kReplays * kAddsOfReplay);
  }
}

}  // namespace

void exporter_killed(Trial& trial) {
  const std::int64_t kills = trial.scaled(100, kAtOnce);
  Peer importer = Peer::start("importer", be_importer);
  std::vector<double> attach_ms;
  for (std::int64_t done = 0; done < kills; done += kAtOnce) {
    trial.check_time(fmt::format("{} of {} kills", done, kills));
    importer.say(true);
    Exporters exporters(Way::descriptor);
    for (const DeviceShare& share : exporters.mapped) {
      importer.give(share);
      attach_ms.push_back(importer.hear<double>());
    }
    exporters.mapped.clear();
    exporters.kill();
    importer.say_go();
    for (const DeviceShare& share : exporters.held) importer.give(share);
    exporters.held.clear();  // or they would keep the memory
    importer.hear_go();
    trial.number("kills", done + kAtOnce);
  }
  importer.say(false);
  importer.join();
  trial.number("attach_ms_most", std::ranges::max(attach_ms));
  trial.number("attach_ms_median", median_of(attach_ms));
}

void ipc_exporter_killed(Trial& trial) {
  const std::int64_t kills = trial.scaled(100, kAtOnce);
  Found all;
  int failures = 0;
  int not_back = 0;
  std::string last_failure;
  for (std::int64_t done = 0; done < kills; done += kAtOnce) {
    trial.check_time(fmt::format("{} of {} kills", done, kills));
    try {
      const Found found = import_by_ipc();
      all.readable += found.readable;
      all.unreadable += found.unreadable;
      all.refused += found.refused;
      all.attached += found.attached;
      not_back += found.came_back ? 0 : 1;
    } catch (const Error& error) {
      ++failures;
      last_failure = error.what();
    }
    trial.number("kills", done + kAtOnce);
    trial.number("mapped_and_still_readable", all.readable);
    trial.number("mapped_and_unreadable", all.unreadable);
    trial.number("late_attach_refused", all.refused);
    trial.number("late_attach_succeeded", all.attached);
    trial.number("rounds_with_memory_not_back", not_back);
    trial.number("rounds_that_failed", failures);
    if (failures > 0) trial.number("last_failure", last_failure);
  }
}

void graph_outlives_exporter(Trial& trial) {
  Peer exporter = Peer::start("exporter", [](Talk& talk) { be_exporter(talk, Way::descriptor, 0); });
  Peer replayer = Peer::start("replayer", be_replayer);
  replayer.give(exporter.take());
  replayer.hear_go();
  exporter.kill();
  replayer.say_go();
  replayer.join();
  trial.number("replays_after_the_death", kReplays);
}

}  // namespace hogpen::gpu_suite

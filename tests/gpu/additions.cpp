// Several processes add to the same cells.
#include <cmath>
#include <numeric>
#include <vector>

#include "tests/gpu/cases.h"
#include "tests/gpu/gpu_memory.h"
#include "tests/gpu/peer.h"
#include "tests/gpu/suite_kernels.h"

namespace hogpen::gpu_suite {
namespace {

constexpr int kProcesses = 8;
constexpr double kAdds = 1e7;                // of each process
constexpr std::size_t kFewCells = 1000;      // sums far below 2^24, so that float32 holds them exactly
constexpr std::size_t kManyCells = 100'000;  // about the parameters of the default model

using Add = void (*)(float*, std::size_t, std::uint64_t, CUstream_st*);

struct Sums {
  double sum = 0;
  float least = 0;
  float most = 0;
};

void be_owner(Talk& talk, std::size_t n) {
  const auto memory = DeviceMemory::create(kGpu, n * sizeof(float));
  fill(cells_of(memory), n, 0);
  while (talk.hear<bool>()) talk.give(memory.share());
  const std::vector<float> cells = read_cells(cells_of(memory), n);
  const auto [least, most] = std::ranges::minmax(cells);
  talk.say(Sums{std::accumulate(cells.begin(), cells.end(), 0.0), least, most});
}

void be_adder(Talk& talk, Add add, std::size_t n, std::uint64_t times) {
  use_gpu(kGpu);
  const auto memory = DeviceMemory::attach(talk.take(), n * sizeof(float));
  const Stream stream;
  talk.say_go();
  talk.hear_go();
  // In pieces, so that the processes take turns.
  constexpr std::uint64_t kPieces = 100;
  for (std::uint64_t i = 0; i < kPieces; ++i) {
    add(cells_of(memory), n, times * (i + 1) / kPieces - times * i / kPieces, stream.get());
  }
  stream.wait();
}

/// What is in the cells after that many processes have added `times` to each of them.
Sums sums_after(Add add, int processes, std::size_t n, std::uint64_t times) {
  Peer owner = Peer::start("owner", [n](Talk& talk) { be_owner(talk, n); });
  std::vector<Peer> adders;
  for (int i = 0; i < processes; ++i) {
    adders.push_back(Peer::start("adder", [=](Talk& talk) { be_adder(talk, add, n, times); }));
  }
  for (Peer& adder : adders) {
    owner.say(true);
    adder.give(owner.take());
  }
  for (Peer& adder : adders) adder.hear_go();
  for (Peer& adder : adders) adder.say_go();
  for (Peer& adder : adders) adder.join();
  owner.say(false);
  return owner.hear<Sums>();
}

}  // namespace

void atomic_adds(Trial& trial) {
  const auto times = static_cast<std::uint64_t>(trial.scaled(kAdds / kFewCells));
  const auto wanted = static_cast<float>(kProcesses * times);
  const Sums found = sums_after(add_atomically, kProcesses, kFewCells, times);
  trial.number("processes", kProcesses);
  trial.number("adds_of_each", times * kFewCells);
  trial.number("sum", found.sum);
  check(found.least == wanted && found.most == wanted, "cells are between {} and {}, not all {}", found.least,
        found.most, wanted);
}

void plain_adds(Trial& trial) {
  for (const std::size_t n : {kFewCells, kManyCells}) {
    for (const int processes : {1, kProcesses}) {
      const auto times = static_cast<std::uint64_t>(trial.scaled(kAdds / static_cast<double>(n)));
      const double wanted = static_cast<double>(n * times) * processes;
      const Sums found = sums_after(add_plainly, processes, n, times);
      check(found.sum > 0 && found.sum <= wanted, "a sum of {} where {} were added", found.sum, wanted);
      check(found.sum == std::floor(found.sum), "a sum of {}, which is not whole: a store was torn", found.sum);
      trial.number(fmt::format("lost_percent_{}_cells_{}_processes", n, processes), 100 * (1 - found.sum / wanted));
    }
  }
}

}  // namespace hogpen::gpu_suite

// Processes that are joined, and processes that are not: multiprocessing.Process.
#include <fmt/core.h>

#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "runtime/process/process.h"

using namespace std::chrono_literals;
using hogpen::Process;

int main() {
  // Started and joined. `join` throws when the child failed, and takes a deadline.
  std::vector<Process> herd;
  for (int rank = 0; rank < 4; ++rank) {
    herd.push_back(Process::start([rank] { fmt::print("process {} squares: {}\n", rank, rank * rank); }));
  }
  for (Process& process : herd) process.join();
  fmt::print("four processes were joined\n");

  // Not joined: the end of the block waits for one that is no daemon, and would kill one that is.
  {
    const Process unjoined = Process::start([] { fmt::print("nobody joins me\n"); }, {.daemon = false});
    const Process daemon = Process::start([] { std::this_thread::sleep_for(1h); });
  }
  fmt::print("none is left behind\n");

  // Let go: it goes on without an object, and ends with this program at the latest.
  Process::start([] { fmt::print("I was let go\n"); }).detach();
  while (!hogpen::detached_children().empty()) std::this_thread::sleep_for(1ms);

  // A failure is an exception here, with the child's own words.
  Process clumsy = Process::start([] { throw std::runtime_error("the trough is empty"); }, {.rank = 7});
  try {
    clumsy.join();
  } catch (const hogpen::WorkerError& error) {
    fmt::print("{}\n", error.what());
  }
}

#include "runtime/process/spawn.h"
#include "apps/bench/suites.h"
#include "runtime/process/process.h"

namespace hogpen {

void bench_spawn(Recorder& recorder) {
  recorder.measure("process started and joined", "us",
                   [] { return median_microseconds(20, [] { Process::start([] {}).join(); }); });
  recorder.measure("spawn of 4 and join", "us", [] { return 1e6 * seconds_of([] { spawn([](int) {}, 4); }); });
}

}  // namespace hogpen

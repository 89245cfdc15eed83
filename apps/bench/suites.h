#pragma once

#include "apps/bench/recorder.h"

namespace hogpen {

/// Each measures one room of the runtime. They fork, so they run in a process with one thread.
void bench_sync(Recorder& recorder);
void bench_queue(Recorder& recorder);
void bench_spawn(Recorder& recorder);
void bench_pool(Recorder& recorder);

}  // namespace hogpen

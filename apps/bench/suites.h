#pragma once

#include <array>

#include "apps/bench/recorder.h"

namespace hogpen {

/// Each measures one room of the runtime. They fork, so they run in a process with one thread.
void bench_sync(Recorder& recorder);
void bench_queue(Recorder& recorder);
void bench_spawn(Recorder& recorder);
void bench_pool(Recorder& recorder);
void bench_graph(Recorder& recorder);
void bench_train(Recorder& recorder);
void bench_memory(Recorder& recorder);
void bench_gpu(Recorder& recorder);
void bench_elementwise(Recorder& recorder);  ///< last, since LibTorch's threads stay

struct Suite {
  const char* name;
  const char* about;
  void (*run)(Recorder&);
};

/// In the order in which they run.
inline constexpr std::array kSuites = {
    Suite{"sync", "locks, events, semaphores and barriers in shared memory", bench_sync},
    Suite{"queue", "messages and tensors between processes and threads", bench_queue},
    Suite{"spawn", "starting and ending processes", bench_spawn},
    Suite{"pool", "tasks on a pool of workers", bench_pool},
    Suite{"graph", "delayed calls: building a graph of empty tasks, and computing it", bench_graph},
    Suite{"train", "training the default model: samples per second, start, memory, time to 88 %", bench_train},
    Suite{"memory", "what memory allows: STREAM copy, scale and triad", bench_memory},
    Suite{"gpu", "GPU 0: contexts, attaching to memory, copies, training by processes and threads", bench_gpu},
    Suite{"elementwise", "exp and square by threads, processes and GPU, beside LibTorch", bench_elementwise},
};

}  // namespace hogpen

#pragma once

#include <array>

#include "tests/gpu/trial.h"

namespace hogpen::gpu_suite {

/// Each coordinates processes that use the GPU, and uses none itself. Whoever coordinates holds no descriptor of GPU
/// memory when it forks: to Process::start it would look like a GPU in use.
void exporter_killed(Trial& trial);
void ipc_exporter_killed(Trial& trial);
void importer_killed(Trial& trial);
void atomic_adds(Trial& trial);
void plain_adds(Trial& trial);
void illegal_address(Trial& trial);
void sizes(Trial& trial);
void graph_outlives_exporter(Trial& trial);
void page_locked_copies(Trial& trial);
void processes_and_streams(Trial& trial);
void cost_of_a_process(Trial& trial);
void read_only_map(Trial& trial);
void contract(Trial& trial);

/// In the order in which they run.
inline constexpr std::array kCases = {
    Case{"T1", "the maker of memory is killed: mapped, held by descriptor, or neither", std::chrono::seconds(60), false,
         false, exporter_killed},
    Case{"T2", "the same by CUDA IPC, whose memory is its maker's", std::chrono::seconds(45), false, true,
         ipc_exporter_killed},
    Case{"T3", "a user of memory is killed in the middle of a kernel", std::chrono::seconds(80), true, false,
         importer_killed},
    Case{"T4", "8 processes add atomically to the same cells", std::chrono::seconds(30), true, false, atomic_adds},
    Case{"T5", "how many additions plain stores lose", std::chrono::seconds(30), true, false, plain_adds},
    Case{"T6", "an illegal address in one process", std::chrono::seconds(30), true, false, illegal_address},
    Case{"T7", "one large piece of memory and many small ones", std::chrono::seconds(40), false, false, sizes},
    Case{"T8", "a CUDA graph on memory whose maker was killed", std::chrono::seconds(20), true, false,
         graph_outlives_exporter},
    Case{"T9", "a memfd page-locked by two processes", std::chrono::seconds(30), false, false, page_locked_copies},
    Case{"T10", "1, 2, 4 and 8 processes against as many streams of one", std::chrono::seconds(30), true, true,
         processes_and_streams},
    Case{"T11", "what a process costs: its context, and attaching to memory", std::chrono::seconds(30), false, true,
         cost_of_a_process},
    Case{"T12", "a write through a read-only map", std::chrono::seconds(20), false, false, read_only_map},
    Case{"T13", "the contract of DeviceMemory here and on the fake driver", std::chrono::seconds(120), false, false,
         contract},
};

}  // namespace hogpen::gpu_suite

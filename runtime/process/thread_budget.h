#pragma once

namespace hogpen {

/// How many workers or threads to start where the caller does not say: the CPUs this process may use (affinity and
/// cgroup), and no more than the budget it was given; at least 1.
///
/// Sharing: any thread. Every process has a budget of its own, and a forked child inherits it.
[[nodiscard]] int default_workers();

/// Gives this process a budget of threads, also for LibTorch's parallel regions in the calling thread, and returns what
/// it has now. A budget never grows: what a process starts, and what those start, stays within what it was given.
/// `Process` calls it in a child with `ProcessOptions::threads`. Starts no thread. In hogpen::runtime.
///
/// Throws: UsageError for a budget below 1.
int set_thread_budget(int threads);

namespace detail {
/// The number alone, which `default_workers` reads: LibTorch is not told.
int lower_thread_budget(int threads);
}  // namespace detail

}  // namespace hogpen

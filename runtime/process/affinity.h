#pragma once

#include <span>
#include <vector>

namespace hogpen {

/// The CPUs that the calling thread may run on, in ascending order.
[[nodiscard]] std::vector<int> allowed_cpus();

/// Throws: UsageError when one of `cpus` is not allowed to the calling thread, or is there twice.
void require_allowed(std::span<const int> cpus);

/// Keeps the calling thread, and those it starts later, on these CPUs. Throws: UsageError as `require_allowed`.
void set_affinity(std::span<const int> cpus);

/// The CPUs of one of several who share `cpus`, each taking `count`: from the first again when they run out, and all of
/// them where `count` is more. Requires: share >= 0, count >= 1; `cpus` is not empty.
[[nodiscard]] std::vector<int> share_of_cpus(std::span<const int> cpus, int share, int count);

/// Moves the calling thread to the others of `cpus` if it is on `cpu` now, and keeps it there. Does nothing where it
/// cannot: this is for speed alone.
void leave_cpu(int cpu, std::span<const int> cpus) noexcept;

}  // namespace hogpen

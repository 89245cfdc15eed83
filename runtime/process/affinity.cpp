#include "runtime/process/affinity.h"

#include <fmt/ranges.h>
#include <sched.h>

#include <algorithm>
#include <memory>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

// More CPUs than a kernel is built for: a smaller set than the kernel's own is refused by it.
constexpr int kMostCpus = 8192;
const std::size_t kSetBytes = CPU_ALLOC_SIZE(kMostCpus);

struct Free {
  void operator()(cpu_set_t* set) const noexcept { CPU_FREE(set); }
};
using CpuSet = std::unique_ptr<cpu_set_t, Free>;

CpuSet empty_set() {
  CpuSet set(CPU_ALLOC(kMostCpus));
  if (!set) throw std::bad_alloc();
  CPU_ZERO_S(kSetBytes, set.get());
  return set;
}

}  // namespace

std::vector<int> allowed_cpus() {
  const CpuSet set = empty_set();
  syscall_ok(::sched_getaffinity(0, kSetBytes, set.get()), "sched_getaffinity");
  std::vector<int> cpus;
  for (int cpu = 0; cpu < kMostCpus; ++cpu) {
    if (CPU_ISSET_S(cpu, kSetBytes, set.get())) cpus.push_back(cpu);
  }
  return cpus;
}

void require_allowed(std::span<const int> cpus) {
  const std::vector<int> allowed = allowed_cpus();
  std::vector<int> seen;
  for (const int cpu : cpus) {
    require(std::ranges::binary_search(allowed, cpu), "CPU {} is not among those this process may use: {}", cpu,
            fmt::join(allowed, ", "));
    require(std::ranges::find(seen, cpu) == seen.end(), "CPU {} is named twice", cpu);
    seen.push_back(cpu);
  }
}

std::vector<int> share_of_cpus(std::span<const int> cpus, int share, int count) {
  std::vector<int> mine(std::min(static_cast<std::size_t>(count), cpus.size()));
  const std::size_t first = static_cast<std::size_t>(share) * mine.size();
  for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = cpus[(first + i) % cpus.size()];
  return mine;
}

void leave_cpu(int cpu, std::span<const int> cpus) noexcept {
  if (::sched_getcpu() != cpu) return;
  const CpuSet set(CPU_ALLOC(kMostCpus));
  if (!set) return;
  CPU_ZERO_S(kSetBytes, set.get());
  for (const int other : cpus) {
    if (other != cpu) CPU_SET_S(other, kSetBytes, set.get());
  }
  (void)::sched_setaffinity(0, kSetBytes, set.get());  // fails for an empty set
}

void set_affinity(std::span<const int> cpus) {
  require_allowed(cpus);
  const CpuSet set = empty_set();
  for (const int cpu : cpus) CPU_SET_S(cpu, kSetBytes, set.get());
  syscall_ok(::sched_setaffinity(0, kSetBytes, set.get()), "sched_setaffinity");
}

}  // namespace hogpen

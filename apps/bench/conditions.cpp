#include "apps/bench/conditions.h"

#include <fmt/format.h>

#include <array>
#include <fstream>
#include <system_error>

namespace hogpen {
namespace {

namespace fs = std::filesystem;

constexpr double kMostBusyPercent = 10;
constexpr double kMostStolenPercent = 2;

// "cpu  user nice system idle iowait irq softirq steal …": guest time is in user time already.
void read_ticks(const fs::path& path, Conditions& conditions) {
  std::ifstream file(path);
  std::string name;
  std::array<std::int64_t, 8> ticks{};
  file >> name;
  for (std::int64_t& value : ticks) file >> value;
  if (!file || name != "cpu") return;
  const auto [user, nice, system, idle, iowait, irq, softirq, steal] = ticks;
  conditions.busy = user + nice + system + irq + softirq;
  conditions.stolen = steal;
  conditions.all = conditions.busy + steal + idle + iowait;
}

std::int64_t count_throttles(const fs::path& cpus) {
  std::int64_t sum = 0;
  std::error_code ignored;
  for (const fs::directory_entry& cpu : fs::directory_iterator(cpus, ignored)) {
    std::int64_t count = 0;
    if (std::ifstream(cpu.path() / "thermal_throttle/core_throttle_count") >> count) sum += count;
  }
  return sum;
}

// The kernel lets its counters of idle time run backwards now and then.
double percent(std::int64_t part, std::int64_t whole) {
  return whole <= 0 ? 0 : 100 * static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

Conditions Conditions::now(const fs::path& root) {
  const fs::path cpus = root / "sys/devices/system/cpu";
  Conditions conditions;
  std::string load;
  std::getline(std::ifstream(root / "proc/loadavg"), load);
  conditions.load_average = load.substr(0, load.find(' ', load.find(' ', load.find(' ') + 1) + 1));
  std::getline(std::ifstream(cpus / "cpu0/cpufreq/scaling_governor"), conditions.governor);
  conditions.throttled = count_throttles(cpus);
  read_ticks(root / "proc/stat", conditions);
  return conditions;
}

std::vector<std::string> warnings_at_begin(const Conditions& before, const Conditions& begin) {
  std::vector<std::string> warnings;
  const double busy = percent(begin.busy - before.busy, begin.all - before.all);
  if (busy > kMostBusyPercent) {
    warnings.push_back(
        fmt::format("other processes use {:.0f} % of the CPUs (load average {})", busy, begin.load_average));
  }
  if (begin.governor == "powersave") {
    warnings.emplace_back("the CPU's governor is powersave: its clock follows the load, try performance");
  }
  return warnings;
}

std::vector<std::string> warnings_at_end(const Conditions& begin, const Conditions& end) {
  std::vector<std::string> warnings;
  const std::int64_t stolen = end.stolen - begin.stolen;
  const double share = percent(stolen, stolen + end.busy - begin.busy);
  if (share > kMostStolenPercent) {
    warnings.push_back(fmt::format("the host of this virtual machine took {:.1f} % of the CPU time for others", share));
  }
  if (end.throttled > begin.throttled) {
    warnings.push_back(
        fmt::format("the CPUs were too hot {} times and lowered their clock", end.throttled - begin.throttled));
  }
  return warnings;
}

}  // namespace hogpen

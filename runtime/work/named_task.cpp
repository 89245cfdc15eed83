#include "runtime/work/named_task.h"

#include <map>
#include <string>

#include "runtime/core/hash.h"

namespace hogpen::detail {
namespace {

// Written before main and read after: no lock.
std::map<std::string, std::map<std::uint64_t, RunItems>, std::less<>>& registry() {
  static auto& tasks = *new std::map<std::string, std::map<std::uint64_t, RunItems>, std::less<>>;
  return tasks;
}

}  // namespace

std::uint64_t task_key(std::string_view name, const std::type_info& in, const std::type_info& out, bool spread) {
  return hash_of(fmt::format("{}\n{}\n{}\n{}", name, in.name(), out.name(), spread ? "spread" : "one"));
}

void register_runner(std::string_view name, std::uint64_t key, RunItems run) {
  registry()[std::string(name)][key] = run;
}

RunItems find_runner(std::string_view name, std::uint64_t key) {
  const auto task = registry().find(name);
  require(task != registry().end(), "a worker's program must make the task {0} known: HOGPEN_TASK({0})", name);
  const auto run = task->second.find(key);
  require(run != task->second.end(),
          "the task {} must have the types that the pool's owner gives it; in the worker's program it has others",
          name);
  return run->second;
}

}  // namespace hogpen::detail

// The flow that compare_frame.py times, on a Frame: reads, groups, renames, merges back, and has all rows.
#include <arrow/table.h>
#include <fmt/format.h>
#include <sys/resource.h>

#include <chrono>
#include <cstdlib>

#include "runtime/frame/frame.h"

int main(int argc, char** argv) {
  using Clock = std::chrono::steady_clock;
  if (argc < 2) return 2;
  const auto began = Clock::now();
  hogpen::Executor executor({.place = hogpen::Place::threads, .threads = argc > 2 ? std::atoi(argv[2]) : 0});
  const auto rows = hogpen::Frame::read_csv(argv[1]);
  const auto groups = rows.groupby({"key"})
                          .agg({{"value", hogpen::Aggregate::sum}, {"value", hogpen::Aggregate::mean}})
                          .rename({{"value_sum", "total"}, {"value_mean", "average"}});
  const auto merged = rows.merge(groups, {"key"}, hogpen::How::left).compute({.executor = &executor});
  const double seconds = std::chrono::duration<double>(Clock::now() - began).count();
  ::rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  fmt::print("{{\"seconds\": {}, \"peak_mib\": {}, \"rows\": {}}}\n", seconds, usage.ru_maxrss / 1024,
             merged->num_rows());
}

// The part of a thread budget that LibTorch keeps.
#include <ATen/Parallel.h>
#include <dlfcn.h>

#include "runtime/core/error.h"
#include "runtime/process/thread_budget.h"

namespace hogpen {
namespace {

// at::set_num_threads(2) or more starts threads at once, of a pool for XNNPACK, which spin for milliseconds and make a
// nested fork unsafe. Set below it, OpenMP starts its threads with the first parallel region.
void limit_parallel_regions(int threads) {
  using SetThreads = void (*)(int);
  const auto openmp = reinterpret_cast<SetThreads>(::dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (threads == 1 || !openmp) return at::set_num_threads(threads);
  (void)at::get_num_threads();  // Once in a thread it sets OpenMP's number: before ours.
  const auto mkl = reinterpret_cast<SetThreads>(::dlsym(RTLD_DEFAULT, "MKL_Set_Num_Threads_Local"));
  if (mkl) mkl(0);  // OpenMP's number counts again, also where the parent has called at::set_num_threads.
  openmp(threads);
}

}  // namespace

int set_thread_budget(int threads) {
  require(threads >= 1, "a budget of threads must be at least 1, but is {}", threads);
  const int budget = detail::lower_thread_budget(threads);
  limit_parallel_regions(budget);
  return budget;
}

}  // namespace hogpen

#pragma once

#include <cstddef>
#include <vector>

namespace hogpen::kernels {

/// A block of threads that the host runs, one after the other in each step: for kernels/dense_block.h.
class HostBlock {
 public:
  explicit HostBlock(int threads) : threads_(threads) {}

  template <class F>
  void each(const F& f) const {
    for (int thread = 0; thread < threads_; ++thread) f(thread);
  }

  template <class T>
  class PerThread {
   public:
    explicit PerThread(const HostBlock& block) : all_(static_cast<std::size_t>(block.threads_)) {}
    T& operator[](int thread) { return all_[static_cast<std::size_t>(thread)]; }

   private:
    std::vector<T> all_;
  };

 private:
  int threads_;
};

}  // namespace hogpen::kernels

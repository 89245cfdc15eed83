#pragma once

#include <cstddef>
#include <random>
#include <vector>

namespace hogpen::kernels {

/// Numbers in [-1, 1), the same for a seed.
///
/// Sharing: one thread. Owns: the generator.
class RandomNumbers {
 public:
  explicit RandomNumbers(unsigned seed) : random_(seed) {}
  std::vector<float> numbers(std::size_t n) {
    std::vector<float> values(n);
    for (float& value : values) value = uniform_(random_);
    return values;
  }

 private:
  std::mt19937 random_;
  std::uniform_real_distribution<float> uniform_{-1.0F, 1.0F};
};

}  // namespace hogpen::kernels

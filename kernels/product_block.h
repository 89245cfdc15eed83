#pragma once

// A product of matrices, as steps that the threads of a block take together: `block.each(f)` calls f(thread) for all of
// them, and then all have done it; PerThread is what a thread keeps from step to step. They know nothing of CUDA, so
// that the host can run them too, one thread after the other: tests/fake_cuda/host_block.h.
#include <c10/macros/Macros.h>

#include <cstddef>

namespace hogpen::kernels::detail {

constexpr int kTile = 32;  // a block computes so many rows and columns of a product, and adds so many terms at a time
constexpr int kGroupThreads = 256;
constexpr int kMostGroups = 4;
constexpr int kHalfTile = kTile / 2;  // a group's threads are a square of that side: each has 2 x 2 elements

/// What the threads of a block share. Each group of them adds other terms of the sums, since in small products their
/// number is what takes time.
template <int kGroups>
struct Tiles {
  float left[kGroups][kTile][kTile + 1];  // [term][row]; one more, or a column would lie in one bank
  float right[kGroups][kTile][kTile + 1];
};

/// A product [rows, columns] with sums of `depth` terms, and what a block computes: a tile of it, and of its sums those
/// terms that are in one of `parts` parts.
struct Product {
  std::size_t rows;
  std::size_t columns;
  std::size_t depth;
  std::size_t parts = 1;
  std::size_t first_row = 0;
  std::size_t first_column = 0;
  std::size_t part = 0;

  [[nodiscard]] C10_HOST_DEVICE std::size_t terms_of_part() const { return (depth + parts - 1) / parts; }
};

/// How many groups add a product's sums: more for long ones.
C10_HOST_DEVICE inline int groups_for(const Product& p) {
  return p.terms_of_part() > std::size_t{kMostGroups} * kTile ? kMostGroups : 1;
}

/// The sums of a thread.
struct Square {
  float at[2][2] = {};
};

/// tile[term][i] = operand(first + i, first_term + term), 0 beyond the operand's end; read in the order in which it
/// lies in memory.
template <class Operand>
C10_HOST_DEVICE void load_tile(float (&tile)[kTile][kTile + 1], int lane, const Operand& operand, std::size_t first,
                               std::size_t end, std::size_t first_term, std::size_t end_term) {
  const int fast = lane % kTile;
  for (int slow = lane / kTile; slow < kTile; slow += kGroupThreads / kTile) {
    const int term = Operand::kTermsAreNeighbours ? fast : slow;
    const int i = Operand::kTermsAreNeighbours ? slow : fast;
    const bool is_there = first + i < end && first_term + term < end_term;
    tile[term][i] = is_there ? operand(first + i, first_term + term) : 0.0F;
  }
}

/// store(row, column, the sum over the part's terms of left(row, term) * right(column, term)) for a tile.
template <int kGroups, class Block, class Left, class Right, class Store>
C10_HOST_DEVICE void multiply(Block& block, Tiles<kGroups>& tiles, const Product& p, const Left& left,
                              const Right& right, const Store& store) {
  typename Block::template PerThread<Square> sums(block);
  const std::size_t first_term = p.part * p.terms_of_part();
  const std::size_t end_term = first_term + p.terms_of_part() < p.depth ? first_term + p.terms_of_part() : p.depth;
  for (std::size_t begin = first_term; begin < end_term; begin += std::size_t{kGroups} * kTile) {
    block.each([&](int thread) {
      const int group = thread / kGroupThreads;
      const std::size_t term = begin + static_cast<std::size_t>(group) * kTile;
      load_tile(tiles.left[group], thread % kGroupThreads, left, p.first_row, p.rows, term, end_term);
      load_tile(tiles.right[group], thread % kGroupThreads, right, p.first_column, p.columns, term, end_term);
    });
    block.each([&](int thread) {
      const int group = thread / kGroupThreads;
      const int row = thread % kGroupThreads / kHalfTile;
      const int column = thread % kHalfTile;
      Square& mine = sums[thread];
      for (int term = 0; term < kTile; ++term) {
        const float* const a = tiles.left[group][term];
        const float* const b = tiles.right[group][term];
        for (int i = 0; i < 2; ++i) {
          for (int j = 0; j < 2; ++j) mine.at[i][j] += a[row + i * kHalfTile] * b[column + j * kHalfTile];
        }
      }
    });
  }
  block.each([&](int thread) {  // the groups' sums, over the operands: [row][column]
    const int row = thread % kGroupThreads / kHalfTile;
    const int column = thread % kHalfTile;
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) {
        tiles.left[thread / kGroupThreads][row + i * kHalfTile][column + j * kHalfTile] = sums[thread].at[i][j];
      }
    }
  });
  block.each([&](int thread) {
    for (int n = thread; n < kTile * kTile; n += kGroups * kGroupThreads) {
      const std::size_t row = p.first_row + n / kTile;
      const std::size_t column = p.first_column + n % kTile;
      if (row >= p.rows || column >= p.columns) continue;
      float sum = 0.0F;
      for (int group = 0; group < kGroups; ++group) sum += tiles.left[group][n / kTile][n % kTile];
      store(row, column, sum);
    }
  });
}

/// A matrix of which multiply takes rows [i, term].
struct Rows {
  static constexpr bool kTermsAreNeighbours = true;
  const float* data;
  std::size_t width;
  C10_HOST_DEVICE float operator()(std::size_t i, std::size_t term) const { return data[i * width + term]; }
};

/// A matrix of which multiply takes columns: [term, i].
struct Columns {
  static constexpr bool kTermsAreNeighbours = false;
  const float* data;
  std::size_t width;
  C10_HOST_DEVICE float operator()(std::size_t i, std::size_t term) const { return data[term * width + i]; }
};

}  // namespace hogpen::kernels::detail

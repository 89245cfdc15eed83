#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/memory/segment.h"

namespace hogpen {

/// Images (uint8) and their labels (uint8), read once into one Segment that all workers share.
///
/// Sharing: immutable after it is made; forked children inherit the mapping. A copy is another handle.
/// Owns: a share of the Segment.
class Dataset {
 public:
  /// Reads an IDX pair; a name that ends in .gz is decompressed. Counts are checked against the file's size (for .gz
  /// against the sizes that the headers claim, before the memory is taken).
  ///
  /// Throws: FormatError with file and byte; SystemError for a file that cannot be read.
  /// Source: http://yann.lecun.com/exdb/mnist (the IDX format).
  [[nodiscard]] static Dataset read_idx(const std::filesystem::path& images, const std::filesystem::path& labels);

  /// `count` samples of `classes` classes that need no file: every class is a fixed random image, every sample its
  /// class's image with noise. Same seed, same data.
  [[nodiscard]] static Dataset synthetic(std::int64_t count, std::int64_t height, std::int64_t width,
                                         std::int64_t classes, std::uint64_t seed);

  [[nodiscard]] std::int64_t size() const noexcept;
  [[nodiscard]] std::int64_t height() const noexcept;
  [[nodiscard]] std::int64_t width() const noexcept;
  [[nodiscard]] std::int64_t sample_numel() const noexcept { return height() * width(); }
  [[nodiscard]] std::int64_t classes() const noexcept;  ///< largest label + 1
  [[nodiscard]] std::span<const std::uint8_t> image(std::int64_t index) const;
  [[nodiscard]] std::uint8_t label(std::int64_t index) const;

  /// Mean and standard deviation of all pixels, divided by 255.
  struct Normalization {
    double mean = 0.0;
    double stddev = 1.0;
  };
  [[nodiscard]] Normalization normalization() const;

  /// Writes the given samples as (pixel / 255 - mean) / stddev.
  ///
  /// Shapes: images [indices.size() * sample_numel()], labels [indices.size()]. Dtypes: float32, int64.
  /// Throws: UsageError for an index outside [0, size()).
  void gather(std::span<const std::uint32_t> indices, const Normalization& normalization, std::span<float> images,
              std::span<std::int64_t> labels) const;

 private:
  struct State;
  explicit Dataset(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

/// A training and a test set.
struct DatasetPair {
  Dataset train;
  Dataset test;
};

/// "fashion-mnist" (the Debian package dataset-fashion-mnist), "synthetic" or "synthetic:COUNT", or a directory that holds
/// train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each with or
/// without .gz.
///
/// Throws: UsageError naming what was looked for and the package to install; what `read_idx` throws.
[[nodiscard]] DatasetPair open_dataset(const std::string& name);

}  // namespace hogpen

#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/memory/segment.h"

namespace hogpen {

/// Images (uint8) or rows of features (float32), and their labels (uint8), read once into one Segment that all workers
/// share.
///
/// Sharing: immutable after it is made; forked children inherit the mapping. A copy is another handle.
/// Owns: a share of the Segment.
class Dataset {
 public:
  /// Reads an IDX pair; a file whose name ends in .gz is decompressed. Before any memory is taken, what the headers
  /// claim is checked against the files' sizes; for .gz, against what so many compressed bytes can hold at most.
  ///
  /// Throws: FormatError with file and byte (of the decompressed content where it says so); SystemError for a file that
  /// cannot be read. Source: http://yann.lecun.com/exdb/mnist (the IDX format).
  [[nodiscard]] static Dataset read_idx(const std::filesystem::path& images, const std::filesystem::path& labels);

  /// `count` samples that need no file. Every class is a fixed random image, the same for every `seed`; every sample is
  /// its class's image under noise that drowns it in a single sample, whatever the size of the images. The classes take
  /// turns. Same arguments, same data.
  ///
  /// Throws: UsageError for a size below 1, or more than 256 classes.
  [[nodiscard]] static Dataset synthetic(std::int64_t count, std::int64_t height, std::int64_t width,
                                         std::int64_t classes, std::uint64_t seed);

  /// Rows of features, which are trained on as they are. `samples` holds all of them, row by row, and then all labels.
  ///
  /// Throws: UsageError for a Segment of another size, or less than one row or feature.
  [[nodiscard]] static Dataset of_features(Segment samples, std::int64_t count, std::int64_t features);

  [[nodiscard]] std::int64_t size() const noexcept;
  [[nodiscard]] std::int64_t height() const noexcept;
  [[nodiscard]] std::int64_t width() const noexcept;
  [[nodiscard]] std::int64_t sample_numel() const noexcept { return height() * width(); }
  /// Of float32, a row each; else pixels.
  [[nodiscard]] bool has_features() const noexcept;
  [[nodiscard]] std::int64_t classes() const noexcept;  ///< largest label + 1
  /// Throws: UsageError for an index outside [0, size()), and where there are features.
  [[nodiscard]] std::span<const std::uint8_t> image(std::int64_t index) const;
  [[nodiscard]] std::uint8_t label(std::int64_t index) const;

  /// All images or rows, then all labels, as they lie in memory.
  [[nodiscard]] const Segment& samples() const noexcept;
  /// Where the labels begin in there.
  [[nodiscard]] std::size_t labels_offset() const noexcept;

  /// Mean and standard deviation of all pixels, divided by 255; a deviation of 1 where all pixels are alike.
  struct Normalization {
    double mean = 0.0;
    double stddev = 1.0;

    /// Leaves numbers as they are.
    [[nodiscard]] static constexpr Normalization none() noexcept { return {.mean = 0.0, .stddev = 1.0 / 255.0}; }

    // A pixel becomes pixel * scale + shift.
    [[nodiscard]] float scale() const noexcept { return static_cast<float>(1.0 / (255.0 * stddev)); }
    [[nodiscard]] float shift() const noexcept { return static_cast<float>(-mean / stddev); }
  };
  [[nodiscard]] const Normalization& normalization() const noexcept;

  /// Writes the given samples as (pixel / 255 - mean) / stddev, or features as they are.
  ///
  /// Shapes: images [indices.size() * sample_numel()], labels [indices.size()]. Dtypes: float32, int64.
  /// Accuracy: within 1e-6 of the exact value for data of any common normalization.
  /// Throws: UsageError for an index outside [0, size()), other shapes, or a deviation that is not positive.
  void gather(std::span<const std::uint32_t> indices, const Normalization& normalization, std::span<float> images,
              std::span<std::int64_t> labels) const;

 private:
  struct State;
  /// `samples` holds all images, then all labels.
  Dataset(Segment samples, std::int64_t count, std::int64_t height, std::int64_t width);
  explicit Dataset(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

/// A training and a test set.
struct DatasetPair {
  Dataset train;
  Dataset test;
};

/// "fashion-mnist" (the Debian package dataset-fashion-mnist), "synthetic" or "synthetic:COUNT", or a directory that
/// holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte, each with
/// or without .gz.
///
/// "synthetic" has 10000 training samples of 28 x 28 in 10 classes; the test set has a fifth of COUNT.
///
/// Throws: UsageError naming what was looked for, with the package to install as its hint; what `read_idx` throws.
[[nodiscard]] DatasetPair open_dataset(const std::string& name);

}  // namespace hogpen

#include "models/dataset.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <random>
#include <system_error>

#include "kernels/pixels.h"
#include "runtime/core/error.h"
#include "runtime/core/suggest.h"

namespace hogpen {
namespace {

constexpr std::size_t kPrefetchAhead = 2;

const std::uint8_t* as_pixels(const Segment& samples) {
  return reinterpret_cast<const std::uint8_t*>(samples.data());
}

// Sums of 32 bits over a block at a time, which the compiler makes SIMD of; exact in any order.
Dataset::Normalization measure(std::span<const std::uint8_t> pixels) {
  constexpr std::size_t kBlock = 32768;  // 255 * 255 * 32768 < 2^32
  std::uint64_t sum = 0;
  std::uint64_t sum_of_squares = 0;
  for (std::size_t begin = 0; begin < pixels.size(); begin += kBlock) {
    std::uint32_t block_sum = 0;
    std::uint32_t block_squares = 0;
    for (const std::uint32_t pixel : pixels.subspan(begin, std::min(kBlock, pixels.size() - begin))) {
      block_sum += pixel;
      block_squares += pixel * pixel;
    }
    sum += block_sum;
    sum_of_squares += block_squares;
  }
  const double count = static_cast<double>(pixels.size());
  const double mean = static_cast<double>(sum) / count;
  const double variance = static_cast<double>(sum_of_squares) / count - mean * mean;
  const bool alike = std::ranges::adjacent_find(pixels, std::not_equal_to<>{}) == pixels.end();
  return {mean / 255.0, alike ? 1.0 : std::sqrt(variance) / 255.0};
}

// Samples come in random order, so that the hardware foresees none of them: gathering would mostly wait for memory.
void prefetch(const std::uint8_t* pixels, std::size_t count) {
  constexpr std::size_t kCacheLine = 64;
  for (std::size_t i = 0; i < count; i += kCacheLine) __builtin_prefetch(pixels + i);
}

/// Even bytes in [0, range), eight from each number of the generator.
class RandomBytes {
 public:
  explicit RandomBytes(std::uint64_t seed) : generator_(seed) {}
  void fill(std::span<std::uint8_t> out, unsigned range, auto combine) {
    std::uint64_t bits = 0;
    for (std::size_t i = 0; i < out.size(); ++i) {
      bits = i % 8 == 0 ? generator_() : bits >> 8;
      out[i] = static_cast<std::uint8_t>(combine(i, static_cast<unsigned>(bits & 0xFF) * range >> 8));
    }
  }

 private:
  std::mt19937_64 generator_;
};

// How many grey levels a class's image has; noise takes the rest of the 256. The distance of two classes grows with the
// root of the number of pixels, so that the contrast falls with it: at every size, two classes lie 7.3 deviations of
// the noise apart. That is enough for a linear model to tell nearly all samples, and too little to tell two samples
// alike.
unsigned synthetic_contrast(std::int64_t sample_numel) {
  constexpr double kSeparation = 7.3;
  const double to_noise = kSeparation / std::sqrt(2.0 * static_cast<double>(sample_numel));
  return static_cast<unsigned>(std::lround(256.0 * to_noise / (1.0 + to_noise)));
}

Dataset open_idx(const std::filesystem::path& directory, const std::string& prefix) {
  const auto find = [&](const std::string& suffix) {
    std::error_code ignored;
    for (const char* ending : {"", ".gz"}) {
      std::filesystem::path path = directory / (prefix + suffix + ending);
      if (std::filesystem::exists(path, ignored)) return path;
    }
    throw UsageError(fmt::format("there is no {0}{1} and no {0}{1}.gz in {2}", prefix, suffix, directory.string()));
  };
  const std::filesystem::path images = find("-images-idx3-ubyte");
  return Dataset::read_idx(images, find("-labels-idx1-ubyte"));
}

DatasetPair open_directory(const std::filesystem::path& directory) {
  DatasetPair pair{open_idx(directory, "train"), open_idx(directory, "t10k")};
  require(pair.train.height() == pair.test.height() && pair.train.width() == pair.test.width(),
          "the test images in {} must be of the training images' size, {} x {}, not {} x {}", directory.string(),
          pair.train.height(), pair.train.width(), pair.test.height(), pair.test.width());
  return pair;
}

DatasetPair open_synthetic(const std::string& name) {
  constexpr std::int64_t kSide = 28;
  constexpr std::int64_t kClasses = 10;
  constexpr std::string_view kPrefix = "synthetic:";
  std::int64_t count = 10'000;
  if (name.starts_with(kPrefix)) {
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, count);
    require(error == std::errc{} && stop == end && count >= kClasses && count < std::int64_t{1} << 32,
            "the COUNT of synthetic:COUNT must be a whole number from {} and below 2^32, not '{}'", kClasses,
            name.substr(kPrefix.size()));
  }
  return {Dataset::synthetic(count, kSide, kSide, kClasses, /*seed=*/1),
          Dataset::synthetic(std::max(count / 5, kClasses), kSide, kSide, kClasses, /*seed=*/2)};
}

}  // namespace

struct Dataset::State {
  Segment samples;
  std::int64_t count;
  std::int64_t height;
  std::int64_t width;
  std::int64_t classes;
  Normalization normalization;
  std::size_t number_bytes = 1;  // of float32, or of a pixel

  [[nodiscard]] std::size_t sample_numel() const { return static_cast<std::size_t>(height * width); }
  [[nodiscard]] std::size_t sample_bytes() const { return sample_numel() * number_bytes; }
  [[nodiscard]] const std::uint8_t* sample(std::size_t index) const {
    return as_pixels(samples) + index * sample_bytes();
  }
  [[nodiscard]] const std::uint8_t* labels() const { return sample(static_cast<std::size_t>(count)); }
};

Dataset Dataset::of_features(Segment samples, std::int64_t count, std::int64_t features) {
  require(count >= 1 && features >= 1, "data must have rows and features, not {} of {}", count, features);
  const std::size_t numbers = static_cast<std::size_t>(count) * static_cast<std::size_t>(features);
  const std::size_t size = numbers * sizeof(float) + static_cast<std::size_t>(count);
  require(samples.size_bytes() == size, "{} rows of {} features and their labels take {} bytes, not {}", count,
          features, size, samples.size_bytes());
  const std::span labels(as_pixels(samples) + numbers * sizeof(float), static_cast<std::size_t>(count));
  const std::int64_t classes = std::int64_t{*std::ranges::max_element(labels)} + 1;
  return Dataset(std::make_shared<const State>(
      State{std::move(samples), count, 1, features, classes, Normalization::none(), sizeof(float)}));
}

bool Dataset::has_features() const noexcept {
  return state_->number_bytes == sizeof(float);
}
std::size_t Dataset::labels_offset() const noexcept {
  return static_cast<std::size_t>(state_->count) * state_->sample_bytes();
}

Dataset::Dataset(Segment samples, std::int64_t count, std::int64_t height, std::int64_t width) {
  const auto pixels = static_cast<std::size_t>(count * height * width);
  const std::span all(as_pixels(samples), samples.size_bytes());
  const std::int64_t classes = std::int64_t{*std::ranges::max_element(all.subspan(pixels))} + 1;
  const Normalization normalization = measure(all.first(pixels));
  state_ = std::make_shared<const State>(State{std::move(samples), count, height, width, classes, normalization});
}

Dataset Dataset::synthetic(std::int64_t count, std::int64_t height, std::int64_t width, std::int64_t classes,
                           std::uint64_t seed) {
  require(count >= 1 && height >= 1 && width >= 1, "synthetic data must have samples and pixels, not {} of {} x {}",
          count, height, width);
  require(classes >= 1 && classes <= 256, "synthetic data must have 1 to 256 classes, not {}", classes);
  const auto numel = static_cast<std::size_t>(height * width);
  const unsigned contrast = synthetic_contrast(height * width);
  std::vector<std::uint8_t> prototypes(static_cast<std::size_t>(classes) * numel);
  RandomBytes(0x686f67).fill(prototypes, contrast, [](std::size_t, unsigned random) { return random; });

  Segment samples = Segment::create("dataset", static_cast<std::size_t>(count) * (numel + 1));
  auto* images = reinterpret_cast<std::uint8_t*>(samples.data());
  std::uint8_t* labels = images + static_cast<std::size_t>(count) * numel;
  RandomBytes noise(seed);
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    labels[i] = static_cast<std::uint8_t>(i % static_cast<std::size_t>(classes));
    const std::uint8_t* prototype = prototypes.data() + labels[i] * numel;
    noise.fill({images + i * numel, numel}, 256 - contrast,
               [&](std::size_t pixel, unsigned random) { return prototype[pixel] + random; });
  }
  return {std::move(samples), count, height, width};
}

std::int64_t Dataset::size() const noexcept {
  return state_->count;
}
std::int64_t Dataset::height() const noexcept {
  return state_->height;
}
std::int64_t Dataset::width() const noexcept {
  return state_->width;
}
std::int64_t Dataset::classes() const noexcept {
  return state_->classes;
}
const Segment& Dataset::samples() const noexcept {
  return state_->samples;
}

const Dataset::Normalization& Dataset::normalization() const noexcept {
  return state_->normalization;
}

std::span<const std::uint8_t> Dataset::image(std::int64_t index) const {
  require(index >= 0 && index < size(), "the index of a sample must be below {}, not {}", size(), index);
  require(!has_features(), "samples are rows of features, not images");
  return {state_->sample(static_cast<std::size_t>(index)), state_->sample_numel()};
}

std::uint8_t Dataset::label(std::int64_t index) const {
  require(index >= 0 && index < size(), "the index of a sample must be below {}, not {}", size(), index);
  return state_->labels()[index];
}

void Dataset::gather(std::span<const std::uint32_t> indices, const Normalization& normalization,
                     std::span<float> images, std::span<std::int64_t> labels) const {
  const std::size_t numel = state_->sample_numel();
  require(images.size() == indices.size() * numel && labels.size() == indices.size(),
          "room for {} samples must be {} pixels and {} labels, not {} and {}", indices.size(), indices.size() * numel,
          indices.size(), images.size(), labels.size());
  require(normalization.stddev > 0.0, "the standard deviation to normalize by must be positive, not {}",
          normalization.stddev);
  for (const std::uint32_t index : indices) {
    require(index < size(), "the index of a sample must be below {}, not {}", size(), index);
  }
  for (std::size_t i = 0; i < indices.size(); ++i) {
    const std::uint8_t* const sample = state_->sample(indices[i]);
    if (i + kPrefetchAhead < indices.size()) {
      prefetch(state_->sample(indices[i + kPrefetchAhead]), state_->sample_bytes());
    }
    if (has_features()) {
      std::memcpy(images.data() + i * numel, sample, state_->sample_bytes());
    } else {
      kernels::normalize(sample, images.data() + i * numel, numel, normalization.scale(), normalization.shift());
    }
    labels[i] = state_->labels()[indices[i]];
  }
}

DatasetPair open_dataset(const std::string& name) {
  std::error_code ignored;
  if (name == "synthetic" || name.starts_with("synthetic:")) return open_synthetic(name);
  if (name == "fashion-mnist") {
    const std::filesystem::path directory = "/usr/share/datasets/fashion-mnist";
    if (std::filesystem::is_directory(directory, ignored)) return open_directory(directory);
    throw UsageError(fmt::format("Fashion-MNIST is not installed in {}", directory.string()),
                     "apt-get install dataset-fashion-mnist");
  }
  if (std::filesystem::is_directory(name, ignored)) return open_directory(name);
  const std::vector<std::string> known{"fashion-mnist", "synthetic"};
  const auto meant = closest(name, known);
  throw UsageError(fmt::format("there is no data set '{}', and no directory of that name", name),
                   meant ? fmt::format("did you mean {}?", *meant)
                         : "the data sets are fashion-mnist, synthetic, synthetic:COUNT, and a directory of IDX files");
}

}  // namespace hogpen

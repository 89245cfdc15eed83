#include "models/dataset.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cdist.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/one_hot.h>
#include <ATen/ops/softmax.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <cmath>
#include <fstream>
#include <iterator>
#include <numeric>
#include <tuple>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

const fs::path kFashionMnist = "/usr/share/datasets/fashion-mnist";

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (fs::temp_directory_path() / "hogpen-dataset-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~TemporaryDirectory() { fs::remove_all(path_); }
  fs::path write(const std::string& name, const std::string& content) const {
    std::ofstream(path_ / name, std::ios::binary) << content;
    return path_ / name;
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string big_endian(std::uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string image_header(std::uint32_t count, std::uint32_t height, std::uint32_t width) {
  return big_endian(0x803) + big_endian(count) + big_endian(height) + big_endian(width);
}

std::string label_header(std::uint32_t count) {
  return big_endian(0x801) + big_endian(count);
}

std::string counting_pixels(std::size_t count) {
  std::string pixels(count, '\0');
  std::iota(pixels.begin(), pixels.end(), '\0');
  return pixels;
}

// Three images of 2 x 4 with the pixels 0, 1, 2, … and the labels 2, 0, 1.
std::string three_images() {
  return image_header(3, 2, 4) + counting_pixels(24);
}
std::string three_labels() {
  return label_header(3) + std::string("\2\0\1", 3);
}

std::string gzip(const std::string& content) {
  ::z_stream stream{};
  if (::deflateInit2(&stream, 9, Z_DEFLATED, MAX_WBITS + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK) throw std::bad_alloc();
  std::string out(::deflateBound(&stream, content.size()), '\0');
  stream.next_in = reinterpret_cast<unsigned char*>(const_cast<char*>(content.data()));
  stream.avail_in = static_cast<unsigned>(content.size());
  stream.next_out = reinterpret_cast<unsigned char*>(out.data());
  stream.avail_out = static_cast<unsigned>(out.size());
  ::deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  ::deflateEnd(&stream);
  return out;
}

std::vector<std::uint8_t> bytes_of(const Dataset& data) {
  std::vector<std::uint8_t> bytes;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    bytes.insert(bytes.end(), data.image(i).begin(), data.image(i).end());
    bytes.push_back(data.label(i));
  }
  return bytes;
}

TEST(ReadIdx, AnImageAndItsLabelAreFound) {
  const TemporaryDirectory directory;
  const Dataset data =
      Dataset::read_idx(directory.write("images", three_images()), directory.write("labels", three_labels()));
  EXPECT_EQ(data.size(), 3);
  EXPECT_EQ(data.height(), 2);
  EXPECT_EQ(data.width(), 4);
  EXPECT_EQ(data.classes(), 3);
  EXPECT_EQ(data.image(1)[0], 8);
  EXPECT_EQ(data.image(2)[7], 23);
  EXPECT_EQ(data.label(0), 2);
  EXPECT_EQ(data.label(2), 1);
  EXPECT_THROW(std::ignore = data.image(3), UsageError);
  EXPECT_THROW(std::ignore = data.image(-1), UsageError);
  EXPECT_THROW(std::ignore = data.label(3), UsageError);
}

TEST(ReadIdx, ASingleSampleOfOnePixelIsEnough) {
  const TemporaryDirectory directory;
  const Dataset data = Dataset::read_idx(directory.write("images", image_header(1, 1, 1) + "\xFF"),
                                         directory.write("labels", label_header(1) + "\xFF"));
  EXPECT_EQ(data.size(), 1);
  EXPECT_EQ(data.classes(), 256);
  EXPECT_EQ(data.normalization().mean, 1.0);
  EXPECT_EQ(data.normalization().stddev, 1.0);
}

TEST(ReadIdx, CompressedAndPlainFilesGiveEqualBytes) {
  const TemporaryDirectory directory;
  const Dataset plain =
      Dataset::read_idx(directory.write("images", three_images()), directory.write("labels", three_labels()));
  const Dataset compressed = Dataset::read_idx(directory.write("images.gz", gzip(three_images())),
                                               directory.write("labels.gz", gzip(three_labels())));
  EXPECT_EQ(bytes_of(plain), bytes_of(compressed));
}

TEST(ReadIdx, AGzipFileMayHaveSeveralMembers) {
  const TemporaryDirectory directory;
  const std::string images = three_images();
  const std::string members = gzip(images.substr(0, 10)) + gzip(images.substr(10, 20)) + gzip(images.substr(30));
  const Dataset data =
      Dataset::read_idx(directory.write("images.gz", members), directory.write("labels", three_labels()));
  EXPECT_EQ(data.image(2)[7], 23);
}

struct Damage {
  std::string what;
  bool in_labels = false;
  std::string suffix;  ///< "" or ".gz"
  std::string content;
  std::string where;
  std::string message;  ///< a part of it
};

void PrintTo(const Damage& damage, std::ostream* out) {
  *out << damage.what;
}

class DamagedIdx : public testing::TestWithParam<Damage> {};

std::ptrdiff_t shared_mappings() {
  std::ifstream maps("/proc/self/maps");
  std::ptrdiff_t count = 0;
  for (std::string line; std::getline(maps, line);) count += line.find("memfd:hogpen:") != std::string::npos;
  return count;
}

/// While it lives, shared memory of more than 1 MiB cannot be made: SystemError instead of FormatError.
class LittleMemory {
 public:
  LittleMemory() {
    ::getrlimit(RLIMIT_FSIZE, &before_);
    ::rlimit limit = before_;
    limit.rlim_cur = 1 << 20;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~LittleMemory() { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  ::rlimit before_{};
};

TEST_P(DamagedIdx, IsRefusedByFileAndByteAndTakesNoMemory) {
  const Damage& damage = GetParam();
  const TemporaryDirectory directory;
  const fs::path damaged = directory.write("damaged" + damage.suffix, damage.content);
  const fs::path images = damage.in_labels ? directory.write("images", three_images()) : damaged;
  const fs::path labels = damage.in_labels ? damaged : directory.write("labels", three_labels());
  const std::ptrdiff_t mappings = shared_mappings();
  const LittleMemory limit;
  try {
    std::ignore = Dataset::read_idx(images, labels);
    FAIL() << "no exception";
  } catch (const FormatError& error) {
    EXPECT_EQ(error.file(), damaged.string());
    EXPECT_EQ(error.where(), damage.where) << error.what();
    EXPECT_NE(std::string(error.what()).find(damage.message), std::string::npos) << error.what();
  }
  EXPECT_EQ(shared_mappings(), mappings);
}

std::string with_byte(std::string content, std::size_t place, char value) {
  content[place] = value;
  return content;
}

std::string name_of(const testing::TestParamInfo<Damage>& info) {
  return info.param.what;
}

const std::string kTruncated = three_images().substr(0, 39);

INSTANTIATE_TEST_SUITE_P(
    Plain, DamagedIdx,
    testing::Values(
        Damage{"Empty", false, "", "", "byte 0", "within its header of 16 bytes"},
        Damage{"HalfAHeader", false, "", three_images().substr(0, 15), "byte 15", "within its header of 16 bytes"},
        Damage{"Truncated", false, "", kTruncated, "byte 39", "the header claims 40 bytes"},
        Damage{"TrailingGarbage", false, "", three_images() + "x", "byte 40", "more bytes follow"},
        Damage{"Oversized", false, "", with_byte(three_images(), 5, 1), "byte 40", "truncated or its header"},
        Damage{"ALittleTooHuge", false, "", image_header(1, 16384, 16384) + "x", "byte 17", "268435472 bytes"},
        Damage{"Huge", false, "", image_header(1, 1u << 31, 1u << 31) + "x", "byte 17", "4611686018427387920 bytes"},
        Damage{"BeyondAllMemory", false, "", image_header(~0u, ~0u, ~0u) + "x", "byte 17", "the header claims"},
        Damage{"WrongMagic", false, "", with_byte(three_images(), 2, 9), "byte 0", "0x00000903"},
        Damage{"LabelsAsImages", false, "", three_labels() + "12345", "byte 0", "but IDX images begin with 0x00000803"},
        Damage{"GzipWithoutItsName", false, "", gzip(three_images()), "byte 0", "0x1f8b"},
        Damage{"NoImages", false, "", image_header(0, 2, 4), "byte 4", "must not be 0"},
        Damage{"NoHeight", false, "", image_header(3, 0, 4), "byte 8", "must not be 0"},
        Damage{"NoWidth", false, "", image_header(3, 2, 0), "byte 12", "must not be 0"},
        Damage{"MoreLabels", true, "", label_header(4) + "1234", "byte 4", "there are 4 labels, but 3 images in"},
        Damage{"FewerLabels", true, "", label_header(2) + "12", "byte 4", "there are 2 labels, but 3 images in"},
        Damage{"TruncatedLabels", true, "", label_header(3) + "12", "byte 10", "claims 11 bytes"},
        Damage{"ImagesAsLabels", true, "", three_images(), "byte 0", "but IDX labels begin with 0x00000801"}),
    name_of);

const std::string kGood = gzip(three_images());

INSTANTIATE_TEST_SUITE_P(
    Compressed, DamagedIdx,
    testing::Values(
        Damage{"Empty", false, ".gz", "", "byte 0", "ends here"},
        Damage{"NotGzip", false, ".gz", three_images(), "byte 0", "not gzip data"},
        Damage{"Truncated", false, ".gz", kGood.substr(0, kGood.size() / 2), "byte " + std::to_string(kGood.size() / 2),
               "ends here"},
        Damage{"WithoutItsLastByte", false, ".gz", kGood.substr(0, kGood.size() - 1),
               "byte " + std::to_string(kGood.size() - 1), "ends here"},
        Damage{"BadCrc", false, ".gz", with_byte(kGood, kGood.size() - 8, static_cast<char>(~kGood[kGood.size() - 8])),
               "byte " + std::to_string(kGood.size() - 4), "incorrect data check"},
        Damage{"TrailingGarbage", false, ".gz", kGood + "garbage", "byte " + std::to_string(kGood.size()),
               "what follows the end"},
        Damage{"ContentTooShort", false, ".gz", gzip(kTruncated), "byte 39 of the decompressed content",
               "the header claims 40 bytes"},
        Damage{"ContentTooLong", false, ".gz", gzip(three_images() + "x"), "byte 40 of the decompressed content",
               "more bytes follow"},
        Damage{"AnotherMember", false, ".gz", kGood + gzip("x"), "byte 40 of the decompressed content",
               "more bytes follow"},
        Damage{"ALittleTooHuge", false, ".gz", gzip(image_header(1, 1000, 2000) + "x"),
               "byte 4 of the decompressed content", "compressed bytes can hold"},
        Damage{"Huge", false, ".gz", gzip(image_header(1, 1u << 31, 1u << 31)), "byte 4 of the decompressed content",
               "compressed bytes can hold"},
        Damage{"BeyondAllMemory", false, ".gz", gzip(image_header(~0u, ~0u, ~0u)), "byte 4 of the decompressed content",
               "compressed bytes can hold"},
        Damage{"WrongMagic", false, ".gz", gzip(with_byte(three_images(), 2, 9)), "byte 0 of the decompressed content",
               "0x00000903"},
        Damage{"EmptyContent", false, ".gz", gzip(""), "byte 0 of the decompressed content", "within its header"},
        Damage{"BadCrcOfLabels", true, ".gz", with_byte(gzip(three_labels()), gzip(three_labels()).size() - 8, 'x'),
               "byte " + std::to_string(gzip(three_labels()).size() - 4), "incorrect data check"}),
    name_of);

// Deflate's best case must not be mistaken for a lie.
TEST(ReadIdx, ImagesThatCompressAThousandfoldAreRead) {
  const TemporaryDirectory directory;
  const std::string images = image_header(3, 1000, 1000) + std::string(3'000'000, '\7');
  ASSERT_GT(images.size() / gzip(images).size(), 990u);
  const Dataset data =
      Dataset::read_idx(directory.write("images.gz", gzip(images)), directory.write("labels", three_labels()));
  EXPECT_EQ(data.image(2)[999'999], 7);
}

TEST(ReadIdx, AMissingFileIsNamedWithItsRemedy) {
  try {
    std::ignore = Dataset::read_idx("/nowhere/images", "/nowhere/labels");
    FAIL() << "no exception";
  } catch (const SystemError& error) {
    EXPECT_EQ(error.error_number(), ENOENT);
    EXPECT_NE(std::string(error.what()).find("/nowhere/images"), std::string::npos);
    EXPECT_NE(error.hint().find("dataset-fashion-mnist"), std::string::npos);
  }
}

TEST(ReadIdx, WhatIsNoRegularFileIsRefused) {
  const TemporaryDirectory directory;
  EXPECT_THROW(std::ignore = Dataset::read_idx(directory.path(), directory.path()), UsageError);
}

TEST(Gather, NormalizesTheSamplesAsked) {
  const TemporaryDirectory directory;
  const Dataset data = Dataset::read_idx(directory.write("images", image_header(1, 16, 16) + counting_pixels(256)),
                                         directory.write("labels", label_header(1) + "\3"));
  for (const auto& [mean, stddev] : {std::pair{0.0, 1.0}, {0.2860, 0.3530}, {0.1307, 0.3081}}) {
    std::vector<float> images(256);
    std::vector<std::int64_t> labels(1);
    data.gather(std::vector<std::uint32_t>{0}, {.mean = mean, .stddev = stddev}, images, labels);
    for (int pixel = 0; pixel < 256; ++pixel) EXPECT_NEAR(images[pixel], (pixel / 255.0 - mean) / stddev, 1e-6);
    EXPECT_EQ(labels[0], 3);
  }
}

TEST(Gather, TakesSamplesInTheOrderAskedAndMoreThanOnce) {
  const TemporaryDirectory directory;
  const Dataset data =
      Dataset::read_idx(directory.write("images", three_images()), directory.write("labels", three_labels()));
  const std::vector<std::uint32_t> indices{2, 0, 2, 1, 0};
  std::vector<float> images(indices.size() * 8);
  std::vector<std::int64_t> labels(indices.size());
  data.gather(indices, {.mean = 0.0, .stddev = 1.0 / 255.0}, images, labels);
  for (std::size_t i = 0; i < images.size(); ++i) {
    EXPECT_NEAR(images[i], static_cast<double>(indices[i / 8] * 8 + i % 8), 1e-5) << i;
  }
  EXPECT_EQ(labels, (std::vector<std::int64_t>{1, 2, 1, 0, 2}));
}

TEST(Gather, OfNothingIsNothing) {
  const Dataset data = Dataset::synthetic(1, 1, 1, 1, 0);
  EXPECT_NO_THROW(data.gather({}, {}, {}, {}));
}

TEST(Gather, RefusesWrongIndicesRoomAndDeviation) {
  const Dataset data = Dataset::synthetic(4, 2, 2, 2, 0);
  std::vector<float> images(4);
  std::vector<std::int64_t> labels(1);
  const std::vector<std::uint32_t> last{3};
  const std::vector<std::uint32_t> beyond{4};
  EXPECT_NO_THROW(data.gather(last, {}, images, labels));
  EXPECT_THROW(data.gather(beyond, {}, images, labels), UsageError);
  EXPECT_THROW(data.gather(last, {}, std::span(images).first(3), labels), UsageError);
  EXPECT_THROW(data.gather(last, {}, images, {}), UsageError);
  EXPECT_THROW(data.gather(last, {.mean = 0.5, .stddev = 0.0}, images, labels), UsageError);
}

TEST(Normalization, IsThatOfAllPixels) {
  const Dataset data = Dataset::synthetic(300, 13, 17, 7, 5);
  double sum = 0.0;
  double squares = 0.0;
  for (std::int64_t i = 0; i < data.size(); ++i) {
    for (const double pixel : data.image(i)) sum += pixel / 255.0;
  }
  const double mean = sum / static_cast<double>(300 * 13 * 17);
  for (std::int64_t i = 0; i < data.size(); ++i) {
    for (const double pixel : data.image(i)) squares += std::pow(pixel / 255.0 - mean, 2);
  }
  EXPECT_NEAR(data.normalization().mean, mean, 1e-12);
  EXPECT_NEAR(data.normalization().stddev, std::sqrt(squares / static_cast<double>(300 * 13 * 17)), 1e-9);
}

// 2^32 would be passed by a sum of squares of 32 bits after 66052 white pixels.
TEST(Normalization, DoesNotOverflow) {
  const TemporaryDirectory directory;
  const std::string images = image_header(1, 1000, 1000) + std::string(500'000, '\0') + std::string(500'000, '\xFF');
  const Dataset data =
      Dataset::read_idx(directory.write("images", images), directory.write("labels", label_header(1) + "1"));
  EXPECT_DOUBLE_EQ(data.normalization().mean, 0.5);
  EXPECT_DOUBLE_EQ(data.normalization().stddev, 0.5);
}

TEST(Synthetic, SameArgumentsGiveTheSameDataAndAnotherSeedOtherNoise) {
  const Dataset data = Dataset::synthetic(50, 9, 7, 3, 1);
  EXPECT_EQ(data.size(), 50);
  EXPECT_EQ(data.height(), 9);
  EXPECT_EQ(data.width(), 7);
  EXPECT_EQ(data.classes(), 3);
  EXPECT_EQ(bytes_of(data), bytes_of(Dataset::synthetic(50, 9, 7, 3, 1)));
  EXPECT_NE(bytes_of(data), bytes_of(Dataset::synthetic(50, 9, 7, 3, 2)));
}

TEST(Synthetic, RefusesSizesThatMakeNoSense) {
  EXPECT_THROW(std::ignore = Dataset::synthetic(0, 1, 1, 1, 0), UsageError);
  EXPECT_THROW(std::ignore = Dataset::synthetic(1, 0, 1, 1, 0), UsageError);
  EXPECT_THROW(std::ignore = Dataset::synthetic(1, 1, 1, 0, 0), UsageError);
  EXPECT_THROW(std::ignore = Dataset::synthetic(1, 1, 1, 257, 0), UsageError);
  EXPECT_NO_THROW(std::ignore = Dataset::synthetic(256, 1, 1, 256, 0));
}

struct Batch {
  at::Tensor images;
  at::Tensor labels;
};

Batch batch_of(const Dataset& data, std::uint32_t begin, std::int64_t count) {
  std::vector<std::uint32_t> indices(static_cast<std::size_t>(count));
  std::iota(indices.begin(), indices.end(), begin);
  Batch batch{at::empty({count, data.sample_numel()}), at::empty({count}, at::kLong)};
  data.gather(indices, data.normalization(),
              {batch.images.data_ptr<float>(), static_cast<std::size_t>(batch.images.numel())},
              {batch.labels.data_ptr<std::int64_t>(), indices.size()});
  return batch;
}

double accuracy(const at::Tensor& scores, const at::Tensor& labels) {
  return scores.argmax(1).eq(labels).to(at::kDouble).mean().item<double>();
}

TEST(Synthetic, ALinearModelLearnsItInAnEpoch) {
  const auto [train, test] = open_dataset("synthetic");
  EXPECT_EQ(train.size(), 10'000);
  EXPECT_EQ(test.size(), 2'000);
  at::Tensor weight = at::zeros({10, 784});
  for (std::uint32_t begin = 0; begin + 50 <= train.size(); begin += 50) {
    const auto [images, labels] = batch_of(train, begin, 50);
    const at::Tensor error = at::softmax(images.mm(weight.t()), 1) - at::one_hot(labels, 10).to(at::kFloat);
    weight -= (0.01 / 50) * error.t().mm(images);
  }
  const auto [images, labels] = batch_of(test, 0, test.size());
  EXPECT_GT(accuracy(images.mm(weight.t()), labels), 0.95);
}

TEST(Synthetic, IsNotTrivial) {
  const auto [train, test] = open_dataset("synthetic");
  const auto [examples, example_labels] = batch_of(train, 0, 10);
  const auto [images, labels] = batch_of(test, 0, test.size());
  const double by_nearest_example = accuracy(-at::cdist(images, examples), labels);
  EXPECT_GT(by_nearest_example, 0.2);
  EXPECT_LT(by_nearest_example, 0.8);
}

TEST(OpenDataset, ACountMakesTheTestSetAFifthAndNoSmallerThanTheClasses) {
  EXPECT_EQ(open_dataset("synthetic:1000").train.size(), 1000);
  EXPECT_EQ(open_dataset("synthetic:1000").test.size(), 200);
  EXPECT_EQ(open_dataset("synthetic:10").train.size(), 10);
  EXPECT_EQ(open_dataset("synthetic:10").test.size(), 10);
  EXPECT_EQ(open_dataset("synthetic:10").test.classes(), 10);
}

class WrongCount : public testing::TestWithParam<std::string> {};

TEST_P(WrongCount, IsRefused) {
  EXPECT_THROW(std::ignore = open_dataset("synthetic:" + GetParam()), UsageError);
}

INSTANTIATE_TEST_SUITE_P(Texts, WrongCount,
                         testing::Values("", "9", "0", "-5", "ten", "100x", "4294967296", "99999999999999999999"));

TEST(OpenDataset, ADirectoryMayHoldPlainAndCompressedFiles) {
  const TemporaryDirectory directory;
  directory.write("train-images-idx3-ubyte.gz", gzip(three_images()));
  directory.write("train-labels-idx1-ubyte", three_labels());
  directory.write("t10k-images-idx3-ubyte", image_header(1, 2, 4) + "12345678");
  directory.write("t10k-labels-idx1-ubyte.gz", gzip(label_header(1) + "\1"));
  const auto [train, test] = open_dataset(directory.path().string());
  EXPECT_EQ(train.size(), 3);
  EXPECT_EQ(test.size(), 1);
  EXPECT_EQ(test.image(0)[7], '8');
}

std::string usage_error(const std::string& name) {
  try {
    std::ignore = open_dataset(name);
  } catch (const UsageError& error) {
    return std::string(error.what()) + " | " + error.hint();
  }
  return "no UsageError";
}

TEST(OpenDataset, SaysWhichFileIsMissing) {
  const TemporaryDirectory directory;
  directory.write("train-images-idx3-ubyte", three_images());
  EXPECT_NE(usage_error(directory.path().string()).find("there is no train-labels-idx1-ubyte and no train-labels"),
            std::string::npos);
}

TEST(OpenDataset, TestImagesOfAnotherSizeAreRefused) {
  const TemporaryDirectory directory;
  for (const std::string prefix : {"train", "t10k"}) {
    const bool train = prefix == "train";
    directory.write(prefix + "-images-idx3-ubyte", image_header(3, train ? 2 : 4, train ? 4 : 2) + counting_pixels(24));
    directory.write(prefix + "-labels-idx1-ubyte", three_labels());
  }
  EXPECT_NE(usage_error(directory.path().string()).find("2 x 4, not 4 x 2"), std::string::npos);
}

TEST(OpenDataset, AnUnknownNameGetsASuggestion) {
  EXPECT_NE(usage_error("fashoin-mnist").find("did you mean fashion-mnist?"), std::string::npos);
  EXPECT_NE(usage_error("/nowhere/at/all").find("synthetic:COUNT"), std::string::npos);
}

// The figures that are published for the data set, and the order of its first labels.
TEST(FashionMnist, IsTheDataSetThatPeopleKnow) {
  if (!fs::exists(kFashionMnist)) GTEST_SKIP() << "apt-get install dataset-fashion-mnist";
  const auto [train, test] = open_dataset("fashion-mnist");
  EXPECT_EQ(train.size(), 60'000);
  EXPECT_EQ(test.size(), 10'000);
  EXPECT_EQ(train.height(), 28);
  EXPECT_EQ(train.width(), 28);
  EXPECT_EQ(train.classes(), 10);
  EXPECT_EQ(test.classes(), 10);
  std::array<int, 10> of_class{};
  for (std::int64_t i = 0; i < train.size(); ++i) ++of_class[train.label(i)];
  for (const int count : of_class) EXPECT_EQ(count, 6000);
  EXPECT_NEAR(train.normalization().mean, 0.2860, 5e-5);
  EXPECT_NEAR(train.normalization().stddev, 0.3530, 5e-5);
  std::vector<int> first;
  for (std::int64_t i = 0; i < 5; ++i) first.push_back(train.label(i));
  EXPECT_EQ(first, (std::vector<int>{9, 0, 0, 3, 0}));
}

std::string decompressed(const fs::path& path) {
  const ::gzFile file = ::gzopen(path.c_str(), "rb");
  std::string content;
  std::array<char, 65536> chunk{};
  for (int length; (length = ::gzread(file, chunk.data(), chunk.size())) > 0;) content.append(chunk.data(), length);
  ::gzclose(file);
  return content;
}

TEST(FashionMnist, DecompressedByZlibItIsTheSame) {
  if (!fs::exists(kFashionMnist)) GTEST_SKIP() << "apt-get install dataset-fashion-mnist";
  const TemporaryDirectory directory;
  const std::string images = "t10k-images-idx3-ubyte";
  const std::string labels = "t10k-labels-idx1-ubyte";
  const Dataset plain = Dataset::read_idx(directory.write(images, decompressed(kFashionMnist / (images + ".gz"))),
                                          directory.write(labels, decompressed(kFashionMnist / (labels + ".gz"))));
  const Dataset compressed = Dataset::read_idx(kFashionMnist / (images + ".gz"), kFashionMnist / (labels + ".gz"));
  EXPECT_EQ(plain.size(), 10'000);
  EXPECT_TRUE(bytes_of(plain) == bytes_of(compressed));
}

}  // namespace
}  // namespace hogpen

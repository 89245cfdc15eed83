#include "runtime/memory/arena.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/equal.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/full.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <iterator>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/core/file.h"
#include "tests/forked.h"

namespace hogpen {
namespace {

using c10::ScalarType;

const std::vector<TensorSpec> kSpecs = {
    {"0.weight", ScalarType::Float, {16, 4}}, {"0.bias", ScalarType::Float, {5}},
    {"steps", ScalarType::Long, {}},          {"mask", ScalarType::Bool, {3}},
    {"half", ScalarType::BFloat16, {2, 3}},   {"empty", ScalarType::Double, {0, 7}}};

Fd duplicate(const Arena& arena) {
  return Fd(syscall_ok(::dup(arena.segment().fd()), "dup"));
}

/// A Segment with these bytes.
Segment segment_of(const std::string& bytes) {
  Segment segment = Segment::create("test", bytes.size());
  std::memcpy(segment.data(), bytes.data(), bytes.size());
  return segment;
}

bool is_mapped(const std::string& label) {
  return read_file("/proc/self/maps").find(label) != std::string::npos;
}

TEST(Arena, HoldsEveryTensorZeroFilledAndAligned) {
  const Arena arena = Arena::create("zeroes", kSpecs);
  for (const TensorSpec& spec : kSpecs) {
    const at::Tensor tensor = arena.tensor(spec.name);
    EXPECT_EQ(tensor.scalar_type(), spec.dtype) << spec.name;
    EXPECT_EQ(tensor.sizes(), at::IntArrayRef(spec.shape)) << spec.name;
    EXPECT_TRUE(tensor.is_contiguous()) << spec.name;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.data_ptr()) % 64, 0) << spec.name;
    EXPECT_FALSE(tensor.to(at::kFloat).any().item<bool>()) << spec.name;
  }
}

TEST(Arena, PutsItsDataOnAPage) {
  const Arena arena = Arena::create("page", kSpecs);
  EXPECT_EQ(arena.header().data_begin % static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)), 0);
  EXPECT_EQ(arena.data().data(), arena.segment().data() + arena.header().data_begin);
  EXPECT_EQ(arena.data().size(), arena.header().data_bytes);
}

TEST(Arena, HoldsNoTensorAtAllToo) {
  const Arena arena = Arena::create("none", {});
  EXPECT_TRUE(arena.header().entries.empty());
  EXPECT_TRUE(arena.data().empty());
  EXPECT_EQ(arena.flat(0, 0).numel(), 0);
  EXPECT_NO_THROW((void)Arena::attach(Segment::attach(duplicate(arena)), arena.layout_hash()));
}

// from_blob is the field's way to make such a view: ours must be no different to LibTorch.
TEST(Arena, ViewsAreToLibTorchWhatFromBlobMakes) {
  const Arena arena = Arena::create("from_blob", kSpecs);
  for (const TensorSpec& spec : kSpecs) {
    const at::Tensor view = arena.tensor(spec.name);
    const at::Tensor blob = at::from_blob(view.data_ptr(), spec.shape, at::TensorOptions(spec.dtype));
    EXPECT_EQ(view.key_set(), blob.key_set()) << spec.name;
    EXPECT_EQ(view.strides(), blob.strides()) << spec.name;
    EXPECT_EQ(view.device(), blob.device()) << spec.name;
    EXPECT_EQ(view.layout(), blob.layout()) << spec.name;
    EXPECT_EQ(view.requires_grad(), blob.requires_grad()) << spec.name;
    EXPECT_EQ(view.is_non_overlapping_and_dense(), blob.is_non_overlapping_and_dense()) << spec.name;
    EXPECT_TRUE(at::equal(view, blob)) << spec.name;
  }
}

TEST(Arena, ViewsTakeInPlaceOperations) {
  const Arena arena = Arena::create("in place", kSpecs);
  arena.tensor("0.weight").fill_(2.0).mul_(3.0);
  EXPECT_TRUE(at::equal(arena.tensor("0.weight"), at::full({16, 4}, 6.0)));
  EXPECT_EQ(arena.tensor("0.bias").abs().sum().item<float>(), 0.0F);
}

TEST(Arena, EveryViewHasItsOwnVersionCounterAndGradient) {
  const Arena arena = Arena::create("versions", kSpecs);
  at::Tensor weight = arena.tensor("0.weight");
  const at::Tensor again = arena.tensor("0.weight");
  const at::Tensor bias = arena.tensor("0.bias");
  weight.add_(1);
  EXPECT_EQ(weight._version(), 1);
  EXPECT_EQ(again._version(), 0);
  EXPECT_EQ(bias._version(), 0);
  weight.requires_grad_(true);
  EXPECT_FALSE(again.requires_grad());
}

TEST(Arena, GradientsFlowThroughViews) {
  const Arena arena = Arena::create("gradients", kSpecs);
  at::Tensor weight = arena.tensor("0.weight");
  weight.fill_(3.0);
  weight.requires_grad_(true);
  (weight * weight).sum().backward();
  ASSERT_TRUE(weight.grad().defined());
  EXPECT_TRUE(at::equal(weight.grad(), at::full({16, 4}, 6.0)));
  EXPECT_NE(weight.grad().data_ptr(), weight.data_ptr());
}

TEST(Arena, AViewCannotGrowOutOfTheSharedMemory) {
  const Arena arena = Arena::create("resize", kSpecs);
  EXPECT_ANY_THROW(arena.tensor("0.weight").resize_({1'000'000}));
}

TEST(Arena, IsOneFlatTensorToo) {
  const Arena arena = Arena::create("flat", kSpecs);
  const TensorEntry& first = arena.header().entries.at(0);
  ASSERT_EQ(first.spec.name, "0.weight");
  const at::Tensor flat = arena.flat(first.begin, first.end);
  flat.fill_(4.0);
  EXPECT_EQ(flat.sizes(), at::IntArrayRef({64}));
  EXPECT_TRUE(at::equal(arena.tensor("0.weight"), at::full({16, 4}, 4.0)));
  EXPECT_EQ(arena.tensor("0.bias").abs().sum().item<float>(), 0.0F);
}

TEST(Arena, RefusesAFlatRangeThatIsNotOfItsFloats) {
  const Arena arena = Arena::create("flat", {{{"a", ScalarType::Float, {64}}}});
  EXPECT_EQ(arena.flat(0, 256).numel(), 64);
  EXPECT_EQ(arena.flat(4, 8).numel(), 1);
  EXPECT_THROW((void)arena.flat(0, 260), UsageError);
  EXPECT_THROW((void)arena.flat(2, 6), UsageError);
  EXPECT_THROW((void)arena.flat(0, 6), UsageError);
  EXPECT_THROW((void)arena.flat(8, 4), UsageError);
}

TEST(Arena, NamesATensorThatIsNotThere) {
  const Arena arena = Arena::create("names", kSpecs);
  try {
    (void)arena.tensor("3.weight");
    FAIL() << "must throw";
  } catch (const UsageError& error) {
    EXPECT_NE(std::string(error.what()).find("3.weight"), std::string::npos);
  }
  EXPECT_THROW((void)arena.tensor(arena.header().entries.size()), UsageError);
}

TEST(Arena, AForkedWorkersUpdateIsSeenByItsParent) {
  const Arena arena = Arena::create("fork", kSpecs);
  const int exit_code = exit_code_of_child([&] {
    auto* data = static_cast<float*>(arena.tensor("0.bias").data_ptr());
    data[4] = 1.5F;
    return 0;
  });
  EXPECT_EQ(exit_code, 0);
  EXPECT_EQ(arena.tensor("0.bias")[4].item<float>(), 1.5F);
}

TEST(Arena, AttachedByDescriptorHasTheSameTensors) {
  const Arena arena = Arena::create("attach", kSpecs, {{"format", "pt"}});
  arena.tensor("half").fill_(1.25);
  const Arena other = Arena::attach(Segment::attach(duplicate(arena)), arena.layout_hash());
  EXPECT_EQ(other.header().metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
  for (const TensorSpec& spec : kSpecs) {
    EXPECT_TRUE(at::equal(other.tensor(spec.name), arena.tensor(spec.name))) << spec.name;
  }
  other.tensor("steps").fill_(12);
  EXPECT_EQ(arena.tensor("steps").item<std::int64_t>(), 12);
}

TEST(Arena, AttachedReadOnlyCanBeRead) {
  const Arena arena = Arena::create("read-only", kSpecs);
  arena.tensor("0.bias").fill_(2.0);
  const Arena view = Arena::attach(Segment::attach(duplicate(arena), Segment::Access::read_only));
  EXPECT_EQ(view.tensor("0.bias").sum().item<float>(), 10.0F);
}

TEST(Arena, RefusesAnotherLayoutThanExpected) {
  const Arena arena = Arena::create("expected", kSpecs);
  EXPECT_THROW((void)Arena::attach(Segment::attach(duplicate(arena)), arena.layout_hash() + 1), UsageError);
}

TEST(Arena, RefusesWhatIsNoSafetensorsFile) {
  EXPECT_THROW((void)Arena::attach(segment_of(std::string(4096, '\0'))), FormatError);
  EXPECT_THROW((void)Arena::attach(segment_of("short")), FormatError);
}

std::string file_of(const std::string& json, std::size_t data_bytes) {
  const std::uint64_t length = json.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + json + std::string(data_bytes, '\0');
}

// What Python writes: a tensor may begin anywhere, and its address then is none of a float.
TEST(Arena, RefusesTensorsThatAreNotAligned) {
  const std::string json = R"({"flag":{"dtype":"BOOL","shape":[1],"data_offsets":[0,1]},)"
                           R"("late":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  const std::string aligned_json = json + std::string((8 - json.size() % 8) % 8, ' ');
  try {
    (void)Arena::attach(segment_of(file_of(aligned_json, 5)));
    FAIL() << "must throw";
  } catch (const FormatError& error) {
    EXPECT_NE(std::string(error.what()).find("tensor late"), std::string::npos);
    EXPECT_EQ(error.where(), fmt::format("byte {}", 8 + aligned_json.size() + 1));
  }
}

TEST(Arena, RefusesDataThatBeginsUnaligned) {
  std::string json = R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  json += std::string((8 - json.size() % 8) % 8, ' ');
  EXPECT_NO_THROW((void)Arena::attach(segment_of(file_of(json, 4))));
  EXPECT_THROW((void)Arena::attach(segment_of(file_of(json + ' ', 4))), FormatError);
}

TEST(LayoutHash, IsEqualForEqualLayoutsOnly) {
  const auto hash_of = [](std::vector<TensorSpec> specs) { return Arena::create("hash", specs).layout_hash(); };
  const auto base = hash_of({{"a", ScalarType::Float, {2, 3}}, {"b", ScalarType::Float, {6}}});
  EXPECT_EQ(base, hash_of({{"a", ScalarType::Float, {2, 3}}, {"b", ScalarType::Float, {6}}}));
  EXPECT_NE(base, hash_of({{"x", ScalarType::Float, {2, 3}}, {"b", ScalarType::Float, {6}}})) << "name";
  EXPECT_NE(base, hash_of({{"a", ScalarType::Float, {3, 2}}, {"b", ScalarType::Float, {6}}})) << "shape";
  EXPECT_NE(base, hash_of({{"a", ScalarType::Float, {6}}, {"b", ScalarType::Float, {6}}})) << "rank";
  EXPECT_NE(base, hash_of({{"a", ScalarType::Int, {2, 3}}, {"b", ScalarType::Float, {6}}})) << "dtype";
  EXPECT_NE(base, hash_of({{"b", ScalarType::Float, {6}}, {"a", ScalarType::Float, {2, 3}}})) << "order";
  EXPECT_NE(base, hash_of({{"a", ScalarType::Float, {2, 3}}})) << "number";
}

TEST(LayoutHash, SeesTheRankWhereTheSizesAreTheSame) {
  const auto hash_of = [](std::vector<TensorSpec> specs) { return Arena::create("rank", specs).layout_hash(); };
  const auto of_shape = [&](std::vector<std::int64_t> shape) {
    return hash_of({{"a", ScalarType::Float, std::move(shape)}});
  };
  EXPECT_NE(of_shape({6}), of_shape({6, 1}));
  EXPECT_NE(of_shape({6}), of_shape({1, 6}));
  EXPECT_NE(of_shape({6}), of_shape({2, 3}));
  EXPECT_NE(of_shape({}), of_shape({1}));
  EXPECT_NE(of_shape({0}), of_shape({0, 0}));
  EXPECT_NE(hash_of({{"a", ScalarType::Float, {6, 1}}, {"b", ScalarType::Float, {6}}}),
            hash_of({{"a", ScalarType::Float, {6}}, {"b", ScalarType::Float, {1, 6}}}))
      << "one size moved to the next shape";
}

TEST(LayoutHash, DoesNotDependOnMetadataOfTheSameLength) {
  const auto hash_of = [](const char* value) { return Arena::create("hash", kSpecs, {{"run", value}}).layout_hash(); };
  EXPECT_EQ(hash_of("first"), hash_of("other"));
}

TEST(Arena, TensorsKeepTheMemoryWhenTheArenaIsGone) {
  at::Tensor tensor;
  {
    const Arena arena = Arena::create("kept alive", kSpecs);
    tensor = arena.tensor("0.bias");
    tensor.fill_(7.0);
  }
  EXPECT_TRUE(is_mapped("kept alive"));
  EXPECT_EQ(tensor.sum().item<float>(), 35.0F);
  tensor.reset();
  EXPECT_FALSE(is_mapped("kept alive"));
}

TEST(Arena, OneMappingAndOneDescriptorServeAllTensors) {
  const auto descriptors = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), std::filesystem::directory_iterator());
  };
  const auto before = descriptors();
  std::vector<TensorSpec> specs;
  for (int i = 0; i < 1000; ++i) specs.push_back({fmt::format("layers.{}.weight", i), ScalarType::Float, {i % 7, 3}});
  std::optional<Arena> arena = Arena::create("thousand", specs);
  std::vector<at::Tensor> views;
  for (const TensorSpec& spec : specs) views.push_back(arena->tensor(spec.name));
  EXPECT_EQ(descriptors(), before + 1);
  const std::string maps = read_file("/proc/self/maps");
  const std::size_t first = maps.find("thousand");
  EXPECT_NE(first, std::string::npos);
  EXPECT_EQ(maps.find("thousand", first + 1), std::string::npos);
  arena.reset();
  views.clear();
  EXPECT_EQ(descriptors(), before);
}

std::vector<TensorSpec> many_specs(std::size_t count) {
  std::vector<TensorSpec> specs;
  for (std::size_t i = 0; i < count; ++i)
    specs.push_back({fmt::format("layers.{}.weight", i), ScalarType::Float, {4, 4}});
  return specs;
}

TEST(Arena, OfManyTensorsIsAttachedWithoutReadingItsJson) {
  const Arena arena = Arena::create("many", many_specs(200), {{"format", "pt"}});
  arena.tensor("layers.7.weight").fill_(7.0);
  const Arena other = Arena::attach(Segment::attach(duplicate(arena)), arena.layout_hash());
  EXPECT_EQ(other.header().metadata.at("format"), "pt");
  EXPECT_EQ(other.header().entries.size(), arena.header().entries.size());

  arena.segment().data()[sizeof(std::uint64_t)] = std::byte{'x'};
  const Arena without = Arena::attach(Segment::attach(duplicate(arena)), arena.layout_hash());
  EXPECT_EQ(without.tensor("layers.7.weight").sum().item<float>(), 7.0F * 16);
  EXPECT_THROW((void)without.header(), FormatError);
}

TEST(Arena, RefusesAHeaderThatSaysOtherThanTheLayoutTable) {
  const Arena arena = Arena::create("two truths", many_specs(200));
  const std::string_view text(reinterpret_cast<const char*>(arena.segment().data()), arena.header().data_begin);
  arena.segment().data()[text.find("layers.7.")] = std::byte{'m'};
  const Arena other = Arena::attach(Segment::attach(duplicate(arena)));
  EXPECT_NO_THROW((void)other.tensor("layers.7.weight"));
  EXPECT_THROW((void)other.header(), FormatError);
}

TEST(Arena, WithoutItsLayoutTableIsReadByItsHeader) {
  const Arena arena = Arena::create("no table", many_specs(200));
  arena.tensor("layers.7.weight").fill_(7.0);
  arena.data()[0] = std::byte{'x'};
  const Arena other = Arena::attach(Segment::attach(duplicate(arena)), arena.layout_hash());
  EXPECT_EQ(other.tensor("layers.7.weight").sum().item<float>(), 7.0F * 16);
}

TEST(Arena, AViewStaysInTheMemoryAlsoWhenSomebodySpoilsTheLayoutTable) {
  const Arena arena = Arena::create("spoiled", many_specs(200));
  const TensorEntry& table = arena.header().entries.front();
  constexpr std::size_t kMagicBytes = 8;
  std::memset(arena.data().data() + kMagicBytes, 0x55, table.end - kMagicBytes);
  for (std::size_t i = 0; i < arena.header().entries.size(); ++i) EXPECT_THROW((void)arena.tensor(i), FormatError);
  EXPECT_THROW((void)arena.tensor("layers.7.weight"), UsageError);
  EXPECT_THROW((void)Arena::attach(Segment::attach(duplicate(arena))), FormatError);
}

TEST(Arena, ViewsMayBeMadeFromSeveralThreads) {
  const Arena arena = Arena::create("threads", kSpecs);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&arena] {
      for (int i = 0; i < 1000; ++i) (void)arena.tensor(kSpecs[static_cast<std::size_t>(i) % kSpecs.size()].name);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(arena.tensor("0.weight").use_count(), 1);
}

}  // namespace
}  // namespace hogpen

#include "runtime/memory/layout_table.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

using c10::ScalarType;

/// Tensors of all ranks up to 9, some empty, some without a name of their own length.
std::vector<TensorSpec> specs_of(std::size_t count) {
  std::vector<TensorSpec> specs;
  for (std::size_t i = 0; i < count; ++i) {
    std::vector<std::int64_t> shape(i % 10, 2);
    if (i % 7 == 3 && !shape.empty()) shape.back() = 0;
    specs.push_back({fmt::format("layers.{}.{}", i, std::string(i % 13, 'x')),
                     i % 2 == 0 ? ScalarType::Float : ScalarType::BFloat16, std::move(shape)});
  }
  return specs;
}

/// A file in memory with a table, as Arena::create lays it out.
struct File {
  explicit File(const std::vector<TensorSpec>& specs) : header(lay_out(specs)) {
    LayoutTable::reserve_in(header);
    const std::string start = header.to_bytes(64);
    header.data_begin = start.size();
    words.resize((start.size() + header.data_bytes) / sizeof(std::uint64_t) + 1);
    std::memcpy(words.data(), start.data(), start.size());
    static_cast<void>(LayoutTable::write(header, bytes().subspan(header.data_begin)));
  }

  std::span<std::byte> bytes() {
    return std::as_writable_bytes(std::span(words)).first(header.data_begin + header.data_bytes);
  }
  /// The bytes of the table.
  std::span<std::byte> table() { return bytes().subspan(header.data_begin, header.entries.front().end); }

  SafetensorsHeader header;
  std::vector<std::uint64_t> words;  // for their alignment
};

void expect_same(const LayoutTable& table, const SafetensorsHeader& header) {
  ASSERT_EQ(table.size(), header.entries.size());
  EXPECT_EQ(table.data_begin(), header.data_begin);
  EXPECT_EQ(table.data_bytes(), header.data_bytes);
  for (std::size_t i = 0; i < table.size(); ++i) {
    const LayoutTable::Entry entry = table.entry(i);
    const auto& [spec, begin, end] = header.entries[i];
    EXPECT_EQ(entry.name, spec.name);
    EXPECT_EQ(entry.dtype, spec.dtype) << spec.name;
    EXPECT_TRUE(std::ranges::equal(entry.shape, spec.shape)) << spec.name;
    EXPECT_EQ(entry.begin, begin) << spec.name;
    EXPECT_EQ(entry.end, end) << spec.name;
    EXPECT_EQ(table.find(spec.name), i) << spec.name;
  }
}

TEST(LayoutTable, SaysWhatTheHeaderSays) {
  for (const std::size_t count : {0U, 1U, 2U, 300U}) {
    File file(specs_of(count));
    const auto table = LayoutTable::find_in(file.bytes());
    ASSERT_TRUE(table.has_value()) << count;
    EXPECT_NO_THROW(table->check()) << count;
    expect_same(*table, file.header);
    expect_same(LayoutTable::of(file.header), file.header);
    EXPECT_TRUE(*table == LayoutTable::of(file.header)) << count;
    EXPECT_EQ(table->hash(), LayoutTable::of(file.header).hash()) << count;
  }
}

TEST(LayoutTable, FindsNoNameButItsOwn) {
  const LayoutTable table = LayoutTable::of(lay_out(specs_of(300)));
  for (const char* name : {"", "layers.0", "layers.0.x", "layers.300.x", "layers.1.xx"}) {
    EXPECT_EQ(table.find(name), std::nullopt) << name;
  }
}

TEST(LayoutTable, IsAFillerThatKeepsTheOthersAlignedAndTheFileWithoutHoles) {
  File file(specs_of(20));
  EXPECT_TRUE(is_padding(file.header.entries.front()));
  for (const TensorEntry& entry : file.header.entries) {
    EXPECT_TRUE(is_padding(entry) || entry.begin % 64 == 0) << entry.spec.name;
  }
  const SafetensorsHeader read = parse_safetensors_header(file.bytes(), "file");
  EXPECT_TRUE(LayoutTable::of(read) == LayoutTable::of(file.header));
}

TEST(LayoutTable, IsNotFoundWhereThereIsNone) {
  std::vector<std::byte> nothing(7);
  EXPECT_FALSE(LayoutTable::find_in(nothing).has_value());
  std::string text = lay_out(specs_of(2)).to_bytes(64) + std::string(4096, '\0');
  EXPECT_FALSE(LayoutTable::find_in(std::as_bytes(std::span(text))).has_value());
  const std::uint64_t beyond = text.size();
  std::memcpy(text.data(), &beyond, sizeof(beyond));
  EXPECT_FALSE(LayoutTable::find_in(std::as_bytes(std::span(text))).has_value());
}

TEST(LayoutTable, RefusesOneThatIsCutOff) {
  File file(specs_of(20));
  const std::size_t table_end = file.header.data_begin + file.table().size();
  for (std::size_t size = file.header.data_begin + 64; size < table_end; ++size) {
    EXPECT_THROW((void)LayoutTable::find_in(file.bytes().first(size)), FormatError) << size;
  }
}

// Whatever stands in the memory, a tensor that is handed out lies in the data.
void expect_safe(const LayoutTable& table) {
  for (std::size_t i = 0; i < table.size(); ++i) {
    try {
      const LayoutTable::Entry entry = table.entry(i);
      std::uint64_t size = c10::elementSize(entry.dtype);
      for (const std::int64_t length : entry.shape) size *= static_cast<std::uint64_t>(length);
      ASSERT_EQ(entry.begin + size, entry.end);
      ASSERT_LE(entry.end, table.data_bytes());
      ASSERT_EQ((table.data_begin() + entry.begin) % c10::elementSize(entry.dtype), 0);
      ASSERT_EQ(std::string(entry.name).size(), entry.name.size()) << "can be read";
    } catch (const FormatError&) {
      continue;
    }
  }
  ASSERT_LE(table.find("layers.5.xxxxx").value_or(0), table.size());
}

TEST(LayoutTable, NoSpoiledByteMakesATensorThatLiesElsewhere) {
  File file(specs_of(20));
  for (std::byte& byte : file.table()) {
    for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
      const std::byte before = std::exchange(byte, static_cast<std::byte>(value));
      try {
        const auto table = LayoutTable::find_in(file.bytes());
        if (table) {
          expect_safe(*table);
        }
      } catch (const FormatError&) {  // Refused as a whole.
      }
      byte = before;
    }
  }
}

TEST(LayoutTable, RefusesTensorsThatOverlapOrLeaveHoles) {
  SafetensorsHeader header =
      lay_out(std::vector<TensorSpec>{{"a", ScalarType::Byte, {64}}, {"b", ScalarType::Byte, {64}}});
  EXPECT_NO_THROW(LayoutTable::of(header).check());
  const auto moved = [&header](std::size_t tensor, std::size_t begin) {
    SafetensorsHeader other = header;
    other.entries[tensor].begin = begin;
    other.entries[tensor].end = begin + 64;
    return LayoutTable::of(other);
  };
  EXPECT_THROW(moved(1, 0).check(), FormatError) << "twice the same place";
  EXPECT_THROW(moved(1, 32).check(), FormatError) << "an overlap";
  EXPECT_THROW(moved(1, 65).check(), FormatError) << "beyond the data";
  EXPECT_THROW(moved(0, 64).check(), FormatError) << "a hole";
  header.data_bytes += 64;
  EXPECT_THROW(LayoutTable::of(header).check(), FormatError) << "data that is nobody's";
}

TEST(LayoutTable, RefusesShapesAndDtypesThatDoNotFit) {
  const auto of = [](ScalarType dtype, std::vector<std::int64_t> shape, std::size_t bytes) {
    SafetensorsHeader header;
    header.entries.push_back({{"a", dtype, std::move(shape)}, 0, bytes});
    header.data_bytes = bytes;
    return LayoutTable::of(header);
  };
  EXPECT_NO_THROW(of(ScalarType::Float, {2, 3}, 24).check());
  EXPECT_NO_THROW(of(ScalarType::Float, {2, 0, 3}, 0).check());
  EXPECT_THROW(of(ScalarType::Float, {2, 3}, 25).check(), FormatError);
  EXPECT_THROW(of(ScalarType::Float, {-2, -3}, 24).check(), FormatError);
  EXPECT_THROW(of(ScalarType::Float, {1LL << 62, 4}, 0).check(), FormatError);
  EXPECT_THROW(of(ScalarType::Float, {0, 1LL << 62}, 0).check(), FormatError) << "strides overflow";
  EXPECT_THROW(of(ScalarType::ComplexFloat, {1}, 8).check(), FormatError);
  EXPECT_THROW(of(ScalarType::Undefined, {1}, 8).check(), FormatError);
}

}  // namespace
}  // namespace hogpen

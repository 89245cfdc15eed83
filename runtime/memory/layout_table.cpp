#include "runtime/memory/layout_table.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/hash.h"

namespace hogpen {
namespace {

constexpr std::string_view kFillerName = "__pad__.layout";
constexpr std::array<char, 8> kTableMagic = {'h', 'o', 'g', 'p', 'e', 'n', 'L', '1'};
constexpr std::uint64_t kOne = 1;
constexpr std::uint32_t kLargestDtype = 127;  // c10::ScalarType has 8 bits
constexpr const char* kWhere = "shared memory";
constexpr std::size_t kAlignment = 64;
constexpr std::uint32_t kEmpty = std::numeric_limits<std::uint32_t>::max();

template <class T>
std::span<const T> take(std::span<const std::byte>& bytes, std::size_t count) noexcept {
  const std::span<const T> taken(reinterpret_cast<const T*>(bytes.data()), count);
  bytes = bytes.subspan(taken.size_bytes());
  return taken;
}

template <class T>
void put(std::span<std::byte>& bytes, std::span<const T> values) noexcept {
  std::ranges::copy(std::as_bytes(values), bytes.begin());
  bytes = bytes.subspan(values.size_bytes());
}

}  // namespace

// Head and Row are read from memory that others write: any value may stand in them.
struct LayoutTable::Head {
  std::array<char, 8> magic = kTableMagic;
  std::uint64_t hash = 0;  // of all that follows it
  std::uint64_t data_begin = 0;
  std::uint64_t data_bytes = 0;
  std::uint32_t rows = 0;
  std::uint32_t sizes = 0;
  std::uint32_t slots = 0;
  std::uint32_t name_bytes = 0;

  static Head of(const SafetensorsHeader& header);

  // 64 bits hold the sum of any counts.
  [[nodiscard]] std::size_t size_bytes() const noexcept;
};

struct LayoutTable::Row {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint32_t dtype = 0;
  std::uint32_t rank = 0;
  std::uint32_t shape_begin = 0;
  std::uint32_t name_begin = 0;
  std::uint32_t name_size = 0;
  std::uint32_t unused = 0;  // A hole would have no value.
};

LayoutTable::Head LayoutTable::Head::of(const SafetensorsHeader& header) {
  std::size_t sizes = 0;
  std::size_t name_bytes = 0;
  for (const TensorEntry& entry : header.entries) {
    sizes += entry.spec.shape.size();
    name_bytes += entry.spec.name.size();
  }
  // The longest header of the format could not spell more.
  require(std::max(sizes, name_bytes) <= kMaxSafetensorsHeaderBytes,
          "the names and shapes of {} tensors must fit {} bytes", header.entries.size(), kMaxSafetensorsHeaderBytes);
  return {.data_begin = header.data_begin,
          .data_bytes = header.data_bytes,
          .rows = static_cast<std::uint32_t>(header.entries.size()),
          .sizes = static_cast<std::uint32_t>(sizes),
          .slots = static_cast<std::uint32_t>(std::bit_ceil(2 * header.entries.size() + 1)),
          .name_bytes = static_cast<std::uint32_t>(name_bytes)};
}

std::size_t LayoutTable::Head::size_bytes() const noexcept {
  const std::size_t size =
      sizeof(Head) + rows * sizeof(Row) + sizes * sizeof(std::int64_t) + slots * sizeof(std::uint32_t) + name_bytes;
  return (size + kAlignment - 1) / kAlignment * kAlignment;
}

void LayoutTable::reserve_in(SafetensorsHeader& header) {
  header.entries.insert(header.entries.begin(), {{std::string(kFillerName), c10::ScalarType::Byte, {0}}, 0, 0});
  const std::size_t size = Head::of(header).size_bytes();
  header.entries.front().spec.shape.front() = static_cast<std::int64_t>(size);
  for (TensorEntry& entry : header.entries) {
    entry.begin += size;
    entry.end += size;
  }
  header.entries.front().begin = 0;
  header.data_bytes += size;
}

LayoutTable LayoutTable::write(const SafetensorsHeader& header, std::span<std::byte> data) {
  const std::span<std::byte> bytes = data.first(Head::of(header).size_bytes());
  return {bytes, fill(header, bytes)};
}

LayoutTable LayoutTable::of(const SafetensorsHeader& header) {
  std::vector<std::uint64_t> words(Head::of(header).size_bytes() / sizeof(std::uint64_t));
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(words));
  LayoutTable table(bytes, fill(header, bytes));
  table.own_ = std::move(words);  // which leaves them where they are
  return table;
}

LayoutTable::Head LayoutTable::fill(const SafetensorsHeader& header, std::span<std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  Head head = Head::of(header);
  std::vector<Row> rows;
  std::vector<std::int64_t> sizes;
  std::vector<std::uint32_t> slots(head.slots, kEmpty);
  std::string names;
  for (const auto& [spec, begin, end] : header.entries) {
    std::size_t slot = hash_of(spec.name) & (slots.size() - 1);
    while (slots[slot] != kEmpty) slot = (slot + 1) & (slots.size() - 1);
    slots[slot] = static_cast<std::uint32_t>(rows.size());
    rows.push_back({begin, end, static_cast<std::uint32_t>(spec.dtype), static_cast<std::uint32_t>(spec.shape.size()),
                    static_cast<std::uint32_t>(sizes.size()), static_cast<std::uint32_t>(names.size()),
                    static_cast<std::uint32_t>(spec.name.size())});
    sizes.insert(sizes.end(), spec.shape.begin(), spec.shape.end());
    names += spec.name;
  }
  std::span<std::byte> rest = bytes;
  put(rest, std::span<const Head>(&head, 1));
  put(rest, std::span<const Row>(rows));
  put(rest, std::span<const std::int64_t>(sizes));
  put(rest, std::span<const std::uint32_t>(slots));
  put(rest, std::span<const char>(names));
  head.hash = hash_of(text.substr(offsetof(Head, data_begin)));
  put(bytes, std::span<const Head>(&head, 1));
  return head;
}

std::optional<LayoutTable> LayoutTable::find_in(std::span<const std::byte> file) {
  std::uint64_t header_bytes = 0;
  if (file.size() < sizeof(header_bytes)) return {};
  std::memcpy(&header_bytes, file.data(), sizeof(header_bytes));
  if (header_bytes > file.size() - sizeof(header_bytes)) return {};
  const std::span<const std::byte> data = file.subspan(sizeof(header_bytes) + header_bytes);
  Head head;
  if (data.size() < sizeof(head)) return {};
  std::memcpy(&head, data.data(), sizeof(head));
  if (head.magic != kTableMagic) return {};
  const std::size_t data_begin = file.size() - data.size();
  if (data_begin % kAlignment != 0 || head.data_begin != data_begin || head.data_bytes != data.size() ||
      head.size_bytes() > data.size() || head.slots == 0 || (head.slots & (head.slots - 1)) != 0) {
    throw FormatError(kWhere, fmt::format("byte {}", data_begin), "the layout table must be as large as it says");
  }
  return LayoutTable(data.first(head.size_bytes()), head);
}

LayoutTable::LayoutTable(std::span<const std::byte> bytes, const Head& head) noexcept
    : bytes_(bytes), hash_(head.hash), data_begin_(head.data_begin), data_bytes_(head.data_bytes) {
  bytes = bytes.subspan(sizeof(Head));
  rows_ = take<Row>(bytes, head.rows);
  sizes_ = take<std::int64_t>(bytes, head.sizes);
  slots_ = take<std::uint32_t>(bytes, head.slots);
  const std::span<const char> names = take<char>(bytes, head.name_bytes);
  names_ = {names.data(), names.size()};
}

void LayoutTable::check() const {
  std::size_t covered = 0;
  for (const Row& row : rows_) {
    check(row, shape_of(row));
    if (row.begin != covered) fail(row, "must begin where the one before ends");
    covered = row.end;
  }
  if (covered != data_bytes_) {
    throw FormatError(kWhere, fmt::format("byte {}", data_begin_ + covered), "the last tensor must end with the data");
  }
}

LayoutTable::Entry LayoutTable::entry(std::size_t i) const {
  const Row row = rows_[i];
  const std::span<const std::int64_t> shape = shape_of(row);
  Entry entry{.name = name_of(row),
              .dtype = static_cast<c10::ScalarType>(row.dtype),
              .shape{shape.begin(), shape.end()},
              .begin = row.begin,
              .end = row.end};
  check(row, entry.shape);  // the copy, which nobody changes any more
  return entry;
}

void LayoutTable::check(const Row& row, std::span<const std::int64_t> shape) const {
  const std::size_t item_bytes = safetensors_item_bytes(static_cast<c10::ScalarType>(row.dtype));  // a power of two
  if (item_bytes == 0 || row.dtype > kLargestDtype) fail(row, "must have a dtype that safetensors can hold");
  std::uint64_t stride_bytes = item_bytes;  // Strides must fit, so that sizes of 0 count as 1.
  bool fits = true, is_empty = false;
  for (const std::int64_t size : shape) {
    fits &= size >= 0;
    fits &= !__builtin_mul_overflow(stride_bytes, std::max(static_cast<std::uint64_t>(size), kOne), &stride_bytes);
    is_empty |= size == 0;
  }
  fits &= stride_bytes <= std::numeric_limits<std::int64_t>::max();
  if (!fits || row.begin > row.end || row.end > data_bytes_ || row.end - row.begin != (is_empty ? 0 : stride_bytes)) {
    fail(row, "must lie in the data, in as many bytes as its shape and dtype say");
  }
  if (((data_begin_ | row.begin) & (item_bytes - 1)) != 0) {
    fail(row, fmt::format("must begin at a multiple of {} bytes", item_bytes));
  }
}

std::optional<std::size_t> LayoutTable::find(std::string_view name) const noexcept {
  std::size_t slot = hash_of(name);
  for (std::size_t probes = 0; probes < slots_.size(); ++probes, ++slot) {
    const std::uint32_t row = slots_[slot & (slots_.size() - 1)];
    if (row >= size()) return {};
    if (name_of(rows_[row]) == name) return row;
  }
  return {};
}

bool operator==(const LayoutTable& a, const LayoutTable& b) noexcept {
  return std::ranges::equal(a.bytes_, b.bytes_);
}

std::string_view LayoutTable::name_of(const Row& row) const noexcept {
  return std::uint64_t{row.name_begin} + row.name_size <= names_.size()
             ? std::string_view(names_.data() + row.name_begin, row.name_size)
             : std::string_view();
}

std::span<const std::int64_t> LayoutTable::shape_of(const Row& row) const {
  if (std::uint64_t{row.shape_begin} + row.rank > sizes_.size()) fail(row, "must have its shape in the table");
  return sizes_.subspan(row.shape_begin, row.rank);
}

void LayoutTable::fail(const Row& row, std::string_view message) const {
  throw FormatError(kWhere, fmt::format("byte {}", data_begin_ + row.begin),
                    fmt::format("tensor {} {}", name_of(row), message));
}

}  // namespace hogpen

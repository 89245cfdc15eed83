#include "runtime/memory/arena.h"

#include <c10/core/Storage.h>
#include <c10/core/TensorImpl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/memory/layout_table.h"

namespace hogpen {
namespace {

constexpr const char* kFile = "shared memory";
// A header of fewer is parsed in less than 50 microseconds, and other readers find no filler in their models.
constexpr std::size_t kTensorsWithTable = 100;

// Every tensor of an Arena holds this Storage, and the Storage holds the Segment. So tensors need no Arena to live, and
// a view costs no allocation but its TensorImpl.
c10::Storage share_storage(std::shared_ptr<const Segment> segment, std::size_t begin, std::size_t size_bytes) {
  std::byte* data = segment->data() + begin;
  auto* keeper = new std::shared_ptr<const Segment>(std::move(segment));
  at::DataPtr pointer(
      data, keeper, [](void* context) { delete static_cast<std::shared_ptr<const Segment>*>(context); },
      c10::DeviceType::CPU);
  return {c10::Storage::use_byte_size_t(), size_bytes, std::move(pointer)};
}

// What at::from_blob makes, without its way through the dispatcher.
at::Tensor make_view(const c10::Storage& storage, c10::ScalarType dtype, std::size_t offset, c10::IntArrayRef shape) {
  auto tensor = at::detail::make_tensor<c10::TensorImpl>(
      c10::Storage(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), c10::scalarTypeToTypeMeta(dtype));
  c10::TensorImpl* impl = tensor.unsafeGetTensorImpl();
  impl->set_storage_offset(static_cast<std::int64_t>(offset / c10::elementSize(dtype)));
  impl->set_sizes_contiguous(shape);
  return tensor;
}

}  // namespace

struct Arena::State {
  State(Segment segment_in, LayoutTable table_in, std::optional<SafetensorsHeader> header_in)
      : segment(std::make_shared<const Segment>(std::move(segment_in))),
        table(std::move(table_in)),
        storage(share_storage(segment, table.data_begin(), table.data_bytes())),
        header(std::move(header_in)) {}

  std::shared_ptr<const Segment> segment;
  LayoutTable table;
  c10::Storage storage;
  mutable std::once_flag header_once;
  mutable std::optional<SafetensorsHeader> header;
};

Arena Arena::create(std::string_view label, std::span<const TensorSpec> specs,
                    std::map<std::string, std::string> metadata) {
  SafetensorsHeader header = lay_out(specs, std::move(metadata));
  const bool has_table = header.entries.size() >= kTensorsWithTable;
  if (has_table) LayoutTable::reserve_in(header);
  const std::string bytes = header.to_bytes(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  header.data_begin = bytes.size();
  Segment segment = Segment::create(label, bytes.size() + header.data_bytes);
  std::memcpy(segment.data(), bytes.data(), bytes.size());
  LayoutTable table =
      has_table ? LayoutTable::write(header, segment.bytes().subspan(header.data_begin)) : LayoutTable::of(header);
  return Arena(std::make_shared<const State>(std::move(segment), std::move(table), std::move(header)));
}

Arena Arena::attach(Segment segment, std::optional<std::uint64_t> expected_layout) {
  std::optional<SafetensorsHeader> header;
  std::optional<LayoutTable> table = LayoutTable::find_in(segment.bytes());
  if (!table) {
    header = parse_safetensors_header(segment.bytes(), kFile);
    table = LayoutTable::of(*header);
  }
  auto state = std::make_shared<const State>(std::move(segment), *std::move(table), std::move(header));
  // Whoever knows the hash has checked the layout; and every view is checked when it is made.
  if (expected_layout == state->table.hash()) return Arena(std::move(state));
  state->table.check();
  require(!expected_layout,
          "the shared tensors must have the layout that this process expects (hash {:016x}, not {:016x}): the same "
          "names, dtypes and shapes",
          expected_layout.value_or(0), state->table.hash());
  return Arena(std::move(state));
}

at::Tensor Arena::tensor(std::string_view name) const {
  const auto index = state_->table.find(name);
  require(index.has_value(), "there is no tensor named {} in shared memory", name);
  return tensor(*index);
}

at::Tensor Arena::tensor(std::size_t index) const {
  require(index < state_->table.size(), "tensor {} must be one of {}", index, state_->table.size());
  const LayoutTable::Entry entry = state_->table.entry(index);
  return make_view(state_->storage, entry.dtype, entry.begin, entry.shape);
}

at::Tensor Arena::flat(std::size_t begin, std::size_t end) const {
  const std::size_t data_bytes = state_->table.data_bytes();
  require(begin % sizeof(float) == 0 && end % sizeof(float) == 0 && begin <= end && end <= data_bytes,
          "the range [{}, {}) must lie in the {} bytes of data, on multiples of {}", begin, end, data_bytes,
          sizeof(float));
  const auto numel = static_cast<std::int64_t>((end - begin) / sizeof(float));
  return make_view(state_->storage, c10::ScalarType::Float, begin, numel);
}

const SafetensorsHeader& Arena::header() const {
  std::call_once(state_->header_once, [&state = *state_] {
    if (state.header) return;
    SafetensorsHeader header = parse_safetensors_header(state.segment->bytes(), kFile);
    if (LayoutTable::of(header) != state.table) {
      throw FormatError(kFile, "byte 8", "the header must say what the layout table says");
    }
    state.header = std::move(header);
  });
  return *state_->header;
}

std::span<std::byte> Arena::data() const noexcept {
  return state_->segment->bytes().subspan(state_->table.data_begin(), state_->table.data_bytes());
}

const Segment& Arena::segment() const noexcept {
  return *state_->segment;
}

std::uint64_t Arena::layout_hash() const noexcept {
  return state_->table.hash();
}

}  // namespace hogpen

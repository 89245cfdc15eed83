#include "runtime/memory/arena.h"

#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <mutex>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/layout_table.h"
#include "runtime/memory/view.h"

namespace hogpen {
namespace {

constexpr const char* kFile = "shared memory";
// A header of fewer is parsed in less than 50 microseconds, and other readers find no filler in their models.
constexpr std::size_t kTensorsWithTable = 100;

}  // namespace

// Every tensor of an Arena holds its Storage, and the Storage holds its memory. So tensors need no Arena to live, and a
// view costs no allocation but its TensorImpl.
struct Arena::State {
  State(Segment segment_in, LayoutTable table_in, std::optional<SafetensorsHeader> header_in)
      : segment(std::move(segment_in)),
        table(std::move(table_in)),
        storage(storage_in(segment, table.data_begin(), table.data_bytes(), c10::DeviceType::CPU)),
        header(std::move(header_in)) {}
  State(const Arena& host, DeviceMemory memory)
      : segment(host.segment()),
        table(LayoutTable::of(host.header())),
        storage(storage_in(memory, 0, memory.size_bytes(),
                           c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(memory.gpu())))),
        header(host.header()) {}

  Segment segment;
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

Arena Arena::on(DeviceMemory memory) const {
  require(memory.size_bytes() == data().size() && memory.layout_hash() == layout_hash(),
          "the GPU memory of an Arena must have its size ({} bytes, not {}) and its layout (hash {:016x}, not {:016x})",
          data().size(), memory.size_bytes(), layout_hash(), memory.layout_hash());
  return Arena(std::make_shared<const State>(*this, std::move(memory)));
}

DeviceMemory Arena::device_memory(int gpu) const {
  return DeviceMemory::create(gpu, data().size(), {.layout_hash = layout_hash()});
}

at::Tensor Arena::tensor(std::string_view name) const {
  const auto index = state_->table.find(name);
  require(index.has_value(), "there is no tensor named {} in shared memory", name);
  return tensor(*index);
}

at::Tensor Arena::tensor(std::size_t index) const {
  require(index < state_->table.size(), "tensor {} must be one of {}", index, state_->table.size());
  const LayoutTable::Entry entry = state_->table.entry(index);
  return view_in(state_->storage, entry.dtype, entry.begin, entry.shape);
}

at::Tensor Arena::flat(std::size_t begin, std::size_t end) const {
  const std::size_t data_bytes = state_->table.data_bytes();
  require(begin % sizeof(float) == 0 && end % sizeof(float) == 0 && begin <= end && end <= data_bytes,
          "the range [{}, {}) must lie in the {} bytes of data, on multiples of {}", begin, end, data_bytes,
          sizeof(float));
  const auto numel = static_cast<std::int64_t>((end - begin) / sizeof(float));
  return view_in(state_->storage, c10::ScalarType::Float, begin, numel);
}

const SafetensorsHeader& Arena::header() const {
  std::call_once(state_->header_once, [&state = *state_] {
    if (state.header) return;
    SafetensorsHeader header = parse_safetensors_header(state.segment.bytes(), kFile);
    if (LayoutTable::of(header) != state.table) {
      throw FormatError(kFile, "byte 8", "the header must say what the layout table says");
    }
    state.header = std::move(header);
  });
  return *state_->header;
}

std::span<std::byte> Arena::data() const noexcept {
  return {static_cast<std::byte*>(state_->storage.mutable_data()), state_->table.data_bytes()};
}

c10::Device Arena::device() const noexcept {
  return state_->storage.device();
}

const Segment& Arena::segment() const noexcept {
  return state_->segment;
}

std::uint64_t Arena::layout_hash() const noexcept {
  return state_->table.hash();
}

void copy(const Arena& from, const Arena& to) {
  require(from.layout_hash() == to.layout_hash(), "Arenas must have the same layout to be copied");
  require(from.device().is_cpu() || to.device().is_cpu(), "one of two Arenas must be in host memory to be copied");
  std::byte* const source = from.data().data();
  std::byte* const target = to.data().data();
  const std::size_t size = from.data().size();
  if (to.device().is_cuda()) {
    use_gpu(to.device().index());
    copy_to_gpu(target, source, size);
  } else if (from.device().is_cuda()) {
    use_gpu(from.device().index());
    copy_from_gpu(target, source, size);
  } else {
    std::memcpy(target, source, size);
  }
}

}  // namespace hogpen

#include "runtime/memory/arena.h"

#include <c10/core/Storage.h>
#include <c10/core/TensorImpl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/memory/name_index.h"

namespace hogpen {
namespace {

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

// FNV-1a over words of 64 bits instead of bytes, because a model of 1000 tensors is attached in microseconds; the shift
// brings the upper bits, which the product mixes best, down.
class LayoutHash {
 public:
  void add(std::uint64_t word) noexcept {
    value_ = (value_ ^ word) * 0x100000001b3u;
    value_ ^= value_ >> 32;
  }

  void add(std::string_view text) noexcept {
    add(text.size());
    for (; !text.empty(); text.remove_prefix(std::min(text.size(), sizeof(std::uint64_t)))) {
      std::uint64_t word = 0;
      std::memcpy(&word, text.data(), std::min(text.size(), sizeof(word)));
      add(word);
    }
  }

  [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

 private:
  std::uint64_t value_ = 0xcbf29ce484222325u;
};

std::uint64_t hash_layout(const SafetensorsHeader& header) {
  LayoutHash hash;
  for (const TensorEntry& entry : header.entries) {
    hash.add(entry.spec.name);
    hash.add(static_cast<std::uint64_t>(entry.spec.dtype));
    hash.add(entry.spec.shape.size());
    for (const std::int64_t size : entry.spec.shape) hash.add(static_cast<std::uint64_t>(size));
    hash.add(header.data_begin + entry.begin);
  }
  return hash.value();
}

void require_aligned(const SafetensorsHeader& header, const std::string& name) {
  for (const TensorEntry& entry : header.entries) {
    const std::size_t alignment = c10::elementSize(entry.spec.dtype);  // a power of two
    if (((header.data_begin | entry.begin) & (alignment - 1)) == 0) continue;
    throw FormatError(name, fmt::format("byte {}", header.data_begin + entry.begin),
                      fmt::format("tensor {} must begin at a multiple of {} bytes", entry.spec.name, alignment));
  }
}

}  // namespace

struct Arena::State {
  State(Segment segment_in, SafetensorsHeader header_in)
      : segment(std::make_shared<const Segment>(std::move(segment_in))),
        header(std::move(header_in)),
        names(header.entries),
        storage(share_storage(segment, header.data_begin, header.data_bytes)),
        layout_hash(hash_layout(header)) {}

  std::shared_ptr<const Segment> segment;
  SafetensorsHeader header;
  NameIndex names;
  c10::Storage storage;
  std::uint64_t layout_hash;
};

Arena Arena::create(std::string_view label, std::span<const TensorSpec> specs,
                    std::map<std::string, std::string> metadata) {
  SafetensorsHeader header = lay_out(specs, std::move(metadata));
  const std::string bytes = header.to_bytes(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)));
  header.data_begin = bytes.size();
  Segment segment = Segment::create(label, bytes.size() + header.data_bytes);
  std::memcpy(segment.data(), bytes.data(), bytes.size());
  return Arena(std::make_shared<const State>(std::move(segment), std::move(header)));
}

Arena Arena::attach(Segment segment, std::optional<std::uint64_t> expected_layout) {
  const std::string name = "shared memory";
  SafetensorsHeader header = parse_safetensors_header(segment.bytes(), name);
  require_aligned(header, name);
  auto state = std::make_shared<const State>(std::move(segment), std::move(header));
  require(
      !expected_layout || *expected_layout == state->layout_hash,
      "the shared tensors must have the layout that this process expects (hash {:016x}, not {:016x}): the same names, "
      "dtypes and shapes",
      expected_layout.value_or(0), state->layout_hash);
  return Arena(std::move(state));
}

at::Tensor Arena::tensor(std::string_view name) const {
  const auto index = state_->names.find(name);
  require(index.has_value(), "there is no tensor named {} in shared memory", name);
  return tensor(*index);
}

at::Tensor Arena::tensor(std::size_t index) const {
  require(index < header().entries.size(), "tensor {} must be one of {}", index, header().entries.size());
  const TensorEntry& entry = header().entries[index];
  return make_view(state_->storage, entry.spec.dtype, entry.begin, entry.spec.shape);
}

at::Tensor Arena::flat(std::size_t begin, std::size_t end) const {
  require(begin % sizeof(float) == 0 && end % sizeof(float) == 0 && begin <= end && end <= header().data_bytes,
          "the range [{}, {}) must lie in the {} bytes of data, on multiples of {}", begin, end, header().data_bytes,
          sizeof(float));
  const auto numel = static_cast<std::int64_t>((end - begin) / sizeof(float));
  return make_view(state_->storage, c10::ScalarType::Float, begin, numel);
}

const SafetensorsHeader& Arena::header() const noexcept {
  return state_->header;
}

std::span<std::byte> Arena::data() const noexcept {
  return state_->segment->bytes().subspan(header().data_begin, header().data_bytes);
}

const Segment& Arena::segment() const noexcept {
  return *state_->segment;
}

std::uint64_t Arena::layout_hash() const noexcept {
  return state_->layout_hash;
}

}  // namespace hogpen

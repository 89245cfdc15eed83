#include "runtime/work/parcel.h"

#include <cstring>

namespace hogpen {
namespace {

// A parcel begins with the number of blocks that it refers to, and their ids.
std::size_t header_bytes(std::size_t blocks) noexcept {
  return sizeof(std::uint64_t) + blocks * sizeof(BlockId);
}

std::span<const BlockId> blocks_of(const SharedBlock& parcel) noexcept {
  std::uint64_t count = 0;
  std::memcpy(&count, parcel.data(), sizeof(count));
  return {reinterpret_cast<const BlockId*>(parcel.data() + sizeof(count)), count};
}

}  // namespace

Parcel make_parcel(const Encoder& value) {
  const std::uint64_t count = value.blocks.size();
  const std::size_t begin = header_bytes(count);
  const SharedBlock block = SharedBlock::allocate(begin + value.bytes.size());
  std::memcpy(block.data(), &count, sizeof(count));
  if (count > 0) std::memcpy(block.data() + sizeof(count), value.blocks.data(), count * sizeof(BlockId));
  if (!value.bytes.empty()) std::memcpy(block.data() + begin, value.bytes.data(), value.bytes.size());
  for (const BlockId id : value.blocks) retain(id);
  retain(block.id());
  return static_cast<Parcel>(block.id());
}

void drop_parcel(Parcel parcel) noexcept {
  if (parcel == Parcel::none) return;
  const auto id = static_cast<BlockId>(parcel);
  const SharedBlock block = SharedBlock::open(id);
  for (const BlockId referred : blocks_of(block)) release(referred);
  release(id);
}

OpenParcel::OpenParcel(Parcel parcel) : block_(SharedBlock::open(static_cast<BlockId>(parcel))) {}

Decoder OpenParcel::decoder() const noexcept {
  const std::size_t begin = header_bytes(blocks_of(block_).size());
  return {.bytes = {block_.data() + begin, block_.size_bytes() - begin}};
}

}  // namespace hogpen

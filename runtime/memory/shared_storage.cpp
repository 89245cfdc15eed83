#include "runtime/memory/shared_storage.h"

#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <unordered_map>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/memory/cuda_stream.h"
#include "runtime/memory/device_memory.h"
#include "runtime/memory/mapping.h"
#include "runtime/memory/segment.h"
#include "runtime/memory/segment_board.h"

namespace hogpen {
namespace {

// What keeps the memory of a storage that was made here.
struct Keeper {
  StoragePlace place;
  SharedBlock block;
  std::shared_ptr<const Mapping> mapping;
  std::optional<DeviceMemory> on_gpu;
};

struct HashOfPlace {
  std::size_t operator()(const StoragePlace& place) const noexcept {
    std::uint64_t hash = place.file ^ place.block << 20 ^ place.begin << 1 ^ place.size_bytes << 41;
    hash *= 0x9e37'79b9'7f4a'7c15u;
    return hash ^ hash >> 32;
  }
};

using WeakStorage = c10::weak_intrusive_ptr<c10::StorageImpl>;

// The storages that were made here and are still in use. Never destroyed: a tensor may end after main.
struct Known {
  std::mutex mutex;
  std::unordered_map<StoragePlace, WeakStorage, HashOfPlace> storages;

  [[nodiscard]] c10::Storage find(const StoragePlace& place) {
    const auto found = storages.find(place);
    return found == storages.end() ? c10::Storage() : c10::Storage(found->second.lock());
  }
};

Known& known() {
  static Known& instance = *new Known;
  return instance;
}

c10::Device device_of(const DeviceMemory& memory) {
  return {c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(memory.gpu())};
}

// The end of a storage. Another may have been made for its place since its last user let it go.
void drop(void* context) {
  const std::unique_ptr<Keeper> keeper(static_cast<Keeper*>(context));
  const std::lock_guard lock(known().mutex);
  const auto found = known().storages.find(keeper->place);
  if (found != known().storages.end() && found->second.expired()) known().storages.erase(found);
}

at::DataPtr pointer_to(std::byte* data, Keeper keeper) {
  const c10::Device device = keeper.on_gpu ? device_of(*keeper.on_gpu) : c10::Device(c10::DeviceType::CPU);
  return {data, new Keeper(std::move(keeper)), &drop, device};
}

const Keeper* keeper_of(const c10::Storage& storage) {
  const at::DataPtr& data = storage.data_ptr();
  return data.get_deleter() == &drop ? static_cast<const Keeper*>(data.get_context()) : nullptr;
}

StoragePlace place_in_heap(BlockId id, std::uint64_t begin, std::uint64_t size_bytes) {
  return {.kind = StoragePlace::Kind::heap,
          .file = shared_heap_number(),
          .block = static_cast<std::uint64_t>(id),
          .begin = begin,
          .size_bytes = size_bytes};
}

void require_inside(const StoragePlace& place, std::size_t size_bytes) {
  if (place.begin <= size_bytes && place.size_bytes <= size_bytes - place.begin) return;
  throw Error("a tensor of a message must lie in the memory that it names");
}

/// Uses no GPU, since nothing lies there.
StoragePlace place_of_nothing(c10::Device device) {
  if (!device.is_cuda()) return {};
  return {.kind = StoragePlace::Kind::empty_on_gpu, .device = static_cast<std::uint64_t>(device.index())};
}

c10::Device device_of_nothing(const StoragePlace& place) {
  if (place.size_bytes != 0) throw Error("a tensor of a message that lies nowhere must have no elements");
  if (place.kind == StoragePlace::Kind::nowhere) return c10::DeviceType::CPU;
  return {c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(place.device)};
}

void require_own_heap(const StoragePlace& place) {
  if (place.file == shared_heap_number()) return;
  throw Error("a tensor of a message lies in the shared heap of another family of processes",
              "call open_shared_heap() before the processes are forked");
}

std::pair<std::byte*, Keeper> open_block(const StoragePlace& place) {
  require_own_heap(place);
  SharedBlock block = SharedBlock::open(static_cast<BlockId>(place.block));
  require_inside(place, block.size_bytes());
  std::byte* data = block.data() + place.begin;
  return {data, {.place = place, .block = std::move(block)}};
}

std::pair<std::byte*, Keeper> open_gpu_memory(const StoragePlace& place) {
  require_own_heap(place);
  DeviceMemory memory = DeviceMemory::find(static_cast<BlockId>(place.block));
  require_inside(place, memory.size_bytes());
  std::byte* data = memory.data() + place.begin;
  return {data, {.place = place, .on_gpu = std::move(memory)}};
}

std::pair<std::byte*, Keeper> open_segment(const StoragePlace& place) {
  const FileId file = {.device = place.device, .inode = place.file};
  std::shared_ptr<const Mapping> mapping = Mapping::of(file);
  if (!mapping) {
    Fd fd = find_on_board(file);
    if (!fd) throw Error("a tensor of a message lies in a Segment that this process neither inherited nor finds");
    mapping = Segment::attach(std::move(fd)).mapping();
    mapping->set_posted();
  }
  require_inside(place, mapping->size_bytes());
  std::byte* data = mapping->data() + place.begin;
  return {data, {.place = place, .mapping = std::move(mapping)}};
}

std::pair<std::byte*, Keeper> open(const StoragePlace& place) {
  switch (place.kind) {
    case StoragePlace::Kind::heap:
      return open_block(place);
    case StoragePlace::Kind::gpu:
      return open_gpu_memory(place);
    default:
      return open_segment(place);
  }
}

c10::Storage make_storage(std::size_t size_bytes, at::DataPtr data) {
  return {c10::Storage::use_byte_size_t(), size_bytes, std::move(data)};
}

std::pair<StoragePlace, at::DataPtr> new_block(std::size_t size_bytes) {
  SharedBlock block = SharedBlock::allocate(size_bytes);
  std::byte* data = block.data();
  const StoragePlace place = place_in_heap(block.id(), 0, size_bytes);
  return {place, pointer_to(data, {.place = place, .block = std::move(block)})};
}

StoragePlace place_on_gpu(const DeviceMemory& memory, const std::byte* data, std::size_t size_bytes) {
  StoragePlace place = place_in_heap(memory.post(), static_cast<std::uint64_t>(data - memory.data()), size_bytes);
  place.kind = StoragePlace::Kind::gpu;
  return place;
}

std::pair<StoragePlace, at::DataPtr> new_memory(std::size_t size_bytes, c10::Device device) {
  if (device.is_cpu()) return new_block(size_bytes);
  DeviceMemory memory = DeviceMemory::create(device.index(), size_bytes);
  std::byte* data = memory.data();
  const StoragePlace place = place_on_gpu(memory, data, size_bytes);
  return {place, pointer_to(data, {.place = place, .on_gpu = std::move(memory)})};
}

}  // namespace

bool is_in_shared_memory(const c10::Storage& storage) noexcept {
  if (keeper_of(storage)) return true;
  if (storage.nbytes() == 0) return true;
  if (storage.device().is_cuda()) return DeviceMemory::at(storage.data()).has_value();
  return is_in_shared_heap(storage.data()) || Mapping::at(storage.data());
}

StoragePlace place_of(const c10::Storage& storage) {
  if (const Keeper* keeper = keeper_of(storage)) return keeper->place;
  if (storage.nbytes() == 0) return place_of_nothing(storage.device());
  const auto* data = static_cast<const std::byte*>(storage.data());
  if (storage.device().is_cuda()) {
    const auto memory = DeviceMemory::at(data);
    return memory ? place_on_gpu(*memory, data, storage.nbytes()) : StoragePlace{};
  }
  if (const BlockId id = block_at(data); id != BlockId::none) {
    return place_in_heap(id, static_cast<std::uint64_t>(data - SharedBlock::open(id).data()), storage.nbytes());
  }
  const auto mapping = Mapping::at(data);
  if (!mapping) return {};
  if (!mapping->is_posted()) {
    post_segment(*mapping);
    mapping->set_posted();
  }
  return {.kind = StoragePlace::Kind::segment,
          .device = mapping->file().device,
          .file = mapping->file().inode,
          .begin = static_cast<std::uint64_t>(data - mapping->data()),
          .size_bytes = storage.nbytes()};
}

c10::Storage new_shared_storage(std::size_t size_bytes, c10::Device device) {
  if (size_bytes == 0) return make_storage(0, at::DataPtr(nullptr, device));
  auto [place, data] = new_memory(size_bytes, device);
  c10::Storage storage = make_storage(size_bytes, std::move(data));
  const std::lock_guard lock(known().mutex);
  known().storages.insert_or_assign(place, storage.getWeakStorageImpl());
  return storage;
}

void move_to_shared_memory(const c10::Storage& storage) {
  auto [place, data] = new_memory(storage.nbytes(), storage.device());
  if (storage.device().is_cuda()) {
    copy_on_gpu(data.get(), storage.data(), storage.nbytes(), storage.device());
  } else {
    std::memcpy(data.get(), storage.data(), storage.nbytes());
  }
  c10::StorageImpl* impl = storage.unsafeGetStorageImpl();
  (void)impl->set_data_ptr(std::move(data));
  impl->set_resizable(false);
  const std::lock_guard lock(known().mutex);
  known().storages.insert_or_assign(place, storage.getWeakStorageImpl());
}

c10::Storage storage_at(const StoragePlace& place) {
  if (place.kind == StoragePlace::Kind::nowhere || place.kind == StoragePlace::Kind::empty_on_gpu) {
    return make_storage(0, at::DataPtr(nullptr, device_of_nothing(place)));
  }
  {
    const std::lock_guard lock(known().mutex);
    if (c10::Storage storage = known().find(place)) return storage;
  }
  // Without the lock, which the end of a storage takes.
  auto [data, keeper] = open(place);
  c10::Storage made = make_storage(place.size_bytes, pointer_to(data, std::move(keeper)));
  const std::lock_guard lock(known().mutex);
  if (c10::Storage storage = known().find(place)) return storage;
  known().storages.insert_or_assign(place, made.getWeakStorageImpl());
  return made;
}

}  // namespace hogpen

#include "runtime/work/graph_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <string_view>

namespace hogpen::detail {
namespace {

constexpr std::size_t kMostSlabBytes = 1 << 16;
constexpr std::size_t kSlabGrowth = 4;

}  // namespace

std::string TaskLabel::text() const {
  if (!name.empty()) return name;
  const std::string_view path = where.file_name();
  return fmt::format("{}:{}", path.substr(path.rfind('/') + 1), where.line());
}

NodeSlab* NodeSlab::make(TaskLabelPointer label, std::size_t bytes) {
  return ::new (::operator new(bytes, std::align_val_t(kAlignment))) NodeSlab(std::move(label), bytes);
}

void NodeSlab::free(NodeSlab* slab) noexcept {
  slab->~NodeSlab();
  ::operator delete(slab, std::align_val_t(kAlignment));
}

NodeMemory::Place NodeMemory::take(std::size_t bytes, std::size_t alignment) {
  // With room for one node, wherever it begins.
  const std::size_t least = sizeof(NodeSlab) + alignment + bytes;
  if (is_taken_.test_and_set(std::memory_order_acquire)) {
    NodeSlab* const slab = NodeSlab::make(label_, least);
    void* const memory = slab->take(bytes, alignment);
    NodeSlab::close(slab);
    return {slab, memory};
  }
  struct Release {
    std::atomic_flag& flag;
    ~Release() { flag.clear(std::memory_order_release); }
  } const release{is_taken_};
  void* memory = slab_ == nullptr ? nullptr : slab_->take(bytes, alignment);
  if (memory == nullptr) {
    NodeSlab* const slab = NodeSlab::make(label_, std::max(least, next_bytes_));
    if (slab_ != nullptr) NodeSlab::close(slab_);
    slab_ = slab;
    next_bytes_ = std::min(std::max(least, next_bytes_) * kSlabGrowth, kMostSlabBytes);
    memory = slab_->take(bytes, alignment);
  }
  return {slab_, memory};
}

}  // namespace hogpen::detail

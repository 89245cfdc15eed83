#include "runtime/memory/device_board.h"

#include <sys/random.h>

#include <cstring>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/log.h"
#include "runtime/memory/segment_board.h"

namespace hogpen::detail {
namespace {

// What the block holds. The number tells it from whatever had the block before.
struct Posted {
  static constexpr std::uint64_t kMagic = 0x7961'7267'6e65'7067;

  std::uint64_t magic = kMagic;
  std::uint64_t number = 0;
  DeviceHandle handle;
};

constexpr dev_t kGpuMemory = ~dev_t{0};  // in place of a file's device
constexpr unsigned kBlockBits = 20;      // a block's number, below the random one

std::uint64_t number_for(BlockId block) {
  std::uint64_t random = 0;
  syscall_ok(::getrandom(&random, sizeof(random), 0), "getrandom");
  return random << kBlockBits | static_cast<std::uint64_t>(block);
}

FileId key_of(std::uint64_t number) {
  return {.device = kGpuMemory, .inode = number};
}

bool is_dead(FileId key) {
  if (key.device != kGpuMemory) return false;
  const auto block = static_cast<BlockId>(key.inode & ((1U << kBlockBits) - 1));
  return !holds(block, offsetof(Posted, number), key.inode);
}

}  // namespace

SharedBlock post_device_memory(const DeviceShare& share) {
  forget_dead_device_memory();
  SharedBlock block = SharedBlock::allocate(sizeof(Posted));
  const Posted posted = {.number = number_for(block.id()), .handle = share.handle};
  std::memcpy(block.data(), &posted, sizeof(posted));
  if (share.fd && !post_on_board(key_of(posted.number), share.fd.get())) {
    throw Error("too many pieces of GPU memory are shared with other processes at a time",
                "put many tensors into one Arena on the GPU (Arena::on), or let go of those that nobody needs");
  }
  return block;
}

DeviceShare find_device_memory(const SharedBlock& block) {
  Posted posted;
  if (block.size_bytes() == sizeof(posted)) std::memcpy(&posted, block.data(), sizeof(posted));
  if (block.size_bytes() != sizeof(posted) || posted.magic != Posted::kMagic) {
    throw Error("a tensor of a message lies in GPU memory, but its block is of something else");
  }
  DeviceShare share = {.handle = posted.handle, .fd = {}};
  if (share.handle.way == DeviceHandle::Way::descriptor) {
    share.fd = find_on_board(key_of(posted.number));
    if (!share.fd && !has_board()) {
      throw Error(
          "a program that was executed, as by PoolOptions::program, cannot receive CUDA tensors: use forked "
          "workers, or send copies on the CPU");
    }
    if (!share.fd) throw Error("the GPU memory of a tensor of a message is not on this process's board");
  }
  return share;
}

void forget_dead_device_memory() noexcept {
  try {
    release_shares_of_the_dead();
    clean_board(is_dead);
  } catch (const Error& error) {
    log(LogLevel::warning, "GPU memory that nobody uses may not have been given back: {}", error.what());
  }
}

}  // namespace hogpen::detail

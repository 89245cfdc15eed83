#include "runtime/memory/block_table.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/file.h"
#include "runtime/memory/backing.h"
#include "runtime/memory/limits.h"

namespace hogpen {

// The first bytes of the memfd. Its first zeroes are a valid state of all that is not set here.
struct HeapHeader {
  std::uint64_t magic;
  std::uint64_t size_bytes;
  std::uint64_t max_blocks;
  std::uint64_t data_begin;
  alignas(64) std::atomic<std::uint64_t> next_block;
  std::atomic<std::uint64_t> frontier;        // where data ends
  std::atomic<std::uint64_t> records_backed;  // up to where there is memory for records
  std::atomic<std::uint64_t> data_backed;     // … and for data
  std::array<std::atomic<std::uint32_t>, LifeLine::kPlaces> is_used;
  alignas(64) std::array<FreeList, kSizeClasses> ready;   // free blocks that have their memory
  alignas(64) std::array<FreeList, kSizeClasses> hollow;  // free blocks whose memory was given back
};

namespace {

constexpr std::uint64_t kHeapMagic = 0x3170'6165'684e'5048;  // "HPNheap1"
constexpr std::size_t kMiB = std::size_t{1} << 20;
constexpr std::size_t kMostBlocks = kMiB;  // what a FreeList can number
constexpr std::size_t kLeastHeapBytes = 4 * kMiB;
constexpr std::size_t kGrowthBytes = 4 * kMiB;  // so that the limits, which lie in files, are not read for every block
constexpr std::size_t kRetainedBytes = 64 * kMiB;
constexpr std::size_t kRecordsBegin = (sizeof(HeapHeader) + kHeapPageBytes - 1) / kHeapPageBytes * kHeapPageBytes;

static_assert(std::atomic<std::uint64_t>::is_always_lock_free && std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(kMostBlocks * sizeof(BlockRecord) <= 64 * kMiB);

constexpr std::uint64_t round_up(std::uint64_t value, std::uint64_t unit) {
  return (value + unit - 1) / unit * unit;
}

// Address space, not memory: blocks of one size do not become blocks of another, so there must be several times more of
// it than there is memory.
std::uint64_t heap_bytes() {
  std::uint64_t size = std::clamp<std::uint64_t>(round_up(4 * memory_limit().available_bytes, std::uint64_t{1} << 30),
                                                 std::uint64_t{1} << 34, std::uint64_t{1} << 44);
  struct ::rlimit limit{};
  syscall_ok(::getrlimit(RLIMIT_AS, &limit), "getrlimit(RLIMIT_AS)");
  if (limit.rlim_cur != RLIM_INFINITY) size = std::min<std::uint64_t>(size, limit.rlim_cur / 4);
  syscall_ok(::getrlimit(RLIMIT_FSIZE, &limit), "getrlimit(RLIMIT_FSIZE)");
  if (limit.rlim_cur != RLIM_INFINITY) size = std::min<std::uint64_t>(size, limit.rlim_cur);
  return std::max<std::uint64_t>(size / kHeapPageBytes * kHeapPageBytes, kLeastHeapBytes);
}

void write_header(int fd, std::uint64_t size) {
  const std::uint64_t blocks = std::min<std::uint64_t>(kMostBlocks, size / 1024);
  const std::uint64_t data_begin = round_up(kRecordsBegin + blocks * sizeof(BlockRecord), kHeapPageBytes);
  void* page = ::mmap(nullptr, sizeof(HeapHeader), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (page == MAP_FAILED) throw SystemError("mmap of the shared heap's header", errno);
  auto* header = static_cast<HeapHeader*>(page);
  header->size_bytes = size;
  header->max_blocks = blocks;
  header->data_begin = data_begin;
  header->next_block = 1;
  header->records_backed = kRecordsBegin;
  header->frontier = data_begin;
  header->data_backed = data_begin;
  header->magic = kHeapMagic;
  ::munmap(page, sizeof(HeapHeader));
}

}  // namespace

void FreeList::add(BlockRecord* records, std::uint32_t block) noexcept {
  std::uint64_t head = head_.load();
  std::uint64_t changed = 0;
  do {
    // Relaxed: the exchange below publishes it.
    records[block].next.store(static_cast<std::uint32_t>(head & kBlockMask), std::memory_order_relaxed);
    const std::uint64_t count = std::min<std::uint64_t>((head >> kCountShift & kMaxCount) + 1, kMaxCount);
    changed = ((head >> kTagShift) + 1) << kTagShift | count << kCountShift | block;
  } while (!head_.compare_exchange_weak(head, changed));
}

std::uint32_t FreeList::take(BlockRecord* records) noexcept {
  std::uint64_t head = head_.load();
  for (;;) {
    const auto block = static_cast<std::uint32_t>(head & kBlockMask);
    if (block == 0) return 0;
    const std::uint64_t count = std::max<std::uint64_t>(head >> kCountShift & kMaxCount, 1) - 1;
    // Another may have taken the block meanwhile; then `next` is anything, and the exchange fails.
    const std::uint64_t next = records[block].next.load();
    const std::uint64_t changed = ((head >> kTagShift) + 1) << kTagShift | count << kCountShift | next;
    if (head_.compare_exchange_weak(head, changed)) return block;
  }
}

Fd BlockTable::create() {
  const std::uint64_t size = heap_bytes();
  check_file_size_limit("the shared heap", size);
  Fd fd(syscall_ok(::memfd_create("hogpen:heap", MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create"));
  syscall_ok(::ftruncate(fd.get(), static_cast<off_t>(size)), "ftruncate of the shared heap");
  syscall_ok(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), "fcntl(F_ADD_SEALS)");
  take_memory(fd.get(), 0, kRecordsBegin, "the shared heap");
  write_header(fd.get(), size);
  return fd;
}

BlockTable::BlockTable(Fd fd) : fd_(std::move(fd)) {
  struct ::stat status{};
  syscall_ok(::fstat(fd_.get(), &status), "fstat of the shared heap");
  const auto size = static_cast<std::size_t>(status.st_size);
  const int seals = ::fcntl(fd_.get(), F_GET_SEALS);
  require(size >= kLeastHeapBytes && seals >= 0 && (seals & F_SEAL_SHRINK) != 0,
          "the descriptor must be a shared heap's");
  void* address = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
  if (address == MAP_FAILED) throw SystemError(fmt::format("mmap of {} bytes of the shared heap", size), errno);
  // A core dump would read the holes of the file, and so fill the machine.
  (void)::madvise(address, size, MADV_DONTDUMP);
  file_number_ = status.st_ino;
  base_ = static_cast<std::byte*>(address);
  header_ = reinterpret_cast<HeapHeader*>(base_);
  if (header_->magic != kHeapMagic || header_->size_bytes != size) {
    ::munmap(address, size);
    throw UsageError("the descriptor must be a shared heap's, made by this version of hogpen");
  }
  records_ = reinterpret_cast<BlockRecord*>(base_ + kRecordsBegin);
}

std::uint32_t BlockTable::reuse(unsigned size_class) noexcept {
  return header_->ready[size_class].take(records_);
}

bool BlockTable::must_take_memory(unsigned size_class) const noexcept {
  return header_->hollow[size_class].first() != 0 ||
         header_->frontier.load() + class_bytes(size_class) + kHeapPageBytes > header_->data_backed.load();
}

std::uint32_t BlockTable::extend(unsigned size_class) {
  try {
    return create_block(size_class);
  } catch (const SystemError& error) {
    if (error.error_number() != ENOMEM || retained_bytes() == 0) throw;
    give_back_retained();
    return create_block(size_class);
  }
}

// Gives a free block its memory again.
std::uint32_t BlockTable::refill(std::uint32_t block, unsigned size_class) {
  try {
    take_memory(fd(), records_[block].offset.load(), class_bytes(size_class), "a block of the shared heap");
  } catch (...) {
    header_->hollow[size_class].add(records_, block);
    throw;
  }
  return block;
}

std::uint32_t BlockTable::create_block(unsigned size_class) {
  if (const std::uint32_t block = header_->hollow[size_class].take(records_)) return refill(block, size_class);
  const std::size_t size = class_bytes(size_class);
  const std::uint64_t alignment = size_class >= kFirstPagedClass ? kHeapPageBytes : kBlockAlignment;
  std::uint64_t number = header_->next_block.load();
  std::uint64_t frontier = header_->frontier.load();
  std::uint64_t begin = 0;
  do {
    begin = round_up(frontier, alignment);
    if (size > header_->size_bytes - std::min(begin, header_->size_bytes) || number >= header_->max_blocks) {
      return reuse_larger(size_class);
    }
    back(header_->data_backed, begin + size, header_->size_bytes);
  } while (!header_->frontier.compare_exchange_weak(frontier, begin + size));
  do {
    if (number >= header_->max_blocks) return reuse_larger(size_class);
    back(header_->records_backed, kRecordsBegin + (number + 1) * sizeof(BlockRecord), header_->data_begin);
  } while (!header_->next_block.compare_exchange_weak(number, number + 1));
  BlockRecord& record = records_[number];
  record.offset.store(begin);
  record.size_class.store(size_class);
  return static_cast<std::uint32_t>(number);
}

// Takes memory for the file up to `end` and some more. Only one process and thread at a time: when posix_fallocate
// fails, the kernel takes back pages of its range that nobody has touched yet, also those of another's earlier call.
void BlockTable::back(std::atomic<std::uint64_t>& backed, std::uint64_t end, std::uint64_t limit) {
  if (backed.load() >= end) return;
  const std::lock_guard guard(growth_mutex_);
  const HeapLock lock(fd(), HeapLock::Name::growth);
  const std::uint64_t begin = backed.load();
  if (begin >= end) return;
  const std::uint64_t stop = std::max(end, std::min(limit, round_up(end, kGrowthBytes)));
  take_memory(fd(), begin, stop - begin, "the shared heap");
  backed.store(stop);
}

// When the file has no room for a new block.
std::uint32_t BlockTable::reuse_larger(unsigned size_class) {
  for (unsigned larger = size_class; larger < kSizeClasses; ++larger) {
    if (const std::uint32_t block = header_->ready[larger].take(records_)) return block;
    if (const std::uint32_t block = header_->hollow[larger].take(records_)) return refill(block, larger);
  }
  throw SystemError(fmt::format("shared memory: a block of {} bytes asked, and all {} bytes or {} blocks of the shared "
                                "heap are used",
                                class_bytes(size_class), header_->size_bytes, header_->max_blocks),
                    ENOMEM,
                    "free blocks, or use larger and fewer ones; RLIMIT_FSIZE and RLIMIT_AS limit the heap, too");
}

void BlockTable::give_back(std::uint32_t block) noexcept {
  const BlockRecord& record = records_[block];
  const unsigned size_class = record.size_class.load();
  const std::size_t size = class_bytes(size_class);
  const bool is_hollow = size_class >= kFirstPagedClass && retained_bytes() + size > kRetainedBytes &&
                         give_back_memory(fd(), record.offset.load(), size);
  (is_hollow ? header_->hollow : header_->ready)[size_class].add(records_, block);
}

// Summed up each time, because a counter would be wrong for good after a kill.
std::size_t BlockTable::retained_bytes() const noexcept {
  static constexpr auto kBytes = [] {
    std::array<std::size_t, kSizeClasses> bytes{};
    for (unsigned c = 0; c < kSizeClasses; ++c) bytes[c] = class_bytes(c);
    return bytes;
  }();
  std::size_t total = 0;
  for (unsigned c = kFirstPagedClass; c < kSizeClasses; ++c) total += header_->ready[c].count() * kBytes[c];
  return total;
}

void BlockTable::give_back_retained() noexcept {
  for (unsigned c = kFirstPagedClass; c < kSizeClasses; ++c) {
    while (const std::uint32_t block = header_->ready[c].take(records_)) {
      const bool is_hollow = give_back_memory(fd(), records_[block].offset.load(), class_bytes(c));
      (is_hollow ? header_->hollow : header_->ready)[c].add(records_, block);
      if (!is_hollow) return;
    }
  }
}

std::uint32_t BlockTable::end() const noexcept {
  return static_cast<std::uint32_t>(header_->next_block.load());
}

std::uint32_t BlockTable::max_blocks() const noexcept {
  return static_cast<std::uint32_t>(header_->max_blocks);
}

bool BlockTable::contains(const void* address) const noexcept {
  const auto* byte = static_cast<const std::byte*>(address);
  return byte >= base_ + header_->data_begin && byte < base_ + header_->size_bytes;
}

std::atomic<std::uint32_t>& BlockTable::is_used(int place) const noexcept {
  return header_->is_used[static_cast<std::size_t>(place)];
}

SharedHeapUse BlockTable::use() const {
  SharedHeapUse use;
  for (std::uint32_t block = 1; block < end(); ++block) {
    if (records_[block].refs.load() == 0) continue;
    ++use.blocks;
    use.bytes += records_[block].size_bytes.load();
  }
  for (const auto* lists : {&header_->ready, &header_->hollow}) {
    for (const FreeList& list : *lists) {
      for (std::uint32_t block = list.first(); block != 0; block = records_[block].next.load()) ++use.free_blocks;
    }
  }
  use.lost_blocks = end() - 1 - use.blocks - use.free_blocks;
  struct ::stat status{};
  syscall_ok(::fstat(fd(), &status), "fstat of the shared heap");
  use.backed_bytes = static_cast<std::size_t>(status.st_blocks) * 512;
  return use;
}

}  // namespace hogpen

#include "runtime/memory/mapping.h"

#include <linux/mman.h>  // MADV_COLLAPSE, which sys/mman.h of Debian 12 lacks
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

constexpr std::size_t kHugePageBytes = std::size_t{2} << 20;  // of x86-64, and of ARM with pages of 4 KiB

// All mappings of this process. Never destroyed: a tensor may end after main.
struct Registry {
  std::mutex mutex;
  std::map<const std::byte*, std::weak_ptr<const Mapping>, std::greater<>> by_address;
  std::map<std::pair<FileId, Mapping::Access>, std::weak_ptr<const Mapping>> by_file;

  [[nodiscard]] std::shared_ptr<const Mapping> find(FileId file, Mapping::Access access) const {
    const auto found = by_file.find({file, access});
    return found == by_file.end() ? nullptr : found->second.lock();
  }
};

Registry& registry() {
  static Registry& instance = *new Registry;
  return instance;
}

/// Where a huge page could lie, the mapping begins at the address of one: the kernel alone would not see to that.
void* map_shared(int fd, std::size_t size_bytes, int protection) {
  if (size_bytes < kHugePageBytes) return ::mmap(nullptr, size_bytes, protection, MAP_SHARED, fd, 0);
  const std::size_t reserved = size_bytes + kHugePageBytes;
  void* const room = ::mmap(nullptr, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) return room;
  auto* const begin = static_cast<std::byte*>(room);
  const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) % kHugePageBytes;
  void* const mapped = ::mmap(begin + before, size_bytes, protection, MAP_SHARED | MAP_FIXED, fd, 0);
  if (mapped == MAP_FAILED) {
    const int error = errno;
    ::munmap(room, reserved);
    errno = error;
    return mapped;
  }
  const auto page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  const std::size_t end = before + (size_bytes + page - 1) / page * page;
  if (before > 0) ::munmap(room, before);
  ::munmap(begin + end, reserved - end);
  return mapped;
}

}  // namespace

std::size_t Mapping::use_huge_pages() const noexcept {
  const std::size_t whole = size_ / kHugePageBytes * kHugePageBytes;
  if (whole == 0 || ::madvise(data_, whole, MADV_COLLAPSE) != 0) return 0;
  return whole;
}

void Mapping::prefault() const noexcept {
  if (access_ == Access::read_write) (void)::madvise(data_, size_, MADV_POPULATE_WRITE);
}

FileId file_of(int fd) {
  struct ::stat status{};
  syscall_ok(::fstat(fd, &status), "fstat of a shared-memory descriptor");
  return {.device = status.st_dev, .inode = status.st_ino};
}

std::shared_ptr<const Mapping> Mapping::of(Fd fd, std::size_t size_bytes, Access access) {
  const FileId file = file_of(fd.get());
  Registry& all = registry();
  std::shared_ptr<const Mapping> mapping;  // before the lock, which its end would take
  const std::lock_guard lock(all.mutex);
  if ((mapping = all.find(file, access))) return mapping;
  mapping.reset(new Mapping(std::move(fd), size_bytes, access, file));
  all.by_address[mapping->data()] = mapping;
  all.by_file[{file, access}] = mapping;
  return mapping;
}

std::shared_ptr<const Mapping> Mapping::at(const void* address) {
  const auto* byte = static_cast<const std::byte*>(address);
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  const auto before = all.by_address.lower_bound(byte);  // of descending addresses: the last that is not above
  if (before == all.by_address.end()) return nullptr;
  auto mapping = before->second.lock();
  return mapping && byte < mapping->data() + mapping->size_bytes() ? mapping : nullptr;
}

std::shared_ptr<const Mapping> Mapping::of(FileId file) {
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  auto mapping = all.find(file, Access::read_write);
  return mapping ? mapping : all.find(file, Access::read_only);
}

Mapping::Mapping(Fd fd, std::size_t size_bytes, Access access, FileId file)
    : fd_(std::move(fd)), file_(file), access_(access), size_(size_bytes) {
  const int protection = access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  void* address = map_shared(fd_.get(), size_bytes, protection);
  if (address == MAP_FAILED) throw SystemError(fmt::format("mmap of {} bytes of shared memory", size_bytes), errno);
  data_ = static_cast<std::byte*>(address);
}

Mapping::~Mapping() {
  if (!data_) return;
  Registry& all = registry();
  const std::lock_guard lock(all.mutex);
  all.by_address.erase(data_);
  // Another of the same file may have taken this one's place while its last handle went.
  const auto entry = all.by_file.find({file_, access_});
  if (entry != all.by_file.end() && entry->second.expired()) all.by_file.erase(entry);
  ::munmap(data_, size_);
}

}  // namespace hogpen

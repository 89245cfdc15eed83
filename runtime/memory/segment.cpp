#include "runtime/memory/segment.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <string>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/core/file.h"
#include "runtime/memory/backing.h"

namespace hogpen {
Segment Segment::create(std::string_view label, std::size_t size_bytes) {
  require(size_bytes > 0, "shared memory for {} must be larger than 0 bytes", label);
  check_file_size_limit(fmt::format("shared memory for {}", label), size_bytes);
  const std::string name = fmt::format("hogpen:{:.200}", label);  // memfd_create takes 249 bytes
  Fd fd(syscall_ok(::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING), "memfd_create"));
  take_memory(fd.get(), 0, size_bytes, label);
  syscall_ok(::fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL), "fcntl(F_ADD_SEALS)");
  return Segment(Mapping::of(std::move(fd), size_bytes, Access::read_write));
}

Segment Segment::attach(Fd fd, Access access) {
  struct ::stat status{};
  syscall_ok(::fstat(fd.get(), &status), "fstat of a shared-memory descriptor");
  require(status.st_size > 0, "the descriptor of a shared segment must not be empty");
  const int seals = ::fcntl(fd.get(), F_GET_SEALS);
  require(seals >= 0 && (seals & F_SEAL_SHRINK) != 0,
          "a shared segment must be a memfd that is sealed against shrinking");
  return Segment(Mapping::of(std::move(fd), static_cast<std::size_t>(status.st_size), access));
}

}  // namespace hogpen

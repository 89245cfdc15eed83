#include "runtime/memory/backing.h"

#include <fcntl.h>

#include "runtime/core/error.h"
#include "runtime/memory/limits.h"

namespace hogpen {

void take_memory(int fd, std::size_t begin, std::size_t size_bytes, std::string_view what) {
  const MemoryLimit limit = memory_limit();
  if (size_bytes > limit.available_bytes) {
    throw SystemError(fmt::format("shared memory for {}: {} bytes asked, {} available by {}", what, size_bytes,
                                  limit.available_bytes, limit.source),
                      ENOMEM, "free memory, raise the limit, or use a smaller model, batch or data set");
  }
  int error = 0;
  do {  // A signal makes the kernel give back what it has taken.
    error = ::posix_fallocate(fd, static_cast<off_t>(begin), static_cast<off_t>(size_bytes));
  } while (error == EINTR);
  if (error == 0) return;
  throw SystemError(fmt::format("posix_fallocate of {} bytes of shared memory for {}", size_bytes, what), error,
                    "free memory, or raise the memory limits that `hogpen info` prints");
}

bool give_back_memory(int fd, std::size_t begin, std::size_t size_bytes) noexcept {
  int result = 0;
  do {
    result = ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(begin),
                         static_cast<off_t>(size_bytes));
  } while (result < 0 && errno == EINTR);
  return result == 0;
}

}  // namespace hogpen

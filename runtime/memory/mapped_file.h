#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cstddef>
#include <filesystem>
#include <span>

#include "runtime/core/error.h"
#include "runtime/core/fd.h"

namespace hogpen {

/// A whole file, mapped for reading.
///
/// Sharing: read-only. Another process must not shorten the file meanwhile (SIGBUS): hogpen's own files are only ever
/// replaced. Owns: the mapping.
class MappedFile {
 public:
  /// Throws: SystemError naming the path.
  explicit MappedFile(const std::filesystem::path& path) {
    const Fd fd(syscall_ok(::open(path.c_str(), O_RDONLY | O_CLOEXEC), "open " + path.string()));
    syscall_ok(::fstat(fd.get(), &status_), "fstat " + path.string());
    size_ = static_cast<std::size_t>(status_.st_size);
    if (size_ == 0) return;  // mmap refuses it
    void* address = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd.get(), 0);
    if (address == MAP_FAILED) throw SystemError("mmap " + path.string(), errno);
    data_ = static_cast<std::byte*>(address);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (data_) ::munmap(data_, size_);
  }

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  /// The file as it was when it was mapped.
  [[nodiscard]] const struct ::stat& status() const noexcept { return status_; }

 private:
  struct ::stat status_{};
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace hogpen

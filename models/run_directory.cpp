#include "models/run_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "models/trainer.h"
#include "runtime/core/error.h"

namespace hogpen::detail {
namespace {

constexpr const char* kLive = "live.safetensors";

bool is_same(const std::filesystem::path& a, const std::filesystem::path& b) {
  std::error_code ignored;
  return std::filesystem::equivalent(a, b, ignored);
}

}  // namespace

RunDirectory::RunDirectory(const std::filesystem::path& path, const std::optional<std::filesystem::path>& resume)
    : path_(path) {
  require(!path.empty(), "a run needs a run directory");
  std::error_code error;
  is_new_ = std::filesystem::create_directories(path, error);
  if (error) {
    throw SystemError(fmt::format("cannot make the run directory {}", path.string()), error.value(),
                      "choose another with --run-dir");
  }
  lock_ = Fd(syscall_ok(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC),
                        fmt::format("open of the run directory {}", path.string())));
  if (::flock(lock_.get(), LOCK_EX | LOCK_NB) < 0) {
    if (errno != EWOULDBLOCK) throw SystemError("flock of the run directory", errno);
    throw UsageError(fmt::format("the run directory {} is in use by another run", path.string()),
                     "wait for its end, or choose another with --run-dir");
  }
  if (::access(path.c_str(), W_OK) != 0) {
    throw SystemError(fmt::format("cannot write to the run directory {}", path.string()), errno,
                      "choose another with --run-dir");
  }
  if (const auto latest = latest_checkpoint(path); latest && !(resume && is_same(*latest, *resume))) {
    throw UsageError(fmt::format("the run directory {} already holds {}", path.string(), latest->filename().string()),
                     "--resume auto goes on from it; --run-dir chooses another directory");
  }
}

RunDirectory::~RunDirectory() {
  std::error_code ignored;
  std::filesystem::remove(live(), ignored);
  if (is_new_) std::filesystem::remove(path_, ignored);  // Fails, as it should, unless it is empty.
}

void RunDirectory::show_live(const Segment& segment) {
  std::error_code error;
  std::filesystem::remove(live(), error);  // of a run that was killed
  std::filesystem::create_symlink(fmt::format("/proc/{}/fd/{}", ::getpid(), segment.fd()), live(), error);
  if (error) throw SystemError(fmt::format("cannot make {}", live().string()), error.value());
}

std::filesystem::path RunDirectory::live() const {
  return path_ / kLive;
}

}  // namespace hogpen::detail

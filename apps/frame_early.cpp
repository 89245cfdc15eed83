// LibTorch prepares itself for 0.2 s before main(), which is more than most tables take. So `hogpen frame` becomes the
// program hogpen-frame beside it, if there is one, before any library prepares itself.
#include <unistd.h>

#include <array>
#include <cstring>
#include <string_view>

namespace {

// No library is ready: system calls, and what needs no memory, is all that may be used.
void become_hogpen_frame(int argc, char** argv, char** environment) {
  if (argc < 2 || std::strcmp(argv[1], "frame") != 0) return;
  static constexpr std::string_view name = "/hogpen-frame";
  std::array<char, 4096> path{};
  const std::size_t most = path.size() - name.size() - 1;
  const ssize_t length = ::readlink("/proc/self/exe", path.data(), most);
  if (length <= 0 || static_cast<std::size_t>(length) == most) return;  // That would be cut.
  path[static_cast<std::size_t>(length)] = 0;
  char* const end_of_directory = std::strrchr(path.data(), '/');
  if (end_of_directory == nullptr) return;
  std::memcpy(end_of_directory, name.data(), name.size() + 1);
  ::execve(path.data(), argv, environment);  // Where there is none, hogpen itself does it.
}

[[gnu::section(".preinit_array"), gnu::used]] void (*const g_before_all)(int, char**, char**) = become_hogpen_frame;

}  // namespace

#include "models/metrics.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <chrono>
#include <nlohmann/json.hpp>
#include <system_error>

#include "runtime/core/error.h"
#include "runtime/core/file.h"

namespace hogpen {
namespace {

constexpr std::array<std::uint32_t, 256> make_crc32c_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? 0x82F63B78u : 0u);
    table[byte] = crc;
  }
  return table;
}

constexpr std::uint32_t crc32c(std::string_view bytes) {
  constexpr auto kTable = make_crc32c_table();
  std::uint32_t crc = ~0u;
  for (const char byte : bytes) crc = kTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFFu] ^ (crc >> 8);
  return ~crc;
}

// TFRecord masks its checksums, because a CRC over data that embeds CRCs is weak.
constexpr std::uint32_t masked_crc32c(std::string_view bytes) {
  return std::rotr(crc32c(bytes), 15) + 0xA282EAD8u;
}

template <class T>
std::string little_endian(T value) {
  static_assert(std::endian::native == std::endian::little);
  std::string bytes(sizeof value, '\0');
  std::copy_n(reinterpret_cast<const char*>(&value), sizeof value, bytes.data());
  return bytes;
}

std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

// Protocol buffers: a field is its number and wire type in one varint, then its value.
enum class Wire { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

std::string field(unsigned number, Wire wire, std::string_view value) {
  std::string bytes = varint(number << 3 | static_cast<unsigned>(wire));
  if (wire == Wire::bytes) bytes += varint(value.size());
  return bytes.append(value);
}

// A line or record that does not fit (a full disk) is taken back whole, or the next one would be glued to its rest.
void append_whole(int fd, std::string_view bytes, std::string_view what) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    const auto result = ::write(fd, bytes.data() + written, bytes.size() - written);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0) {
      const int error = errno;
      struct ::stat status{};
      const bool shortened =
          ::fstat(fd, &status) == 0 && ::ftruncate(fd, status.st_size - static_cast<off_t>(written)) == 0;
      throw SystemError(fmt::format("write to {}{}", what, shortened ? "" : " (and a torn end is left)"), error,
                        remedy_for(error));
    }
    written += static_cast<std::size_t>(result);
  }
}

Fd open_file(const std::filesystem::path& path, int flags) {
  Fd fd(::open(path.c_str(), flags | O_APPEND | O_CREAT | O_CLOEXEC, 0666));
  if (!fd) throw SystemError(fmt::format("open {}", path.string()), errno, remedy_for(errno));
  return fd;
}

double seconds_since_1970() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0 || name[0] == '\0') return "localhost";
  return name.data();
}

void make_directory(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) throw SystemError(fmt::format("mkdir {}", path.string()), error.value(), remedy_for(error.value()));
}

Fd create_event_file(const std::filesystem::path& directory) {
  make_directory(directory);
  const std::string stem = fmt::format("events.out.tfevents.{:010}.{}.{}",
                                       static_cast<std::int64_t>(seconds_since_1970()), host_name(), ::getpid());
  for (int number = 0;; ++number) {
    try {
      return open_file(directory / fmt::format("{}.{}", stem, number), O_WRONLY | O_EXCL);
    } catch (const SystemError& error) {
      if (error.error_number() != EEXIST) throw;
    }
  }
}

// Where the text behind `fd` stops being whole lines.
off_t end_of_last_line(int fd) {
  std::array<char, 4096> chunk{};
  off_t end = syscall_ok(::lseek(fd, 0, SEEK_END), "lseek in metrics.jsonl");
  while (end > 0) {
    const off_t begin = std::max<off_t>(0, end - static_cast<off_t>(chunk.size()));
    const auto length =
        syscall_ok(::pread(fd, chunk.data(), static_cast<std::size_t>(end - begin), begin), "read of metrics.jsonl");
    const std::size_t newline = std::string_view(chunk.data(), static_cast<std::size_t>(length)).rfind('\n');
    if (newline != std::string_view::npos) return begin + static_cast<off_t>(newline) + 1;
    end = begin;
  }
  return 0;
}

Fd open_lines(const std::filesystem::path& run_directory) {
  make_directory(run_directory);
  Fd fd = open_file(run_directory / "metrics.jsonl", O_RDWR);
  syscall_ok(::ftruncate(fd.get(), end_of_last_line(fd.get())), "ftruncate of metrics.jsonl");
  return fd;
}

}  // namespace

static_assert(crc32c("123456789") == 0xE3069283u);

EventFile::EventFile(const std::filesystem::path& directory) : file_(create_event_file(directory)) {
  write_record(field(1, Wire::fixed64, little_endian(seconds_since_1970())) + field(3, Wire::bytes, "brain.Event:2"));
}

void EventFile::add_scalar(std::string_view tag, double value, std::int64_t step, double wall_time) {
  const std::string scalar =
      field(1, Wire::bytes, tag) + field(2, Wire::fixed32, little_endian(static_cast<float>(value)));
  const std::string summary = field(1, Wire::bytes, scalar);
  write_record(field(1, Wire::fixed64, little_endian(wall_time)) +
               field(2, Wire::varint, varint(static_cast<std::uint64_t>(step))) + field(5, Wire::bytes, summary));
}

void EventFile::write_record(std::string_view payload) {
  const std::string length = little_endian(static_cast<std::uint64_t>(payload.size()));
  const std::string record = fmt::format("{}{}{}{}", length, little_endian(masked_crc32c(length)), payload,
                                         little_endian(masked_crc32c(payload)));
  append_whole(file_.get(), record, "the TensorBoard event file");
}

MetricsLog::MetricsLog(const std::filesystem::path& run_directory)
    : lines_(open_lines(run_directory)), events_(run_directory) {}

void MetricsLog::add(std::int64_t step, const std::vector<std::pair<std::string, double>>& scalars) {
  const double now = seconds_since_1970();
  nlohmann::ordered_json line{{"time", now}, {"step", step}};
  for (const auto& [name, value] : scalars) line[name] = value;
  append_whole(lines_.get(), line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n',
               "metrics.jsonl");
  for (const auto& [name, value] : scalars) events_.add_scalar(name, value, step, now);
}

}  // namespace hogpen

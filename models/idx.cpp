#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <limits>
#include <memory>
#include <new>

#include "models/dataset.h"
#include "runtime/core/error.h"

namespace hogpen {
namespace {

/// A regular file, read from front to back.
class InputFile {
 public:
  explicit InputFile(std::filesystem::path path) : path_(std::move(path)) {
    // O_NONBLOCK, so that a FIFO is refused and not waited for.
    fd_ = Fd(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd_) {
      throw SystemError(
          fmt::format("open {}", name()), errno,
          "`apt-get install dataset-fashion-mnist` puts such files into /usr/share/datasets/fashion-mnist");
    }
    struct ::stat status{};
    syscall_ok(::fstat(fd_.get(), &status), fmt::format("fstat of {}", name()));
    require(S_ISREG(status.st_mode), "{} must be a regular file", name());
    size_ = static_cast<std::uint64_t>(status.st_size);
  }

  /// Fills `out`; fewer bytes only at the end of the file.
  std::size_t read(std::span<std::byte> out) {
    std::size_t done = 0;
    while (done < out.size()) {
      const auto result = ::read(fd_.get(), out.data() + done, out.size() - done);
      if (result < 0 && errno == EINTR) continue;
      if (syscall_ok(result, fmt::format("read of {}", name())) == 0) break;
      done += static_cast<std::size_t>(result);
    }
    offset_ += done;
    return done;
  }

  [[nodiscard]] std::string name() const { return path_.string(); }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }
  [[nodiscard]] std::uint64_t offset() const noexcept { return offset_; }

 private:
  std::filesystem::path path_;
  Fd fd_;
  std::uint64_t size_ = 0;
  std::uint64_t offset_ = 0;
};

/// What a file holds, whether compressed or not.
class Content {
 public:
  explicit Content(const std::filesystem::path& path) : file_(path) {}
  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;
  virtual ~Content() = default;

  /// Fills `out`; fewer bytes only at the end of the content.
  virtual std::size_t read(std::span<std::byte> out) = 0;
  /// Refuses a content of `claimed_bytes` that the file cannot have.
  virtual void check_size(std::uint64_t claimed_bytes) const = 0;
  [[nodiscard]] virtual std::string place(std::uint64_t byte) const { return fmt::format("byte {}", byte); }

  [[noreturn]] void fail(std::uint64_t byte, const std::string& message, std::string hint = {}) const {
    throw FormatError(file_.name(), place(byte), message, std::move(hint));
  }
  [[noreturn]] void fail_short(std::uint64_t actual_bytes, std::uint64_t claimed_bytes) const {
    fail(actual_bytes,
         fmt::format("the content ends here, but the header claims {} bytes: the file is truncated or its "
                     "header is damaged",
                     claimed_bytes));
  }
  [[noreturn]] void fail_long(std::uint64_t claimed_bytes) const {
    fail(claimed_bytes, "more bytes follow where the content should end by the header");
  }

 protected:
  InputFile file_;
};

class PlainContent final : public Content {
 public:
  using Content::Content;
  std::size_t read(std::span<std::byte> out) override { return file_.read(out); }
  void check_size(std::uint64_t claimed_bytes) const override {
    if (claimed_bytes > file_.size()) fail_short(file_.size(), claimed_bytes);
    if (claimed_bytes < file_.size()) fail_long(claimed_bytes);
  }
};

/// zlib's own gzread passes data through that is not compressed, ignores what follows the end, and does not say where
/// in the file the damage is.
class GzipContent final : public Content {
 public:
  explicit GzipContent(const std::filesystem::path& path) : Content(path) {
    constexpr int kGzipAlone = 16;
    if (::inflateInit2(&stream_, MAX_WBITS + kGzipAlone) != Z_OK) throw std::bad_alloc();
  }
  ~GzipContent() override { ::inflateEnd(&stream_); }

  std::size_t read(std::span<std::byte> out) override {
    std::size_t done = 0;
    while (done < out.size() && has_more()) done += inflate_into(out.subspan(done));
    return done;
  }

  void check_size(std::uint64_t claimed_bytes) const override {
    // Deflate cannot do better: two bits for 258 bytes.
    constexpr std::uint64_t kLargestRatio = 1032;
    if (claimed_bytes / kLargestRatio <= file_.size()) return;
    fail(4, fmt::format("the header claims {} bytes, more than {} compressed bytes can hold", claimed_bytes,
                        file_.size()));
  }

  [[nodiscard]] std::string place(std::uint64_t byte) const override {
    return fmt::format("byte {} of the decompressed content", byte);
  }

 private:
  // A file may consist of several gzip members.
  bool has_more() {
    if (stream_.avail_in == 0) refill();
    if (!at_member_end_) return true;
    if (stream_.avail_in == 0) return false;
    ::inflateReset(&stream_);
    member_begin_ = position();
    at_member_end_ = false;
    return true;
  }

  void refill() {
    stream_.next_in = buffer_.data();
    stream_.avail_in = static_cast<unsigned>(file_.read(std::as_writable_bytes(std::span(buffer_))));
  }

  std::size_t inflate_into(std::span<std::byte> out) {
    const auto room = static_cast<unsigned>(std::min<std::size_t>(out.size(), std::numeric_limits<unsigned>::max()));
    stream_.next_out = reinterpret_cast<unsigned char*>(out.data());
    stream_.avail_out = room;
    const bool input_ended = stream_.avail_in == 0;
    const int result = ::inflate(&stream_, Z_NO_FLUSH);
    if (result == Z_MEM_ERROR) throw std::bad_alloc();
    if (result == Z_STREAM_END) at_member_end_ = true;
    const std::size_t produced = room - stream_.avail_out;
    if (result == Z_BUF_ERROR && input_ended) damaged(position(), "the compressed data ends here, before its end");
    if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR) damaged_by_zlib();
    return produced;
  }

  [[noreturn]] void damaged_by_zlib() const {
    const bool in_magic = position() - member_begin_ <= 2;
    if (in_magic && member_begin_ == 0) damaged(0, "the file is not gzip data, as its name says");
    if (in_magic) damaged(member_begin_, "what follows the end of the gzip data is none");
    damaged(position(), fmt::format("damaged gzip data: {}", stream_.msg ? stream_.msg : "no further news from zlib"));
  }
  [[noreturn]] void damaged(std::uint64_t byte, const std::string& message) const {
    throw FormatError(file_.name(), fmt::format("byte {}", byte), message);
  }
  /// How much of the file zlib has read.
  [[nodiscard]] std::uint64_t position() const { return file_.offset() - stream_.avail_in; }

  ::z_stream stream_{};
  std::array<unsigned char, 65536> buffer_{};
  std::uint64_t member_begin_ = 0;
  bool at_member_end_ = false;
};

std::unique_ptr<Content> open_content(const std::filesystem::path& path) {
  if (path.extension() == ".gz") return std::make_unique<GzipContent>(path);
  return std::make_unique<PlainContent>(path);
}

std::uint32_t big_endian(std::span<const std::byte> bytes) {
  std::uint32_t value = 0;
  for (const std::byte byte : bytes.first(4)) value = value << 8 | std::to_integer<std::uint32_t>(byte);
  return value;
}

std::uint64_t saturating_product(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? std::numeric_limits<std::uint64_t>::max() : product;
}

/// The header of an IDX file of uint8.
struct IdxHeader {
  std::array<std::uint32_t, 3> sizes{1, 1, 1};  ///< count, height, width
  std::uint64_t header_bytes = 0;

  [[nodiscard]] std::uint64_t data_bytes() const {
    return saturating_product(saturating_product(sizes[0], sizes[1]), sizes[2]);
  }
};

IdxHeader read_header(Content& content, std::size_t dimensions) {
  std::array<std::byte, 16> buffer{};
  const std::span<std::byte> bytes = std::span(buffer).first(4 + 4 * dimensions);
  if (const std::size_t length = content.read(bytes); length < bytes.size()) {
    content.fail(length, fmt::format("the content ends within its header of {} bytes", bytes.size()));
  }
  // 0x08 is the code of uint8.
  const std::uint32_t magic = big_endian(bytes);
  if (const std::uint32_t wanted = 0x0800 + static_cast<std::uint32_t>(dimensions); magic != wanted) {
    const bool gzip = magic >> 16 == 0x1F8B;
    content.fail(0,
                 fmt::format("the file begins with 0x{:08x}, but IDX {} begin with 0x{:08x}", magic,
                             dimensions == 1 ? "labels" : "images", wanted),
                 gzip ? "it is gzip data: its name must end in .gz" : "");
  }
  IdxHeader header{.sizes = {1, 1, 1}, .header_bytes = bytes.size()};
  for (std::size_t i = 0; i < dimensions; ++i) {
    header.sizes[i] = big_endian(bytes.subspan(4 + 4 * i));
    if (header.sizes[i] == 0) content.fail(4 + 4 * i, "a size in the header must not be 0");
  }
  // A product that saturated is more than any file has, also without the header's few bytes.
  content.check_size(std::max(header.data_bytes(), header.data_bytes() + header.header_bytes));
  return header;
}

void read_data(Content& content, const IdxHeader& header, std::span<std::byte> out) {
  const std::size_t length = content.read(out);
  if (length < out.size()) content.fail_short(header.header_bytes + length, header.header_bytes + out.size());
  std::array<std::byte, 1> more{};
  if (content.read(more) != 0) content.fail_long(header.header_bytes + out.size());
}

}  // namespace

Dataset Dataset::read_idx(const std::filesystem::path& images, const std::filesystem::path& labels) {
  const std::unique_ptr<Content> image_content = open_content(images);
  const std::unique_ptr<Content> label_content = open_content(labels);
  const IdxHeader image_header = read_header(*image_content, 3);
  const IdxHeader label_header = read_header(*label_content, 1);
  const auto& [count, height, width] = image_header.sizes;
  if (label_header.sizes[0] != count) {
    label_content->fail(
        4, fmt::format("there are {} labels, but {} images in {}", label_header.sizes[0], count, images.string()));
  }
  Segment segment = Segment::create("dataset", image_header.data_bytes() + label_header.data_bytes());
  read_data(*image_content, image_header, segment.bytes().first(image_header.data_bytes()));
  read_data(*label_content, label_header, segment.bytes().subspan(image_header.data_bytes()));
  return {std::move(segment), count, height, width};
}

}  // namespace hogpen

#include "runtime/frame/csv_blocks.h"

#include <arrow/csv/chunker.h>
#include <arrow/io/compressed.h>
#include <arrow/io/file.h>
#include <arrow/util/compression.h>
#include <arrow/util/delimiting.h>

#include <cstring>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"

namespace hogpen::detail {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr std::size_t kLargestBlock = std::size_t{1} << 30;  // of one row: Arrow counts it in 32 bits

}  // namespace

struct CsvBlocks::State {
  State(const fs::path& file_in, const arrow::csv::ParseOptions& options, std::size_t block_bytes_in)
      : file(file_in), quote(options.quoting ? options.quote_char : '\0'), block_bytes(block_bytes_in) {
    arrow::csv::ParseOptions with_newlines = options;
    with_newlines.newlines_in_values = true;
    by_quotes = arrow::csv::MakeChunker(with_newlines);
    by_lines = arrow::csv::MakeChunker(options);
    auto opened = arrow::io::ReadableFile::Open(file.string());
    if (!opened.ok()) throw SystemError(fmt::format("open {}", file.string()), errno_of(opened.status()));
    on_disk = *opened;
    if (file.extension() != ".gz") {
      stream = on_disk;
      return;
    }
    codec = arrow_ok(arrow::util::Codec::Create(arrow::Compression::GZIP));
    stream = arrow_ok(arrow::io::CompressedInputStream::Make(codec.get(), on_disk));
  }

  static int errno_of(const arrow::Status& status) { return status.IsIOError() && errno != 0 ? errno : EIO; }

  /// What is not cut yet, at least `bytes` of it if there is so much, and whether the file ends there.
  std::pair<std::shared_ptr<arrow::Buffer>, bool> ahead(std::size_t bytes) {
    while (!has_ended && (!rest || static_cast<std::size_t>(rest->size()) < bytes)) read_more(bytes);
    return {rest ? rest : std::make_shared<arrow::Buffer>(nullptr, 0), has_ended};
  }

  void read_more(std::size_t bytes) {
    const std::int64_t had = rest ? rest->size() : 0;
    std::shared_ptr<arrow::ResizableBuffer> buffer =
        arrow_ok(arrow::AllocateResizableBuffer(static_cast<std::int64_t>(bytes) + had));
    if (had > 0) std::memcpy(buffer->mutable_data(), rest->data(), static_cast<std::size_t>(had));
    arrow::Result<std::int64_t> got = stream->Read(static_cast<std::int64_t>(bytes), buffer->mutable_data() + had);
    if (!got.ok()) throw unreadable(got.status().message());
    has_ended = *got == 0;
    arrow_ok(buffer->Resize(had + *got, false));
    rest = std::move(buffer);
  }

  [[nodiscard]] FormatError unreadable(const std::string& why) const {
    return {file.string(), fmt::format("byte {} of its content", position), why,
            codec ? "it is damaged or cut short: see gzip --test" : ""};
  }

  void take(std::int64_t bytes) {
    position += bytes;
    if (rest) rest = arrow::SliceBuffer(rest, bytes);
  }

  /// How much of it are whole rows.
  std::int64_t whole_rows(const std::shared_ptr<arrow::Buffer>& bytes) const {
    const bool may_have_newlines =
        quote != '\0' && std::memchr(bytes->data(), quote, static_cast<std::size_t>(bytes->size())) != nullptr;
    std::shared_ptr<arrow::Buffer> rows;
    std::shared_ptr<arrow::Buffer> partial;
    arrow_ok((may_have_newlines ? by_quotes : by_lines)->Process(bytes, &rows, &partial));
    return rows->size();
  }

  /// Where the last row of a file begins, if a quote of it is not closed: -1 for none.
  std::int64_t open_row(const std::shared_ptr<arrow::Buffer>& bytes) const {
    const std::int64_t whole = whole_rows(bytes);
    if (whole == bytes->size()) return -1;
    const std::string last = arrow::SliceBuffer(bytes, whole)->ToString() + "\n";
    return whole_rows(arrow::Buffer::FromString(last)) == 0 ? position + whole : -1;
  }

  fs::path file;
  char quote;
  std::size_t block_bytes;
  std::unique_ptr<arrow::Chunker> by_quotes;
  std::unique_ptr<arrow::Chunker> by_lines;
  std::shared_ptr<arrow::io::ReadableFile> on_disk;
  std::unique_ptr<arrow::util::Codec> codec;
  std::shared_ptr<arrow::io::InputStream> stream;
  std::shared_ptr<arrow::Buffer> rest;  // read and decompressed, but not cut yet
  bool has_ended = false;
  std::int64_t position = 0;
};

CsvBlocks::CsvBlocks(const fs::path& file, const arrow::csv::ParseOptions& options, std::size_t block_bytes)
    : state_(std::make_unique<State>(file, options, block_bytes)) {
  const auto [first, is_all] = state_->ahead(kByteOrderMark.size());
  if (std::string_view(*first).starts_with(kByteOrderMark))
    state_->take(static_cast<std::int64_t>(kByteOrderMark.size()));
}

CsvBlocks::~CsvBlocks() = default;

std::optional<CsvBlock> CsvBlocks::next() {
  for (std::size_t bytes = state_->block_bytes; bytes <= kLargestBlock; bytes *= 2) {
    const auto [ahead, is_end] = state_->ahead(bytes);
    if (ahead->size() == 0) return {};
    const std::int64_t length = is_end ? ahead->size() : state_->whole_rows(ahead);
    if (length == 0) continue;
    const CsvBlock block = {arrow::SliceBuffer(ahead, 0, length), state_->position, is_end,
                            is_end ? state_->open_row(ahead) : -1};
    state_->take(length);
    return block;
  }
  throw FormatError(state_->file.string(), fmt::format("byte {}", state_->position),
                    fmt::format("a row is longer than {} MiB", kLargestBlock >> 20),
                    "a quote that is not closed makes the rest of a file one value");
}

std::int64_t CsvBlocks::bytes_read() const {
  return arrow_ok(state_->on_disk->Tell());
}

}  // namespace hogpen::detail

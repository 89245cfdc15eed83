#include "runtime/frame/csv_source.h"

#include <arrow/record_batch.h>
#include <arrow/type.h>

#include <algorithm>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/csv_chunk.h"
#include "runtime/frame/types.h"

namespace hogpen::detail {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kSample = std::size_t{1} << 20;  // bytes from which the length of a row is estimated
constexpr std::size_t kSmallestChunk = 4096;
constexpr std::size_t kLargestChunk = std::size_t{1} << 28;

/// The texts of the first row, which is taken out of the block.
std::vector<std::string> take_row(const CsvFormat& format, CsvBlock& block, const fs::path& file) {
  if (block.open_row == block.begin) refuse_open_row(format, block, file);
  arrow::csv::BlockParser parser(format.parse, -1, -1, 1);
  std::uint32_t parsed = 0;
  const arrow::Status status = parser.ParseFinal(block.text(), &parsed);
  if (!status.ok() || parser.num_rows() == 0) throw FormatError(file.string(), "row 0", "there is no header");
  std::vector<std::string> names;
  arrow_ok(parser.VisitLastRow([&](const std::uint8_t* data, std::uint32_t size, bool, bool) {
    names.emplace_back(reinterpret_cast<const char*>(data), size);
    return arrow::Status::OK();
  }));
  block.bytes = arrow::SliceBuffer(block.bytes, parsed);
  block.begin += parsed;
  return names;
}

/// Where there are several of a name, the later ones become name.1, name.2, as with pandas.
void make_unique(std::vector<std::string>& names) {
  for (auto name = names.begin(); name != names.end(); ++name) {
    const std::string first = *name;
    for (int n = 1; std::find(names.begin(), name, *name) != name; ++n) *name = fmt::format("{}.{}", first, n);
  }
}

class CsvPlan final : public Plan {
 public:
  CsvPlan(std::vector<fs::path> files, std::shared_ptr<const CsvFormat> format, std::size_t block_bytes)
      : Plan(format->schema), files_(std::move(files)), format_(std::move(format)), block_bytes_(block_bytes) {}

  void need_inputs(Run& /*run*/) const override {}
  std::unique_ptr<ChunkStream> open(Run& run) const override { return std::make_unique<Stream>(*this, run); }

 private:
  class Stream final : public ChunkStream {
   public:
    Stream(const CsvPlan& plan, Run& run)
        : files_(plan.files_),
          format_(plan.format_),
          block_bytes_(plan.block_bytes_),
          needed_(run.needed(plan)),
          run_(run) {
      std::error_code is_read_later;  // and then it is an error
      for (const fs::path& file : files_) {
        const std::uintmax_t bytes = fs::file_size(file, is_read_later);
        if (!is_read_later) run.expect_bytes(bytes);
      }
    }

    std::optional<MakeChunk> claim() override {
      while (next_ <= files_.size()) {
        if (blocks_) {
          if (auto block = blocks_->next()) return chunk_of(std::move(*block));
        }
        if (next_ == files_.size()) return {};
        if (auto rows = begin_file(files_[next_++])) return chunk_of(std::move(*rows));
      }
      return {};
    }

   private:
    /// The rest of the block that has the header.
    std::optional<CsvBlock> begin_file(const fs::path& file) {
      file_ = file;
      counted_ = 0;
      blocks_ = std::make_unique<CsvBlocks>(file, format_->parse, block_bytes_);
      if (!format_->has_header) return {};
      std::optional<CsvBlock> block = blocks_->next();
      if (!block) throw FormatError(file.string(), "row 0", "it is empty: there is no header");
      std::vector<std::string> names = take_row(*format_, *block, file);
      make_unique(names);
      if (names != format_->schema->field_names()) {
        throw FormatError(file.string(), "row 0", fmt::format("its columns are not those of {}", files_[0].string()));
      }
      if (block->bytes->size() == 0) return {};
      return block;
    }

    MakeChunk chunk_of(CsvBlock block) {
      const auto read = static_cast<std::uint64_t>(blocks_->bytes_read());
      run_.count_bytes(read - std::exchange(counted_, read));
      return [format = format_, block = std::move(block), file = file_, needed = needed_] {
        return read_chunk(*format, block, needed, file);
      };
    }

    std::vector<fs::path> files_;
    std::shared_ptr<const CsvFormat> format_;
    std::size_t block_bytes_;
    Columns needed_;
    Run& run_;
    std::size_t next_ = 0;
    fs::path file_;
    std::uint64_t counted_ = 0;  // of its bytes
    std::unique_ptr<CsvBlocks> blocks_;
  };

  std::vector<fs::path> files_;
  std::shared_ptr<const CsvFormat> format_;
  std::size_t block_bytes_;
};

/// The first rows behind the header, of the first file that has any; `names` becomes that header. Where there are none,
/// a block without rows.
CsvBlock first_rows(const std::vector<fs::path>& files, const CsvFormat& format, std::vector<std::string>& names,
                    fs::path& file) {
  CsvBlock none;
  for (const fs::path& next : files) {
    file = next;
    CsvBlocks blocks(file, format.parse, kSample);
    std::optional<CsvBlock> block = blocks.next();
    if (!block) throw FormatError(file.string(), "row 0", "it is empty: there are no columns");
    if (format.has_header) {
      names = take_row(format, *block, file);
      make_unique(names);
    }
    if (block->bytes->size() != 0) return *block;
    none = *block;
    if (auto rows = blocks.next()) return *rows;  // The first row is longer than the sample.
  }
  return none;
}

/// Looks at the first rows: names and types of the columns, and how long a chunk is.
std::size_t look_at(const std::vector<fs::path>& files, const CsvOptions& options, CsvFormat& format) {
  std::vector<std::string> names;
  fs::path file;
  const CsvBlock block = first_rows(files, format, names, file);
  const auto sample = parse_block(format, block, options.has_header ? static_cast<int>(names.size()) : -1, file);
  for (int i = static_cast<int>(names.size()); i < sample->num_cols() && !options.has_header; ++i) {
    names.push_back(fmt::format("f{}", i));
  }
  arrow::FieldVector fields;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto said = options.types.find(names[i]);
    fields.push_back(arrow::field(names[i], said != options.types.end()
                                                ? type_named(said->second)
                                                : infer_type(format, *sample, static_cast<int>(i))));
  }
  format.schema = arrow::schema(std::move(fields));
  for (const auto& [name, type] : options.types) (void)index_of_column(*format.schema, name);
  const std::size_t rows = static_cast<std::size_t>(std::max(sample->num_rows(), 1));
  const std::size_t row_bytes = static_cast<std::size_t>(block.bytes->size()) / rows + 1;
  const auto chunk_rows = std::min(static_cast<std::size_t>(options.chunk_rows), kLargestChunk);
  return std::clamp(row_bytes * chunk_rows, kSmallestChunk, kLargestChunk);
}

}  // namespace

PlanPtr csv_source(std::vector<fs::path> files, const CsvOptions& options) {
  require(options.chunk_rows >= 1, "a chunk has at least one row, not {}", options.chunk_rows);
  require(!files.empty(), "there is no file to read");
  auto format = std::make_shared<CsvFormat>(options);
  const std::size_t block_bytes = look_at(files, options, *format);
  return std::make_shared<CsvPlan>(std::move(files), std::move(format), block_bytes);
}

}  // namespace hogpen::detail

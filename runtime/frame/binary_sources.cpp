// Parquet and Arrow IPC files, whose columns have types of their own.
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <parquet/arrow/reader.h>
#include <parquet/exception.h>
#include <parquet/file_reader.h>
#include <parquet/metadata.h>

#include <utility>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/operations.h"

namespace hogpen::detail {
namespace {

namespace fs = std::filesystem;

/// Throws: FormatError with what the file's reader found wrong, SystemError for a file that cannot be opened.
template <class T>
T read_ok(arrow::Result<T> result, const fs::path& file) {
  if (result.ok()) return std::move(result).ValueUnsafe();
  throw FormatError(file.string(), "its content", result.status().message(), "it is damaged, or of another format");
}

std::shared_ptr<arrow::io::MemoryMappedFile> map_file(const fs::path& file) {
  auto mapped = arrow::io::MemoryMappedFile::Open(file.string(), arrow::io::FileMode::READ);
  if (mapped.ok()) return *std::move(mapped);
  std::error_code error;
  if (fs::exists(file, error)) throw FormatError(file.string(), "byte 0", "it is empty, or no file");
  throw SystemError(fmt::format("open {}", file.string()), ENOENT);
}

/// In the order of the schema.
std::vector<int> indices_of(const arrow::Schema& schema, const Columns& needed) {
  std::vector<int> indices;
  for (int i = 0; i < schema.num_fields(); ++i) {
    if (needed.contains(schema.field(i)->name())) indices.push_back(i);
  }
  return indices;
}

/// A file of which pieces can be read by any thread.
class PieceFile {
 public:
  virtual ~PieceFile() = default;
  [[nodiscard]] virtual SchemaPtr schema() const = 0;
  [[nodiscard]] virtual int pieces() const = 0;
  [[nodiscard]] virtual Batch read(int piece, const Columns& needed) const = 0;
  [[nodiscard]] virtual std::uint64_t bytes() const = 0;
};

class ParquetFile final : public PieceFile {
 public:
  explicit ParquetFile(const fs::path& file) : file_(file), mapped_(map_file(file)) {
    try {
      metadata_ = parquet::ParquetFileReader::Open(mapped_)->metadata();
      arrow_ok(reader()->GetSchema(&schema_), file.string());
    } catch (const parquet::ParquetException& error) {
      throw FormatError(file.string(), "its footer", error.what(), "it is damaged, or no Parquet file");
    }
  }

  SchemaPtr schema() const override { return schema_; }
  int pieces() const override { return metadata_->num_row_groups(); }
  std::uint64_t bytes() const override { return static_cast<std::uint64_t>(arrow_ok(mapped_->GetSize())); }
  Batch read(int piece, const Columns& needed) const override {
    try {
      const auto table = read_ok(reader()->ReadRowGroup(piece, indices_of(*schema_, needed)), file_);
      return read_ok(table->CombineChunksToBatch(), file_);
    } catch (const parquet::ParquetException& error) {
      throw FormatError(file_.string(), fmt::format("row group {}", piece), error.what(), "it is damaged");
    }
  }

 private:
  // A reader is of one thread; what takes time to read, the metadata, they share.
  [[nodiscard]] std::unique_ptr<parquet::arrow::FileReader> reader() const {
    parquet::arrow::FileReaderBuilder builder;
    arrow_ok(builder.Open(mapped_, parquet::default_reader_properties(), metadata_), file_.string());
    return arrow_ok(builder.Build(), file_.string());
  }

  fs::path file_;
  std::shared_ptr<arrow::io::MemoryMappedFile> mapped_;
  std::shared_ptr<parquet::FileMetaData> metadata_;
  SchemaPtr schema_;
};

class IpcFile final : public PieceFile {
 public:
  explicit IpcFile(const fs::path& file)
      : file_(file),
        mapped_(map_file(file)),
        reader_(read_ok(arrow::ipc::RecordBatchFileReader::Open(mapped_), file)) {}

  SchemaPtr schema() const override { return reader_->schema(); }
  int pieces() const override { return reader_->num_record_batches(); }
  std::uint64_t bytes() const override { return static_cast<std::uint64_t>(arrow_ok(mapped_->GetSize())); }
  Batch read(int piece, const Columns& needed) const override {
    const auto reader = read_ok(arrow::ipc::RecordBatchFileReader::Open(mapped_), file_);  // one of this thread
    const Batch all = read_ok(reader->ReadRecordBatch(piece), file_);
    const arrow::Status whole = all->Validate();
    if (!whole.ok()) throw FormatError(file_.string(), fmt::format("batch {}", piece), whole.message());
    return read_ok(all->SelectColumns(indices_of(*all->schema(), needed)), file_);
  }

 private:
  fs::path file_;
  std::shared_ptr<arrow::io::MemoryMappedFile> mapped_;
  std::shared_ptr<arrow::ipc::RecordBatchFileReader> reader_;
};

class PiecesPlan final : public Plan {
 public:
  explicit PiecesPlan(std::vector<std::shared_ptr<const PieceFile>> files)
      : Plan(files.front()->schema()), files_(std::move(files)) {}
  void need_inputs(Run& /*run*/) const override {}
  std::unique_ptr<ChunkStream> open(Run& run) const override {
    return std::make_unique<Stream>(files_, run.needed(*this), run);
  }

 private:
  class Stream final : public ChunkStream {
   public:
    Stream(std::vector<std::shared_ptr<const PieceFile>> files, Columns needed, Run& run)
        : files_(std::move(files)), needed_(std::move(needed)), run_(run) {
      for (const auto& file : files_) run.expect_bytes(file->bytes());
    }
    std::optional<MakeChunk> claim() override {
      while (file_ < files_.size() && piece_ == files_[file_]->pieces()) {
        ++file_;
        piece_ = 0;
      }
      if (file_ == files_.size()) return {};
      run_.count_bytes(files_[file_]->bytes() / static_cast<std::uint64_t>(files_[file_]->pieces()));
      return [file = files_[file_], piece = piece_++, needed = needed_] { return file->read(piece, needed); };
    }

   private:
    std::vector<std::shared_ptr<const PieceFile>> files_;
    Columns needed_;
    Run& run_;
    std::size_t file_ = 0;
    int piece_ = 0;
  };

  std::vector<std::shared_ptr<const PieceFile>> files_;
};

template <class File>
PlanPtr source_of(const std::vector<fs::path>& names) {
  std::vector<std::shared_ptr<const PieceFile>> files;
  for (const fs::path& name : names) {
    files.push_back(std::make_shared<File>(name));
    if (!files.back()->schema()->Equals(*files.front()->schema(), false)) {
      throw FormatError(name.string(), "its columns", fmt::format("they are not those of {}", names[0].string()));
    }
  }
  return std::make_shared<PiecesPlan>(std::move(files));
}

}  // namespace

PlanPtr parquet_source(std::vector<fs::path> files) {
  return source_of<ParquetFile>(files);
}

PlanPtr ipc_source(std::vector<fs::path> files) {
  return source_of<IpcFile>(files);
}

}  // namespace hogpen::detail

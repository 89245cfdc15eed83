// Parquet and Arrow IPC files, whose columns have types of their own.
#include <arrow/array.h>
#include <arrow/compute/cast.h>
#include <arrow/io/file.h>
#include <arrow/ipc/reader.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <parquet/arrow/reader.h>
#include <parquet/arrow/schema.h>
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
  const int number = arrow::internal::ErrnoFromStatus(mapped.status());
  if (fs::is_regular_file(file, error) && fs::file_size(file, error) == 0) {
    throw FormatError(file.string(), "byte 0", "it is empty");
  }
  throw SystemError(fmt::format("open {}", file.string()), number != 0 ? number : EIO);
}

/// What is kept of a column's type: its values, whatever way they are stored.
std::shared_ptr<arrow::DataType> plain_type(const std::shared_ptr<arrow::DataType>& type) {
  switch (type->id()) {
    case arrow::Type::DICTIONARY:
      return plain_type(static_cast<const arrow::DictionaryType&>(*type).value_type());
    case arrow::Type::LARGE_STRING:
    case arrow::Type::STRING_VIEW:
      return arrow::utf8();
    case arrow::Type::LARGE_BINARY:
    case arrow::Type::BINARY_VIEW:
      return arrow::binary();
    default:
      return type;
  }
}

SchemaPtr plain_schema(const arrow::Schema& schema) {
  arrow::FieldVector fields;
  for (const auto& field : schema.fields()) fields.push_back(field->WithType(plain_type(field->type())));
  return arrow::schema(std::move(fields));
}

/// Arrow decodes no dictionary whose values are not plain.
std::shared_ptr<arrow::Array> with_plain_dictionary(const std::shared_ptr<arrow::Array>& column) {
  if (column->type_id() != arrow::Type::DICTIONARY) return column;
  const auto& encoded = static_cast<const arrow::DictionaryArray&>(*column);
  const auto type = plain_type(encoded.dictionary()->type());
  return arrow_ok(arrow::DictionaryArray::FromArrays(encoded.indices(),
                                                     arrow_ok(arrow::compute::Cast(*encoded.dictionary(), type))));
}

Batch with_plain_types(const Batch& batch) {
  const SchemaPtr schema = plain_schema(*batch->schema());
  arrow::ArrayVector columns = batch->columns();
  for (int i = 0; i < schema->num_fields(); ++i) {
    auto& column = columns[static_cast<std::size_t>(i)];
    const auto& type = schema->field(i)->type();
    if (column->type()->Equals(*type)) continue;
    column = arrow_ok(arrow::compute::Cast(*with_plain_dictionary(column), type), schema->field(i)->name());
  }
  return arrow::RecordBatch::Make(schema, batch->num_rows(), std::move(columns));
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

/// A column of structs has several in the file.
void add_leaves(const parquet::arrow::SchemaField& field, std::vector<int>& leaves) {
  if (field.is_leaf()) leaves.push_back(field.column_index);
  for (const auto& child : field.children) add_leaves(child, leaves);
}

class ParquetFile final : public PieceFile {
 public:
  explicit ParquetFile(const fs::path& file) : file_(file), mapped_(map_file(file)) {
    try {
      metadata_ = parquet::ParquetFileReader::Open(mapped_)->metadata();
      SchemaPtr stored;
      arrow_ok(reader()->GetSchema(&stored), file.string());
      schema_ = plain_schema(*stored);
    } catch (const parquet::ParquetException& error) {
      throw FormatError(file.string(), "its footer", error.what(), "it is damaged, or no Parquet file");
    }
  }

  SchemaPtr schema() const override { return schema_; }
  int pieces() const override { return metadata_->num_row_groups(); }
  std::uint64_t bytes() const override { return static_cast<std::uint64_t>(arrow_ok(mapped_->GetSize())); }
  Batch read(int piece, const Columns& needed) const override {
    try {
      const auto reader = this->reader();
      std::vector<int> leaves;
      for (const int i : indices_of(*schema_, needed)) {
        add_leaves(reader->manifest().schema_fields[static_cast<std::size_t>(i)], leaves);
      }
      const auto table = read_ok(reader->ReadRowGroup(piece, leaves), file_);
      return with_plain_types(read_ok(table->CombineChunksToBatch(), file_));
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
        reader_(read_ok(arrow::ipc::RecordBatchFileReader::Open(mapped_), file)),
        schema_(plain_schema(*reader_->schema())) {}

  SchemaPtr schema() const override { return schema_; }
  int pieces() const override { return reader_->num_record_batches(); }
  std::uint64_t bytes() const override { return static_cast<std::uint64_t>(arrow_ok(mapped_->GetSize())); }
  Batch read(int piece, const Columns& needed) const override {
    const auto reader = read_ok(arrow::ipc::RecordBatchFileReader::Open(mapped_), file_);  // one of this thread
    const Batch all = read_ok(reader->ReadRecordBatch(piece), file_);
    const Batch chosen = read_ok(all->SelectColumns(indices_of(*all->schema(), needed)), file_);
    const arrow::Status whole = chosen->ValidateFull();
    if (!whole.ok())
      throw FormatError(file_.string(), fmt::format("batch {}", piece), whole.message(), "it is damaged");
    return with_plain_types(chosen);
  }

 private:
  fs::path file_;
  std::shared_ptr<arrow::io::MemoryMappedFile> mapped_;
  std::shared_ptr<arrow::ipc::RecordBatchFileReader> reader_;
  SchemaPtr schema_;
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

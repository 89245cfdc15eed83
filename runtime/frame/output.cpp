// What a Frame is written to.
#include "runtime/frame/output.h"

#include <arrow/csv/writer.h>
#include <arrow/io/memory.h>
#include <arrow/record_batch.h>
#include <parquet/arrow/writer.h>
#include <parquet/properties.h>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/computation.h"
#include "runtime/frame/frame.h"
#include "runtime/frame/plan.h"
#include "runtime/frame/types.h"

namespace hogpen {
namespace detail {

// Arrow's writers know a Status alone; their destructors write, too.
arrow::Status OutputFile::Write(const void* data, std::int64_t bytes) {
  try {
    if (!failure_) file_.append({static_cast<const char*>(data), static_cast<std::size_t>(bytes)});
  } catch (const Error&) {
    failure_ = std::current_exception();
  }
  if (failure_) return arrow::Status::IOError("the file cannot be written");
  written_ += bytes;
  return arrow::Status::OK();
}

void OutputFile::check(const arrow::Status& status) const {
  if (failure_) std::rethrow_exception(failure_);
  arrow_ok(status);
}

namespace {

std::shared_ptr<arrow::Buffer> as_csv(const Batch& batch, bool with_header) {
  auto options = arrow::csv::WriteOptions::Defaults();
  options.include_header = with_header;
  const auto text = arrow_ok(arrow::io::BufferOutputStream::Create());
  arrow_ok(arrow::csv::WriteCSV(*batch, options, text.get()), "CSV");
  return arrow_ok(text->Finish());
}

}  // namespace
}  // namespace detail

using detail::arrow_ok;
using detail::Run;

// Each chunk becomes text in the thread that makes it; the file gets them in their order.
void Frame::write_csv(const std::filesystem::path& file, const FrameOptions& options) const {
  detail::OutputFile out(file);
  out.check(out.Write(detail::as_csv(arrow_ok(arrow::RecordBatch::MakeEmpty(schema())), true)));
  detail::Computation computation(*plan_, options, false);
  Run& run = computation.run();
  const auto chunks = run.open(*plan_);
  run.for_each<arrow::Buffer>(
      *chunks,
      [this](const detail::Batch& batch) { return detail::as_csv(detail::in_order_of(*schema(), *batch), false); },
      [&](const std::shared_ptr<arrow::Buffer>& text) {
        out.check(out.Write(text));
        return true;
      });
  out.commit();
}

void Frame::write_parquet(const std::filesystem::path& file, const FrameOptions& options) const {
  const auto out = std::make_shared<detail::OutputFile>(file);
  const auto properties = parquet::WriterProperties::Builder().compression(parquet::Compression::SNAPPY)->build();
  const auto writer =
      arrow_ok(parquet::arrow::FileWriter::Open(*schema(), arrow::default_memory_pool(), out, properties), "Parquet");
  for_each_chunk([&](const arrow::RecordBatch& chunk) { out->check(writer->WriteRecordBatch(chunk)); }, options);
  out->check(writer->Close());
  out->commit();
}

}  // namespace hogpen

#pragma once

#include <arrow/io/interfaces.h>

#include <exception>
#include <filesystem>

#include "runtime/memory/replacement_file.h"

namespace hogpen::detail {

/// A file that Arrow writes, and that appears when it is whole.
///
/// Sharing: one thread. Owns: the file.
class OutputFile final : public arrow::io::OutputStream {
 public:
  explicit OutputFile(const std::filesystem::path& file) : file_(file) {}
  ~OutputFile() override { (void)Close(); }

  using OutputStream::Write;
  arrow::Status Write(const void* data, std::int64_t bytes) override;
  arrow::Result<std::int64_t> Tell() const override { return written_; }
  arrow::Status Close() override {
    is_closed_ = true;
    return arrow::Status::OK();
  }
  bool closed() const override { return is_closed_; }

  /// What a writer says of this file. Throws: SystemError when it could not be written; else as `arrow_ok`.
  void check(const arrow::Status& status) const;
  /// Throws: SystemError.
  void commit() { file_.commit(); }

 private:
  ReplacementFile file_;
  std::int64_t written_ = 0;
  bool is_closed_ = false;
  std::exception_ptr failure_;
};

}  // namespace hogpen::detail

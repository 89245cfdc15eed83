// What Frame promises beside its results, which frame_test.py compares with those of pandas and polars.
#include <arrow/array.h>
#include <arrow/builder.h>
#include <arrow/io/memory.h>
#include <arrow/ipc/writer.h>
#include <arrow/record_batch.h>
#include <arrow/table.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "runtime/core/error.h"
#include "runtime/frame/frame.h"
#include "runtime/memory/arena.h"
#include "tests/expect_throw.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

class FrameApi : public testing::Test {
 protected:
  FrameApi() {
    std::string pattern = (fs::temp_directory_path() / "hogpen-frame-XXXXXX").string();
    directory_ = ::mkdtemp(pattern.data());
  }
  ~FrameApi() override { fs::remove_all(directory_); }

  std::string write(const std::string& text, const std::string& name = "in.csv") const {
    std::ofstream(directory_ / name) << text;
    return directory_ / name;
  }
  static std::string rows(int count) {
    std::string text = "a,b\n";
    for (int i = 0; i < count; ++i) text += std::to_string(i) + "," + std::to_string(i) + ".5\n";
    return text;
  }
  static std::int64_t row_count(const Frame& frame) { return frame.compute()->num_rows(); }

  fs::path directory_;
};

TEST_F(FrameApi, NothingIsReadBeforeItIsComputedButTheFirstRows) {
  const std::string file = write(rows(10));
  const Frame frame = Frame::read_csv(file).filter(col("a") > 3).select({"b"});
  EXPECT_EQ(frame.columns(), (std::vector<std::string>{"b"}));
  write(rows(100));
  EXPECT_EQ(row_count(frame), 96) << "and it is read again each time";
  fs::remove(file);
  EXPECT_THROW((void)frame.compute(), SystemError);
}

TEST_F(FrameApi, HeadReadsNoMoreThanItNeeds) {
  std::string text = rows(1'000'000);
  text += "no number,1\n";
  const Frame frame = Frame::read_csv(write(text), {.chunk_rows = 1000});
  FrameProgress last;
  const FrameOptions options = {.on_progress = [&](const FrameProgress& progress) { last = progress; }};
  EXPECT_EQ(frame.head(10).compute(options)->num_rows(), 10);
  EXPECT_LT(last.bytes, last.total_bytes / 10);
  EXPECT_THROW((void)frame.compute(), FormatError);
}

TEST_F(FrameApi, WhatHeadDoesNotNeedMayBeBad) {
  Executor executor({.place = Place::threads, .threads = 4});
  const std::string text = rows(5'000) + "no number,1\n";
  const Frame frame = Frame::read_csv(write(text), {.chunk_rows = 3'000, .types = {{"a", "int64"}}});
  for (int i = 0; i < 30; ++i) EXPECT_EQ(frame.head(5).compute({.executor = &executor})->num_rows(), 5);
  for (int i = 0; i < 5; ++i) EXPECT_THROW((void)frame.compute({.executor = &executor}), FormatError);
}

TEST_F(FrameApi, OnlyTheColumnsThatAreNeededAreConverted) {
  std::string text = rows(200'000);
  text += "7,no number\n";
  const Frame frame = Frame::read_csv(write(text), {.chunk_rows = 1000});
  EXPECT_EQ(row_count(frame.select({"a"})), 200'001);
  EXPECT_THROW((void)frame.select({"b"}).compute(), FormatError);
}

TEST_F(FrameApi, ACommonInputIsReadOnceWhereAllOfItStaysInMemory) {
  const Frame frame = Frame::read_csv(write(rows(10'000)), {.chunk_rows = 100});
  const Frame both = frame.merge(frame.groupby({"a"}).agg({{"b", Aggregate::sum}}), {"a"}, How::left);
  FrameProgress last;
  const FrameOptions options = {.on_progress = [&](const FrameProgress& progress) { last = progress; }};
  EXPECT_EQ(both.compute(options)->num_rows(), 10'000);
  const auto size = fs::file_size(directory_ / "in.csv");
  EXPECT_EQ(last.total_bytes, size);
  both.write_csv(directory_ / "out.csv", options);
  EXPECT_EQ(last.total_bytes, 2 * size) << "chunks are not kept where they only go by";
  EXPECT_EQ(both.head(3).compute(options)->num_rows(), 3);
  EXPECT_EQ(last.total_bytes, 2 * size) << "nor for a head";
}

TEST_F(FrameApi, ChunksAreVisitedInTheOrderOfTheirRows) {
  const Frame frame = Frame::read_csv(write(rows(1000)), {.chunk_rows = 7}).select({"b", "a"});
  std::int64_t next = 0;
  const auto visit = [&](const arrow::RecordBatch& chunk) {
    ASSERT_EQ(chunk.schema()->field_names(), (std::vector<std::string>{"b", "a"}));
    const auto& numbers = static_cast<const arrow::Int64Array&>(*chunk.column(1));
    for (std::int64_t i = 0; i < numbers.length(); ++i) ASSERT_EQ(numbers.Value(i), next++);
  };
  frame.for_each_chunk(visit);
  EXPECT_EQ(next, 1000);
  int visits = 0;
  const auto throw_at_third = [&](const arrow::RecordBatch&) {
    if (++visits == 3) throw UsageError("enough");
  };
  expect_throw<UsageError>("enough", [&] { frame.for_each_chunk(throw_at_third); });
  EXPECT_EQ(visits, 3) << "nothing is visited after that";
}

TEST_F(FrameApi, AColumnOfOneChunkIsATensorWithoutACopy) {
  arrow::DoubleBuilder builder;
  ASSERT_TRUE(builder.AppendValues(std::vector<double>{1.5, 2.5, 3.5}).ok());
  const std::shared_ptr<arrow::Array> array = *builder.Finish();
  auto table = arrow::Table::Make(arrow::schema({arrow::field("x", arrow::float64())}), {array});
  const at::Tensor tensor = Frame::from_table(table).to_tensor("x");
  EXPECT_EQ(tensor.const_data_ptr(), array->data()->buffers[1]->data());
  EXPECT_EQ(tensor.scalar_type(), c10::ScalarType::Double);
  table.reset();
  EXPECT_EQ(tensor.numel(), 3) << "the tensor keeps the memory";
  EXPECT_EQ(tensor.const_data_ptr<double>()[2], 3.5);
}

TEST_F(FrameApi, ColumnsBecomeAMatrix) {
  const Frame frame = Frame::read_csv(write(rows(1000)), {.chunk_rows = 7});
  const at::Tensor matrix = frame.to_tensor(std::vector<std::string>{"b", "a"});
  ASSERT_EQ(matrix.sizes(), (c10::IntArrayRef{1000, 2}));
  const float* const numbers = matrix.const_data_ptr<float>();
  for (int row = 0; row < 1000; ++row) {
    ASSERT_EQ(numbers[2 * row], static_cast<float>(row) + 0.5F);
    ASSERT_EQ(numbers[2 * row + 1], static_cast<float>(row));
  }
}

TEST_F(FrameApi, ColumnsAreWrittenIntoAnArena) {
  const Frame frame = Frame::read_csv(write(rows(100)));
  const std::vector<TensorSpec> specs = {{.name = "x", .dtype = c10::ScalarType::Float, .shape = {100, 2}}};
  const Arena arena = Arena::create("rows", specs);
  frame.write_tensor({"a", "b"}, arena.tensor("x"));
  EXPECT_EQ(arena.tensor("x").const_data_ptr<float>()[2 * 99 + 1], 99.5F);
  expect_throw<UsageError>("float32 of shape [100, 1]", [&] { frame.write_tensor({"a"}, arena.tensor("x")); });
  expect_throw<UsageError>("float32 of shape [7, 2]",
                           [&] { frame.head(7).write_tensor({"a", "b"}, arena.tensor("x")); });
  const Frame more = Frame::read_csv(write(rows(101)), {.chunk_rows = 10});
  expect_throw<UsageError>("float32 of shape [101, 2]", [&] { more.write_tensor({"a", "b"}, arena.tensor("x")); });
}

TEST_F(FrameApi, WhatIsNoTensorIsRefused) {
  const Frame frame = Frame::read_csv(write("a,s,n\n1,x,\n2,y,3\n"));
  expect_throw<UsageError>("'s' cannot be a tensor: it is string", [&] { (void)frame.to_tensor("s"); });
  expect_throw<UsageError>("'n' has no value in row 1", [&] { (void)frame.to_tensor("n"); });
  EXPECT_EQ(frame.filter(!col("n").is_null()).to_tensor("n").numel(), 1);
  const Frame unsigned_short = Frame::read_csv(write("a\n1\n"), {.types = {{"a", "uint16"}}});
  expect_throw<UsageError>("'a' cannot be a tensor: it is uint16", [&] { (void)unsigned_short.to_tensor("a"); });
  const Frame late = Frame::read_csv(write(rows(500) + ",1\n"), {.chunk_rows = 7});
  expect_throw<UsageError>("'a' has no value in row 501", [&] { (void)late.to_tensor("a"); });
  expect_throw<UsageError>("'a' has no value in row 501",
                           [&] { (void)late.to_tensor(std::vector<std::string>{"b", "a"}); });
}

TEST_F(FrameApi, NoDamagedByteOfAnIpcFileKillsTheProcess) {
  arrow::Int64Builder numbers;
  arrow::StringBuilder texts;
  arrow::ListBuilder lists(arrow::default_memory_pool(), std::make_shared<arrow::Int64Builder>());
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(numbers.Append(i).ok() && texts.Append(std::to_string(i)).ok() && lists.Append().ok());
    auto& inner = static_cast<arrow::Int64Builder&>(*lists.value_builder());
    ASSERT_TRUE(i % 3 == 0 || inner.Append(i).ok());
  }
  const arrow::ArrayVector columns = {*numbers.Finish(), *texts.Finish(), *lists.Finish()};
  arrow::FieldVector fields;
  for (const auto& column : columns) fields.push_back(arrow::field(fmt::format("c{}", fields.size()), column->type()));
  const auto batch = arrow::RecordBatch::Make(arrow::schema(fields), 40, columns);
  const auto stream = *arrow::io::BufferOutputStream::Create();
  const auto writer = *arrow::ipc::MakeFileWriter(stream, batch->schema());
  ASSERT_TRUE(writer->WriteRecordBatch(*batch).ok() && writer->Close().ok());
  const std::string whole = (*stream->Finish())->ToString();
  const std::string file = directory_ / "in.arrow";
  int refused = 0;
  for (std::size_t place = 0; place < whole.size(); ++place) {
    std::string bad = whole;
    bad[place] = static_cast<char>(bad[place] ^ (1 << place % 8));
    std::ofstream(file, std::ios::binary) << bad;
    try {
      Frame::read_ipc(file).write_parquet(directory_ / "out.parquet");
    } catch (const Error&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, static_cast<int>(whole.size() / 5));
}

TEST_F(FrameApi, ExpressionsAreCheckedWhenTheyAreNoted) {
  const Frame frame = Frame::read_csv(write(rows(10)));
  expect_throw<UsageError>("there is no column 'x'", [&] { (void)frame.filter(col("x") > 1); });
  expect_throw<UsageError>("a filter is a condition", [&] { (void)frame.filter(col("a") + 1); });
  EXPECT_THROW((void)frame.with_column("c", col("a") + "text"), UsageError);
  EXPECT_THROW((void)frame.with_column("c", Expr::call("no_such_function", {col("a")})), UsageError);
  EXPECT_EQ(row_count(frame.filter((col("a") >= 2 && col("b") < 7.0) || col("a") == 9)), 6);
  const auto made = frame.with_column("c", (col("a") * 2 - 1).cast("double") / 4).compute();
  EXPECT_EQ(static_cast<const arrow::DoubleArray&>(*made->GetColumnByName("c")->chunk(0)).Value(3), 1.25);
  EXPECT_EQ(row_count(frame.filter(true)), 10);
  EXPECT_EQ(row_count(frame.filter(false)), 0);
}

TEST_F(FrameApi, AnOverflowIsAnError) {
  const Frame frame = Frame::read_csv(write("a\n9223372036854775807\n"));
  EXPECT_THROW((void)frame.with_column("b", col("a") + 1).compute(), UsageError);
}

TEST_F(FrameApi, AProgressThatThrowsEndsTheComputationAndLeavesNoFile) {
  const Frame frame = Frame::read_csv(write(rows(10'000)), {.chunk_rows = 10});
  const FrameOptions options = {.on_progress = [](const FrameProgress&) { throw Error("enough"); }};
  for (const char* name : {"out.csv", "out.parquet"}) {
    const auto write_it = [&] {
      std::string(name).ends_with(".csv") ? frame.write_csv(directory_ / name, options)
                                          : frame.write_parquet(directory_ / name, options);
    };
    expect_throw<Error>("enough", write_it);
  }
  EXPECT_EQ(std::distance(fs::directory_iterator(directory_), fs::directory_iterator()), 1) << "in.csv alone";
}

}  // namespace
}  // namespace hogpen

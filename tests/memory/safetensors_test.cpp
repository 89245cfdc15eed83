#include "runtime/memory/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/memory/name_index.h"

namespace hogpen {
namespace {

using c10::ScalarType;

std::string with_length(const std::string& json, std::size_t data_bytes = 0) {
  const std::uint64_t length = json.size();
  std::string file(sizeof(length), '\0');
  std::memcpy(file.data(), &length, sizeof(length));
  return file + json + std::string(data_bytes, '\0');
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), "file.safetensors");
}

// A header of one tensor "a" with the given fields, and the data it says.
std::string one_tensor(const std::string& fields, std::size_t data_bytes) {
  return with_length("{\"a\":{" + fields + "}}", data_bytes);
}

/// What `parse` says of a malformed file.
struct Trouble {
  std::string where;
  std::string what;
};

Trouble trouble_of(const std::string& file) {
  try {
    (void)parse(file);
  } catch (const FormatError& error) {
    EXPECT_EQ(error.file(), "file.safetensors");
    return {error.where(), error.what()};
  }
  return {"none", "none"};
}

TEST(TensorSpec, CountsElementsAndBytes) {
  EXPECT_EQ((TensorSpec{"a", ScalarType::Float, {128, 784}}.numel()), 128 * 784);
  EXPECT_EQ((TensorSpec{"a", ScalarType::BFloat16, {3, 5}}.size_bytes()), 30);
  EXPECT_EQ((TensorSpec{"a", ScalarType::Double, {}}.size_bytes()), 8);
  EXPECT_EQ((TensorSpec{"a", ScalarType::Float, {7, 0}}.size_bytes()), 0);
}

TEST(SafetensorsParse, ReadsWhatTheFormatsDescriptionShows) {
  const std::string json = R"({"__metadata__":{"format":"pt"},"b":{"shape":[2,3],"data_offsets":[8,20],"dtype":"F16"},)"
                           R"("a" : { "dtype" : "I64" , "shape" : [ ] , "data_offsets" : [ 0 , 8 ] }}   )";
  const SafetensorsHeader header = parse(with_length(json, 20));
  EXPECT_EQ(header.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
  EXPECT_EQ(header.data_begin, 8 + json.size());
  EXPECT_EQ(header.data_bytes, 20);
  ASSERT_EQ(header.entries.size(), 2);
  EXPECT_EQ(header.entries[0].spec, (TensorSpec{"a", ScalarType::Long, {}}));
  EXPECT_EQ(header.entries[1].spec, (TensorSpec{"b", ScalarType::Half, {2, 3}}));
  EXPECT_EQ(header.entries[1].begin, 8);
  EXPECT_EQ(header.entries[1].end, 20);
}

TEST(SafetensorsParse, AcceptsAFileWithoutTensors) {
  EXPECT_TRUE(parse(with_length("{}")).entries.empty());
  EXPECT_TRUE(parse(with_length(R"({"__metadata__":{}})")).entries.empty());
}

TEST(SafetensorsParse, KnowsEveryDtype) {
  const std::vector<std::tuple<std::string, ScalarType, std::size_t>> dtypes = {
      {"F64", ScalarType::Double, 8},
      {"F32", ScalarType::Float, 4},
      {"F16", ScalarType::Half, 2},
      {"BF16", ScalarType::BFloat16, 2},
      {"I64", ScalarType::Long, 8},
      {"I32", ScalarType::Int, 4},
      {"I16", ScalarType::Short, 2},
      {"I8", ScalarType::Char, 1},
      {"U8", ScalarType::Byte, 1},
      {"BOOL", ScalarType::Bool, 1},
      {"F8_E5M2", ScalarType::Float8_e5m2, 1},
      {"F8_E4M3", ScalarType::Float8_e4m3fn, 1}};
  for (const auto& [name, dtype, size] : dtypes) {
    const std::string fields = fmt::format(R"("dtype":"{}","shape":[3],"data_offsets":[0,{}])", name, 3 * size);
    EXPECT_EQ(parse(one_tensor(fields, 3 * size)).entries.at(0).spec.dtype, dtype) << name;
    EXPECT_EQ(safetensors_item_bytes(dtype), size) << name;
  }
  EXPECT_EQ(safetensors_item_bytes(ScalarType::ComplexFloat), 0);
}

TEST(SafetensorsParse, AcceptsEmptyTensorsBetweenOthers) {
  const std::string json = R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},)"
                           R"("c":{"dtype":"U8","shape":[1],"data_offsets":[4,5]},)"
                           R"("b":{"dtype":"F32","shape":[0,9],"data_offsets":[4,4]}})";
  const SafetensorsHeader header = parse(with_length(json, 5));
  ASSERT_EQ(header.entries.size(), 3);
  EXPECT_EQ(header.entries[1].spec.name, "b");
}

TEST(SafetensorsParse, DecodesEscapesAndUtf8InNames) {
  const std::string json =
      R"({"a\"b\\c\u00e9\ud83d\udc16":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"größe":{"dtype":"U8","shape":[0],)"
      R"("data_offsets":[0,0]}})";
  const SafetensorsHeader header = parse(with_length(json));
  ASSERT_EQ(header.entries.size(), 2);
  EXPECT_EQ(header.entries[0].spec.name, "a\"b\\c\u00e9\U0001F416");
  EXPECT_EQ(header.entries[1].spec.name, "größe");
}

TEST(SafetensorsParse, RefusesAFileShorterThanItsLength) {
  for (const std::size_t size : {0U, 1U, 7U}) EXPECT_EQ(trouble_of(std::string(size, 'x')).where, "byte 0") << size;
}

TEST(SafetensorsParse, RefusesEveryTruncation) {
  const std::string file = one_tensor(R"("dtype":"F32","shape":[2,2],"data_offsets":[0,16])", 16);
  ASSERT_NO_THROW((void)parse(file));
  for (std::size_t size = 0; size < file.size(); ++size) {
    EXPECT_NE(trouble_of(file.substr(0, size)).where, "none") << "cut at byte " << size;
  }
}

TEST(SafetensorsParse, RefusesAHeaderBeyondTheFileBeforeReadingIt) {
  std::string file = with_length("{}");
  for (const std::uint64_t length : {3ULL, 1ULL << 20, 100'000'001ULL, ~0ULL, ~0ULL - 7}) {
    std::memcpy(file.data(), &length, sizeof(length));
    EXPECT_EQ(trouble_of(file).where, "byte 0") << length;
  }
}

TEST(SafetensorsParse, RefusesAHeaderLongerThanTheFormatAllowsAlsoInALongFile) {
  const std::string json = "{}" + std::string(kMaxSafetensorsHeaderBytes - 2, ' ');
  EXPECT_NO_THROW((void)parse(with_length(json)));
  EXPECT_EQ(trouble_of(with_length(json + ' ')).where, "byte 0");
}

TEST(SafetensorsParse, RefusesAHeaderThatDoesNotBeginWithABrace) {
  for (const char* json : {"", " {}", "[]", "\xef\xbb\xbf{}", "null"}) {
    EXPECT_EQ(trouble_of(with_length(json)).where, "byte 8") << json;
  }
}

TEST(SafetensorsParse, NamesTheByteOfASyntaxError) {
  const std::vector<std::pair<std::string, std::size_t>> cases = {
      {R"({"a"})", 12},
      {R"({"a":1})", 13},
      {R"({,})", 9},
      {R"({"a)", 9},
      {R"({}x)", 10},
      {R"({} {})", 11},
      {"{'a':1}", 9},
      {R"({"a":{},})", 9},
      {R"({"\u12":{}})", 9},
      {"{\"\xff\":{}}", 9},
      {"{\"\n\":{}}", 9},
      {"{\"a\\", 9},
      {R"({"__metadata__":{"k":1}})", 29},
  };
  for (const auto& [json, byte] : cases) {
    EXPECT_EQ(trouble_of(with_length(json)).where, fmt::format("byte {}", byte)) << json;
  }
}

TEST(SafetensorsParse, RefusesFieldsThatAreWrong) {
  const std::string good = R"("dtype":"U8","shape":[4],"data_offsets":[0,4])";
  ASSERT_NO_THROW((void)parse(one_tensor(good, 4)));
  for (const char* fields : {
           R"("dtype":"U8","shape":[4])",
           R"("dtype":"U8","data_offsets":[0,4])",
           R"("shape":[4],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[4],"data_offsets":[0,4],"shape":[4])",
           R"("dtype":"U8","shape":[4],"data_offsets":[0,4],"more":1)",
           R"("dtype":"u8","shape":[4],"data_offsets":[0,4])",
           R"("dtype":"C64","shape":[4],"data_offsets":[0,4])",
           R"("dtype":8,"shape":[4],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":4,"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[-4],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[4.0],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[04],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[4,],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":["4"],"data_offsets":[0,4])",
           R"("dtype":"U8","shape":[4],"data_offsets":[0])",
           R"("dtype":"U8","shape":[4],"data_offsets":[0,4,4])",
           R"("dtype":"U8","shape":[4],"data_offsets":[4,0])",
           R"("dtype":"U8","shape":[3],"data_offsets":[0,4])",
           R"("dtype":"F32","shape":[4],"data_offsets":[0,4])",
       }) {
    EXPECT_NE(trouble_of(one_tensor(fields, 4)).where, "none") << fields;
  }
}

TEST(SafetensorsParse, RefusesNumbersThatOverflow) {
  for (const char* fields : {
           R"("dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,0])",
           R"("dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,0])",
           R"("dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0])",
           R"("dtype":"U8","shape":[4294967296,4294967296,0],"data_offsets":[0,0])",
           R"("dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0])",
           R"("dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0])",
           R"("dtype":"U8","shape":[0],"data_offsets":[18446744073709551616,18446744073709551616])",
       }) {
    EXPECT_NE(trouble_of(one_tensor(fields, 0)).where, "none") << fields;
  }
}

std::string two_tensors(int a_begin, int a_end, int b_begin, int b_end, std::size_t data_bytes) {
  return with_length(fmt::format(R"({{"a":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}},)"
                                 R"("b":{{"dtype":"U8","shape":[{}],"data_offsets":[{},{}]}}}})",
                                 a_end - a_begin, a_begin, a_end, b_end - b_begin, b_begin, b_end),
                     data_bytes);
}

TEST(SafetensorsParse, RefusesHolesOverlapsAndDataThatIsNobodys) {
  ASSERT_NO_THROW((void)parse(two_tensors(0, 4, 4, 8, 8)));
  EXPECT_NE(trouble_of(two_tensors(1, 4, 4, 8, 8)).where, "none") << "a hole at the beginning";
  EXPECT_NE(trouble_of(two_tensors(0, 4, 5, 8, 8)).where, "none") << "a hole";
  EXPECT_NE(trouble_of(two_tensors(0, 4, 3, 8, 8)).where, "none") << "an overlap";
  EXPECT_NE(trouble_of(two_tensors(0, 8, 2, 6, 8)).where, "none") << "one within another";
  EXPECT_NE(trouble_of(two_tensors(0, 8, 0, 8, 8)).where, "none") << "twice the same place";
  EXPECT_NE(trouble_of(two_tensors(0, 4, 4, 8, 9)).where, "none") << "a byte too many";
  EXPECT_NE(trouble_of(two_tensors(0, 4, 4, 8, 7)).where, "none") << "a byte too few";
}

TEST(SafetensorsParse, NamesTheTensorAndTheByteOfAHole) {
  const std::string file = two_tensors(0, 4, 5, 8, 8);
  const Trouble trouble = trouble_of(file);
  EXPECT_EQ(trouble.where, fmt::format("byte {}", file.size() - 8 + 4));
  EXPECT_NE(trouble.what.find("tensor b"), std::string::npos) << trouble.what;
}

TEST(SafetensorsParse, RefusesANameGivenTwice) {
  const std::string json = R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                           R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})";
  EXPECT_NE(trouble_of(with_length(json, 2)).what.find("the name a"), std::string::npos);
  EXPECT_NE(trouble_of(with_length(R"({"__metadata__":{"k":"1","k":"2"}})")).where, "none");
}

const std::vector<TensorSpec> kMlp = {{"0.weight", ScalarType::Float, {128, 784}},
                                      {"0.bias", ScalarType::Float, {128}},
                                      {"2.weight", ScalarType::Float, {10, 128}},
                                      {"2.bias", ScalarType::Float, {10}}};

TEST(LayOut, NeedsNoFillerForAnOrdinaryModel) {
  const SafetensorsHeader header = lay_out(kMlp);
  ASSERT_EQ(header.entries.size(), kMlp.size());
  EXPECT_EQ(header.data_bytes, (128 * 784 + 128 + 10 * 128 + 10) * 4);
}

TEST(LayOut, AlignsEveryTensorWithoutHoles) {
  const std::vector<TensorSpec> specs = {{"flag", ScalarType::Bool, {}},  {"big", ScalarType::Float, {64}},
                                         {"odd", ScalarType::Char, {65}}, {"empty", ScalarType::Float, {0}},
                                         {"step", ScalarType::Long, {}},  {"half", ScalarType::Half, {32}}};
  const SafetensorsHeader header = lay_out(specs);
  std::size_t end = 0;
  std::size_t tensors = 0;
  for (const TensorEntry& entry : header.entries) {
    EXPECT_EQ(entry.begin, end) << entry.spec.name;
    end = entry.end;
    if (is_padding(entry)) continue;
    ++tensors;
    EXPECT_EQ(entry.begin % 64, 0) << entry.spec.name;
    EXPECT_EQ(entry.end - entry.begin, entry.spec.size_bytes());
  }
  EXPECT_EQ(end, header.data_bytes);
  EXPECT_EQ(tensors, specs.size());
  EXPECT_EQ(header.entries[0].spec.name, "big");
  EXPECT_EQ(header.entries[1].spec.name, "empty");
  EXPECT_EQ(header.entries[2].spec.name, "half");
}

TEST(LayOut, TakesNoTensorAtAll) {
  const SafetensorsHeader header = lay_out({});
  EXPECT_TRUE(header.entries.empty());
  EXPECT_EQ(header.data_bytes, 0);
}

TEST(LayOut, RefusesNamesThatAreReservedOrGivenTwice) {
  const auto named = [](const char* name) { return TensorSpec{name, ScalarType::Float, {1}}; };
  for (const char* name : {"__metadata__", "__pad__", "__pad__.0"}) {
    EXPECT_THROW((void)lay_out(std::vector{named(name)}), UsageError) << name;
  }
  EXPECT_THROW((void)lay_out(std::vector{named("a"), named("b"), named("a")}), UsageError);
}

TEST(LayOut, RefusesDtypesAndShapesThatNoFileCanHold) {
  const auto lay_out_one = [](TensorSpec spec) { (void)lay_out(std::vector{std::move(spec)}); };
  EXPECT_THROW(lay_out_one({"a", ScalarType::ComplexFloat, {1}}), UsageError);
  EXPECT_THROW(lay_out_one({"a", ScalarType::Float, {2, -1}}), UsageError);
  EXPECT_THROW(lay_out_one({"a", ScalarType::Float, {1LL << 40, 1LL << 40}}), UsageError);
  EXPECT_THROW(lay_out_one({"a", ScalarType::Float, {1LL << 40, 1LL << 40, 0}}), UsageError);
}

// The layout of a header must survive its way through the file.
void expect_round_trip(const std::vector<TensorSpec>& specs, const std::map<std::string, std::string>& metadata,
                       std::size_t alignment) {
  const SafetensorsHeader written = lay_out(specs, metadata);
  const std::string bytes = written.to_bytes(alignment);
  EXPECT_EQ(bytes.size() % alignment, 0);
  const SafetensorsHeader read = parse(bytes + std::string(written.data_bytes, '\0'));
  EXPECT_EQ(read.data_begin, bytes.size());
  EXPECT_EQ(read.data_bytes, written.data_bytes);
  EXPECT_EQ(read.metadata, metadata);
  ASSERT_EQ(read.entries.size(), written.entries.size());
  for (std::size_t i = 0; i < read.entries.size(); ++i) {
    EXPECT_EQ(read.entries[i].spec, written.entries[i].spec);
    EXPECT_EQ(read.entries[i].begin, written.entries[i].begin);
    EXPECT_EQ(read.entries[i].end, written.entries[i].end);
  }
}

TEST(ToBytes, IsReadBackAsItWas) {
  for (const std::size_t alignment : {1UL, 8UL, 64UL, 4096UL}) {
    expect_round_trip({}, {}, alignment);
    expect_round_trip(kMlp, {{"format", "pt"}}, alignment);
    expect_round_trip({{"q\"\\\n\x01é", ScalarType::Bool, {3}}, {"", ScalarType::Double, {}}}, {{"k\"", "v\\"}},
                      alignment);
  }
}

TEST(ToBytes, RefusesANameThatIsNotUtf8) {
  const SafetensorsHeader header = lay_out(std::vector{TensorSpec{"\xff\xfe", ScalarType::Float, {1}}});
  EXPECT_THROW((void)header.to_bytes(8), UsageError);
}

TEST(NameIndex, FindsAllNamesAndNoOther) {
  std::vector<TensorEntry> entries(1000);
  for (std::size_t i = 0; i < entries.size(); ++i) entries[i].spec.name = fmt::format("layers.{}.weight", i);
  const NameIndex index(entries);
  for (std::size_t i = 0; i < entries.size(); ++i) EXPECT_EQ(index.find(entries[i].spec.name), i);
  EXPECT_EQ(index.find("layers.1000.weight"), std::nullopt);
  EXPECT_EQ(index.find(""), std::nullopt);
  EXPECT_EQ(index.duplicate(), std::nullopt);
}

TEST(NameIndex, OfNothingFindsNothing) {
  EXPECT_EQ(NameIndex({}).find("a"), std::nullopt);
}

}  // namespace
}  // namespace hogpen

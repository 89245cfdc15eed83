#include "runtime/memory/npy.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "runtime/core/error.h"

namespace hogpen {
namespace {

using c10::ScalarType;

/// A file of that version whose header is `text`.
std::string file_of(const std::string& text, std::size_t data_bytes = 0, char major = 1) {
  std::string file = std::string("\x93NUMPY") + major + '\0';
  const auto length = static_cast<std::uint32_t>(text.size());
  for (int byte = 0; byte < (major == 1 ? 2 : 4); ++byte) file += static_cast<char>(length >> (8 * byte));
  return file + text + std::string(data_bytes, '\0');
}

std::string header_of(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }   \n";
}

NpyHeader parse(const std::string& file) {
  return parse_npy_header(std::as_bytes(std::span(file)), "x.npy");
}

struct Trouble {
  std::string where;
  std::string what;
  std::string hint;
};

Trouble trouble_of(const std::string& file) {
  try {
    (void)parse(file);
  } catch (const FormatError& error) {
    EXPECT_EQ(error.file(), "x.npy");
    return {error.where(), error.what(), error.hint()};
  }
  return {"none", "none", "none"};
}

TEST(NpyParse, ReadsWhatNumpyWrites) {
  const std::string text = header_of("'<f4'", "(3, 4)");
  const NpyHeader header = parse(file_of(text, 48));
  EXPECT_EQ(header.descr, "<f4");
  EXPECT_EQ(header.dtype, ScalarType::Float);
  EXPECT_EQ(header.shape, (std::vector<std::int64_t>{3, 4}));
  EXPECT_FALSE(header.fortran_order);
  EXPECT_EQ(header.data_begin, 10 + text.size());
  EXPECT_EQ(header.numel(), 12);
}

TEST(NpyParse, ReadsEachVersion) {
  for (const char major : {'\1', '\2', '\3'}) {
    EXPECT_EQ(parse(file_of(header_of("'<f8'", "(2,)"), 16, major)).numel(), 2) << int{major};
  }
}

TEST(NpyParse, ReadsEachDtypeThatItKnows) {
  const std::vector<std::pair<std::string, ScalarType>> known = {
      {"<f2", ScalarType::Half},  {"<f4", ScalarType::Float},  {"=f4", ScalarType::Float}, {"|f4", ScalarType::Float},
      {"f4", ScalarType::Float},  {"<f8", ScalarType::Double}, {"<i8", ScalarType::Long},  {"<i4", ScalarType::Int},
      {"<i2", ScalarType::Short}, {"|i1", ScalarType::Char},   {"|u1", ScalarType::Byte},  {"|b1", ScalarType::Bool}};
  for (const auto& [descr, dtype] : known) {
    const std::string text = header_of("'" + descr + "'", "(5,)");
    EXPECT_EQ(parse(file_of(text, 5 * c10::elementSize(dtype))).dtype, dtype) << descr;
  }
}

TEST(NpyParse, ReadsShapesOfAnyDimension) {
  EXPECT_EQ(parse(file_of(header_of("'<f4'", "()"), 4)).numel(), 1);
  EXPECT_EQ(parse(file_of(header_of("'<f4'", "(0,)"))).numel(), 0);
  EXPECT_EQ(parse(file_of(header_of("'<f4'", "(7, 0, 3)"))).numel(), 0);
  EXPECT_EQ(parse(file_of(header_of("'<f4'", "(2L, 1L)"), 8)).numel(), 2);
  EXPECT_EQ(parse(file_of(header_of("'<f4'", "(1, 2, 3)"), 24)).shape, (std::vector<std::int64_t>{1, 2, 3}));
}

TEST(NpyParse, TakesKeysInAnyOrderWithEitherQuotes) {
  const NpyHeader header = parse(file_of("{\"shape\":(2,),'fortran_order':True,\"descr\":\"<f4\"}", 8));
  EXPECT_TRUE(header.fortran_order);
  EXPECT_EQ(header.shape, std::vector<std::int64_t>{2});
}

TEST(NpyParse, RefusesOtherDtypesByTheirNameWithARemedy) {
  for (const std::string descr : {">f4", "<c8", "|O", "<U3", "|V2", "<f16", "<M8[ns]", "", "<"}) {
    const Trouble trouble = trouble_of(file_of(header_of("'" + descr + "'", "(1,)"), 4));
    EXPECT_NE(trouble.what.find("'" + descr + "'"), std::string::npos) << trouble.what;
    EXPECT_NE(trouble.hint.find("astype"), std::string::npos) << descr;
  }
  EXPECT_NE(trouble_of(file_of(header_of("'>f4'", "(1,)"), 4)).what.find("big-endian"), std::string::npos);
  EXPECT_NE(trouble_of(file_of(header_of("[('a', '<f4')]", "(1,)"), 4)).what.find("structured"), std::string::npos);
}

TEST(NpyParse, RefusesWhatIsCutOffAtEachByte) {
  const std::string whole = file_of(header_of("'<f4'", "(3, 4)"), 48);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_NE(trouble_of(whole.substr(0, size)).where, "none") << size;
  }
  EXPECT_EQ(trouble_of(whole).where, "none");
  EXPECT_NE(trouble_of(whole + '\0').where, "none");
}

TEST(NpyParse, ComparesTheShapeWithTheFilesSize) {
  const Trouble trouble = trouble_of(file_of(header_of("'<f4'", "(3, 4)"), 40));
  EXPECT_NE(trouble.what.find("'<f4' of shape (3, 4) must have 48 bytes of data, but the file has 40"),
            std::string::npos)
      << trouble.what;
}

TEST(NpyParse, RefusesShapesThatOverflow) {
  for (const std::string shape : {"(4611686018427387904,)", "(9223372036854775807, 9223372036854775807)",
                                  "(4294967296, 4294967296)", "(0, 9223372036854775807, 3)"}) {
    EXPECT_NE(trouble_of(file_of(header_of("'<f4'", shape), 4)).what.find("must have more than 2^63"),
              std::string::npos)
        << shape;
  }
  for (const std::string shape :
       {"(9223372036854775808,)", "(-1,)", "(1.5,)", "(x,)", "(1", "(1)", "(01,)", "(,)", "1,"}) {
    EXPECT_NE(trouble_of(file_of(header_of("'<f4'", shape), 4)).where, "none") << shape;
  }
}

TEST(NpyParse, TakesAsManyDimensionsAsNumpy) {
  std::string shape;
  for (int i = 0; i < 64; ++i) shape += "1, ";
  EXPECT_EQ(parse(file_of(header_of("'<f4'", "(" + shape + ")"), 4)).shape.size(), 64);
  EXPECT_NE(trouble_of(file_of(header_of("'<f4'", "(" + shape + "1)"), 4)).what.find("at most 64"), std::string::npos);
}

TEST(NpyParse, RefusesHeadersOfOtherForms) {
  const std::vector<std::string> headers = {
      "",
      "{",
      "{}",
      "[]",
      "{'descr': '<f4'}",
      "{'descr': '<f4', 'fortran_order': False}",
      "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': 1}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)",
      "{'descr': '<f4, 'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
      "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
      "{'descr' '<f4', 'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<f4' 'fortran_order': False, 'shape': (1,)}",
      "{descr: '<f4', 'fortran_order': False, 'shape': (1,)}",
      "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} more",
  };
  for (const std::string& header : headers) EXPECT_NE(trouble_of(file_of(header, 4)).where, "none") << header;
}

TEST(NpyParse, RefusesOtherVersionsAndOtherFiles) {
  EXPECT_NE(trouble_of(file_of(header_of("'<f4'", "(1,)"), 4, 4)).what.find("but is 4.0"), std::string::npos);
  EXPECT_NE(trouble_of("PK\x03\x04 an npz file").what.find("NUMPY"), std::string::npos);
  EXPECT_FALSE(is_npy({}));
}

}  // namespace
}  // namespace hogpen

#include "runtime/channel/codec.h"

#include <gtest/gtest.h>

namespace hogpen {
namespace {

template <class T>
Encoder encoded(const T& value) {
  Encoder encoder;
  encoder.value<T>(value);
  return encoder;
}

template <class T>
T there_and_back(const T& value) {
  const Encoder encoder = encoded(value);
  Decoder decoder{encoder.bytes};
  T back = decoder.value<T>();
  EXPECT_TRUE(decoder.bytes.empty());
  return back;
}

struct Point {
  int x;
  double y;
  friend bool operator==(const Point&, const Point&) = default;
};

struct NoDefault {
  explicit NoDefault(int number) : value(number) {}
  int value;
  friend bool operator==(const NoDefault&, const NoDefault&) = default;
};

// A type of the user's own: one byte on the wire.
struct Named {
  std::string name;
  friend bool operator==(const Named&, const Named&) = default;
};

}  // namespace

template <>
struct Codec<Named> {
  static void encode(Encoder& to, const Named& named) { to.value<char>(named.name.at(0)); }
  static Named decode(Decoder& from) { return {std::string(1, from.value<char>())}; }
};

namespace {

TEST(Codec, KeepsPlainBytes) {
  EXPECT_EQ(there_and_back(42), 42);
  EXPECT_EQ(there_and_back(Point{1, 2.5}), (Point{1, 2.5}));
  EXPECT_EQ(there_and_back(NoDefault(7)), NoDefault(7));
}

TEST(Codec, KeepsStringsOfAnyBytes) {
  EXPECT_EQ(there_and_back(std::string()), "");
  EXPECT_EQ(there_and_back(std::string("a\0b", 3)), std::string("a\0b", 3));
}

TEST(Codec, KeepsVectorsWhateverTheyHold) {
  EXPECT_EQ(there_and_back(std::vector<int>{}), std::vector<int>{});
  EXPECT_EQ(there_and_back(std::vector<double>{1, 2, 3}), (std::vector<double>{1, 2, 3}));
  EXPECT_EQ(there_and_back(std::vector<bool>{true, false, true}), (std::vector<bool>{true, false, true}));
  EXPECT_EQ(there_and_back(std::vector<std::string>{"a", ""}), (std::vector<std::string>{"a", ""}));
  EXPECT_EQ(there_and_back(std::vector<NoDefault>{NoDefault(1)}), std::vector<NoDefault>{NoDefault(1)});
}

TEST(Codec, KeepsPairsTuplesAndOptionalsOfThem) {
  using Row = std::tuple<int, std::string, std::pair<double, std::vector<std::string>>>;
  const Row row{1, "two", {3.0, {"four", "five"}}};
  EXPECT_EQ(there_and_back(row), row);
  EXPECT_EQ(there_and_back(std::optional<Row>(row)), row);
  EXPECT_EQ(there_and_back(std::optional<Row>()), std::nullopt);
  EXPECT_EQ(there_and_back(std::optional<int>(3)), 3);
}

TEST(Codec, UsesWhatTheUserSpecialisedAlsoInsideOthers) {
  const std::vector<Named> names{{"a"}, {"b"}};
  EXPECT_EQ(encoded(names).bytes.size(), 8 + 2);
  EXPECT_EQ(there_and_back(names), names);
}

TEST(Codec, RefusesEveryTruncatedMessage) {
  using Row = std::tuple<std::vector<int>, std::string, std::vector<std::string>>;
  const Encoder whole = encoded(Row{{1, 2}, "three", {"four"}});
  for (std::size_t size = 0; size < whole.bytes.size(); ++size) {
    Decoder decoder{std::span(whole.bytes).first(size)};
    EXPECT_THROW((void)decoder.value<Row>(), Error) << size;
  }
}

TEST(Codec, RefusesALengthThatNoMemoryCouldHold) {
  const Encoder lie = encoded(~std::uint64_t{0} / 2);
  EXPECT_THROW((void)Decoder{lie.bytes}.value<std::vector<int>>(), Error);
  EXPECT_THROW((void)Decoder{lie.bytes}.value<std::vector<std::string>>(), Error);
  EXPECT_THROW((void)Decoder{lie.bytes}.value<std::string>(), Error);
}

}  // namespace
}  // namespace hogpen

#include "runtime/core/text.h"

#include <gtest/gtest.h>

namespace hogpen {
namespace {

TEST(Shown, LeavesWhatCanBeRead) {
  EXPECT_EQ(shown(""), "");
  EXPECT_EQ(shown("price in €, naïve 🐗"), "price in €, naïve 🐗");
}

TEST(Shown, EscapesWhatSteersATerminalAndWhatIsNoText) {
  EXPECT_EQ(shown("\x1b[2J\n\x7f"), "\\x1b[2J\\x0a\\x7f");
  EXPECT_EQ(shown("\xC2\x9B"), "\\xc2\\x9b") << "CSI in one character";
  EXPECT_EQ(shown("na\xEFve \xE2\x82"), "na\\xefve \\xe2\\x82") << "Latin-1, and a character that is cut off";
}

TEST(Shown, CutsALongTextBetweenCharacters) {
  const std::string forty(40, 'x');
  EXPECT_EQ(shown(forty), forty);
  EXPECT_EQ(shown(forty + "y"), forty + "…");
  EXPECT_EQ(shown(std::string(39, 'x') + "é"), std::string(39, 'x') + "…");
  EXPECT_EQ(shown(std::string(1000, '\0')).size(), 40 * 4 + 3);
}

TEST(Listed, NamesEightAtMost) {
  EXPECT_EQ(listed({}), "");
  EXPECT_EQ(listed({"a", "b\n"}), "a, b\\x0a");
  EXPECT_EQ(listed(std::vector<std::string>(8, "a")), "a, a, a, a, a, a, a, a");
  EXPECT_EQ(listed(std::vector<std::string>(10, "a")), "a, a, a, a, a, a, a, a and 2 more");
}

}  // namespace
}  // namespace hogpen

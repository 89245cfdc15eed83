#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace hogpen {

/// Expects an Exception whose text contains `part`.
template <class Exception>
void expect_throw(const std::string& part, const std::function<void()>& action) {
  try {
    action();
    FAIL() << "nothing was thrown about: " << part;
  } catch (const Exception& error) {
    EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
  }
}

}  // namespace hogpen

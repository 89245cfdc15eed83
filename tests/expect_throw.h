#pragma once

#include <gtest/gtest.h>

#include <exception>
#include <functional>
#include <string>

namespace hogpen {

/// What the Exception says that `action` must throw.
template <class Exception = std::exception>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Exception& error) {
    return error.what();
  }
  ADD_FAILURE() << "must throw";
  return {};
}

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

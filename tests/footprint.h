#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <ostream>
#include <string>

#include "runtime/core/life.h"
#include "runtime/memory/shared_heap.h"

namespace hogpen {

/// What a test must leave as it found it: `const auto before = Footprint::now(); …; EXPECT_EQ(Footprint::now(),
/// before);`
struct Footprint {
  int descriptors = 0;
  int shared_mappings = 0;  ///< of memfds and of anonymous shared memory; malloc's own come and go as they like
  int children = 0;         ///< zombies too
  int names_in_dev_shm = 0;

  [[nodiscard]] static Footprint now() {
    const auto count = [](const char* directory) {
      const std::filesystem::directory_iterator entries(directory);
      return static_cast<int>(std::distance(begin(entries), end(entries)));
    };
    Footprint found{.descriptors = count("/proc/self/fd"), .names_in_dev_shm = count("/dev/shm")};
    std::ifstream mappings("/proc/self/maps");
    for (std::string line; std::getline(mappings, line);) {
      if (line.find("/memfd:") != std::string::npos || line.find("/dev/zero") != std::string::npos)
        ++found.shared_mappings;
    }
    for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream children(task.path() / "children");
      found.children += static_cast<int>(std::distance(std::istream_iterator<int>(children), {}));
    }
    return found;
  }

  friend bool operator==(const Footprint&, const Footprint&) = default;
  friend std::ostream& operator<<(std::ostream& out, const Footprint& footprint) {
    return out << footprint.descriptors << " descriptors, " << footprint.shared_mappings << " shared mappings, "
               << footprint.children << " children, " << footprint.names_in_dev_shm << " names in /dev/shm";
  }
};

/// A test after which descriptors, mappings, children and names in /dev/shm must be as they were before it.
template <class Base = testing::Test>
class LeavesNothing : public Base {
 protected:
  void SetUp() override {
    // A family, its Life and its heap are for good.
    (void)my_life();
    (void)SharedBlock::allocate(1);
    before_ = Footprint::now();
  }
  void TearDown() override { EXPECT_EQ(Footprint::now(), before_); }

 private:
  Footprint before_;
};

}  // namespace hogpen

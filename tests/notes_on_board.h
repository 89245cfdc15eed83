#pragma once

#include "runtime/memory/segment_board.h"

namespace hogpen {

/// How many descriptors wait on the family's board.
inline int notes_on_board() {
  int count = 0;
  clean_board([&](FileId) {
    ++count;
    return false;
  });
  return count;
}

}  // namespace hogpen

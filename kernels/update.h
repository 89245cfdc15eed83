#pragma once

#include <cstddef>

namespace hogpen::kernels {

/// How an update writes memory that other workers are writing too.
enum class Write {
  plain,   ///< ordinary stores: the one allowed data race of hogpen. A concurrent update may be lost.
  atomic,  ///< compare-and-swap for each element: no update is lost. Tens of times slower an element.
};

}  // namespace hogpen::kernels

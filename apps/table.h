#pragma once

#include "apps/data.h"

namespace hogpen {

/// Reads a table to train on. Throws: as `open_named_data`.
[[nodiscard]] NamedData open_table(const DataChoice& choice);

}  // namespace hogpen

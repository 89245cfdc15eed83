#include "apps/data.h"

#include <algorithm>

#include "apps/table.h"
#include "runtime/core/error.h"

namespace hogpen {

bool is_table(const std::string& name) {
  constexpr const char* kEnds[] = {".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", ".arrow", ".feather"};
  return std::ranges::any_of(kEnds, [&](const char* end) { return name.ends_with(end); });
}

NamedData open_named_data(const DataChoice& choice) {
  if (is_table(choice.name)) return open_table(choice);
  require(choice.label.empty() && choice.features.empty(), "--label and --features are for tables, but {} is none",
          choice.name);
  return {.data = open_dataset(choice.name), .record = ""};
}

}  // namespace hogpen

#include "apps/data.h"

#include "runtime/core/error.h"
#include "runtime/frame/table_file.h"

namespace hogpen {

bool is_table(const std::string& name) {
  return table_file_named(name).has_value();
}

NamedData open_named_data(const DataChoice& choice) {
  if (is_table(choice.name)) return open_table(choice);
  require(choice.label.empty() && choice.features.empty(), "--label and --features are for tables, but {} is none",
          choice.name);
  return {.data = open_dataset(choice.name), .record = ""};
}

}  // namespace hogpen

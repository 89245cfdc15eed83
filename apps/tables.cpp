#include "apps/data.h"
#include "models/table_dataset.h"

namespace hogpen {

NamedData open_table(const DataChoice& choice) {
  TableData table =
      read_table(choice.name, {.features = choice.features, .label = choice.label, .record = choice.record});
  return {.data = std::move(table.data), .record = std::move(table.record)};
}

}  // namespace hogpen

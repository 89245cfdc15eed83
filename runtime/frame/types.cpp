#include "runtime/frame/types.h"

#include <arrow/type.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "runtime/core/error.h"

namespace hogpen::detail {
namespace {

struct NamedType {
  const char* name;
  std::shared_ptr<arrow::DataType> type;
};

const std::vector<NamedType>& types() {
  static const std::vector<NamedType> all = {{"int64", arrow::int64()},
                                             {"float64", arrow::float64()},
                                             {"string", arrow::utf8()},
                                             {"bool", arrow::boolean()},
                                             {"date32", arrow::date32()},
                                             {"timestamp[s]", arrow::timestamp(arrow::TimeUnit::SECOND)},
                                             {"timestamp[ns]", arrow::timestamp(arrow::TimeUnit::NANO)},
                                             {"int8", arrow::int8()},
                                             {"int16", arrow::int16()},
                                             {"int32", arrow::int32()},
                                             {"uint8", arrow::uint8()},
                                             {"uint16", arrow::uint16()},
                                             {"uint32", arrow::uint32()},
                                             {"uint64", arrow::uint64()},
                                             {"float32", arrow::float32()},
                                             {"double", arrow::float64()},
                                             {"float", arrow::float32()}};
  return all;
}

}  // namespace

std::shared_ptr<arrow::DataType> type_named(const std::string& name) {
  const auto found = std::ranges::find_if(types(), [&](const NamedType& type) { return type.name == name; });
  if (found != types().end()) return found->type;
  std::vector<std::string> names;
  for (const NamedType& type : types()) names.emplace_back(type.name);
  throw UsageError(fmt::format("there is no type '{}'", name), fmt::format("{}", fmt::join(names, ", ")));
}

int index_of_column(const arrow::Schema& schema, const std::string& name) {
  const std::vector<int> found = schema.GetAllFieldIndices(name);
  if (found.size() == 1) return found[0];
  require(found.empty(), "there are {} columns named '{}'", found.size(), name);
  throw UsageError(fmt::format("there is no column '{}'", name),
                   fmt::format("the columns are {}", fmt::join(schema.field_names(), ", ")));
}

std::vector<int> indices_of_columns(const arrow::Schema& schema, const std::vector<std::string>& names) {
  std::vector<int> indices;
  for (const std::string& name : names) indices.push_back(index_of_column(schema, name));
  return indices;
}

void check_columns(const arrow::Schema& schema, const std::vector<std::string>& names) {
  (void)indices_of_columns(schema, names);
}

}  // namespace hogpen::detail

#pragma once

#include "runtime/frame/frame.h"
#include "runtime/frame/plan.h"

// The plans of Frame's operations.
namespace hogpen::detail {

[[nodiscard]] PlanPtr select_plan(PlanPtr input, const std::vector<std::string>& columns);
[[nodiscard]] PlanPtr filter_plan(PlanPtr input, const Expr& condition);
[[nodiscard]] PlanPtr column_plan(PlanPtr input, const std::string& name, const Expr& value);
[[nodiscard]] PlanPtr rename_plan(PlanPtr input, const std::map<std::string, std::string>& names);
[[nodiscard]] PlanPtr groups_plan(PlanPtr input, const std::vector<std::string>& keys,
                                  const std::vector<AggregateOf>& aggregates);
[[nodiscard]] PlanPtr merge_plan(PlanPtr left, PlanPtr right, const std::vector<std::string>& on, How how);
[[nodiscard]] PlanPtr sort_plan(PlanPtr input, const std::vector<SortKey>& keys);
[[nodiscard]] PlanPtr head_plan(PlanPtr input, std::int64_t rows);
[[nodiscard]] PlanPtr table_source(std::shared_ptr<arrow::Table> table);
[[nodiscard]] PlanPtr parquet_source(std::vector<std::filesystem::path> files);
[[nodiscard]] PlanPtr ipc_source(std::vector<std::filesystem::path> files);

}  // namespace hogpen::detail

// Operations on each chunk by itself.
#include <arrow/array.h>
#include <arrow/compute/api.h>
#include <arrow/compute/expression.h>
#include <arrow/record_batch.h>

#include <algorithm>
#include <utility>

#include "runtime/core/error.h"
#include "runtime/frame/arrow_error.h"
#include "runtime/frame/operations.h"
#include "runtime/frame/row_plan.h"
#include "runtime/frame/types.h"

namespace hogpen::detail {
namespace {

namespace cp = arrow::compute;

SchemaPtr chosen(const arrow::Schema& schema, const std::vector<std::string>& columns) {
  arrow::FieldVector fields;
  for (const std::string& name : columns) fields.push_back(schema.field(index_of_column(schema, name)));
  return arrow::schema(std::move(fields));
}

class SelectPlan final : public RowPlan {
 public:
  SelectPlan(PlanPtr input, const std::vector<std::string>& columns)
      : RowPlan(chosen(*input->schema(), columns), input) {}

 private:
  Columns columns_for(const Columns& needed) const override { return needed; }
  std::function<Batch(const Batch&)> changing(const Columns& needed) const override {
    return [schema = schema_of(*schema(), needed)](const Batch& batch) {
      arrow::ArrayVector arrays;
      for (const auto& field : schema->fields()) arrays.push_back(batch->GetColumnByName(field->name()));
      return arrow::RecordBatch::Make(schema, batch->num_rows(), std::move(arrays));
    };
  }
};

cp::Expression bound(const Expr& expression, const arrow::Schema& schema, const std::string& doing) {
  check_columns(schema, expression.columns());
  return arrow_ok(expression.arrow().Bind(schema), doing);
}

/// One value for each row, also where the expression is a constant.
arrow::Datum evaluate(const cp::Expression& expression, const Batch& batch) {
  const cp::Expression here = arrow_ok(expression.Bind(*batch->schema()));  // Its columns may be fewer.
  return arrow_ok(cp::ExecuteScalarExpression(here, *batch->schema(), arrow::Datum(batch)), expression.ToString());
}

class FilterPlan final : public RowPlan {
 public:
  FilterPlan(PlanPtr input, const Expr& condition) : RowPlan(input->schema(), input), condition_(condition) {
    const cp::Expression checked = bound(condition, *schema(), "filter");
    require(checked.type()->id() == arrow::Type::BOOL, "a filter is a condition, true or false, but {} is {}",
            checked.ToString(), checked.type()->ToString());
  }

 private:
  Columns columns_for(const Columns& needed) const override {
    Columns columns = needed;
    for (const std::string& name : condition_.columns()) columns.insert(name);
    return columns;
  }
  std::function<Batch(const Batch&)> changing(const Columns& /*needed*/) const override {
    return [condition = condition_](const Batch& batch) {
      const arrow::Datum keep = evaluate(condition.arrow(), batch);
      if (keep.is_scalar()) {
        const auto& all = keep.scalar_as<arrow::BooleanScalar>();
        return all.is_valid && all.value ? batch : batch->Slice(0, 0);
      }
      return arrow_ok(cp::Filter(arrow::Datum(batch), keep)).record_batch();
    };
  }

  Expr condition_;
};

class ColumnPlan final : public RowPlan {
 public:
  ColumnPlan(PlanPtr input, const std::string& name, const Expr& value)
      : RowPlan(with_field(*input->schema(),
                           arrow::field(name, bound(value, *input->schema(), "column " + name).type()->GetSharedPtr())),
                input),
        name_(name),
        value_(value) {}

 private:
  Columns columns_for(const Columns& needed) const override {
    if (!needed.contains(name_)) return needed;
    Columns columns = needed;
    columns.erase(name_);
    for (const std::string& name : value_.columns()) columns.insert(name);
    // A chunk without columns would not know how many rows it has.
    if (columns.empty()) columns.insert(input().schema()->field(0)->name());
    return columns;
  }
  std::function<Batch(const Batch&)> changing(const Columns& needed) const override {
    if (!needed.contains(name_)) return [](const Batch& batch) { return batch; };
    return [field = schema()->GetFieldByName(name_), value = value_](const Batch& batch) {
      const arrow::Datum made = evaluate(value.arrow(), batch);
      return with_array(batch, field,
                        made.is_scalar() ? arrow_ok(arrow::MakeArrayFromScalar(*made.scalar(), batch->num_rows()))
                                         : made.make_array());
    };
  }

  std::string name_;
  Expr value_;
};

class RenamePlan final : public RowPlan {
 public:
  RenamePlan(PlanPtr input, std::map<std::string, std::string> names)
      : RowPlan(renamed(*input->schema(), names), input), names_(std::move(names)) {}

 private:
  static std::string new_name(const std::map<std::string, std::string>& names, const std::string& old) {
    const auto found = names.find(old);
    return found == names.end() ? old : found->second;
  }
  static SchemaPtr renamed(const arrow::Schema& schema, const std::map<std::string, std::string>& names) {
    for (const auto& [from, to] : names) (void)index_of_column(schema, from);
    arrow::FieldVector fields;
    for (const auto& field : schema.fields()) fields.push_back(field->WithName(new_name(names, field->name())));
    const SchemaPtr made = arrow::schema(std::move(fields));
    check_columns(*made, made->field_names());  // no name twice
    return made;
  }

  Columns columns_for(const Columns& needed) const override {
    Columns columns;
    for (const auto& field : input().schema()->fields()) {
      if (needed.contains(new_name(names_, field->name()))) columns.insert(field->name());
    }
    return columns;
  }
  std::function<Batch(const Batch&)> changing(const Columns& /*needed*/) const override {
    return [names = names_](const Batch& batch) {
      std::vector<std::string> all;
      for (const auto& field : batch->schema()->fields()) all.push_back(new_name(names, field->name()));
      return arrow_ok(batch->RenameColumns(all));
    };
  }

  std::map<std::string, std::string> names_;
};

}  // namespace

SchemaPtr with_field(const arrow::Schema& schema, const std::shared_ptr<arrow::Field>& field) {
  const int i = schema.GetFieldIndex(field->name());
  return arrow_ok(i >= 0 ? schema.SetField(i, field) : schema.AddField(schema.num_fields(), field));
}

Batch with_array(const Batch& batch, const std::shared_ptr<arrow::Field>& field, std::shared_ptr<arrow::Array> array) {
  const int i = batch->schema()->GetFieldIndex(field->name());
  return arrow_ok(i >= 0 ? batch->SetColumn(i, field, array) : batch->AddColumn(batch->num_columns(), field, array));
}

PlanPtr select_plan(PlanPtr input, const std::vector<std::string>& columns) {
  require(!columns.empty(), "a Frame has at least one column");
  return std::make_shared<SelectPlan>(std::move(input), columns);
}

PlanPtr filter_plan(PlanPtr input, const Expr& condition) {
  return std::make_shared<FilterPlan>(std::move(input), condition);
}

PlanPtr column_plan(PlanPtr input, const std::string& name, const Expr& value) {
  return std::make_shared<ColumnPlan>(std::move(input), name, value);
}

PlanPtr rename_plan(PlanPtr input, const std::map<std::string, std::string>& names) {
  return std::make_shared<RenamePlan>(std::move(input), names);
}

}  // namespace hogpen::detail

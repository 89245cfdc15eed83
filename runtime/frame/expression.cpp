#include "runtime/frame/expression.h"

#include <arrow/compute/cast.h>
#include <arrow/compute/expression.h>
#include <arrow/type.h>

#include <algorithm>

#include "runtime/core/error.h"
#include "runtime/frame/types.h"

namespace hogpen {
namespace {

namespace cp = arrow::compute;

}  // namespace

Expr::Expr(std::int64_t value) : Expr(cp::literal(value)) {}
Expr::Expr(int value) : Expr(static_cast<std::int64_t>(value)) {}
Expr::Expr(double value) : Expr(cp::literal(value)) {}
Expr::Expr(bool value) : Expr(cp::literal(value)) {}
Expr::Expr(const char* value) : Expr(std::string(value)) {}
Expr::Expr(const std::string& value) : Expr(cp::literal(value)) {}
Expr::Expr(cp::Expression expression) : expression_(std::make_shared<const cp::Expression>(std::move(expression))) {}

Expr Expr::call(const std::string& function, const std::vector<Expr>& arguments) {
  std::vector<cp::Expression> inner;
  for (const Expr& argument : arguments) inner.push_back(argument.arrow());
  return Expr(cp::call(function, std::move(inner)));
}

Expr Expr::is_null() const {
  return call("is_null", {*this});
}

Expr Expr::is_nan() const {
  return call("is_nan", {*this});
}

Expr Expr::cast(const std::string& type) const {
  return Expr(cp::call("cast", {arrow()}, cp::CastOptions::Safe(detail::type_named(type))));
}

std::vector<std::string> Expr::columns() const {
  std::vector<std::string> names;
  for (const arrow::FieldRef& field : cp::FieldsInExpression(arrow())) names.push_back(*field.name());
  std::ranges::sort(names);
  const auto rest = std::ranges::unique(names);
  names.erase(rest.begin(), rest.end());
  return names;
}

Expr col(const std::string& name) {
  return Expr(cp::field_ref(name));
}

// The checked functions: an overflow is an error.
Expr operator+(const Expr& a, const Expr& b) {
  return Expr::call("add_checked", {a, b});
}
Expr operator-(const Expr& a, const Expr& b) {
  return Expr::call("subtract_checked", {a, b});
}
Expr operator*(const Expr& a, const Expr& b) {
  return Expr::call("multiply_checked", {a, b});
}
Expr operator/(const Expr& a, const Expr& b) {
  return Expr::call("divide", {a, b});
}
Expr operator-(const Expr& a) {
  return Expr::call("negate_checked", {a});
}
Expr operator==(const Expr& a, const Expr& b) {
  return Expr::call("equal", {a, b});
}
Expr operator!=(const Expr& a, const Expr& b) {
  return Expr::call("not_equal", {a, b});
}
Expr operator<(const Expr& a, const Expr& b) {
  return Expr::call("less", {a, b});
}
Expr operator<=(const Expr& a, const Expr& b) {
  return Expr::call("less_equal", {a, b});
}
Expr operator>(const Expr& a, const Expr& b) {
  return Expr::call("greater", {a, b});
}
Expr operator>=(const Expr& a, const Expr& b) {
  return Expr::call("greater_equal", {a, b});
}
Expr operator&&(const Expr& a, const Expr& b) {
  return Expr::call("and_kleene", {a, b});
}
Expr operator||(const Expr& a, const Expr& b) {
  return Expr::call("or_kleene", {a, b});
}
Expr operator!(const Expr& a) {
  return Expr::call("invert", {a});
}

}  // namespace hogpen

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace arrow::compute {
class Expression;
}

namespace hogpen {

/// What is computed for each row of a Frame: `(col("price") * 1.2 > 5) && col("name") != "x"`.
///
/// Types: as Arrow's functions take them: numbers are promoted, integers divide to integers and overflow is an error.
/// A null makes the result null, and a row is kept by a filter only where the condition is true.
/// Sharing: immutable; a copy is another handle.
class Expr {
 public:
  Expr(std::int64_t value);        // NOLINT(google-explicit-constructor): literals of an expression
  Expr(int value);                 // NOLINT(google-explicit-constructor)
  Expr(double value);              // NOLINT(google-explicit-constructor)
  Expr(bool value);                // NOLINT(google-explicit-constructor)
  Expr(const char* value);         // NOLINT(google-explicit-constructor)
  Expr(const std::string& value);  // NOLINT(google-explicit-constructor)
  explicit Expr(arrow::compute::Expression expression);

  /// Any function of Arrow's on rows, by its name there: "power", "utf8_length".
  [[nodiscard]] static Expr call(const std::string& function, const std::vector<Expr>& arguments);

  [[nodiscard]] Expr is_null() const;
  [[nodiscard]] Expr is_nan() const;
  /// As another type, by Arrow's name: "int64", "double", "string". Throws: UsageError for an unknown name; when it is
  /// computed, for a value that does not fit.
  [[nodiscard]] Expr cast(const std::string& type) const;

  [[nodiscard]] const arrow::compute::Expression& arrow() const noexcept { return *expression_; }
  /// The columns that it reads.
  [[nodiscard]] std::vector<std::string> columns() const;

 private:
  std::shared_ptr<const arrow::compute::Expression> expression_;
};

/// A column of the Frame.
[[nodiscard]] Expr col(const std::string& name);

[[nodiscard]] Expr operator+(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator-(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator*(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator/(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator-(const Expr& a);
[[nodiscard]] Expr operator==(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator!=(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator<(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator<=(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator>(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator>=(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator&&(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator||(const Expr& a, const Expr& b);
[[nodiscard]] Expr operator!(const Expr& a);

}  // namespace hogpen

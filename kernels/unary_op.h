#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace hogpen::kernels {

/// A function of one number, applied to each element of an array. Without padding, since it travels in messages.
struct UnaryOp {
  enum class Kind : std::uint64_t { exp, log, sigmoid, tanh, relu, sqrt, abs, negate, square, scale_shift };

  Kind kind = Kind::exp;
  double scale = 1.0;  ///< of scale_shift: scale * x + shift
  double shift = 0.0;
};

struct NamedUnaryOp {
  std::string_view name;
  UnaryOp::Kind kind;
};

/// All of them, by the names people give them.
inline constexpr std::array kUnaryOps = {
    NamedUnaryOp{"exp", UnaryOp::Kind::exp},         NamedUnaryOp{"log", UnaryOp::Kind::log},
    NamedUnaryOp{"sigmoid", UnaryOp::Kind::sigmoid}, NamedUnaryOp{"tanh", UnaryOp::Kind::tanh},
    NamedUnaryOp{"relu", UnaryOp::Kind::relu},       NamedUnaryOp{"sqrt", UnaryOp::Kind::sqrt},
    NamedUnaryOp{"abs", UnaryOp::Kind::abs},         NamedUnaryOp{"negate", UnaryOp::Kind::negate},
    NamedUnaryOp{"square", UnaryOp::Kind::square},   NamedUnaryOp{"scale-shift", UnaryOp::Kind::scale_shift},
};

[[nodiscard]] constexpr std::string_view name_of(UnaryOp op) noexcept {
  for (const NamedUnaryOp& named : kUnaryOps) {
    if (named.kind == op.kind) return named.name;
  }
  return "?";
}

}  // namespace hogpen::kernels

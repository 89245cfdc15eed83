#include "apps/map/mapper.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>

#include "apps/output.h"
#include "apps/text.h"
#include "runtime/work/elementwise.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kQuietTime = 1s;  // Shorter work is over before its progress is read.
constexpr auto kRefreshTime = 100ms;

std::string rate(double bytes_per_second) {
  const std::string number = abbreviate(bytes_per_second);
  return fmt::format("{}{}B/s", number, std::isdigit(static_cast<unsigned char>(number.back())) ? " " : "");
}

const char* numpy_name(c10::ScalarType dtype) {
  switch (dtype) {
    case c10::ScalarType::Float:
      return "float32";
    case c10::ScalarType::Double:
      return "float64";
    case c10::ScalarType::Half:
      return "float16";
    case c10::ScalarType::BFloat16:
      return "bfloat16";
    default:
      return c10::toString(dtype);
  }
}

}  // namespace

Mapper::Mapper(kernels::UnaryOp op, Executor& executor, Options options)
    : op_(op), executor_(executor), options_(options), line_({.write = write_stderr}) {}

void Mapper::apply(const at::Tensor& in, const at::Tensor& out) {
  if (options_.verbose && elements_ == 0 && in.numel() > 0) {
    say(fmt::format("{} in pieces of {} {}: {}", kernels::name_of(op_), with_separators(in.numel()),
                    numpy_name(in.scalar_type()), choose(op_, in, executor_).describe()));
  }
  transform_into(op_, in, out, executor_);
  elements_ += in.numel();
}

void Mapper::advance(std::uint64_t bytes) {
  bytes_ += bytes;
  stop_if_told();
  const auto now = Clock::now();
  if (options_.quiet || now - began_ < kQuietTime || now - shown_ < kRefreshTime || !line_.is_due()) return;
  shown_ = now;
  const double done = static_cast<double>(bytes_) / static_cast<double>(std::max<std::uint64_t>(file_bytes_, 1));
  line_.show(fmt::format("{}  {:2.0f} %  {}  ETA {}", kernels::name_of(op_), std::floor(100.0 * done),
                         rate(static_cast<double>(bytes_) / seconds()), clock_time(seconds() / done - seconds())));
}

void Mapper::stop_if_told() {
  if (const auto signal = signals_.next()) throw Stopped{*signal};
}

void Mapper::say(const std::string& line) {
  if (!options_.quiet) line_.add(line);
}

void Mapper::finish(const std::filesystem::path& out) {
  constexpr double kLeastSeconds = 0.01;  // A rate of less would say how long starting takes.
  const double time = seconds();
  say(fmt::format("{} of {} element{} in {:.2f} s{}, written to {}", kernels::name_of(op_), with_separators(elements_),
                  plural(elements_), time,
                  time < kLeastSeconds ? "" : ": " + rate(static_cast<double>(file_bytes_) / time), out.string()));
}

}  // namespace hogpen

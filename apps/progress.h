#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace hogpen {

struct Evaluation;
struct TrainProgress;

/// What the stream that people read can do.
///
/// Sharing: a value.
struct Terminal {
  int columns = 0;  ///< of a terminal whose lines can be rewritten in place; 0: of what is none
  bool colours = false;

  /// Of stderr as it is now: no colours with NO_COLOR, and nothing but plain lines with TERM=dumb.
  [[nodiscard]] static Terminal of_stderr();
};

/// Shows how a run goes: on a terminal as one line that is rewritten in place, elsewhere as a plain line now and then;
/// evaluations are lines that stay.
///
/// Sharing: one thread. Owns: nothing.
class ProgressView {
 public:
  struct Options {
    std::int64_t epochs = 1;
    int workers = 1;
    std::function<Terminal()> terminal = Terminal::of_stderr;
    std::function<void(std::string_view)> write;
    std::chrono::milliseconds plain_period{10'000};
  };
  explicit ProgressView(Options options);
  ~ProgressView() { clear(); }
  ProgressView(const ProgressView&) = delete;
  ProgressView& operator=(const ProgressView&) = delete;

  void update(const TrainProgress& progress);
  void add(const Evaluation& evaluation);
  /// Makes room for another line: removes the one that is rewritten.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  [[nodiscard]] std::string describe(const TrainProgress& progress) const;
  [[nodiscard]] std::string time_left(const TrainProgress& progress) const;

  Options options_;
  bool line_is_shown_ = false;
  Clock::time_point began_;
  Clock::time_point last_line_;
  std::optional<std::int64_t> first_step_;
  double samples_per_second_ = 0.0;
};

/// "102 k", "1.23 M", "950".
[[nodiscard]] std::string abbreviate(double number);

}  // namespace hogpen

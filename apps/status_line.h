#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

namespace hogpen {

inline constexpr std::string_view kResetColour = "\x1b[0m";

/// What the stream that people read can do.
///
/// Sharing: a value.
struct Terminal {
  int columns = 0;  ///< of a terminal whose lines can be rewritten in place; 0: of what is none
  bool colours = false;

  /// Of stderr as it is now: no colours with NO_COLOR, and nothing but plain lines with TERM=dumb.
  [[nodiscard]] static Terminal of_stderr();
};

/// How a long work goes: on a terminal one line that is rewritten in place, elsewhere a plain line now and then.
///
/// Sharing: one thread. Owns: nothing.
class StatusLine {
 public:
  struct Options {
    std::function<Terminal()> terminal = Terminal::of_stderr;
    std::function<void(std::string_view)> write;
    std::chrono::milliseconds plain_period{10'000};
  };
  explicit StatusLine(Options options);
  ~StatusLine() { clear(); }
  StatusLine(const StatusLine&) = delete;
  StatusLine& operator=(const StatusLine&) = delete;

  [[nodiscard]] Terminal terminal() const { return options_.terminal(); }
  /// Whether a line would be shown now: always on a terminal, elsewhere once a period.
  [[nodiscard]] bool is_due() const;
  /// A line in place of the last one. What stands before its first two blanks is made to stand out.
  void show(std::string line);
  /// A line that stays.
  void add(const std::string& line);
  /// Makes room for another line: removes the one that is rewritten.
  void clear();

 private:
  using Clock = std::chrono::steady_clock;

  Options options_;
  bool is_shown_ = false;
  Clock::time_point last_line_;
};

}  // namespace hogpen

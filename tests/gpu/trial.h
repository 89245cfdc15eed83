#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <string>

#include "runtime/core/deadline.h"
#include "runtime/core/error.h"

namespace hogpen::gpu_suite {

/// What became of a case.
enum class Verdict {
  passed,
  failed,
  skipped,
  recorded,  ///< it ran, and its numbers are for people to judge
};
[[nodiscard]] std::string to_string(Verdict verdict);

/// The case cannot run here.
class Skipped : public Error {
 public:
  using Error::Error;
};

/// One run of a case, as the case sees it.
///
/// Sharing: one process, which may start others and must not use CUDA itself. Owns: its numbers.
class Trial {
 public:
  struct Options {
    double scale = 1;                                    ///< of all that is counted
    std::chrono::seconds limit = std::chrono::hours(1);  ///< for a case, where its own is no shorter
    bool has_kernels = false;
    std::string contract;  ///< the program device_memory_test
    std::string fakes;     ///< the directory of the fake driver
  };
  Trial(Options options, Deadline deadline) : options_(std::move(options)), deadline_(deadline) {}

  [[nodiscard]] const Options& options() const noexcept { return options_; }
  [[nodiscard]] bool has_kernels() const noexcept { return options_.has_kernels; }

  /// That much at full scale; at least `least`.
  [[nodiscard]] std::int64_t scaled(double full, std::int64_t least = 1) const {
    return std::max<std::int64_t>(least, std::llround(full * options_.scale));
  }

  template <class T>
  void number(const std::string& name, const T& value) {
    numbers_[name] = value;
  }
  [[nodiscard]] const nlohmann::ordered_json& numbers() const noexcept { return numbers_; }

  /// Throws: Error once the time of the case is over.
  void check_time(const std::string& done) const {
    if (deadline_.has_passed()) throw Error("the time is over: " + done);
  }

 private:
  Options options_;
  Deadline deadline_;
  nlohmann::ordered_json numbers_ = nlohmann::ordered_json::object();
};

/// Throws: Error with the text unless `ok`: the case has failed.
template <class... Args>
void check(bool ok, fmt::format_string<Args...> text, Args&&... args) {
  if (!ok) throw Error(fmt::format(text, std::forward<Args>(args)...));
}

struct Case {
  const char* name;
  const char* about;
  std::chrono::seconds limit;
  bool needs_kernels;
  bool is_record;  ///< when it has run through, it is neither passed nor failed
  void (*run)(Trial&);
};

struct Outcome {
  Verdict verdict = Verdict::failed;
  std::string reason;
  nlohmann::ordered_json numbers = nlohmann::ordered_json::object();
  double seconds = 0;
};

/// Runs a case in a child, which is killed, with its own children, soon after its time is over.
[[nodiscard]] Outcome run(const Case& a_case, const Trial::Options& options);

}  // namespace hogpen::gpu_suite

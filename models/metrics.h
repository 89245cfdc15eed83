#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/core/fd.h"

namespace hogpen {

/// Writes scalars for TensorBoard. Source: the event file format, TFRecord frames with masked CRC-32C around Event messages
/// (tensorflow/core/util/event.proto, tensorflow/core/lib/io/record_writer.h).
///
/// Sharing: one process, one thread. Owns: the file.
class EventFile {
 public:
  /// Makes `directory`/events.out.tfevents.SECONDS.HOST.PID.
  explicit EventFile(const std::filesystem::path& directory);
  void add_scalar(std::string_view tag, double value, std::int64_t step, double wall_time);

 private:
  void write_record(std::string_view payload);
  Fd file_;
};

/// A run's figures over time: `metrics.jsonl`, one JSON object a line, and TensorBoard events of the same.
///
/// A line goes out in one write(2), so that a kill leaves no half line but the last of a full disk; opening cuts off such a
/// torn last line of an earlier run.
/// Sharing: one process, one thread. Owns: the files.
class MetricsLog {
 public:
  explicit MetricsLog(const std::filesystem::path& run_directory);
  /// Adds {"time":…, "step":…, name: value, …}. NaN and Inf become null in JSON.
  void add(std::int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

 private:
  Fd lines_;
  EventFile events_;
};

}  // namespace hogpen

#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "runtime/core/fd.h"

namespace hogpen {

/// Writes scalars for TensorBoard.
///
/// Sharing: one process, one thread. Owns: the file.
/// Throws: SystemError naming the call that failed; the file then ends with the last whole record.
/// Source: the event file format, TFRecord frames with masked CRC-32C around Event messages
/// (tensorflow/core/util/event.proto, tensorflow/core/lib/io/record_writer.h).
class EventFile {
 public:
  /// Makes `directory`/events.out.tfevents.SECONDS.HOST.PID.N, where N tells apart files of one process and second.
  explicit EventFile(const std::filesystem::path& directory);
  /// Units: wall_time in seconds since 1970. Accuracy: the format keeps values as float32.
  void add_scalar(std::string_view tag, double value, std::int64_t step, double wall_time);

 private:
  void write_record(std::string_view payload);

  Fd file_;
};

/// A run's figures over time: `metrics.jsonl`, one JSON object a line, and TensorBoard events of the same.
///
/// A line goes out in one write(2), so that a kill leaves no half line. Opening keeps the lines of an earlier run and
/// cuts off what follows the last newline. Sharing: one process, one thread. Owns: the files. Throws: SystemError
/// naming the file; the files then end with their last whole line and record.
class MetricsLog {
 public:
  /// Makes the directory when it is not there.
  explicit MetricsLog(const std::filesystem::path& run_directory);
  /// Adds {"time":…, "step":…, name: value, …}. NaN and Inf become null in JSON.
  void add(std::int64_t step, const std::vector<std::pair<std::string, double>>& scalars);

 private:
  Fd lines_;
  EventFile events_;
};

}  // namespace hogpen

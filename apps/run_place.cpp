#include "apps/run_place.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <system_error>

#include "models/checkpoint.h"
#include "models/trainer.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;

const fs::path kRuns = "runs";

fs::path fresh_directory() {
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  char text[32];
  std::strftime(text, sizeof(text), "%Y%m%d-%H%M%S", &local);
  return kRuns / fmt::format("{}-{}", text, ::getpid());  // Two runs may start in one second.
}

/// The run in runs/ whose newest checkpoint was written last.
std::optional<RunPlace> newest_run() {
  std::optional<RunPlace> newest;
  fs::file_time_type newest_time;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(kRuns, ignored)) {
    const auto checkpoint = entry.is_directory(ignored) ? latest_checkpoint(entry.path()) : std::nullopt;
    if (!checkpoint) continue;
    const auto time = fs::last_write_time(*checkpoint, ignored);
    if (newest && time <= newest_time) continue;
    newest = {entry.path(), checkpoint};
    newest_time = time;
  }
  return newest;
}

bool contains(const std::vector<Setting>& settings, const std::string& option) {
  return std::ranges::any_of(settings, [&](const Setting& setting) { return setting.option == option; });
}

RunPlace resume_automatically(const std::optional<std::string>& run_dir) {
  const std::optional<RunPlace> found = run_dir ? RunPlace{*run_dir, latest_checkpoint(*run_dir)} : newest_run();
  if (found && found->checkpoint) return *found;
  log(LogLevel::info, "no checkpoint in {} to resume from: starting afresh", run_dir.value_or(kRuns.string()));
  return {run_dir ? fs::path(*run_dir) : fresh_directory(), std::nullopt};
}

}  // namespace

RunPlace choose_run_place(const std::optional<std::string>& run_dir, const std::optional<std::string>& resume) {
  const fs::path directory = run_dir ? fs::path(*run_dir) : fresh_directory();
  if (!resume) return {directory, std::nullopt};
  if (*resume == "auto") return resume_automatically(run_dir);
  std::error_code ignored;
  if (!fs::exists(*resume, ignored)) throw UsageError(fmt::format("--resume: there is no {}", *resume));
  if (!fs::is_directory(fs::path(*resume) / "checkpoints", ignored)) return {directory, *resume};
  const auto checkpoint = latest_checkpoint(*resume);
  if (!checkpoint) throw UsageError(fmt::format("--resume: the run {} has no complete checkpoint", *resume));
  return {run_dir ? directory : fs::path(*resume), checkpoint};
}

std::string data_record_of(const fs::path& checkpoint) {
  const nlohmann::json record = read_state(checkpoint);
  return record.contains("data_record") ? record["data_record"].dump() : "";
}

std::vector<Setting> recorded_settings(const fs::path& checkpoint, const std::vector<Setting>& given) {
  const nlohmann::json record = read_state(checkpoint);
  std::map<std::string, std::string> recorded = record.value("settings", std::map<std::string, std::string>());
  for (const char* key : {"model", "data"}) {
    const std::string value = record.value(key, "");
    if (!value.empty()) recorded[key] = value;
  }
  // Of no use to another schedule, and refused by it.
  if (contains(given, "lr-schedule")) {
    for (const char* option : {"lr-step-epochs", "lr-gamma", "min-lr"}) recorded.erase(option);
  }
  if (contains(given, "replicas")) recorded.erase("merge-every");  // Likewise, and so below.
  if (contains(given, "device") || contains(given, "mode")) recorded.erase("average-every");
  std::vector<Setting> settings;
  for (auto& [option, value] : recorded) settings.push_back({option, value, checkpoint.string()});
  return settings;
}

std::map<std::string, std::string> settings_to_record(const std::vector<Setting>& given) {
  std::map<std::string, std::string> settings;
  for (const Setting& setting : given) settings[setting.option] = setting.value;
  for (const char* of_one_run : {"run-dir", "resume", "config", "json", "quiet", "verbose"}) settings.erase(of_one_run);
  return settings;
}

}  // namespace hogpen

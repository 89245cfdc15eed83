#include "models/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "models/checkpoint_image.h"
#include "models/checkpoint_record.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace hogpen {
namespace {

namespace fs = std::filesystem;
using detail::FileImage;
using detail::kFilesKey;
using detail::kModelFile;
using detail::kOptimizerFile;
using detail::kStateFile;
using nlohmann::json;

constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr std::string_view kReplacedSuffix = ".old";

fs::path with_suffix(fs::path path, std::string_view suffix) {
  return path += suffix;
}

/// A directory entry that may be a checkpoint: "step-N" or "step-N.old".
struct Candidate {
  std::int64_t step = 0;
  fs::path path;
};

std::optional<Candidate> parse_name(const fs::path& path, std::string_view suffix) {
  constexpr std::string_view kPrefix = "step-";
  const std::string name = path.filename().string();
  if (!name.starts_with(kPrefix) || !name.ends_with(suffix)) return std::nullopt;
  const std::string digits = name.substr(kPrefix.size(), name.size() - kPrefix.size() - suffix.size());
  Candidate candidate{0, path};
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), candidate.step);
  const bool is_number = error == std::errc() && end == digits.data() + digits.size();
  return is_number && candidate.step >= 0 ? std::optional(candidate) : std::nullopt;
}

/// The entries named "step-N" + suffix, the highest step first.
std::vector<Candidate> list(const fs::path& directory, std::string_view suffix) {
  std::vector<Candidate> found;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (auto candidate = parse_name(it->path(), suffix)) found.push_back(*std::move(candidate));
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    throw SystemError("reading the directory " + directory.string(), error.value());
  }
  std::ranges::sort(found, std::greater<>{}, &Candidate::step);
  return found;
}

bool is_complete(const fs::path& checkpoint) {
  try {
    const fs::path state_file = checkpoint / kStateFile;
    return std::ranges::all_of(
        detail::read_file_records(detail::read_json(state_file), state_file), [&](const auto& record) {
          std::error_code error;
          return fs::file_size(checkpoint / record.first, error) == record.second.bytes && !error;
        });
  } catch (const Error&) {  // A file is absent, or was cut off.
    return false;
  }
}

/// The files of one checkpoint, checked and ready to be written.
class Images {
 public:
  explicit Images(const CheckpointContent& content)
      : model_(content.model, kModelFile), state_(json::parse(content.state_json, nullptr, false)) {
    require(state_.is_object() && !state_.contains(kFilesKey), "the state must be a JSON object without \"{}\"",
            kFilesKey);
    state_[kFilesKey][kModelFile] = model_.record;
    if (content.optimizer.empty()) return;
    optimizer_.emplace(content.optimizer, kOptimizerFile);
    state_[kFilesKey][kOptimizerFile] = optimizer_->record;
  }

  void write(FileSystem& files, const fs::path& directory) const {
    files.create_directory(directory);
    files.write_and_sync(directory / kModelFile, model_.pieces);
    if (optimizer_) files.write_and_sync(directory / kOptimizerFile, optimizer_->pieces);
    const std::string state = state_.dump(2) + '\n';
    const auto bytes = std::as_bytes(std::span(state));
    files.write_and_sync(directory / kStateFile, {&bytes, 1});
    files.sync_directory(directory);
  }

 private:
  FileImage model_;
  std::optional<FileImage> optimizer_;
  json state_;
};

/// Makes a directory and those around it, and their names durable.
void make_directories(FileSystem& files, const fs::path& directory) {
  if (directory.empty() || fs::is_directory(directory)) return;
  const fs::path parent = directory.has_filename() ? directory.parent_path() : directory.parent_path().parent_path();
  make_directories(files, parent);
  files.create_directory(directory);
  files.sync_directory(parent.empty() ? fs::path(".") : parent);
}

}  // namespace

CheckpointStore::CheckpointStore(fs::path directory, int keep, FileSystem& files)
    : directory_(fs::absolute(directory).lexically_normal()), keep_(keep), files_(&files) {
  require(keep >= 0, "the number of checkpoints to keep must not be negative, but is {}", keep);
}

fs::path CheckpointStore::save(const CheckpointContent& content) {
  require(content.step >= 0, "the step of a checkpoint must not be negative, but is {}", content.step);
  const Images images(content);
  const fs::path path = directory_ / fmt::format("step-{}", content.step);
  make_directories(*files_, directory_);
  clean_up();
  try {
    const fs::path temporary = with_suffix(path, kTemporarySuffix);
    images.write(*files_, temporary);
    publish(temporary, path);
  } catch (...) {
    try {
      clean_up();
    } catch (const Error&) {  // The first failure is the one to tell; the next save cleans up.
    }
    throw;
  }
  tidy(path);
  return path;
}

void CheckpointStore::publish(const fs::path& temporary, const fs::path& path) {
  if (fs::exists(path)) files_->rename(path, with_suffix(path, kReplacedSuffix));
  files_->rename(temporary, path);
  files_->sync_directory(directory_);
}

// Under its true name a checkpoint is either whole or gone, also when removing it is interrupted: the disk must know
// the new names before files vanish that it still holds under the old ones.
void CheckpointStore::discard(const fs::path& checkpoint, const fs::path& path) {
  const fs::path temporary = with_suffix(path, kTemporarySuffix);
  files_->rename(checkpoint, temporary);
  files_->sync_directory(directory_);
  files_->remove_all(temporary);
}

void CheckpointStore::clean_up() {
  for (const Candidate& leftover : list(directory_, kTemporarySuffix)) files_->remove_all(leftover.path);
  for (const Candidate& replaced : list(directory_, kReplacedSuffix)) {
    const fs::path path = directory_ / fmt::format("step-{}", replaced.step);
    if (is_complete(path)) {
      discard(replaced.path, path);
    } else {
      files_->remove_all(path);
      files_->rename(replaced.path, path);
      files_->sync_directory(directory_);
    }
  }
}

void CheckpointStore::tidy(const fs::path& saved) {
  try {
    clean_up();
    if (keep_ == 0) return;
    auto checkpoints = list(directory_, "");
    std::erase_if(checkpoints, [](const Candidate& candidate) { return !is_complete(candidate.path); });
    for (std::size_t i = static_cast<std::size_t>(keep_); i < checkpoints.size(); ++i) {
      if (checkpoints[i].path != saved) discard(checkpoints[i].path, checkpoints[i].path);
    }
  } catch (const Error& error) {  // What was to be saved is saved.
    log(LogLevel::warning, "an old checkpoint could not be removed: {}", error.what());
  }
}

std::optional<fs::path> CheckpointStore::latest() const {
  return latest_below(std::numeric_limits<std::int64_t>::max());
}

std::optional<fs::path> CheckpointStore::before(const fs::path& checkpoint) const {
  const auto candidate = parse_name(checkpoint, "");
  return candidate ? latest_below(candidate->step) : std::nullopt;
}

std::optional<fs::path> CheckpointStore::latest_below(std::int64_t bound) const {
  auto candidates = list(directory_, "");
  std::ranges::copy(list(directory_, kReplacedSuffix), std::back_inserter(candidates));
  std::ranges::stable_sort(candidates, std::greater<>{}, &Candidate::step);
  const auto found =
      std::ranges::find_if(candidates, [&](const Candidate& c) { return c.step < bound && is_complete(c.path); });
  return found == candidates.end() ? std::nullopt : std::optional(found->path);
}

}  // namespace hogpen

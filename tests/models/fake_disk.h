#pragma once

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "runtime/core/error.h"
#include "runtime/core/file.h"

namespace hogpen {

/// Does what it is told and syncs nothing: fast, for tests that lose no power.
class UnsyncedFiles final : public FileSystem {
 public:
  void write_and_sync(const std::filesystem::path& path, std::span<const std::span<const std::byte>> pieces) override {
    std::ofstream file(path, std::ios::binary);
    for (const auto& piece : pieces) file.write(reinterpret_cast<const char*>(piece.data()), std::ssize(piece));
  }
  void create_directory(const std::filesystem::path& path) override { real().create_directory(path); }
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override { real().rename(from, to); }
  void sync_directory(const std::filesystem::path&) override {}
  void remove_all(const std::filesystem::path& path) override { real().remove_all(path); }
};

/// A file system that knows what a disk would still hold if the machine lost power: the content of files and the names
/// in directories as they were at their last sync, or later. Every call is carried out in a real directory too, where
/// the code under test can read.
///
/// Sharing: not thread-safe. Owns: the record; not the directory.
class FakeDisk final : public FileSystem {
 public:
  /// Not a hogpen::Error: nothing of a process runs on after the power is gone.
  struct PowerLoss {};

  /// What a careless file layer would leave out.
  enum class Flaw { none, no_file_sync, no_directory_sync };

  /// Which names that were not synced the disk has all the same. Content that was not synced is always lost.
  struct Luck {
    bool keeps_outer_names = false;  ///< of the run's directory: the checkpoints
    bool keeps_inner_names = false;  ///< of the checkpoints' directories: their files
  };

  explicit FakeDisk(std::filesystem::path base, Flaw flaw = Flaw::none) : base_(std::move(base)), flaw_(flaw) {}

  /// From the n-th call on, counted from now, nothing is done any more: each throws PowerLoss.
  void lose_power_at(int call) { power_loss_at_ = calls_ + call; }
  /// The n-th call from now on fails; if `for_good`, those after it too.
  void fail_at(int call, int error_number, bool for_good) { failure_ = {calls_ + call, error_number, for_good}; }

  [[nodiscard]] bool has_not_failed() const noexcept { return !failure_ || calls_ < failure_->call; }

  /// Writes what the disk holds into another directory.
  void restore(const std::filesystem::path& target, Luck luck) const { restore(root_, target, 0, luck); }

  void write_and_sync(const std::filesystem::path& path, std::span<const std::span<const std::byte>> pieces) override {
    auto& file = parent_of(path).entries[path.filename()];
    file = std::make_shared<Node>();
    files_.write_and_sync(path, {});  // what a full disk, or a crash, leaves
    count_call();
    files_.write_and_sync(path, pieces);
    if (flaw_ != Flaw::no_file_sync) file->synced_content = read_file(path);
  }

  void create_directory(const std::filesystem::path& path) override {
    count_call();
    files_.create_directory(path);
    auto& directory = parent_of(path).entries[path.filename()];
    if (!directory) directory = std::make_shared<Node>(Node{.is_directory = true});
  }

  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override {
    count_call();
    files_.rename(from, to);
    auto moved = parent_of(from).entries.extract(from.filename());
    parent_of(to).entries[to.filename()] = std::move(moved.mapped());
  }

  void sync_directory(const std::filesystem::path& path) override {
    count_call();
    Node& directory = node_at(path);
    if (flaw_ != Flaw::no_directory_sync) directory.synced_entries = directory.entries;
  }

  void remove_all(const std::filesystem::path& path) override {
    count_call();
    files_.remove_all(path);
    Node& parent = parent_of(path);
    const auto found = parent.entries.find(path.filename());
    if (found == parent.entries.end()) return;
    found->second->entries.clear();  // The disk may know that the files are gone before it knows of their directory.
    parent.entries.erase(found);
  }

 private:
  struct Node {
    using Entries = std::map<std::string, std::shared_ptr<Node>>;
    bool is_directory = false;
    std::string synced_content = {};
    Entries entries = {};         ///< as the process sees them
    Entries synced_entries = {};  ///< as the disk certainly has them
  };

  struct Failure {
    int call = 0;
    int error_number = 0;
    bool for_good = false;
  };

  void count_call() {
    ++calls_;
    if (power_loss_at_ && calls_ >= *power_loss_at_) throw PowerLoss();
    if (failure_ && (calls_ == failure_->call || (failure_->for_good && calls_ > failure_->call))) {
      throw SystemError("a call of the fake disk", failure_->error_number);
    }
  }

  Node& node_at(const std::filesystem::path& path) {
    Node* node = &root_;
    for (const auto& name : std::filesystem::relative(path, base_)) {
      if (name != ".") node = node->entries.at(name).get();
    }
    return *node;
  }
  Node& parent_of(const std::filesystem::path& path) { return node_at(path.parent_path()); }

  static void restore(const Node& node, const std::filesystem::path& target, int depth, Luck luck) {
    if (!node.is_directory) {
      std::ofstream(target, std::ios::binary) << node.synced_content;
      return;
    }
    std::filesystem::create_directories(target);
    constexpr int kDepthOfCheckpoints = 2;
    const bool keeps_names = depth < kDepthOfCheckpoints ? luck.keeps_outer_names : luck.keeps_inner_names;
    for (const auto& [name, child] : keeps_names ? node.entries : node.synced_entries) {
      restore(*child, target / name, depth + 1, luck);
    }
  }

  UnsyncedFiles files_;
  std::filesystem::path base_;
  Flaw flaw_;
  Node root_{.is_directory = true};
  int calls_ = 0;
  std::optional<int> power_loss_at_;
  std::optional<Failure> failure_;
};

}  // namespace hogpen

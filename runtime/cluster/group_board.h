#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "runtime/cluster/group.h"
#include "runtime/core/life.h"
#include "runtime/sync/barrier.h"

namespace hogpen::detail {

/// A verb, as all members must call it. Plain data in shared memory.
struct GroupCall {
  enum class Verb : std::int32_t { barrier, broadcast, all_reduce };

  Verb verb = Verb::barrier;
  std::int32_t how = 0;  ///< the root, or the Reduction
  std::int32_t dtype = 0;
  std::int64_t numel = 0;

  friend bool operator==(const GroupCall&, const GroupCall&) = default;
};

/// What a member brings to a meeting, for the others to read until the next one.
struct GroupPost {
  GroupCall call;
  std::uint64_t data_offset = 0;  ///< of its numbers, from the beginning of its part of the memory
  bool is_staged = false;         ///< they are a copy there
};

/// A member's own line of the board, written by that member alone.
struct alignas(64) GroupPlace {
  std::atomic<std::uint64_t> life{0};  ///< 0: nobody has joined here
  std::atomic<std::int32_t> pid{0};
  std::atomic<bool> has_left{false};
  std::atomic<std::uint64_t> arrived{0};  ///< at so many meetings
  std::atomic<std::uint64_t> passed{0};   ///< so many of them
  // Two, in turn: a member that comes to the next meeting posts there while others still read what it posted here, and
  // it cannot pass the next before they have come to it.
  GroupPost posts[2];
};

/// What the members of a group know of each other, in shared memory: who has come to which meeting, and why there will
/// be no more.
///
/// Members meet again and again. One that is gone can hold up those meetings only that it had not passed.
///
/// Sharing: processes and threads. Owns: nothing outside its own bytes.
class GroupBoard {
 public:
  static constexpr int kMostMembers = static_cast<int>(Barrier::kMostWatched);

  /// Requires: 1 <= world_size <= kMostMembers.
  explicit GroupBoard(int world_size);

  [[nodiscard]] int pid_of(int rank) const noexcept { return places_[rank].pid.load(); }
  /// What `rank` is going to bring to its next meeting.
  [[nodiscard]] GroupPost& next_post(int rank) noexcept {
    return places_[rank].posts[(places_[rank].arrived.load() + 1) % 2];
  }
  /// What `other` brought to the meeting that `rank` has passed last.
  [[nodiscard]] const GroupPost& post_of(int other, int rank) const noexcept {
    return places_[other].posts[places_[rank].passed.load() % 2];
  }

  /// Throws: UsageError for a rank that the group has not, or that another member has.
  void join(int rank);
  /// False, and nothing more, in another process than the one that joined: a forked child's copy is no member.
  bool leave(int rank) noexcept;
  /// Ends the group on behalf of a rank, or of `GroupError::kNoMember`.
  void abort(int rank) noexcept { end(Cause::aborted, rank); }
  /// Whether somebody found that it has; who only left does not count.
  [[nodiscard]] bool has_ended() const noexcept { return end_.load() != 0; }

  /// Meets all others. Throws: TimeoutError, GroupError.
  void meet(int rank, std::string_view verb, Deadline deadline);

  /// The same in pieces, for who learns elsewhere that all have come: `arrive`, `check` now and then, `pass`.
  void arrive(int rank) noexcept { places_[rank].arrived.fetch_add(1); }
  void pass(int rank) noexcept { places_[rank].passed.store(places_[rank].arrived.load()); }
  /// Throws: GroupError when the meeting at which `rank` has arrived will not come about.
  void check(int rank, std::string_view verb);
  /// Throws: TimeoutError that names who has not arrived there; the group has ended.
  [[noreturn]] void give_up(int rank, std::string_view verb);

 private:
  enum class Cause : std::int32_t { none, died, left, aborted, timed_out };

  void end(Cause cause, int rank) noexcept;
  void look_for_the_gone(int rank);
  [[nodiscard]] std::string missing(int rank) const;
  [[noreturn]] void throw_ended(std::string_view verb) const;

  std::int32_t world_size_;
  std::atomic<std::int32_t> end_{0};  // the first Cause and whose, as one number; never changed again
  Barrier meeting_;
  GroupPlace places_[kMostMembers];
};

}  // namespace hogpen::detail

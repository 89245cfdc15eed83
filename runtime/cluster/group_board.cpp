#include "runtime/cluster/group_board.h"

#include <unistd.h>

namespace hogpen::detail {
namespace {

constexpr std::int32_t kRanks = 1024;  // in end_: cause * kRanks + rank + 1
static_assert(GroupBoard::kMostMembers < kRanks);

}  // namespace

GroupBoard::GroupBoard(int world_size) : world_size_(world_size), meeting_(static_cast<std::uint32_t>(world_size)) {}

void GroupBoard::join(int rank) {
  require(rank >= 0 && rank < world_size_, "rank must be 0 to {}, but is {}", world_size_ - 1, rank);
  GroupPlace& mine = places_[rank];
  std::uint64_t nobody = 0;
  require(mine.life.compare_exchange_strong(nobody, static_cast<std::uint64_t>(my_life())),
          "rank {} has joined the group already (pid {})", rank, mine.pid.load());
  mine.pid.store(::getpid());
  meeting_.join();
}

bool GroupBoard::leave(int rank) noexcept {
  GroupPlace& mine = places_[rank];
  if (mine.pid.load() != ::getpid()) return false;
  mine.has_left.store(true);
  meeting_.break_for_all();
  return true;
}

void GroupBoard::meet(int rank, std::string_view verb, Deadline deadline) {
  arrive(rank);
  switch (meeting_.arrive_and_wait(deadline)) {
    case Barrier::Passed::yes:
      return pass(rank);
    case Barrier::Passed::timed_out:
      give_up(rank, verb);
    case Barrier::Passed::broken:
      look_for_the_gone(rank);
      throw_ended(verb);
  }
}

void GroupBoard::check(int rank, std::string_view verb) {
  look_for_the_gone(rank);
  if (end_.load() != 0) throw_ended(verb);
}

void GroupBoard::give_up(int rank, std::string_view verb) {
  const std::string who = missing(rank);
  end(Cause::timed_out, rank);
  throw TimeoutError(who.empty() ? fmt::format("{}: all have come, but it did not end before the deadline", verb)
                                 : fmt::format("{}: {} did not come before the deadline", verb, who));
}

void GroupBoard::end(Cause cause, int rank) noexcept {
  std::int32_t going_on = 0;
  end_.compare_exchange_strong(going_on, static_cast<std::int32_t>(cause) * kRanks + rank + 1);
  meeting_.break_for_all();
}

void GroupBoard::look_for_the_gone(int rank) {
  const std::uint64_t meeting = places_[rank].arrived.load();
  for (int other = 0; other < world_size_ && end_.load() == 0; ++other) {
    const GroupPlace& place = places_[other];
    const auto life = static_cast<Life>(place.life.load());
    if (life == Life::none || place.passed.load() >= meeting) continue;
    // In this order: one that has left may be dead by now, which is no news.
    const bool has_left = place.has_left.load();
    if (!has_left && is_alive(life)) continue;
    // What it did last may have been to pass.
    if (place.passed.load() < meeting) end(has_left ? Cause::left : Cause::died, other);
  }
}

std::string GroupBoard::missing(int rank) const {
  const std::uint64_t meeting = places_[rank].arrived.load();
  std::string ranks;
  int count = 0;
  for (int other = 0; other < world_size_; ++other) {
    if (places_[other].arrived.load() >= meeting) continue;
    ranks += fmt::format("{}{}", count++ == 0 ? "" : ", ", other);
  }
  return count == 0 ? "" : fmt::format("{} {}", count == 1 ? "rank" : "ranks", ranks);
}

void GroupBoard::throw_ended(std::string_view verb) const {
  const std::int32_t end = end_.load();
  const int rank = end % kRanks - 1;
  switch (static_cast<Cause>(end / kRanks)) {
    case Cause::died:
      throw GroupError(fmt::format("{}: rank {} (pid {}) died", verb, rank, places_[rank].pid.load()), rank);
    case Cause::left:
      throw GroupError(fmt::format("{}: rank {} has left the group", verb, rank), rank);
    case Cause::aborted:
      if (rank == GroupError::kNoMember) throw GroupError(fmt::format("{}: the group was aborted", verb), rank);
      throw GroupError(fmt::format("{}: rank {} aborted the group", verb, rank), rank);
    case Cause::timed_out:
      throw GroupError(fmt::format("{}: rank {} gave up when its deadline passed", verb, rank), rank);
    case Cause::none:
      break;
  }
  // The barrier tells of a deadline a moment before who gave up can.
  throw GroupError(fmt::format("{}: a rank gave up when its deadline passed", verb), GroupError::kNoMember);
}

}  // namespace hogpen::detail

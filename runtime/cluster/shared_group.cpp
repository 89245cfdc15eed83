#include "runtime/cluster/shared_group.h"

#include <c10/core/ScalarType.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <utility>

#include "kernels/reduce.h"
#include "runtime/cluster/group_board.h"

namespace hogpen {
namespace {

using detail::GroupBoard;
using detail::GroupCall;
using detail::GroupPost;
using Verb = GroupCall::Verb;

constexpr std::size_t kLine = 64;

constexpr std::size_t whole_lines(std::size_t bytes) {
  return (bytes + kLine - 1) / kLine * kLine;
}

std::size_t part_bytes(const SharedGroup::Options& options) {
  return whole_lines(options.buffer_bytes) + whole_lines(options.staging_bytes);
}

std::size_t memory_bytes(const SharedGroup::Options& options) {
  static_assert(sizeof(GroupBoard) % kLine == 0);
  require(options.world_size >= 1 && options.world_size <= GroupBoard::kMostMembers,
          "a group must have 1 to {} members, but has {}", GroupBoard::kMostMembers, options.world_size);
  require(options.staging_bytes >= kLine, "staging_bytes must be at least {}, but is {}", kLine, options.staging_bytes);
  return sizeof(GroupBoard) + static_cast<std::size_t>(options.world_size) * part_bytes(options);
}

const char* name_of(Verb verb) {
  return verb == Verb::barrier ? "barrier" : verb == Verb::broadcast ? "broadcast" : "all_reduce";
}

std::string describe(const GroupCall& call) {
  if (call.verb == Verb::barrier) return "barrier";
  const std::string how = call.verb == Verb::broadcast ? fmt::format(" from rank {}", call.how)
                          : call.how == static_cast<std::int32_t>(Reduction::mean) ? " (mean)"
                                                                                   : " (sum)";
  return fmt::format("{}{} of {} elements of {}", name_of(call.verb), how, call.numel,
                     c10::toString(static_cast<c10::ScalarType>(call.dtype)));
}

void require_on_cpu(const at::Tensor& tensor) {
  require(tensor.defined() && tensor.layout() == c10::kStrided && tensor.device().is_cpu() && tensor.is_contiguous(),
          "a shared group takes dense and contiguous tensors on the CPU");
}

/// Adds up [begin, end) of what all ranks have there.
template <class T>
void reduce(const std::array<std::byte*, GroupBoard::kMostMembers>& data, int world_size, std::size_t begin,
            std::size_t end, Reduction reduction) {
  std::array<T*, GroupBoard::kMostMembers> shares;
  for (int rank = 0; rank < world_size; ++rank) shares[rank] = reinterpret_cast<T*>(data[rank]) + begin;
  const std::span<T* const> all(shares.data(), static_cast<std::size_t>(world_size));
  kernels::sum_into_all(all, end - begin, reduction == Reduction::mean ? static_cast<T>(world_size) : T{1});
}

}  // namespace

SharedGroup::Memory::Memory(const Options& options)
    : options_(options), segment_(Segment::create("group", memory_bytes(options))) {
  new (segment_.data()) GroupBoard(options.world_size);
}

void SharedGroup::Memory::abort() const noexcept {
  board().abort(GroupError::kNoMember);
}

std::byte* SharedGroup::Memory::part(int rank) const noexcept {
  return segment_.data() + sizeof(GroupBoard) + static_cast<std::size_t>(rank) * part_bytes(options_);
}

GroupBoard& SharedGroup::Memory::board() const noexcept {
  return *std::launder(reinterpret_cast<GroupBoard*>(segment_.data()));
}

SharedGroup::SharedGroup(Memory memory, int rank) : memory_(std::move(memory)), rank_(rank) {
  memory_.board().join(rank);
}

SharedGroup::~SharedGroup() {
  memory_.board().leave(rank_);
}

void SharedGroup::abort() noexcept {
  memory_.board().abort(rank_);
}

std::span<std::byte> SharedGroup::buffer() const noexcept {
  return {memory_.part(rank_), memory_.options_.buffer_bytes};
}

std::byte* SharedGroup::data_of(int rank) const noexcept {
  return memory_.part(rank) + memory_.board().post_of(rank, rank_).data_offset;
}

bool SharedGroup::is_any_staged() const noexcept {
  for (int rank = 0; rank < world_size(); ++rank) {
    if (memory_.board().post_of(rank, rank_).is_staged) return true;
  }
  return false;
}

/// A part of a verb's work: the bytes [begin, begin + size) of everybody's tensor.
struct SharedGroup::Round {
  GroupCall call;
  bool brings = true;         // others read its numbers
  std::byte* data = nullptr;  // of this rank's tensor
  std::size_t total = 0;
  std::size_t piece = 0;  // as much as is staged at a time
  std::size_t begin = 0;
  std::size_t size = 0;
};

void SharedGroup::post(const Round& round) {
  GroupPost& mine = memory_.board().next_post(rank_);
  mine = {.call = round.call};
  if (!round.brings || round.total == 0) return;
  const std::span<std::byte> own = buffer();
  std::byte* at = round.data + round.begin;
  mine.is_staged = round.data < own.data() || round.data + round.total > own.data() + own.size();
  if (mine.is_staged) {
    at = memory_.part(rank_) + whole_lines(memory_.options_.buffer_bytes);
    std::memcpy(at, round.data + round.begin, std::min(round.piece, round.total - round.begin));
  }
  mine.data_offset = static_cast<std::uint64_t>(at - memory_.part(rank_));
}

void SharedGroup::meet(const GroupCall& call, Deadline deadline) {
  memory_.board().meet(rank_, name_of(call.verb), deadline);
  for (int rank = 0; rank < world_size(); ++rank) {
    const GroupCall& theirs = memory_.board().post_of(rank, rank_).call;
    if (theirs == call) [[likely]]
      continue;
    throw UsageError(fmt::format("all ranks must call the same, but rank {} called {} and rank {} {}", rank_,
                                 describe(call), rank, describe(theirs)));
  }
}

// All ranks decide the same from what all of them posted: whether they agree, how large the round is, whether to go on.
template <class Work>
void SharedGroup::in_rounds(Round& round, const at::Tensor& tensor, Deadline deadline, const Work& work) {
  const std::size_t unit = tensor.element_size();
  round.call.dtype = static_cast<std::int32_t>(tensor.scalar_type());
  round.call.numel = tensor.numel();
  round.data = static_cast<std::byte*>(tensor.data_ptr());
  round.total = static_cast<std::size_t>(tensor.numel()) * unit;
  round.piece = whole_lines(memory_.options_.staging_bytes) / unit * unit;
  do {
    post(round);
    meet(round.call, deadline);
    round.size = is_any_staged() ? std::min(round.piece, round.total - round.begin) : round.total;
    const GroupPost mine = memory_.board().post_of(rank_, rank_);
    work(round);
    memory_.board().next_post(rank_) = mine;
    meet(round.call, deadline);
    if (mine.is_staged && round.call.verb == Verb::all_reduce) {
      std::memcpy(round.data + round.begin, data_of(rank_), round.size);
    }
    round.begin += round.size;
  } while (round.begin < round.total);
}

void SharedGroup::broadcast(const at::Tensor& tensor, int root, Deadline deadline) {
  require_on_cpu(tensor);
  require(root >= 0 && root < world_size(), "the root of a broadcast must be rank 0 to {}, but is {}", world_size() - 1,
          root);
  Round round{.call = {.verb = Verb::broadcast, .how = root}, .brings = rank_ == root};
  in_rounds(round, tensor, deadline, [&](const Round& now) {
    if (rank_ != root) std::copy_n(data_of(root), now.size, now.data + now.begin);  // none, and from null, too
  });
}

void SharedGroup::all_reduce(const at::Tensor& tensor, Reduction reduction, Deadline deadline) {
  require_on_cpu(tensor);
  const bool is_float = tensor.scalar_type() == c10::kFloat;
  require(is_float || tensor.scalar_type() == c10::kDouble, "all_reduce takes float32 and float64, but not {}",
          c10::toString(tensor.scalar_type()));
  Round round{.call = {.verb = Verb::all_reduce, .how = static_cast<std::int32_t>(reduction)}};
  in_rounds(round, tensor, deadline, [&](const Round& now) {
    std::array<std::byte*, GroupBoard::kMostMembers> data;
    for (int rank = 0; rank < world_size(); ++rank) data[rank] = data_of(rank);
    const std::size_t numel = now.size / tensor.element_size();
    const auto members = static_cast<std::size_t>(world_size());
    const auto mine = static_cast<std::size_t>(rank_);
    const std::size_t begin = numel * mine / members;
    const std::size_t end = numel * (mine + 1) / members;
    is_float ? reduce<float>(data, world_size(), begin, end, reduction)
             : reduce<double>(data, world_size(), begin, end, reduction);
  });
}

void SharedGroup::barrier(Deadline deadline) {
  const GroupCall call = {.verb = Verb::barrier};
  memory_.board().next_post(rank_) = {.call = call};
  meet(call, deadline);
}

}  // namespace hogpen

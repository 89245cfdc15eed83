#pragma once

#include <cstddef>
#include <span>

#include "runtime/cluster/group.h"
#include "runtime/memory/segment.h"

namespace hogpen {

namespace detail {
class GroupBoard;
struct GroupCall;
}  // namespace detail

/// A group of processes or threads on one machine, in shared memory that was made before they were.
///
/// Each member has a part of the memory that all can read and write. It begins with the member's `buffer`, where
/// numbers are best put from the start: verbs on a tensor that lies there copy nothing. Any other tensor goes through
/// the rest of the part, piece by piece. Each rank adds up its own share of the elements, in the order of ranks.
///
/// Device: CPU. Accuracy: repeatable to the bit, and the same with and without a buffer.
/// Sharing: between members, another member's buffer is its own until a verb begins and after it has ended.
/// Owns: a share of the memory. Throws: besides what a Group does, UsageError naming the rank whose verb, or its
/// tensor's dtype or size, is another; after that the group goes on.
class SharedGroup final : public Group {
 public:
  struct Options {
    int world_size = 1;
    std::size_t buffer_bytes = 0;
    std::size_t staging_bytes = std::size_t{1} << 20;  ///< for tensors elsewhere: how much of them is copied at a time
  };

  /// What the members share. Make it before the fork.
  ///
  /// Sharing: a handle; a copy is another one to the same memory. Owns: a share of a Segment.
  class Memory {
   public:
    /// Throws: UsageError for a world size below 1 or above 256; what Segment::create throws.
    explicit Memory(const Options& options);

    /// Ends the group on behalf of somebody who is no member.
    void abort() const noexcept;
    [[nodiscard]] int world_size() const noexcept { return options_.world_size; }
    [[nodiscard]] detail::GroupBoard& board() const noexcept;

   private:
    friend class SharedGroup;

    /// The beginning of a member's part.
    [[nodiscard]] std::byte* part(int rank) const noexcept;

    Options options_;
    Segment segment_;
  };

  /// Joins. Throws: UsageError for a rank that the group has not, or that another member has.
  SharedGroup(Memory memory, int rank);
  ~SharedGroup() override;

  [[nodiscard]] int rank() const noexcept override { return rank_; }
  [[nodiscard]] int world_size() const noexcept override { return memory_.world_size(); }

  void broadcast(const at::Tensor& tensor, int root, Deadline deadline) override;
  void all_reduce(const at::Tensor& tensor, Reduction reduction, Deadline deadline) override;
  void barrier(Deadline deadline) override;
  void abort() noexcept override;

  /// The member's own buffer, 64-byte aligned. Valid as long as the memory.
  [[nodiscard]] std::span<std::byte> buffer() const noexcept;

 private:
  struct Round;

  template <class Work>
  void in_rounds(Round& round, const at::Tensor& tensor, Deadline deadline, const Work& work);
  void post(const Round& round);
  void meet(const detail::GroupCall& call, Deadline deadline);
  [[nodiscard]] std::byte* data_of(int rank) const noexcept;
  [[nodiscard]] bool is_any_staged() const noexcept;

  Memory memory_;
  int rank_;
};

}  // namespace hogpen

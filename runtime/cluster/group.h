#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "runtime/core/deadline.h"
#include "runtime/core/error.h"

namespace hogpen {

/// A group can do nothing together any more: a member died, left, gave up, or aborted it.
class GroupError : public Error {
 public:
  static constexpr int kNoMember = -1;

  GroupError(const std::string& message, int rank) : Error(message), rank_(rank) {}
  /// Whose fault it is, or `kNoMember`.
  [[nodiscard]] int rank() const noexcept { return rank_; }

 private:
  int rank_;
};

enum class Reduction { sum, mean };

/// Workers that compute together: the verbs of collective communication, as in torch.distributed. All members call the
/// same verbs in the same order; each returns once its part is done.
///
/// Nobody waits for ever for a member that will not come: whatever ends one's part ends the group for all of them. A
/// group that has ended stays so; make another one.
///
/// Shapes: any; the same number of elements on all ranks; contiguous. Dtypes: `broadcast` takes any; `all_reduce`
/// float32 and float64. Device: the implementation's.
/// Sharing: one object a member, used by one thread; but `abort` may be called from any. A member is a process or a
/// thread.
/// Throws: each verb UsageError for a tensor or a rank that it cannot take; TimeoutError naming who did not come when
/// its deadline passed, after which the group has ended; GroupError naming the member for which it has ended.
class Group {
 public:
  Group() = default;
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;
  /// Leaves. Who waits for this member in something it took no part in, now or later, gets a GroupError.
  virtual ~Group() = default;

  [[nodiscard]] virtual int rank() const noexcept = 0;
  [[nodiscard]] virtual int world_size() const noexcept = 0;

  /// Gives all members the numbers that `tensor` of rank `root` has.
  virtual void broadcast(const at::Tensor& tensor, int root, Deadline deadline) = 0;

  /// Gives all members the sum of their tensors, or the mean, in place.
  ///
  /// Accuracy: all ranks have the same bits.
  virtual void all_reduce(const at::Tensor& tensor, Reduction reduction, Deadline deadline) = 0;

  /// Returns once all members have called it.
  virtual void barrier(Deadline deadline) = 0;

  /// Ends the group: all members' verbs throw, those that they are in and later ones.
  virtual void abort() noexcept = 0;
};

}  // namespace hogpen

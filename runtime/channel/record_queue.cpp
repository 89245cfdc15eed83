#include "runtime/channel/record_queue.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <vector>

#include "runtime/core/error.h"
#include "runtime/sync/mutex.h"

namespace hogpen {
namespace {

constexpr std::size_t kUnit = 8;
constexpr std::size_t kLeastRing = 256;
constexpr std::size_t kLargestRing = std::size_t{1} << 33;
constexpr std::size_t kLine = 64;
constexpr std::uint32_t kCounts = (std::uint32_t{1} << 31) - 1;
// How much longer than its deadline a call may wait for a lock that a peer holds for an instant: without it, an attempt
// that is not to wait at all would fail when another is just busy.
constexpr std::chrono::milliseconds kGrace{10};

std::size_t ring_bytes(const QueueOptions& options) {
  require(options.bytes <= kLargestRing, "a queue's ring must not be larger than {} bytes", kLargestRing);
  require(options.capacity < kCounts, "a queue's capacity must be less than {} messages", kCounts);
  return std::bit_ceil(std::max(options.bytes, kLeastRing));
}

std::optional<Mutex::Guard> lock_soon(Mutex& mutex, Deadline deadline) {
  // That the previous owner died is of no interest: what it left half done lies outside of what the cursors enclose.
  auto guard = mutex.lock(deadline);
  return guard ? std::move(guard) : mutex.lock(Deadline::after(kGrace));
}

}  // namespace

// How many messages went by and where in the ring the next one is, in one word: so that it changes in one store.
class RecordQueue::Cursor {
 public:
  static constexpr std::uint64_t kClosed = std::uint64_t{1} << 63;

  explicit Cursor(std::uint64_t word) : word_(word) {}
  [[nodiscard]] std::uint64_t word() const { return word_; }
  [[nodiscard]] bool closed() const { return (word_ & kClosed) != 0; }
  [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(word_ >> 32) & kCounts; }
  [[nodiscard]] std::uint32_t position() const { return static_cast<std::uint32_t>(word_); }  // in units, modulo 2^32
  [[nodiscard]] std::uint32_t messages_since(Cursor head) const { return (count() - head.count()) & kCounts; }
  [[nodiscard]] std::uint32_t units_since(Cursor head) const { return position() - head.position(); }
  // One message more, and all up to that position gone by.
  [[nodiscard]] Cursor next(std::uint32_t position) const {
    return Cursor(std::uint64_t{(count() + 1) & kCounts} << 32 | position);
  }

 private:
  std::uint64_t word_;
};

// Invariants: 1. The messages are what lies between head and tail; all else in the ring is garbage. 2. Only who holds
// put_mutex moves the tail; only who holds get_mutex moves the head. 3. Whoever waits holds no lock.
struct RecordQueue::Shared {
  alignas(kLine) Mutex put_mutex;
  std::atomic<std::uint64_t> tail{0};       // its highest bit: closed
  std::atomic<std::uint64_t> head_seen{0};  // by the last producer that looked: no message more than that is gone
  alignas(kLine) Mutex get_mutex;
  std::atomic<std::uint64_t> head{0};
  std::atomic<std::uint64_t> tail_seen{0};  // by the last consumer that looked: so many messages there are at least
  alignas(kLine) WaitPoint not_empty;
  alignas(kLine) WaitPoint not_full;
  // There is no count of messages put beside the tail's: so no death can come between the two.
  alignas(kLine) std::atomic<std::uint32_t> done{0};
  WaitPoint all_done;
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
};

// What stands in the ring before a message: the size of its payload, and how many blocks it refers to.
struct RecordQueue::Record {
  static constexpr unsigned kSizeBits = 40;
  static constexpr std::uint64_t kWrap = ~std::uint64_t{0};  // not a message: go on at the begin of the ring
  std::uint64_t word;

  [[nodiscard]] std::size_t size() const { return word & ((std::uint64_t{1} << kSizeBits) - 1); }
  [[nodiscard]] std::size_t blocks() const { return word >> kSizeBits; }
};

RecordQueue::RecordQueue(QueueOptions options)
    : segment_(Segment::create("queue", sizeof(Shared) + ring_bytes(options))), options_(options) {
  static_assert(sizeof(Record) == kUnit);
  mask_ = static_cast<std::uint32_t>((segment_.size_bytes() - sizeof(Shared)) / kUnit - 1);
  new (segment_.data()) Shared;
}

std::byte* RecordQueue::ring() const noexcept {
  return segment_.data() + sizeof(Shared);
}

RecordQueue::Record& RecordQueue::record_at(std::uint32_t position) const noexcept {
  return *reinterpret_cast<Record*>(ring() + kUnit * (position & mask_));
}

// The position where that many units fit in one piece: here, or at the begin of the ring.
std::uint32_t RecordQueue::place_for(std::uint32_t position, std::uint32_t units) const noexcept {
  const std::uint32_t to_end = mask_ + 1 - (position & mask_);
  return units <= to_end ? position : position + to_end;
}

bool RecordQueue::has_room(std::uint64_t tail, std::uint64_t head, std::uint32_t units) const noexcept {
  const Cursor end(tail), begin(head);
  const std::uint32_t after = place_for(end.position(), units) + units;
  return after - begin.position() <= mask_ + 1 &&
         (options_.capacity == 0 || end.messages_since(begin) < options_.capacity);
}

bool RecordQueue::put(std::span<const std::byte> payload, std::span<const BlockId> blocks, Deadline deadline) {
  const std::size_t bytes = sizeof(Record) + blocks.size_bytes() + payload.size();
  require(bytes <= (std::size_t{mask_} + 1) * kUnit / 4, "a message of {} bytes is larger than a quarter of its queue",
          bytes);
  const auto units = static_cast<std::uint32_t>((bytes + kUnit - 1) / kUnit);
  Shared& s = shared();
  for (;;) {
    {
      const auto guard = lock_soon(s.put_mutex, deadline);
      if (!guard) return false;
      if (try_put(payload, blocks, units)) break;
    }
    const auto ready = [&] {
      const std::uint64_t head = s.head.load(std::memory_order_acquire);
      const std::uint64_t tail = s.tail.load(std::memory_order_acquire);
      return Cursor(tail).closed() || has_room(tail, head, units);
    };
    if (!s.not_full.wait(ready, deadline, options_.spin)) return false;
  }
  s.not_empty.notify();
  return true;
}

// Under put_mutex. False: no room.
bool RecordQueue::try_put(std::span<const std::byte> payload, std::span<const BlockId> blocks, std::uint32_t units) {
  Shared& s = shared();
  // Relaxed: the lock orders the tail and what was seen of the head among producers.
  std::uint64_t tail = s.tail.load(std::memory_order_relaxed);
  if (Cursor(tail).closed()) throw ClosedError("nothing can be put into a closed queue");
  if (!has_room(tail, s.head_seen.load(std::memory_order_relaxed), units)) {
    const std::uint64_t head = s.head.load(std::memory_order_acquire);  // what is gone by then has been read
    s.head_seen.store(head, std::memory_order_relaxed);
    if (!has_room(tail, head, units)) return false;
  }
  const std::uint32_t begin = Cursor(tail).position();
  const std::uint32_t place = place_for(begin, units);
  if (place != begin) record_at(begin).word = Record::kWrap;
  Record& record = record_at(place);
  record.word = payload.size() | std::uint64_t{blocks.size()} << Record::kSizeBits;
  auto* to = reinterpret_cast<std::byte*>(&record + 1);
  if (!blocks.empty()) std::memcpy(to, blocks.data(), blocks.size_bytes());
  if (!payload.empty()) std::memcpy(to + blocks.size_bytes(), payload.data(), payload.size());
  // From this store on the message is there. It fails only when another closes the queue.
  if (s.tail.compare_exchange_strong(tail, Cursor(tail).next(place + units).word(), std::memory_order_release,
                                     std::memory_order_relaxed)) {
    return true;
  }
  throw ClosedError("nothing can be put into a closed queue");
}

bool RecordQueue::get(RecordSink sink, Deadline deadline) {
  Shared& s = shared();
  for (;;) {
    {
      const auto guard = lock_soon(s.get_mutex, deadline);
      if (!guard) return false;
      // Relaxed: the lock orders the head and what was seen of the tail among consumers.
      const Cursor head(s.head.load(std::memory_order_relaxed));
      std::uint64_t tail = s.tail_seen.load(std::memory_order_relaxed);
      if (Cursor(tail).messages_since(head) == 0) {
        tail = s.tail.load(std::memory_order_acquire);
        s.tail_seen.store(tail, std::memory_order_relaxed);
      }
      if (Cursor(tail).messages_since(head) != 0) {
        take(sink, head.word());
        break;
      }
      if (Cursor(tail).closed()) return false;
    }
    if (!wait_for_change(deadline)) return false;
  }
  s.not_full.notify();
  return true;
}

// Under get_mutex, with a message there.
void RecordQueue::take(RecordSink sink, std::uint64_t head) {
  std::uint32_t place = Cursor(head).position();
  if (record_at(place).word == Record::kWrap) place = place_for(place, mask_ + 1);
  const Record& record = record_at(place);
  const auto* blocks = reinterpret_cast<const std::byte*>(&record + 1);
  const std::size_t blocks_bytes = record.blocks() * sizeof(BlockId);
  const auto units = static_cast<std::uint32_t>((sizeof(Record) + blocks_bytes + record.size() + kUnit - 1) / kUnit);
  std::exception_ptr failure;
  try {
    sink({blocks + blocks_bytes, record.size()});
  } catch (...) {
    failure = std::current_exception();
  }
  // Until this store the message is still there.
  shared().head.store(Cursor(head).next(place + units).word(), std::memory_order_release);
  if (failure) std::rethrow_exception(failure);
}

// Waits until there is a message or the queue is closed.
bool RecordQueue::wait_for_change(Deadline deadline) {
  Shared& s = shared();
  const auto ready = [&] {
    const Cursor head(s.head.load(std::memory_order_acquire));
    const Cursor tail(s.tail.load(std::memory_order_acquire));
    return tail.closed() || tail.messages_since(head) != 0;
  };
  return s.not_empty.wait(ready, deadline, options_.spin);
}

bool RecordQueue::wait_for_message(Deadline deadline) {
  return wait_for_change(deadline) && !empty();
}

void RecordQueue::close() noexcept {
  Shared& s = shared();
  s.tail.fetch_or(Cursor::kClosed);
  s.not_empty.notify();
  s.not_full.notify();
}

bool RecordQueue::closed() const noexcept {
  return Cursor(shared().tail.load(std::memory_order_acquire)).closed();
}

std::size_t RecordQueue::size() const noexcept {
  // The head first: the tail is never behind it, and grows meanwhile at most.
  const Cursor head(shared().head.load(std::memory_order_acquire));
  return Cursor(shared().tail.load(std::memory_order_acquire)).messages_since(head);
}

bool RecordQueue::full() const noexcept {
  const std::uint64_t head = shared().head.load(std::memory_order_acquire);
  return !has_room(shared().tail.load(std::memory_order_acquire), head, 1);
}

std::uint32_t RecordQueue::times_put() const noexcept {
  return Cursor(shared().tail.load(std::memory_order_acquire)).count();
}

std::uint32_t RecordQueue::times_taken() const noexcept {
  return Cursor(shared().head.load(std::memory_order_acquire)).count();
}

void RecordQueue::task_done() {
  Shared& s = shared();
  std::uint32_t done = s.done.load();
  do {
    require(done != times_taken(), "task_done must not be called more often than messages were taken");
  } while (!s.done.compare_exchange_weak(done, (done + 1) & kCounts));
  s.all_done.notify();
}

bool RecordQueue::wait_until_done(Deadline deadline) {
  Shared& s = shared();
  return s.all_done.wait([&] { return s.done.load() == times_put(); }, deadline, options_.spin);
}

}  // namespace hogpen

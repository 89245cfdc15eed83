#include "runtime/channel/record_queue.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <exception>
#include <new>
#include <optional>
#include <vector>

#include "runtime/channel/queue_cursor.h"
#include "runtime/core/error.h"
#include "runtime/memory/shared_heap.h"
#include "runtime/sync/mutex.h"

namespace hogpen {
namespace {

using Cursor = detail::QueueCursor;

constexpr std::size_t kUnit = 8;
constexpr std::size_t kLeastRing = 256;
constexpr std::size_t kLargestRing = std::size_t{1} << 33;
constexpr std::size_t kLargestInRing = std::size_t{1} << 14;
constexpr std::size_t kLine = 64;
// How much longer than its deadline a call may wait for a lock that a peer holds for an instant: without it, an attempt
// that is not to wait at all would fail when another is just busy.
constexpr std::chrono::milliseconds kGrace{10};

std::size_t ring_bytes(const QueueOptions& options) {
  require(options.bytes <= kLargestRing, "a queue's ring must not be larger than {} bytes", kLargestRing);
  require(options.capacity < Cursor::kCounts, "a queue's capacity must be less than {} messages", Cursor::kCounts);
  return std::bit_ceil(std::max(options.bytes, kLeastRing));
}

std::optional<Mutex::Guard> lock_soon(Mutex& mutex, Deadline deadline) {
  // That the previous owner died is of no interest: what it left half done lies outside of what the cursors enclose.
  auto guard = mutex.lock(deadline);
  return guard ? std::move(guard) : mutex.lock(Deadline::after(kGrace));
}

}  // namespace

// Invariants: 1. The messages are what lies between head and tail; all else in the ring is garbage. 2. Only who holds
// put_mutex moves the tail; only who holds get_mutex moves the head. 3. Whoever waits holds no lock.
struct RecordQueue::Header {
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

// What stands in the ring before a message: the size of its payload, how many blocks it refers to, and whether all that
// lies in a block of its own, whose id alone is in the ring then.
struct RecordQueue::Record {
  static constexpr unsigned kSizeBits = 40;
  static constexpr std::uint64_t kMostBytes = (std::uint64_t{1} << kSizeBits) - 1;
  static constexpr std::uint64_t kMostBlocks = (std::uint64_t{1} << 22) - 1;
  static constexpr std::uint64_t kApart = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kWrap = ~std::uint64_t{0};  // not a message: go on at the begin of the ring
  std::uint64_t word;

  [[nodiscard]] bool apart() const { return (word & kApart) != 0; }
  [[nodiscard]] std::size_t size() const { return word & kMostBytes; }
  [[nodiscard]] std::size_t blocks_bytes() const { return ((word & ~kApart) >> kSizeBits) * sizeof(BlockId); }
  [[nodiscard]] std::uint32_t units() const {
    const std::size_t body = apart() ? sizeof(BlockId) : blocks_bytes() + size();
    return static_cast<std::uint32_t>((sizeof(Record) + body + kUnit - 1) / kUnit);
  }
};

// A message as it is to stand in the ring.
struct RecordQueue::Message {
  Record record;
  std::array<std::span<const std::byte>, 2> body;
  std::span<const BlockId> blocks;
  BlockId apart = BlockId::none;

  // The shares of the message. Who puts it holds its own until the message is there, so a death in between leaks a
  // share, and never frees a block that somebody may reach.
  void for_each_block(void (*act)(BlockId) noexcept) const {
    for (const BlockId block : blocks) act(block);
    if (apart != BlockId::none) act(apart);
  }
};

RecordQueue::RecordQueue(QueueOptions options)
    : segment_(Segment::create("queue", sizeof(Header) + ring_bytes(options))), options_(options) {
  static_assert(sizeof(Record) == kUnit && sizeof(BlockId) == kUnit);
  open_shared_heap();
  mask_ = static_cast<std::uint32_t>((segment_.size_bytes() - sizeof(Header)) / kUnit - 1);
  new (segment_.data()) Header;
}

RecordQueue::Record& RecordQueue::record_at(std::uint32_t position) const noexcept {
  return *reinterpret_cast<Record*>(segment_.data() + sizeof(Header) + kUnit * (position & mask_));
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
  require(payload.size() <= Record::kMostBytes && blocks.size() <= Record::kMostBlocks,
          "a message must not be larger than {} bytes, nor refer to more than {} blocks", Record::kMostBytes,
          Record::kMostBlocks);
  const std::uint64_t word = payload.size() | std::uint64_t{blocks.size()} << Record::kSizeBits;
  const std::span<const std::byte> ids = std::as_bytes(blocks);
  if (sizeof(Record) + ids.size() + payload.size() <= std::min((std::size_t{mask_} + 1) * kUnit / 4, kLargestInRing)) {
    return put(Message{{word}, {ids, payload}, blocks}, deadline);
  }
  const SharedBlock apart = SharedBlock::allocate(ids.size() + payload.size());
  std::ranges::copy(payload, std::ranges::copy(ids, apart.data()).out);
  const BlockId id = apart.id();
  return put(Message{{word | Record::kApart}, {std::as_bytes(std::span(&id, 1)), {}}, blocks, id}, deadline);
}

bool RecordQueue::put(const Message& message, Deadline deadline) {
  Header& s = header();
  for (;;) {
    {
      const auto guard = lock_soon(s.put_mutex, deadline);
      if (!guard) return false;
      if (try_put(message)) break;
    }
    const auto ready = [&] {
      const std::uint64_t head = s.head.load(std::memory_order_acquire);
      const std::uint64_t tail = s.tail.load(std::memory_order_acquire);
      return Cursor(tail).closed() || has_room(tail, head, message.record.units());
    };
    if (!s.not_full.wait(ready, deadline, options_.spin)) return false;
  }
  s.not_empty.notify();
  return true;
}

// Under put_mutex. False: no room.
bool RecordQueue::try_put(const Message& message) {
  const std::uint32_t units = message.record.units();
  Header& s = header();
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
  record = message.record;
  auto* to = reinterpret_cast<std::byte*>(&record + 1);
  for (const auto part : message.body) {
    if (!part.empty()) std::memcpy(to, part.data(), part.size());
    to += part.size();
  }
  message.for_each_block(retain);
  // From this store on the message is there. It fails only when another closes the queue.
  if (s.tail.compare_exchange_strong(tail, Cursor(tail).next(place + units).word(), std::memory_order_release,
                                     std::memory_order_relaxed)) {
    return true;
  }
  message.for_each_block(release);
  throw ClosedError("nothing can be put into a closed queue");
}

bool RecordQueue::get(RecordSink sink, Deadline deadline) {
  Header& s = header();
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
  const Record record = record_at(place);
  const std::byte* body = reinterpret_cast<const std::byte*>(&record_at(place) + 1);
  SharedBlock apart;  // a share of this process, while it reads
  if (record.apart()) {
    BlockId id;
    std::memcpy(&id, body, sizeof(id));
    apart = SharedBlock::open(id);
    body = apart.data();
  }
  // Another message may stand there once this one is taken.
  std::vector<BlockId> blocks(record.blocks_bytes() / sizeof(BlockId));
  if (!blocks.empty()) std::memcpy(blocks.data(), body, record.blocks_bytes());
  std::exception_ptr failure;
  try {
    sink({body + record.blocks_bytes(), record.size()});
  } catch (...) {
    failure = std::current_exception();
  }
  // Until this store the message is still there, and with it its shares.
  header().head.store(Cursor(head).next(place + record.units()).word(), std::memory_order_release);
  Message{record, {}, blocks, apart.id()}.for_each_block(release);
  if (failure) std::rethrow_exception(failure);
}

// Waits until there is a message or the queue is closed.
bool RecordQueue::wait_for_change(Deadline deadline) {
  Header& s = header();
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
  Header& s = header();
  s.tail.fetch_or(Cursor::kClosed);
  s.not_empty.notify();
  s.not_full.notify();
}

bool RecordQueue::closed() const noexcept {
  return Cursor(header().tail.load(std::memory_order_acquire)).closed();
}

std::size_t RecordQueue::size() const noexcept {
  // The head first: the tail is never behind it, and grows meanwhile at most.
  const Cursor head(header().head.load(std::memory_order_acquire));
  return Cursor(header().tail.load(std::memory_order_acquire)).messages_since(head);
}

bool RecordQueue::full() const noexcept {
  const std::uint64_t head = header().head.load(std::memory_order_acquire);
  return !has_room(header().tail.load(std::memory_order_acquire), head, 1);
}

std::uint32_t RecordQueue::times_put() const noexcept {
  return Cursor(header().tail.load(std::memory_order_acquire)).count();
}

std::uint32_t RecordQueue::times_taken() const noexcept {
  return Cursor(header().head.load(std::memory_order_acquire)).count();
}

void RecordQueue::task_done() {
  Header& s = header();
  std::uint32_t done = s.done.load();
  do {
    require(done != times_taken(), "task_done must not be called more often than messages were taken");
  } while (!s.done.compare_exchange_weak(done, (done + 1) & Cursor::kCounts));
  s.all_done.notify();
}

bool RecordQueue::wait_until_done(Deadline deadline) {
  Header& s = header();
  return s.all_done.wait([&] { return s.done.load() == times_put(); }, deadline, options_.spin);
}

}  // namespace hogpen

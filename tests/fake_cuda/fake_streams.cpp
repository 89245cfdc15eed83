// Streams, events and graphs of the fake driver. What is enqueued on a stream is done as late as the driver may do it:
// when somebody waits. So memory that is given back or used again too early is found out.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "tests/fake_cuda/fake_driver.h"
#include "tests/fake_cuda/fake_state.h"

namespace fake {
namespace {

using Work = std::function<void()>;
using Recorded = std::vector<Work>;

struct Stream {
  std::deque<Work> pending;
  std::uint64_t done = 0;
  std::unique_ptr<Recorded> capture;  // while it is captured
};

struct Event {
  Stream* stream = nullptr;
  std::uint64_t at = 0;
};

struct Streams {
  std::set<void*> streams, events, graphs, executables;
};

Streams& streams() {
  static Streams& instance = *new Streams;
  return instance;
}

[[noreturn]] void misuse(const char* what) {
  std::fprintf(stderr, "fake driver: %s\n", what);
  std::abort();
}

Stream& stream_at(void* stream) {
  if (!streams().streams.contains(stream)) misuse("no such stream");
  return *static_cast<Stream*>(stream);
}

Event& event_at(void* event) {
  if (!streams().events.contains(event)) misuse("no such event");
  return *static_cast<Event*>(event);
}

void run_until(Stream& stream, std::uint64_t count) {
  while (stream.done < count && !stream.pending.empty()) {
    const Work work = std::move(stream.pending.front());
    stream.pending.pop_front();
    work();
    ++stream.done;
  }
}

std::uint64_t enqueued(const Stream& stream) {
  return stream.done + stream.pending.size();
}

/// Enqueues or records it; at once on the default stream.
void take(void* stream, Work work) {
  if (stream == nullptr) return work();
  Stream& one = stream_at(stream);
  if (one.capture) {
    one.capture->push_back(std::move(work));
  } else {
    one.pending.push_back(std::move(work));
  }
}

template <class T>
void destroy(std::set<void*>& all, void* one, const char* what) {
  if (all.erase(one) == 0) misuse(what);
  delete static_cast<T*>(one);
}

Call begin_on_stream() {
  Call call = begin_call();
  if (call.error == success && current_device() < 0) call.error = invalid_context;
  return call;
}

int enqueue_copy(Address to, Address from, std::size_t bytes, void* stream) {
  take(stream, [=] { std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes); });
  return success;
}

bool is_page_locked(const void* address, std::size_t bytes) {
  const auto after = driver().page_locked.upper_bound(const_cast<void*>(address));
  if (after == driver().page_locked.begin()) return false;
  const auto* const begin = static_cast<const std::byte*>(*std::prev(after));
  return static_cast<const std::byte*>(address) + bytes <= begin + (std::size_t{1} << 20);  // none is larger here
}

}  // namespace

int live_on_streams() {
  const Streams& s = streams();
  return static_cast<int>(s.streams.size() + s.events.size() + s.graphs.size() + s.executables.size());
}

}  // namespace fake

using namespace fake;

extern "C" {

bool fake_driver_enqueue(void* stream, std::function<void()>& work) {
  const std::lock_guard guard(driver_mutex());
  if (stream == nullptr) return false;
  take(stream, std::move(work));
  return true;
}

int cuStreamCreate(void** stream, unsigned flags) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (flags != 1) return invalid_value;
  *stream = *streams().streams.insert(new Stream).first;
  return success;
}

int cuStreamDestroy_v2(void* stream) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  // One that could not be waited for, since the end of its capture failed, may have some left.
  const bool has_failed = stream_at(stream).capture != nullptr;
  if (!stream_at(stream).pending.empty() && !has_failed) misuse("a stream was destroyed before its work was done");
  destroy<Stream>(streams().streams, stream, "no such stream");
  return success;
}

int cuStreamSynchronize(void* stream) {
  const Call call = begin_on_stream();
  if (call.error != success) {
    if (streams().streams.contains(stream)) stream_at(stream).pending.clear();  // as after an error that stays
    return call.error;
  }
  if (stream == nullptr) return success;
  Stream& one = stream_at(stream);
  if (one.capture) return capture_unsupported;
  run_until(one, enqueued(one));
  return success;
}

int cuStreamQuery(void* stream) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (driver().busy_queries > 0 && driver().busy_queries-- > 0) return not_ready;
  if (stream != nullptr) run_until(stream_at(stream), enqueued(stream_at(stream)));
  return success;
}

int cuStreamBeginCapture_v2(void* stream, int mode) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (stream == nullptr || stream_at(stream).capture || mode != 2) return capture_unsupported;
  stream_at(stream).capture = std::make_unique<Recorded>();
  return success;
}

int cuStreamEndCapture(void* stream, void** graph) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (stream == nullptr || !stream_at(stream).capture) return capture_invalidated;
  *graph = *streams().graphs.insert(stream_at(stream).capture.release()).first;
  return success;
}

int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (!streams().graphs.contains(graph) || flags != 0) return invalid_value;
  *executable = *streams().executables.insert(new Recorded(*static_cast<Recorded*>(graph))).first;
  return success;
}

int cuGraphDestroy(void* graph) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  destroy<Recorded>(streams().graphs, graph, "no such graph");
  return success;
}

int cuGraphExecDestroy(void* executable) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  destroy<Recorded>(streams().executables, executable, "no such executable graph");
  return success;
}

int cuGraphLaunch(void* executable, void* stream) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (!streams().executables.contains(executable)) return invalid_value;
  for (const Work& work : *static_cast<Recorded*>(executable)) take(stream, work);
  return success;
}

int cuEventCreate(void** event, unsigned flags) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (flags != 2) return invalid_value;
  *event = *streams().events.insert(new Event).first;
  return success;
}

int cuEventDestroy_v2(void* event) {
  const Call call = begin_call();
  if (call.error != success) return call.error;
  destroy<Event>(streams().events, event, "no such event");
  return success;
}

int cuEventRecord(void* event, void* stream) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  event_at(event) = {.stream = &stream_at(stream), .at = enqueued(stream_at(stream))};
  return success;
}

int cuEventSynchronize(void* event) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  const Event& one = event_at(event);
  if (one.stream != nullptr) run_until(*one.stream, one.at);
  return success;
}

int cuMemcpyHtoDAsync_v2(Address to, const void* from, std::size_t bytes, void* stream) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (!has_rights(to, bytes, 3)) return illegal_address;
  if (!is_page_locked(from, bytes)) misuse("an asynchronous copy from memory that is not page-locked");
  return enqueue_copy(to, reinterpret_cast<Address>(from), bytes, stream);
}

int cuMemcpyDtoHAsync_v2(void* to, Address from, std::size_t bytes, void* stream) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (!has_rights(from, bytes, 1)) return illegal_address;
  if (!is_page_locked(to, bytes)) misuse("an asynchronous copy to memory that is not page-locked");
  return enqueue_copy(reinterpret_cast<Address>(to), from, bytes, stream);
}

int cuMemsetD8Async(Address to, unsigned char value, std::size_t bytes, void* stream) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (!has_rights(to, bytes, 3)) return illegal_address;
  take(stream, [=] { std::memset(reinterpret_cast<void*>(to), value, bytes); });
  return success;
}

int cuMemcpyDtoDAsync_v2(Address to, Address from, std::size_t bytes, void* stream) {
  const Call call = begin_on_stream();
  if (call.error != success) return call.error;
  if (!has_rights(from, bytes, 1) || !has_rights(to, bytes, 3)) return illegal_address;
  return enqueue_copy(to, from, bytes, stream);
}
}

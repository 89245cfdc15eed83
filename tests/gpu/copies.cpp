// Two processes page-lock the same memfd, and copy from it to the GPU.
#include <algorithm>
#include <span>
#include <vector>

#include "runtime/memory/cuda_buffer.h"
#include "runtime/memory/segment.h"
#include "tests/gpu/cases.h"
#include "tests/gpu/gpu_memory.h"
#include "tests/gpu/peer.h"

namespace hogpen::gpu_suite {
namespace {

constexpr double kBytes = 256 << 20;
constexpr double kMilliseconds = 300;  // of one measurement

/// GB/s to the GPU, until the time is over.
double rate_of_copies(const Segment& segment, const CudaBuffer& buffer) {
  const auto copy = [&] { copy_to_gpu(buffer.data(), segment.data(), segment.size_bytes()); };
  copy();
  double copied = 0;
  double ms = 0;
  for (; ms < kMilliseconds; copied += static_cast<double>(segment.size_bytes())) ms += milliseconds_of(copy);
  return 1e-6 * copied / ms;
}

void be_copier(Talk& talk, const Segment& segment) {
  use_gpu(kGpu);
  const CudaBuffer buffer(CudaBuffer::Place::gpu, kGpu, segment.size_bytes());
  void* const memory = segment.data();
  talk.say_go();
  talk.hear_go();
  talk.say(rate_of_copies(segment, buffer));
  talk.hear_go();
  constexpr unsigned kPortable = 1;  // CU_MEMHOSTREGISTER_PORTABLE
  cuda_driver().call("cuMemHostRegister_v2", memory, segment.size_bytes(), kPortable);
  while (talk.hear<bool>()) talk.say(rate_of_copies(segment, buffer));
  std::vector<std::byte> back(segment.size_bytes());
  copy_from_gpu(back.data(), buffer.data(), back.size());
  check(std::ranges::equal(back, segment.bytes()), "what came to the GPU is not what lies in the memfd");
  cuda_driver().call("cuMemHostUnregister", memory);
}

}  // namespace

void page_locked_copies(Trial& trial) {
  const Segment segment = Segment::create("gpu-suite-copies", static_cast<std::size_t>(trial.scaled(kBytes, 1 << 20)));
  const std::span<std::byte> bytes = segment.bytes();
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7 % 251);
  const auto body = [&](Talk& talk) { be_copier(talk, segment); };
  Peer one = Peer::start("copier", body);
  Peer other = Peer::start("copier", body);
  trial.number("bytes", bytes.size());
  for (Peer* peer : {&one, &other}) peer->hear_go();
  for (Peer* peer : {&one, &other}) peer->say_go();
  trial.number("pageable_both_gb_per_s", one.hear<double>() + other.hear<double>());
  for (Peer* peer : {&one, &other}) peer->say_go();
  one.say(true);
  trial.number("page_locked_alone_gb_per_s", one.hear<double>());
  for (Peer* peer : {&one, &other}) peer->say(true);
  trial.number("page_locked_both_gb_per_s", one.hear<double>() + other.hear<double>());
  for (Peer* peer : {&one, &other}) {
    peer->say(false);
    peer->join();
  }
}

}  // namespace hogpen::gpu_suite

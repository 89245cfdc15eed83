// One large piece of memory, and many small ones.
#include <vector>

#include "tests/gpu/cases.h"
#include "tests/gpu/gpu_memory.h"
#include "tests/gpu/peer.h"

namespace hogpen::gpu_suite {
namespace {

constexpr double kLargeBytes = 64.0 * (std::size_t{1} << 30);
constexpr double kSmallOnes = 10'000;
constexpr std::size_t kSmallBytes = std::size_t{2} << 20;
constexpr std::int64_t kChunk = 100;  // descriptors under way

struct Costs {
  double large_ms = 0;
  double small_us = 0;  ///< the median
};

void be_owner(Talk& talk, std::size_t large_bytes, std::int64_t small_ones) {
  talk.say(free_bytes());
  talk.hear_go();
  {
    const auto large = DeviceMemory::create(kGpu, large_bytes);
    write_number(large, 0, 21);
    write_number(large, large_bytes - 4, 22);
    talk.give(large.share());
    talk.hear_go();
  }
  std::vector<DeviceMemory> all;
  for (std::int64_t i = 0; i < small_ones; ++i) {
    all.push_back(DeviceMemory::create(kGpu, kSmallBytes));
    write_number(all.back(), 0, static_cast<std::uint32_t>(i));
    talk.give(all.back().share());
    if ((i + 1) % kChunk == 0) talk.hear_go();
  }
}

void be_importer(Talk& talk, std::size_t large_bytes, std::int64_t small_ones) {
  Costs costs;
  use_gpu(kGpu);
  {
    const DeviceShare share = talk.take();
    std::vector<DeviceMemory> large;
    costs.large_ms = milliseconds_of([&] { large.push_back(DeviceMemory::attach(share, large_bytes)); });
    check(read_number(large[0], 0) == 21 && read_number(large[0], large_bytes - 4) == 22,
          "a large piece shows other numbers than were written");
  }
  talk.say_go();
  std::vector<DeviceMemory> all;
  std::vector<double> us;
  for (std::int64_t i = 0; i < small_ones; ++i) {
    const DeviceShare share = talk.take();
    us.push_back(1e3 * milliseconds_of([&] { all.push_back(DeviceMemory::attach(share, kSmallBytes)); }));
    if ((i + 1) % kChunk == 0) talk.say_go();
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::uint32_t found = read_number(all[i], 0);
    check(found == i, "piece {} shows {}", i, found);
  }
  costs.small_us = median_of(us);
  talk.say(costs);
}

}  // namespace

void sizes(Trial& trial) {
  const std::size_t large_bytes = static_cast<std::size_t>(trial.scaled(kLargeBytes)) / kSmallBytes * kSmallBytes;
  const std::int64_t small_ones = trial.scaled(kSmallOnes, 10);
  Peer owner = Peer::start("owner", [&](Talk& talk) { be_owner(talk, large_bytes, small_ones); });
  Peer importer = Peer::start("importer", [&](Talk& talk) { be_importer(talk, large_bytes, small_ones); });
  const std::uint64_t needed = std::max(large_bytes, static_cast<std::size_t>(small_ones) * kSmallBytes) + kSlackBytes;
  const auto free = owner.hear<std::uint64_t>();
  if (free < needed) throw Skipped(fmt::format("{} MiB of the GPU are free, {} are needed", free >> 20, needed >> 20));
  owner.say_go();
  importer.give(owner.take());
  importer.hear_go();
  owner.say_go();
  for (std::int64_t i = 0; i < small_ones; ++i) {
    trial.check_time(fmt::format("{} of {} small pieces", i, small_ones));
    importer.give(owner.take());
    if ((i + 1) % kChunk != 0) continue;
    importer.hear_go();
    owner.say_go();
  }
  const auto costs = importer.hear<Costs>();
  owner.join();
  trial.number("large_bytes", large_bytes);
  trial.number("large_attach_ms", costs.large_ms);
  trial.number("small_pieces", small_ones);
  trial.number("small_attach_us_median", costs.small_us);
}

}  // namespace hogpen::gpu_suite

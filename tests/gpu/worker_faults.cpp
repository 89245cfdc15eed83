// One of several users of the same memory is killed or faults.
#include <chrono>
#include <vector>

#include "tests/gpu/cases.h"
#include "tests/gpu/gpu_memory.h"
#include "tests/gpu/peer.h"
#include "tests/gpu/suite_kernels.h"

namespace hogpen::gpu_suite {
namespace {

using namespace std::chrono_literals;

constexpr int kIllegalAddress = 700;  // CUDA_ERROR_ILLEGAL_ADDRESS
constexpr int kSiblings = 2;
constexpr int kVictims = 8;  // of a round
constexpr int kRegions = kSiblings + kVictims;
constexpr std::size_t kRegionCells = 1024;  // of each process
constexpr std::size_t kBytes = kRegions * kRegionCells * sizeof(float);
constexpr std::uint64_t kAdds = 1000;  // to each cell, in a round

float* region_of(const DeviceMemory& memory, int index) {
  return cells_of(memory) + static_cast<std::size_t>(index) * kRegionCells;
}

enum class Wish : char { share, see_victims_at_work, check_memory, end };

/// Makes the memory, gives it to whom the coordinator wants, and tells whether the memory of the dead has come back.
void be_owner(Talk& talk) {
  const auto memory = DeviceMemory::create(kGpu, kBytes);
  float* const victims = region_of(memory, kSiblings);
  fill(cells_of(memory), kRegions * kRegionCells, 0);
  std::uint64_t free_before = 0;
  for (Wish wish = talk.hear<Wish>(); wish != Wish::end; wish = talk.hear<Wish>()) {
    if (wish == Wish::share) {
      talk.give(memory.share());
    } else if (wish == Wish::see_victims_at_work) {
      const auto are_at_work = [&] {
        const std::vector<float> cells = read_cells(victims, kVictims * kRegionCells);
        for (std::size_t i = 0; i < kVictims; ++i) {
          if (cells[i * kRegionCells] == 0) return false;
        }
        return true;
      };
      check(wait_until(20s, are_at_work), "the kernels of {} processes do not all run", kVictims);
      talk.say_go();
    } else {
      if (free_before == 0) free_before = free_bytes();  // with the siblings' contexts
      const std::uint64_t free_now = free_bytes_again(free_before);
      check(free_now + kSlackBytes >= free_before, "{} MiB did not come back", (free_before - free_now) >> 20);
      fill(victims, kVictims * kRegionCells, 0);
      talk.say_go();
    }
  }
}

/// Adds to a region of its own in each round, and finds there what it has added.
void be_sibling(Talk& talk, int index) {
  use_gpu(kGpu);
  const auto memory = DeviceMemory::attach(talk.take(), kBytes);
  float* const region = region_of(memory, index);
  const Stream stream;
  talk.say_go();
  for (std::uint64_t wanted = kAdds; talk.hear<bool>(); wanted += kAdds) {
    add_atomically(region, kRegionCells, kAdds, stream.get());
    stream.wait();
    for (const float cell : read_cells(region, kRegionCells)) {
      check(cell == static_cast<float>(wanted), "a sibling's cell is {} instead of {}", cell, wanted);
    }
    talk.say_go();
  }
}

void be_victim(Talk& talk, int index) {
  constexpr std::uint64_t kLong = 60'000'000'000;  // nanoseconds
  use_gpu(kGpu);
  const auto memory = DeviceMemory::attach(talk.take(), kBytes);
  const Stream stream;
  work_for(kLong, region_of(memory, kSiblings + index), stream.get());
  stream.wait();  // in vain
}

/// Says which error the GPU gave.
void be_faulty(Talk& talk) {
  use_gpu(kGpu);
  const auto memory = DeviceMemory::attach(talk.take(), kBytes);
  const Stream stream;
  talk.hear_go();
  int code = 0;
  try {
    store(reinterpret_cast<float*>(std::uintptr_t{4096}), 1, stream.get());
    stream.wait();
  } catch (const CudaError& error) {
    code = error.code();
  }
  talk.say(code);
}

/// The owner of the memory, and siblings that work on it in rounds.
class Family {
 public:
  Family() : owner_(Peer::start("owner", be_owner)) {
    for (int i = 0; i < kSiblings; ++i) {
      siblings_.push_back(Peer::start("sibling", [i](Talk& talk) { be_sibling(talk, i); }));
      give_to(siblings_.back());
      siblings_.back().hear_go();
    }
  }

  void give_to(Peer& peer) {
    owner_.say(Wish::share);
    peer.give(owner_.take());
  }
  void ask_owner(Wish wish) {
    owner_.say(wish);
    owner_.hear_go();
  }
  void let_siblings_work() {
    for (Peer& sibling : siblings_) sibling.say(true);
  }
  /// Throws: Error when one has found something wrong.
  void hear_siblings() {
    for (Peer& sibling : siblings_) sibling.hear_go();
  }
  void end() {
    for (Peer& sibling : siblings_) {
      sibling.say(false);
      sibling.join();
    }
    owner_.say(Wish::end);
    owner_.join();
  }

 private:
  Peer owner_;
  std::vector<Peer> siblings_;
};

void kill_in_the_middle(Family& family) {
  std::vector<Peer> victims;
  for (int i = 0; i < kVictims; ++i) {
    victims.push_back(Peer::start("victim", [i](Talk& talk) { be_victim(talk, i); }));
  }
  for (Peer& victim : victims) family.give_to(victim);
  family.ask_owner(Wish::see_victims_at_work);
  family.let_siblings_work();
  for (Peer& victim : victims) victim.kill();
  family.hear_siblings();
  family.ask_owner(Wish::check_memory);
}

enum class Write : char { by_kernel, by_copy };

/// Returns whether the write was refused.
bool write_is_refused(const DeviceMemory& memory, Write how) {
  try {
    if (how == Write::by_copy) {
      write_number(memory, 0, 99);
    } else {
      const Stream stream;
      store(cells_of(memory), 99, stream.get());
      stream.wait();
    }
  } catch (const CudaError&) {
    return true;
  }
  return false;
}

void be_reader(Talk& talk, Write how) {
  use_gpu(kGpu);
  const auto memory = DeviceMemory::attach(talk.take(), kBytes, 0, DeviceMemory::Access::read_only);
  const std::uint32_t before = read_number(memory, 0);
  check(before == 11, "a read-only map shows {} instead of 11", before);
  check(write_is_refused(memory, how), "a write through a read-only map was not refused");
}

/// Writes and reads after each reader.
void be_writer(Talk& talk) {
  const auto memory = DeviceMemory::create(kGpu, kBytes);
  write_number(memory, 0, 11);
  for (std::uint32_t round = 0; talk.hear<bool>(); ++round) {
    talk.give(memory.share());
    talk.hear_go();
    const std::uint32_t found = read_number(memory, 0);
    check(found == 11, "a write through a read-only map has made {} of 11", found);
    write_number(memory, 4, round);
    check(read_number(memory, 4) == round, "the owner's own write is lost");
    talk.say_go();
  }
}

}  // namespace

void importer_killed(Trial& trial) {
  const std::int64_t kills = trial.scaled(200, kVictims);
  Family family;
  family.let_siblings_work();  // so that what the first launch takes is there
  family.hear_siblings();
  family.ask_owner(Wish::check_memory);
  for (std::int64_t done = 0; done < kills; done += kVictims) {
    trial.check_time(fmt::format("{} of {} kills", done, kills));
    kill_in_the_middle(family);
    trial.number("kills", done + kVictims);
  }
  family.end();
}

void illegal_address(Trial& trial) {
  const std::int64_t faults = trial.scaled(10);
  Family family;
  for (std::int64_t done = 0; done < faults; ++done) {
    trial.check_time(fmt::format("{} of {} faults", done, faults));
    Peer faulty = Peer::start("faulty", be_faulty);
    family.give_to(faulty);
    family.let_siblings_work();
    faulty.say_go();
    const int code = faulty.hear<int>();
    check(code == kIllegalAddress, "an illegal address gave error {}", code);
    family.hear_siblings();
    family.let_siblings_work();  // also once it is known
    family.hear_siblings();
    trial.number("faults", done + 1);
  }
  family.end();
}

void read_only_map(Trial& trial) {
  std::vector<Write> ways = {Write::by_copy};
  if (trial.has_kernels()) ways.push_back(Write::by_kernel);
  Peer writer = Peer::start("writer", be_writer);
  for (const Write how : ways) {
    Peer reader = Peer::start("reader", [how](Talk& talk) { be_reader(talk, how); });
    writer.say(true);
    reader.give(writer.take());
    reader.join();
    writer.say_go();
    writer.hear_go();
  }
  writer.say(false);
  writer.join();
  trial.number("by_copy_refused", true);
  if (trial.has_kernels()) trial.number("by_kernel_refused", true);
}

}  // namespace hogpen::gpu_suite

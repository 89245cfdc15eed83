// When the replicas of two GPUs are averaged, on the fake driver and the fake NCCL.
#include "models/replica_average.h"

#include <atomic>
#include <memory>
#include <span>
#include <thread>
#include <utility>

#include "models/train_step.h"
#include "runtime/cluster/nccl_library.h"
#include "runtime/core/error.h"
#include "runtime/memory/segment.h"
#include "tests/expect_throw.h"
#include "tests/models/several_gpus.h"
#include "tests/wait_until.h"

namespace hogpen {
namespace {

using namespace std::chrono_literals;

constexpr auto kManyLooks = 50ms;  // of the thread that looks whether an average is due

class ReplicaAverage : public OnSeveralGpus {
 protected:
  struct Keeper : KeeperOnGpus {
    explicit Keeper(const TrainerOptions& options) : KeeperOnGpus(options, make_zeros), control(3) {
      begin();
      on_host.emplace(make_zeros(), plan.model);
    }
    [[nodiscard]] detail::ReplicaAverage average() { return {plan, control, *on_host, replicas, *group}; }

    ControlBlock control;
    std::optional<SharedModel> on_host;
  };
};

TEST_F(ReplicaAverage, ComesWhenAllWorkersHaveMadeSoManyStepsForEach) {
  alone([&] {
    Keeper keeper(on_both("due", 3));
    const std::atomic_ref<float> first(keeper.parameters(0)[0]);
    const std::atomic_ref<float> others(keeper.parameters(1)[0]);
    detail::ReplicaAverage average = keeper.average();
    const auto expect_none_before = [&](int rank, float mean) {
      std::this_thread::sleep_for(kManyLooks);
      EXPECT_EQ(first.load(), 0.0F);
      ++keeper.control.slot(rank).steps;
      EXPECT_TRUE(wait_until(10s, [&] { return first.load() == mean; }));
      average.check();  // Waits for the end of it.
      EXPECT_EQ(others.load(), mean);
    };
    others.store(8.0F);
    keeper.control.slot(0).steps = 7;
    keeper.control.slot(2).steps = 1;
    expect_none_before(1, 4.0F);
    first.store(0.0F);
    keeper.control.slot(2).steps += 3 * 3 - 1;
    expect_none_before(2, 2.0F);
  });
}

TEST_F(ReplicaAverage, ComesWhenItIsAskedForAndThenALaterTimeWhenItIsDue) {
  alone([&] {
    Keeper keeper(on_both("asked", 3));
    detail::ReplicaAverage average = keeper.average();
    keeper.parameters(0)[255] = 1.0F;
    keeper.parameters(1)[255] = 4.0F;
    keeper.control.slot(0).steps = 3 * 3 - 1;
    average.average();
    for (const std::size_t gpu : {0, 1}) EXPECT_EQ(keeper.parameters(gpu)[255], 2.5F);
    std::atomic_ref<float>(keeper.parameters(0)[0]).store(8.0F);
    keeper.control.slot(0).steps += 3 * 3 - 1;
    std::this_thread::sleep_for(kManyLooks);
    EXPECT_EQ(std::atomic_ref<float>(keeper.parameters(1)[0]).load(), 0.0F);
  });
}

TEST_F(ReplicaAverage, ReportsTheErrorOfNccl) {
  alone([&] {
    Keeper keeper(on_both("error", 3));
    detail::ReplicaAverage average = keeper.average();
    average.average();
    fail_nccl("ncclAllReduce");
    expect_throw<NcclError>("ncclAllReduce says: some error", [&] { average.average(); });
    expect_throw<NcclError>("ncclAllReduce says: some error", [&] { average.check(); });
    fail_nccl("");
  });
}

/// What two workers of a training tell of its first average, which is due after six steps.
struct Witness {
  std::atomic<int> begun;    // steps
  std::atomic<int> looked;   // when five steps were made, and the other two workers' were on their way
  std::atomic<int> early;    // there was an average then
  std::atomic<int> in_time;  // steps, of those two, that saw an average later
};

/// Adds 1 to a parameter of its own for each GPU, and so sees when there are others' numbers.
class WitnessStep final : public TrainStep {
 public:
  WitnessStep(SharedModel& model, std::shared_ptr<const Segment> memory)
      : memory_(std::move(memory)),
        witness_(*reinterpret_cast<Witness*>(memory_->data())),
        parameters_(static_cast<float*>(model.flat().mutable_data_ptr())),
        gpu_(model.flat().device().index()),
        expected_{at(0).load(), at(1).load()} {}

  double forward(std::span<const std::uint32_t>) override {
    const int step = ++witness_.begun;
    if (step == 6) wait_until(30s, [&] { return witness_.looked != 0; });
    if (step == 7) {
      std::this_thread::sleep_for(kManyLooks);
      witness_.early = has_others_numbers() ? 1 : 0;
      witness_.looked = 1;
    }
    if (step > 6 && wait_until(30s, [&] { return has_others_numbers(); })) ++witness_.in_time;
    return 1.0;
  }
  void backward() override {}
  bool update(double) override {
    at(gpu_).fetch_add(1.0F);
    expected_[gpu_] += 1.0F;
    return true;
  }

 private:
  [[nodiscard]] std::atomic_ref<float> at(int gpu) const { return std::atomic_ref<float>(parameters_[gpu]); }
  [[nodiscard]] bool has_others_numbers() const { return at(0) != expected_[0] || at(1) != expected_[1]; }

  std::shared_ptr<const Segment> memory_;
  Witness& witness_;
  float* parameters_;
  int gpu_;
  float expected_[2];  // where there was no average
};

TEST_F(ReplicaAverage, ComesFirstAfterSoManyStepsOfATrainingAlsoOfOneThatIsResumed) {
  alone([&] {
    TrainerOptions some = on_both("first", 2, UpdateMode::hogwild);  // which leaves the update to the step
    for (const int steps : {8, 16}) {
      const auto memory = std::make_shared<const Segment>(Segment::create("witness", sizeof(Witness)));
      const Witness& witness = *reinterpret_cast<const Witness*>(memory->data());
      some.step = [memory](SharedModel& model, const BatchBuffer&, std::int64_t) {
        return std::make_unique<WitnessStep>(model, memory);
      };
      some.max_steps = steps;
      some.resume = trainer(some).run().checkpoint;
      EXPECT_EQ(witness.looked, 1);
      EXPECT_EQ(witness.early, 0);
      EXPECT_EQ(witness.in_time, 2);
    }
  });
}

}  // namespace
}  // namespace hogpen

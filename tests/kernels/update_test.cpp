#include "kernels/update.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <barrier>
#include <cmath>
#include <functional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

namespace hogpen::kernels {
namespace {

constexpr double kLr = 0.05;
constexpr double kDecay = 0.02;

/// One element of a model, in double precision.
struct Element {
  double p = 0.0;
  double state[2] = {0.0, 0.0};
};

/// A kernel, and what one of its steps does to one element as a textbook writes it. Steps count from 1.
struct Optimizer {
  std::string name;
  std::function<void(Write, float* p, const float* g, float* s0, float* s1, std::size_t n, std::int64_t step)> kernel;
  std::function<void(Element&, double g, std::int64_t step)> reference;
};

std::ostream& operator<<(std::ostream& out, const Optimizer& optimizer) {
  return out << optimizer.name;
}

Optimizer make_sgd(const std::string& name, const SgdScalars& with) {
  const auto kernel = [with](Write write, float* p, const float* g, float* s0, float*, std::size_t n,
                             std::int64_t step) {
    SgdScalars scalars = with;
    scalars.step = step;
    sgd(write, p, g, with.momentum == 0.0 ? nullptr : s0, n, scalars);
  };
  const auto reference = [with](Element& e, double g, std::int64_t step) {
    g += with.weight_decay * e.p;
    if (with.momentum != 0.0) {
      e.state[0] = step == 1 ? g : with.momentum * e.state[0] + (1.0 - with.dampening) * g;
      g = with.nesterov ? g + with.momentum * e.state[0] : e.state[0];
    }
    e.p -= with.lr * g;
  };
  return {name, kernel, reference};
}

Optimizer make_adam(const std::string& name, bool is_decoupled, double decay) {
  const auto kernel = [=](Write write, float* p, const float* g, float* s0, float* s1, std::size_t n,
                          std::int64_t step) {
    const AdamScalars scalars{.lr = kLr, .beta1 = 0.8, .beta2 = 0.95, .eps = 1e-4, .weight_decay = decay, .step = step};
    (is_decoupled ? adamw : adam)(write, p, g, s0, s1, n, scalars);
  };
  const auto reference = [=](Element& e, double g, std::int64_t step) {
    if (is_decoupled) {
      e.p -= kLr * decay * e.p;
    } else {
      g += decay * e.p;
    }
    e.state[0] = 0.8 * e.state[0] + 0.2 * g;
    e.state[1] = 0.95 * e.state[1] + 0.05 * g * g;
    const double mean = e.state[0] / (1.0 - std::pow(0.8, step));
    const double square = e.state[1] / (1.0 - std::pow(0.95, step));
    e.p -= kLr * mean / (std::sqrt(square) + 1e-4);
  };
  return {name, kernel, reference};
}

Optimizer make_adagrad(const std::string& name, double lr_decay, double decay) {
  const auto kernel = [=](Write write, float* p, const float* g, float* s0, float*, std::size_t n, std::int64_t step) {
    adagrad(write, p, g, s0, n, {.lr = kLr, .lr_decay = lr_decay, .eps = 1e-3, .weight_decay = decay, .step = step});
  };
  const auto reference = [=](Element& e, double g, std::int64_t step) {
    g += decay * e.p;
    e.state[0] += g * g;
    e.p -= kLr / (1.0 + lr_decay * static_cast<double>(step - 1)) * g / (std::sqrt(e.state[0]) + 1e-3);
  };
  return {name, kernel, reference};
}

Optimizer make_rmsprop(const std::string& name, double momentum, double decay) {
  const auto kernel = [=](Write write, float* p, const float* g, float* s0, float* s1, std::size_t n, std::int64_t) {
    rmsprop(write, p, g, s0, momentum == 0.0 ? nullptr : s1, n,
            {.lr = kLr, .alpha = 0.9, .eps = 1e-3, .momentum = momentum, .weight_decay = decay});
  };
  const auto reference = [=](Element& e, double g, std::int64_t) {
    g += decay * e.p;
    e.state[0] = 0.9 * e.state[0] + 0.1 * g * g;
    const double scaled = g / (std::sqrt(e.state[0]) + 1e-3);
    e.state[1] = momentum == 0.0 ? 0.0 : momentum * e.state[1] + scaled;
    e.p -= kLr * (momentum == 0.0 ? scaled : e.state[1]);
  };
  return {name, kernel, reference};
}

std::vector<Optimizer> optimizers() {
  return {
      make_sgd("sgd", {.lr = kLr}),
      make_sgd("sgd_decay", {.lr = kLr, .weight_decay = kDecay}),
      make_sgd("sgd_momentum", {.lr = kLr, .momentum = 0.9, .weight_decay = kDecay}),
      make_sgd("sgd_dampening", {.lr = kLr, .momentum = 0.9, .dampening = 0.3}),
      make_sgd("sgd_nesterov", {.lr = kLr, .momentum = 0.9, .weight_decay = kDecay, .nesterov = true}),
      make_adam("adam", false, 0.0),
      make_adam("adam_decay", false, kDecay),
      make_adam("adamw", true, kDecay),
      make_adagrad("adagrad", 0.0, 0.0),
      make_adagrad("adagrad_decays", 0.1, kDecay),
      make_rmsprop("rmsprop", 0.0, 0.0),
      make_rmsprop("rmsprop_momentum", 0.9, kDecay),
  };
}

/// `n` floats that begin `offset` floats after a 16-byte boundary, between guards that nobody may touch.
class Guarded {
 public:
  Guarded(std::size_t n, std::size_t offset) : n_(n), begin_(kGuard + offset), memory_(begin_ + n + kGuard, kMark) {}

  [[nodiscard]] std::span<float> values() { return std::span(memory_).subspan(begin_, n_); }
  [[nodiscard]] float* data() { return values().data(); }
  [[nodiscard]] bool guards_are_intact() const {
    const auto is_mark = [](float value) { return value == kMark; };
    const auto begin = memory_.begin() + static_cast<std::ptrdiff_t>(begin_);
    return std::all_of(memory_.begin(), begin, is_mark) &&
           std::all_of(begin + static_cast<std::ptrdiff_t>(n_), memory_.end(), is_mark);
  }

 private:
  static constexpr std::size_t kGuard = 32;
  static constexpr float kMark = -12345.0F;
  std::size_t n_;
  std::size_t begin_;
  std::vector<float> memory_;
};

/// Parameters, gradients and state, and the same in double precision.
struct Problem {
  Problem(std::size_t n, std::size_t offset)
      : p(n, offset), g(n, (offset + 1) % 4), s0(n, (offset + 2) % 4), s1(n, (offset + 3) % 4), expected(n) {
    std::ranges::fill(s0.values(), 0.0F);
    std::ranges::fill(s1.values(), 0.0F);
    for (std::size_t i = 0; i < n; ++i) expected[i].p = p.values()[i] = uniform(random);
  }

  void step(const Optimizer& optimizer, Write write, std::int64_t count) {
    for (float& value : g.values()) value = uniform(random);
    optimizer.kernel(write, p.data(), g.data(), s0.data(), s1.data(), expected.size(), count);
    for (std::size_t i = 0; i < expected.size(); ++i) optimizer.reference(expected[i], g.values()[i], count);
  }

  std::mt19937 random{7};
  std::uniform_real_distribution<float> uniform{-1.0F, 1.0F};
  Guarded p, g, s0, s1;
  std::vector<Element> expected;
};

using UpdateParam = std::tuple<Optimizer, Write>;

class Update : public testing::TestWithParam<UpdateParam> {
 protected:
  Optimizer optimizer_ = std::get<0>(GetParam());
  Write write_ = std::get<1>(GetParam());
};

// The largest error in 10 steps, over all optimizers, is 7.3e-7; the tolerance is twice that.
TEST_P(Update, FollowsTheReferenceForAnyLengthAndAlignment) {
  for (const std::size_t n : {0U, 1U, 3U, 7U, 8U, 9U, 31U, 32U, 33U, 1000U}) {
    for (const std::size_t offset : {0U, 1U, 2U, 3U}) {
      Problem problem(n, offset);
      for (std::int64_t step = 1; step <= 10; ++step) problem.step(optimizer_, write_, step);
      for (std::size_t i = 0; i < n; ++i) {
        ASSERT_NEAR(problem.p.values()[i], problem.expected[i].p, 1.5e-6) << "n " << n << ", element " << i;
      }
      EXPECT_TRUE(problem.p.guards_are_intact() && problem.g.guards_are_intact());
      EXPECT_TRUE(problem.s0.guards_are_intact() && problem.s1.guards_are_intact());
    }
  }
}

std::string case_name(const testing::TestParamInfo<UpdateParam>& test) {
  return std::get<0>(test.param).name + (std::get<1>(test.param) == Write::plain ? "_plain" : "_atomic");
}

INSTANTIATE_TEST_SUITE_P(EachOptimizer, Update,
                         testing::Combine(testing::ValuesIn(optimizers()),
                                          testing::Values(Write::plain, Write::atomic)),
                         case_name);

TEST(UpdateModes, GiveTheSameBitsToOneWorker) {
  for (const Optimizer& optimizer : optimizers()) {
    Problem plain(1001, 1);
    Problem atomic(1001, 1);
    for (std::int64_t step = 1; step <= 10; ++step) {
      plain.step(optimizer, Write::plain, step);
      atomic.step(optimizer, Write::atomic, step);
    }
    EXPECT_TRUE(std::ranges::equal(plain.p.values(), atomic.p.values())) << optimizer.name;
    EXPECT_TRUE(std::ranges::equal(plain.s0.values(), atomic.s0.values())) << optimizer.name;
    EXPECT_TRUE(std::ranges::equal(plain.s1.values(), atomic.s1.values())) << optimizer.name;
  }
}

TEST(Merge, AddsWhatTheReplicaGainedForAnyLengthAndAlignment) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  for (const Write to_center : {Write::plain, Write::atomic}) {
    for (const Write to_replica : {Write::plain, Write::atomic}) {
      for (const std::size_t n : {0U, 1U, 7U, 8U, 9U, 33U, 1000U}) {
        Guarded center(n, 1);
        Guarded replica(n, 2);
        Guarded base(n, 3);
        std::vector<double> expected(n);
        for (std::size_t i = 0; i < n; ++i) {
          base.values()[i] = uniform(random);
          replica.values()[i] = uniform(random);
          center.values()[i] = uniform(random);
          expected[i] = static_cast<double>(center.values()[i]) + replica.values()[i] - base.values()[i];
        }
        merge(to_center, to_replica, center.data(), replica.data(), base.data(), n);
        for (std::size_t i = 0; i < n; ++i) ASSERT_NEAR(center.values()[i], expected[i], 4e-7) << "element " << i;
        EXPECT_TRUE(std::ranges::equal(replica.values(), center.values()));
        EXPECT_TRUE(std::ranges::equal(base.values(), center.values()));
        EXPECT_TRUE(center.guards_are_intact() && replica.guards_are_intact() && base.guards_are_intact());
      }
    }
  }
}

TEST(Merge, ACenterThatNobodyElseWroteBecomesTheReplicaToTheBit) {
  for (const Write write : {Write::plain, Write::atomic}) {
    std::vector<float> center(1000, 1e6F);
    std::vector<float> base = center;
    std::vector<float> replica(1000, 0.1F);
    merge(write, write, center.data(), replica.data(), base.data(), center.size());
    EXPECT_EQ(center, std::vector<float>(1000, 0.1F));
  }
}

constexpr int kWorkers = 4;
constexpr int kStepsEach = 1'000'000;

/// Runs `step` on `kWorkers` threads at the same time, `kStepsEach` times each.
void on_workers(const std::function<void()>& step) {
  std::barrier start(kWorkers);
  std::vector<std::jthread> workers;
  for (int rank = 0; rank < kWorkers; ++rank) {
    workers.emplace_back([&] {
      start.arrive_and_wait();
      for (int i = 0; i < kStepsEach; ++i) step();
    });
  }
}

// Every step adds 1 to each element; sums below 2^24 are exact in float.
TEST(UpdateRace, AtomicLosesNoUpdateOfTheParameters) {
  std::vector<float> parameters(3, 0.0F);
  const std::vector<float> gradients(3, -1.0F);
  on_workers([&] { sgd(Write::atomic, parameters.data(), gradients.data(), nullptr, 3, {.lr = 1.0}); });
  EXPECT_EQ(parameters, std::vector<float>(3, 1.0F * kWorkers * kStepsEach));
}

TEST(UpdateRace, AtomicLosesNoUpdateOfTheState) {
  std::vector<float> parameters(3, 0.0F);
  std::vector<float> sum(3, 0.0F);
  const std::vector<float> gradients(3, 1.0F);
  on_workers([&] { adagrad(Write::atomic, parameters.data(), gradients.data(), sum.data(), 3, {.lr = 0.1}); });
  EXPECT_EQ(sum, std::vector<float>(3, 1.0F * kWorkers * kStepsEach));
}

// A torn float would be no whole number, or one beyond the sum of all steps.
TEST(UpdateRace, PlainMayLoseUpdatesButNeverTearsAFloat) {
  std::vector<float> parameters(3, 0.0F);
  const std::vector<float> gradients(3, -1.0F);
  on_workers([&] { sgd(Write::plain, parameters.data(), gradients.data(), nullptr, 3, {.lr = 1.0}); });
  for (const float value : parameters) {
    EXPECT_EQ(value, std::floor(value));
    EXPECT_GE(value, 1.0F);
    EXPECT_LE(value, 1.0F * kWorkers * kStepsEach);
  }
}

}  // namespace
}  // namespace hogpen::kernels

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/sync/futex.h"
#include "runtime/sync/wait_point.h"
#include "runtime/work/graph_deque.h"
#include "runtime/work/graph_run.h"
#include "runtime/work/graph_trace.h"
#include "runtime/work/team.h"

namespace hogpen::detail {
namespace {

/// Where threads sleep that find no task. Who has made one ready wakes one of them, unless somebody searches anyway;
/// and who finds one after a search wakes the next. So there are as many awake as there is work for, and one wake-up
/// costs who has work a system call at most.
///
/// Sharing: the threads of one run. Owns: nothing.
class Sleepers {
 public:
  /// Wakes one if nobody is awake who would find the new task. Without a fence a thread that is just lying down may be
  /// missed: it looks again after kLongestSleep.
  void wake_one_if_needed() noexcept {
    if (sleeping_.load(std::memory_order_relaxed) != 0 && searching_.load(std::memory_order_relaxed) == 0) wake_one();
  }
  void wake_all() noexcept {
    const std::uint32_t sleepers = sleeping_.exchange(0);
    searching_.fetch_add(sleepers);
    woken_.fetch_add(sleepers);
    futex_wake_all(woken_);
  }
  void begin_search() noexcept { searching_.fetch_add(1); }
  void end_search() noexcept {
    if (searching_.fetch_sub(1) == 1) wake_one_if_needed();
  }
  /// For who searches: sleeps for a while, unless `should_stay_awake()` once it is known that it would.
  template <class Condition>
  void sleep(const Condition& should_stay_awake) noexcept {
    sleeping_.fetch_add(1);
    searching_.fetch_sub(1);
    if (!should_stay_awake()) futex_wait(woken_, 0, Deadline::after(kLongestSleep));
    // Whoever wakes counts the sleeper as searching, so that the next one does not wake another.
    while (!take_one(woken_)) {
      if (take_one(sleeping_)) {
        searching_.fetch_add(1);
        return;
      }
      relax_cpu();
    }
  }

 private:
  static constexpr std::chrono::milliseconds kLongestSleep{2};

  static bool take_one(std::atomic<std::uint32_t>& count) noexcept {
    std::uint32_t value = count.load();
    while (value != 0) {
      if (count.compare_exchange_weak(value, value - 1)) return true;
    }
    return false;
  }
  void wake_one() noexcept {
    if (!take_one(sleeping_)) return;
    searching_.fetch_add(1);
    woken_.fetch_add(1);
    futex_wake_one(woken_);
  }

  alignas(64) std::atomic<std::uint32_t> sleeping_{0};
  std::atomic<std::uint32_t> searching_{0};  // awake and without a task
  FutexWord woken_{0};                       // and not up yet
};

/// The threads that compute a graph together.
///
/// Sharing: `work` each of them with a number of its own. Owns: their deques.
class GraphThreads {
 public:
  GraphThreads(GraphRun& run, std::size_t threads) : run_(run) {
    const std::span<GraphNode* const> leaves = run.leaves();
    for (std::size_t i = 0; i < threads; ++i) {
      members_.push_back(std::make_unique<Member>(run.nodes().size()));
      if (run.trace()) (void)run.trace()->add_row(i == 0 ? "calling thread" : fmt::format("thread {}", i));
      // A share of neighbours, from the last to the first, since the latest is taken first.
      const std::size_t begin = (i * leaves.size() + threads - 1) / threads;
      for (std::size_t k = ((i + 1) * leaves.size() + threads - 1) / threads; k > begin; --k) {
        members_[i]->ready.push(leaves[k - 1]);
      }
    }
  }

  void work(std::size_t i) noexcept {
    Member& me = *members_[i];
    const bool reports = run_.wants_progress() && std::this_thread::get_id() == caller_;
    GraphNode* node = nullptr;
    while (!is_over_.load(std::memory_order_relaxed)) {
      if (node == nullptr) node = me.ready.pop();
      if (node == nullptr) node = find(i, reports);
      if (node != nullptr) node = run_one(*node, i);
      if (reports) report();
    }
  }

 private:
  struct Member {
    explicit Member(std::size_t tasks) : ready(tasks) {}
    GraphDeque ready;
    alignas(64) std::atomic<std::size_t> done{0};  // by it; written by it alone
    std::size_t published = 0;                     // of them, those that are in done_
  };

  GraphNode* run_one(GraphNode& node, std::size_t i) noexcept {
    Member& me = *members_[i];
    try {
      run_.trace() ? run_.trace()->run(i, node) : node.run();
    } catch (...) {
      run_.fail(&node);
      end();
      return nullptr;
    }
    release_arguments<false>(node);
    // Relaxed: for the eyes of the progress; that all is done is published by done_.
    me.done.store(me.done.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    return announce_result<false>(node, [&](GraphNode* other) {
      me.ready.push(other);
      sleepers_.wake_one_if_needed();
    });
  }

  void end() noexcept {
    is_over_.store(true);
    sleepers_.wake_all();
  }

  // A task of another thread; null when it is worth looking again whether all is over.
  GraphNode* find(std::size_t i, bool reports) noexcept {
    Member& me = *members_[i];
    const std::size_t mine = me.done.load(std::memory_order_relaxed) - me.published;
    me.published += mine;
    if (done_.fetch_add(mine) + mine == run_.nodes().size()) {
      end();
      return nullptr;
    }
    sleepers_.begin_search();
    GraphNode* node = search(i, reports);
    sleepers_.end_search();
    return node;
  }

  GraphNode* search(std::size_t i, bool reports) noexcept {
    // Others write what is looked at here, and each look costs them a miss: so ever less often, then never.
    constexpr int kMostPauses = 256;
    constexpr std::chrono::microseconds kAwake{30};
    const Deadline asleep = Deadline::after(kAwake);
    for (int pauses = 1;; pauses = std::min(2 * pauses, kMostPauses)) {
      for (std::size_t k = 1; k < members_.size(); ++k) {
        if (GraphNode* const node = members_[(i + k) % members_.size()]->ready.steal()) return node;
      }
      if (is_over_.load(std::memory_order_relaxed)) return nullptr;
      for (int pause = 0; pause < pauses; ++pause) relax_cpu();
      if (pauses < kMostPauses) continue;
      if (!asleep.has_passed()) {
        std::this_thread::yield();
        continue;
      }
      sleepers_.sleep([this] { return is_over_.load() || is_anything_ready(); });
      if (reports) report();
    }
  }

  [[nodiscard]] bool is_anything_ready() const noexcept {
    return std::ranges::any_of(members_, [](const auto& member) { return !member->ready.looks_empty(); });
  }

  void report() noexcept {
    if (std::chrono::steady_clock::now() < run_.next_report()) return;
    std::size_t done = 0;
    for (const auto& member : members_) done += member->done.load(std::memory_order_relaxed);
    try {
      run_.report(done);
    } catch (...) {
      run_.fail(nullptr);
      end();
    }
  }

  GraphRun& run_;
  const std::thread::id caller_ = std::this_thread::get_id();
  std::vector<std::unique_ptr<Member>> members_;
  alignas(64) std::atomic<bool> is_over_{false};
  alignas(64) std::atomic<std::size_t> done_{0};  // by all, but for what those at work have not published yet
  Sleepers sleepers_;
};

}  // namespace

void run_by_threads(GraphRun& run, Team& team) {
  GraphThreads threads(run, team.threads());
  // Nobody is waited for who has not begun: the others take the tasks that are meant for it.
  team.for_each(team.threads(), [&](std::size_t i) { threads.work(i); });
}

}  // namespace hogpen::detail

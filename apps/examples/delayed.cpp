// dask.delayed: calls that are put off, and computed together by two threads.
#include <fmt/core.h>

#include "runtime/work/graph.h"

int add(int a, int b) {
  return a + b;
}

int sq(int x) {
  return x * x;
}

int main() {
  const auto a = hogpen::delayed(add, "add")(1, 2);
  const auto b = hogpen::delayed(sq, "sq")(a);
  fmt::print("(1 + 2)^2 = {}\n", b.compute());

  hogpen::Executor executor({.place = hogpen::Place::threads, .threads = 2});
  const auto [sum, square] = hogpen::compute(executor, a, b);  // `a` is computed once
  fmt::print("sum {}, square {}\n", sum, square);
}

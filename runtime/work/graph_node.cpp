#include "runtime/work/graph_node.h"

#include <chrono>

namespace hogpen::detail {

std::int64_t TaskTimes::now() noexcept {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

void GraphNode::release(GraphNode* node) noexcept {
  // Acquire: whoever destroys it is to see what the others have done with it.
  if (node->references_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  // The dying ones that have edges make a list: none of them is a consumer any more.
  GraphNode* dying = node;
  GraphNode* rest = nullptr;
  while (dying != nullptr) {
    dying->prefetch_dependencies();
    for (const GraphEdge& edge : dying->edges()) {
      GraphNode* dependency = edge.dependency;
      if (dependency->references_.fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
      if (dependency->edges().empty()) {
        destroy(dependency);
      } else {
        dependency->edges_->consumer = rest;
        rest = dependency;
      }
    }
    destroy(dying);
    dying = rest;
    if (rest != nullptr) rest = rest->edges_->consumer;
  }
}

}  // namespace hogpen::detail

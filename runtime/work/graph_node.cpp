#include "runtime/work/graph_node.h"

#include <fmt/format.h>

#include <chrono>
#include <string_view>

namespace hogpen::detail {

std::string TaskLabel::text() const {
  if (!name.empty()) return name;
  const std::string_view path = where.file_name();
  return fmt::format("{}:{}", path.substr(path.rfind('/') + 1), where.line());
}

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
    for (const GraphEdge& edge : dying->edges()) {
      GraphNode* dependency = edge.dependency;
      if (dependency->references_.fetch_sub(1, std::memory_order_acq_rel) != 1) continue;
      if (dependency->edges().empty()) {
        delete dependency;
      } else {
        dependency->edges_->consumer = rest;
        rest = dependency;
      }
    }
    delete dying;
    dying = rest;
    if (rest != nullptr) rest = rest->edges_->consumer;
  }
}

}  // namespace hogpen::detail

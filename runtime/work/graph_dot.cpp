#include <fmt/format.h>

#include <unordered_map>

#include "runtime/memory/replacement_file.h"
#include "runtime/work/delayed.h"

namespace hogpen::detail {
namespace {

constexpr std::size_t kDotPiece = 1 << 16;

// A string of DOT: a backslash is kept as itself, not as the beginning of an escape.
std::string dot_string(const std::string& name) {
  std::string text = "\"";
  for (const char c : name) {
    if (c == '\n') {
      text += "\\n";
      continue;
    }
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + '"';
}

}  // namespace

void write_dot(const std::filesystem::path& path, std::span<GraphNode* const> targets) {
  ReplacementFile file(path);
  std::unordered_map<const GraphNode*, std::size_t> numbers;
  std::vector<const GraphNode*> nodes;
  const auto number_of = [&](const GraphNode* node) {
    const auto [found, is_new] = numbers.try_emplace(node, nodes.size());
    if (is_new) nodes.push_back(node);
    return found->second;
  };
  std::string text = "digraph delayed {\n  node [shape=box];\n";
  for (const GraphNode* target : targets) {
    const std::size_t number = number_of(target);
    text += fmt::format("  {} [peripheries=2];\n", number);
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {  // which grows
    text += fmt::format("  {} [label={}];\n", i, dot_string(nodes[i]->name()));
    for (const GraphEdge& edge : nodes[i]->edges()) {
      text += fmt::format("  {} -> {};\n", number_of(edge.dependency), i);
    }
    if (text.size() < kDotPiece) continue;
    file.append(text);
    text.clear();
  }
  file.append(text + "}\n");
  file.commit();
}

}  // namespace hogpen::detail

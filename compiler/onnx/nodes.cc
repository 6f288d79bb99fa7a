// Order of nodes, and the survey of operators that a model uses.
#include <algorithm>
#include <functional>

#include "compiler/onnx/importer.h"

namespace tern::onnx {

namespace {

using Nodes = google::protobuf::RepeatedPtrField<pb::NodeProto>;

// Names that a node reads, those that its subgraphs capture included.
void collect_reads(const pb::NodeProto& node, std::set<std::string>& reads, int depth) {
  for (const std::string& name : node.input())
    if (!name.empty()) reads.insert(name);
  if (depth > kMaxDepth) return;
  auto collect_graph = [&](const pb::GraphProto& graph) {
    std::set<std::string> inner;
    for (const pb::NodeProto& n : graph.node()) collect_reads(n, inner, depth + 1);
    for (const auto& output : graph.output()) inner.insert(output.name());
    for (const auto& input : graph.input()) inner.erase(input.name());
    for (const auto& tensor : graph.initializer()) inner.erase(tensor.name());
    for (const pb::NodeProto& n : graph.node())
      for (const std::string& name : n.output()) inner.erase(name);
    reads.insert(inner.begin(), inner.end());
  };
  for (const pb::AttributeProto& a : node.attribute()) {
    if (a.has_g()) collect_graph(a.g());
    for (const auto& g : a.graphs()) collect_graph(g);
  }
}

}  // namespace

std::vector<int> sorted_nodes(const Nodes& nodes) {
  std::unordered_map<std::string, int> producer;
  for (int i = 0; i < nodes.size(); ++i)
    for (const std::string& name : nodes.Get(i).output())
      if (!name.empty()) producer.emplace(name, i);
  size_t count = static_cast<size_t>(nodes.size());
  std::vector<std::vector<int>> users(count);
  std::vector<int> waiting(count, 0);
  bool sorted = true;
  for (int i = 0; i < nodes.size(); ++i) {
    std::set<std::string> reads;
    collect_reads(nodes.Get(i), reads, 0);
    for (const std::string& name : reads) {
      auto found = producer.find(name);
      if (found == producer.end()) continue;
      sorted &= found->second < i;
      users[static_cast<size_t>(found->second)].push_back(i);
      ++waiting[static_cast<size_t>(i)];
    }
  }
  std::vector<int> order;
  if (sorted) {
    for (int i = 0; i < nodes.size(); ++i) order.push_back(i);
    return order;
  }
  std::set<int> ready;
  for (size_t i = 0; i < count; ++i)
    if (waiting[i] == 0) ready.insert(static_cast<int>(i));
  while (!ready.empty()) {
    int next = *ready.begin();
    ready.erase(ready.begin());
    order.push_back(next);
    for (int user : users[static_cast<size_t>(next)])
      if (--waiting[static_cast<size_t>(user)] == 0) ready.insert(user);
  }
  for (size_t i = 0; i < count; ++i) {
    if (waiting[i] == 0) continue;
    const pb::NodeProto& node = nodes.Get(static_cast<int>(i));
    fail("The graph has a cycle; node '{}' ({}) depends on its own output.",
         node.name().empty() && node.output_size() ? node.output(0) : node.name(), node.op_type());
  }
  return order;
}

std::vector<OpUse> survey(const pb::ModelProto& model) {
  std::map<std::pair<std::string, std::string>, OpUse> uses;
  std::set<std::string> functions;
  for (const auto& f : model.functions()) functions.insert(normal_domain(f.domain()) + ":" + f.name());
  std::function<void(const Nodes&, const OpsetMap&, int)> visit = [&](const Nodes& nodes,
                                                                      const OpsetMap& opsets, int depth) {
    if (depth > kMaxDepth) return;
    for (const pb::NodeProto& node : nodes) {
      std::string domain = normal_domain(node.domain());
      for (const auto& a : node.attribute()) {
        if (a.has_g()) visit(a.g().node(), opsets, depth + 1);
        for (const auto& g : a.graphs()) visit(g.node(), opsets, depth + 1);
      }
      if (functions.count(domain + ":" + node.op_type())) continue;
      OpUse& use = uses[{domain, node.op_type()}];
      if (use.count++ == 0) {
        auto found = opsets.find(domain);
        use.opset = found != opsets.end() ? found->second : domain.empty() ? 0 : 1;
        use.domain = domain;
        use.op = node.op_type();
        use.first_node = node.name().empty() && node.output_size() ? node.output(0) : node.name();
        use.supported = find_row(domain, node.op_type(), use.opset) != nullptr;
      }
    }
  };
  OpsetMap opsets;
  for (const auto& o : model.opset_import()) opsets[normal_domain(o.domain())] = o.version();
  visit(model.graph().node(), opsets, 0);
  for (const auto& f : model.functions()) {
    OpsetMap own;
    for (const auto& o : f.opset_import()) own[normal_domain(o.domain())] = o.version();
    visit(f.node(), own, 0);
  }
  std::vector<OpUse> out;
  for (auto& [key, use] : uses) out.push_back(std::move(use));
  return out;
}

static int64_t nodes_in(const Nodes& nodes) {
  int64_t count = nodes.size();
  for (const pb::NodeProto& node : nodes) {
    for (const auto& a : node.attribute()) {
      count += nodes_in(a.g().node());
      for (const auto& g : a.graphs()) count += nodes_in(g.node());
    }
  }
  return count;
}

int64_t node_count(const pb::ModelProto& model) {
  int64_t count = nodes_in(model.graph().node());
  for (const auto& f : model.functions()) count += nodes_in(f.node());
  return count;
}

}  // namespace tern::onnx

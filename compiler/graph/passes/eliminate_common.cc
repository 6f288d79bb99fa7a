#include "compiler/graph/passes/eliminate_common.h"

#include <cstring>
#include <string_view>

namespace tern::graph {
namespace {

size_t mix(size_t h, size_t v) {
  return (h ^ v) * 0x9e3779b97f4a7c15u + (h >> 29);
}

// Samples large constants: what has the same hash is compared in full anyway.
size_t hash_bytes(std::span<const uint8_t> bytes) {
  constexpr size_t kSamples = 1024;
  size_t h = bytes.size();
  const size_t words = bytes.size() / 8, stride = words / kSamples + 1;
  for (size_t i = 0; i < words; i += stride) {
    uint64_t word;
    std::memcpy(&word, bytes.data() + i * 8, 8);
    h = mix(h, word);
  }
  for (size_t i = words * 8; i < bytes.size(); ++i) h = mix(h, bytes[i]);
  return h;
}

struct AttrHash {
  size_t operator()(int64_t v) const { return static_cast<size_t>(v); }
  size_t operator()(double v) const { return std::hash<double>()(v); }
  size_t operator()(bool v) const { return v; }
  size_t operator()(DType v) const { return static_cast<size_t>(v); }
  size_t operator()(scalar::ScalarOp v) const { return static_cast<size_t>(v); }
  size_t operator()(const std::string& v) const { return std::hash<std::string>()(v); }
  size_t operator()(const TensorDataPtr& v) const {
    size_t h = hash_bytes(v->bytes());
    for (const int64_t d : v->shape()) h = mix(h, static_cast<size_t>(d));
    return h;
  }
  template <typename T>
  size_t operator()(const std::vector<T>& v) const {
    size_t h = v.size();
    for (const T& item : v) h = mix(h, std::hash<T>()(item));
    return h;
  }
};

size_t hash_node(const Node& n) {
  size_t h = static_cast<size_t>(n.kind);
  for (const Value* v : n.operands) h = mix(h, static_cast<size_t>(v->id));
  for (const auto& [key, attr] : n.attrs)
    h = mix(mix(h, std::hash<std::string>()(key)), std::visit(AttrHash(), attr));
  return h;
}

bool same_attr(const Attr& a, const Attr& b) {
  const auto* x = std::get_if<TensorDataPtr>(&a);
  const auto* y = std::get_if<TensorDataPtr>(&b);
  if (x && y) return *x == *y || (*x)->equals(**y);
  return a == b;
}

bool same_node(const Node& a, const Node& b) {
  if (a.kind != b.kind || a.operands != b.operands || a.attrs.size() != b.attrs.size()) return false;
  for (const auto& [key, attr] : a.attrs) {
    const Attr* other = b.find(key);
    if (!other || !same_attr(attr, *other)) return false;
  }
  // Data-dependent results have symbols of their own.
  return true;
}

class Merger {
 public:
  bool run(Graph& graph) {
    block(graph.body);
    replace_uses(graph, replacements_);
    return !replacements_.empty();
  }

 private:
  Value* current(Value* v) const {
    const auto it = replacements_.find(v);
    return it == replacements_.end() ? v : it->second;
  }

  void block(Block& b) {
    std::vector<size_t> added;
    for (const auto& n : b.nodes) {
      for (Value*& v : n->operands) v = current(v);
      for (const auto& region : n->regions) block(*region);
      if (!info(n->kind).pure || !n->regions.empty() || n->results.empty()) continue;
      const size_t h = hash_node(*n);
      std::vector<Node*>& bucket = seen_[h];
      Node* found = nullptr;
      for (Node* other : bucket)
        if (same_node(*n, *other) && same_types(*n, *other)) found = other;
      if (!found) {
        bucket.push_back(n.get());
        added.push_back(h);
        continue;
      }
      for (size_t i = 0; i < n->results.size(); ++i) replacements_[n->results[i]] = found->results[i];
    }
    // What a region computed is not visible after it.
    for (auto h = added.rbegin(); h != added.rend(); ++h) seen_[*h].pop_back();
  }

  static bool same_types(const Node& a, const Node& b) {
    for (size_t i = 0; i < a.results.size(); ++i)
      if (a.results[i]->type != b.results[i]->type) return false;
    return true;
  }

  std::unordered_map<size_t, std::vector<Node*>> seen_;
  std::unordered_map<const Value*, Value*> replacements_;
};

}  // namespace

bool eliminate_common(Graph& graph) {
  return Merger().run(graph);
}

}  // namespace tern::graph

#include <unordered_map>

#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

using Table = std::unordered_multimap<std::string, const OpRow*>;

Table make_table() {
  Table table;
  auto add = [&](std::span<const OpRow> rows) {
    for (const OpRow& row : rows) table.emplace(std::string(row.domain) + ":" + row.op, &row);
  };
#define TERN_ONNX_ADD(family) add(family##_rows());
  TERN_ONNX_FAMILIES(TERN_ONNX_ADD)
#undef TERN_ONNX_ADD
  return table;
}

}  // namespace

const OpRow* find_row(const std::string& domain, const std::string& op, int64_t version) {
  static const Table table = make_table();
  auto [begin, end] = table.equal_range(domain + ":" + op);
  for (auto row = begin; row != end; ++row)
    if (row->second->since <= version && version <= row->second->until) return row->second;
  return nullptr;
}

}  // namespace tern::onnx

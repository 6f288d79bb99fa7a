#include "compiler/lower/shared_tables.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "compiler/lower/context.h"
#include "compiler/lower/contraction_schedule.h"
#include "compiler/lower/packing.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

constexpr int64_t kLeastBytes = 256 * 1024;  // of a table: reading rows in place is worth more below

// The dimension that all readers gather along, other than products, which pack it; -1 where something else
// reads the value.
int gathered_dimension(const Value* table, const graph::UseMap& uses) {
  int axis = -1;
  const auto users = uses.find(table);
  if (users == uses.end()) return -1;
  for (const graph::Use& use : users->second) {
    if (use.node && use.node->kind == OpKind::kDot && use.operand == 1) continue;
    if (!use.node || use.node->kind != OpKind::kGather || use.operand != 0) return -1;
    const auto own = static_cast<int>(use.node->int_attr("axis"));
    if (axis >= 0 && axis != own) return -1;
    axis = own;
  }
  return axis;
}

// Whether operand[..., k, n] is the table's element at n along `columns` and k along the other dimension.
template <typename T>
bool same_elements(const TensorData& table, const TensorData& operand, int columns) {
  const int64_t n = table.shape()[static_cast<size_t>(columns)],
                k = table.shape()[static_cast<size_t>(1 - columns)];
  const T *of_table = table.as<T>(), *of_operand = operand.as<T>();
  if (columns == 1) return std::memcmp(of_table, of_operand, static_cast<size_t>(n * k) * sizeof(T)) == 0;
  constexpr int64_t kSquare = 32;  // the two run across each other
  for (int64_t n0 = 0; n0 < n; n0 += kSquare) {
    for (int64_t k0 = 0; k0 < k; k0 += kSquare) {
      for (int64_t i = n0; i < std::min(n, n0 + kSquare); ++i) {
        for (int64_t j = k0; j < std::min(k, k0 + kSquare); ++j) {
          if (std::memcmp(&of_table[i * k + j], &of_operand[j * n + i], sizeof(T)) != 0) return false;
        }
      }
    }
  }
  return true;
}

bool same_elements(const TensorData& table, const TensorData& operand, int columns) {
  if (table.dtype() != operand.dtype() || table.count() != operand.count()) return false;
  const std::vector<int64_t>& shape = operand.shape();
  if (shape[shape.size() - 1] != table.shape()[static_cast<size_t>(columns)]) return false;
  if (shape[shape.size() - 2] != table.shape()[static_cast<size_t>(1 - columns)]) return false;
  return dtype_bits(table.dtype()) == 16 ? same_elements<uint16_t>(table, operand, columns)
                                         : same_elements<uint32_t>(table, operand, columns);
}

bool is_panel_type(DType type) {
  return type == DType::kF32 || type == DType::kF16;
}

}  // namespace

SharedTables find_shared_tables(const graph::Graph& graph, const graph::UseMap& uses,
                                const LoweringContext& context) {
  std::vector<const Value*> tables, operands;
  graph::walk(graph.body, [&](Node& node) {
    if (node.kind == OpKind::kDot && LoweringContext::constant_data(node.operand(1)))
      operands.push_back(node.operand(1));
    if (node.kind != OpKind::kConstant) return;
    const Value* v = node.result();
    const TensorDataPtr data = LoweringContext::constant_data(v);
    if (data && v->type.rank() == 2 && is_panel_type(data->dtype()) &&
        static_cast<int64_t>(data->bytes().size()) >= kLeastBytes && gathered_dimension(v, uses) >= 0)
      tables.push_back(v);
  });
  SharedTables out;
  for (const Value* table : tables) {
    const DType stored = context.stored_type(table);
    if (!is_panel_type(stored)) continue;
    const int columns = gathered_dimension(table, uses);
    for (const Value* operand : operands) {
      if (context.stored_type(operand) != stored) continue;
      if (!same_elements(*LoweringContext::constant_data(table), *LoweringContext::constant_data(operand),
                         columns))
        continue;
      out[table] = {operand, columns};
      break;
    }
  }
  return out;
}

Place shared_table_place(const Value* table, const SharedTable& shared, LoweringContext& context) {
  const TensorDataPtr data = LoweringContext::constant_data(shared.operand);
  const auto columns = static_cast<size_t>(shared.columns);
  const int64_t n = table->type.shape[columns].value(), k = table->type.shape[1 - columns].value();
  const PanelSource source{1, k, n, [n](int64_t, int64_t step, int64_t column) { return step * n + column; }};
  const DType stored = context.stored_type(shared.operand);
  context.note_stored(table, stored);
  Place place = dense_place(context.add_constant(table->name, pack_panels(*data, source, stored)),
                            Layout::dense(2), table->type.shape);
  place.panel_columns = shared.columns;
  place.strides[columns] = Dim(k);
  place.strides[1 - columns] = Dim(kPanelColumns);
  return place;
}

}  // namespace tern::lower

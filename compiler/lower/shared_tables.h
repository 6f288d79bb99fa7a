// Tables that gathers read row by row and a product by its columns: a language model's vocabulary, whose rows
// are embeddings of tokens and, turned, the weights of its logits. The product reads panels (packing.h); a
// gather of rows may read them as well, an element of a row every 16 elements, which costs little beside
// keeping the table twice.
#pragma once

#include <unordered_map>

#include "compiler/graph/ir.h"
#include "compiler/lower/place.h"

namespace tern::lower {

class LoweringContext;

struct SharedTable {
  const graph::Value* operand = nullptr;  // of the product
  int columns = 0;                        // the table's dimension that the product's columns run along
};
using SharedTables = std::unordered_map<const graph::Value*, SharedTable>;

// Constants of two dimensions that nothing reads but gathers along one of them, and whose elements are those
// of some product's constant right operand, with its columns along that dimension. On CPUs, where both are
// stored as f32 or both as f16. Elements are compared: folding has transposed one of the two.
SharedTables find_shared_tables(const graph::Graph& graph, const graph::UseMap& uses,
                                const LoweringContext& context);
Place shared_table_place(const graph::Value* table, const SharedTable& shared, LoweringContext& context);

}  // namespace tern::lower

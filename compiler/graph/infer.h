// Inside graph/: result types by family. infer() in infer.cc dispatches to these; each checks its operands
// and attributes and gives errors in core-op words.
#pragma once

#include "compiler/graph/ir.h"

namespace tern::graph {

using Types = Result<std::vector<Type>>;

// infer_view.cc: reshape, broadcast, transpose, slice, pad, concat.
Types infer_view(const Node& node);
// infer_index.cc: gather*, scatter*, top_k, nonzero, unique, nms.
Types infer_index(Graph& graph, const Node& node);
// infer_nn.cc: reduce, arg_reduce, scan, dot, conv, reduce_window, arg_reduce_window.
Types infer_nn(const Node& node);
// infer_control.cc: if, loop, sequences, optionals, check.
Types infer_control(Graph& graph, const Node& node);

// What a dot or conv accumulates in, and gives. Integers of at most 32 bits may have different types and
// accumulate in i32; everything else accumulates in its own type, unless the node says.
Result<DType> contraction_type(const Node& node);

// Shared checks. Each returns an Error sentence that starts with the op's name.
Status check_axis(const Node& node, int64_t axis, int rank);
Status check_index_type(const Node& node, int operand);
Status check_scalar(const Node& node, int operand, DType dtype);
Status check_length(const Node& node, std::string_view attribute, size_t length, size_t expected);
// A type that may not exceed the sizes of either: `a` itself where dims agree, else fresh kControl symbols.
// `kept` (may be null) is the type that the node has already.
Result<Type> join_types(Graph& graph, const Type& a, const Type& b, const Type* kept);
// Whether `d` is a lone symbol of the given origin.
bool is_symbol_of(Graph& graph, const Dim& d, SymbolInfo::Origin origin);

}  // namespace tern::graph

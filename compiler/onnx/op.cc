// Op: access to one node's inputs, outputs and attributes.
#include <algorithm>

#include "compiler/onnx/importer.h"

namespace tern::onnx {

Op::Op(Importer& importer_in, Scope& scope_in, const pb::NodeProto& node_in, int64_t version_in)
    : b(*scope_in.emit), version(version_in), node(node_in), importer(importer_in), scope(scope_in) {
  for (const pb::AttributeProto& a : node.attribute()) {
    const pb::AttributeProto* actual = &a;
    if (!a.ref_attr_name().empty()) {
      if (!scope.function_attributes)
        fail("Attribute '{}' refers to a function's attribute outside of a function.", a.name());
      auto found = scope.function_attributes->find(a.ref_attr_name());
      if (found == scope.function_attributes->end()) continue;  // not given to the call: absent here
      actual = found->second;
    }
    if (!attributes_.emplace(a.name(), actual).second) fail("Attribute '{}' is given twice.", a.name());
  }
}

Value* Op::input(int i) {
  if (!has(i)) fail("Input {} is missing.", i);
  Value* value = importer.lookup(scope, node.input(i));
  if (!value) fail("Input {} ('{}') is not defined by any node, input or initializer.", i, node.input(i));
  return value;
}

Value* Op::tensor(int i) {
  Value* value = input(i);
  if (!value->type.is_tensor())
    fail("Input {} ('{}') is no tensor but a {}.", i, node.input(i), value->type.text());
  return value;
}

bool depends_on_data(graph::Graph& graph, const Dim& dim) {
  std::vector<std::string> symbols;
  dim.collect_symbols(symbols);
  return std::any_of(symbols.begin(), symbols.end(), [&](const std::string& name) {
    const graph::SymbolInfo* info = graph.find_symbol(name);
    return info && info->origin == graph::SymbolInfo::Origin::kElement;
  });
}

void Op::output(int i, Value* value) {
  if (!wants(i)) return;
  // A dimension that depends on data is what the model says it is, if it says so.
  auto stated = declared_dims(i);
  if (stated && value->type.is_tensor() && stated->size() == value->type.shape.size()) {
    for (size_t axis = 0; axis < stated->size(); ++axis) {
      if (depends_on_data(b.graph(), dimension(value, axis)))
        value = b.adapt(value, static_cast<int64_t>(axis), Dim((*stated)[axis]));
    }
  }
  importer.bind(scope, node.output(i), value);
}

const pb::TypeProto* Op::declared(int i) const {
  if (!wants(i)) return nullptr;
  auto found = scope.declared.find(node.output(i));
  return found == scope.declared.end() ? nullptr : found->second;
}

std::optional<std::vector<int64_t>> Op::declared_dims(int i) const {
  const pb::TypeProto* type = declared(i);
  if (!type || !type->has_tensor_type() || !type->tensor_type().has_shape()) return std::nullopt;
  std::vector<int64_t> dims;
  for (const auto& d : type->tensor_type().shape().dim()) {
    if (!d.has_dim_value() || d.dim_value() < 0) return std::nullopt;
    dims.push_back(d.dim_value());
  }
  return dims;
}

const pb::AttributeProto* Op::attribute(const std::string& name) {
  used_.insert(name);
  auto found = attributes_.find(name);
  return found == attributes_.end() ? nullptr : found->second;
}

void Op::ignore(std::initializer_list<const char*> names) {
  for (const char* name : names) used_.insert(name);
}

std::vector<std::string> Op::unused_attributes() const {
  std::vector<std::string> out;
  for (const auto& [name, proto] : attributes_)
    if (!used_.count(name)) out.push_back(name);
  return out;
}

int Op::unused_input() const {
  for (int i = 0; i < node.input_size(); ++i)
    if (is_given(i) && !asked_.count(i)) return i;
  return -1;
}

int64_t Op::i(const std::string& name, int64_t otherwise) {
  const pb::AttributeProto* a = attribute(name);
  if (!a) return otherwise;
  if (!a->has_i()) {
    if (a->type() == pb::AttributeProto::INT) return 0;
    fail("Attribute '{}' is not an integer.", name);
  }
  return a->i();
}

double Op::f(const std::string& name, double otherwise) {
  const pb::AttributeProto* a = attribute(name);
  if (!a) return static_cast<double>(static_cast<float>(otherwise));
  if (!a->has_f()) {
    if (a->type() == pb::AttributeProto::FLOAT) return 0;
    fail("Attribute '{}' is not a float.", name);
  }
  return static_cast<double>(a->f());
}

std::string Op::s(const std::string& name, const std::string& otherwise) {
  const pb::AttributeProto* a = attribute(name);
  if (!a) return otherwise;
  if (a->type() != pb::AttributeProto::STRING && !a->has_s()) fail("Attribute '{}' is not a string.", name);
  return a->s();
}

std::vector<int64_t> Op::ints(const std::string& name, std::vector<int64_t> otherwise) {
  const pb::AttributeProto* a = attribute(name);
  if (!a) return otherwise;
  return {a->ints().begin(), a->ints().end()};
}

std::vector<double> Op::floats(const std::string& name, std::vector<double> otherwise) {
  const pb::AttributeProto* a = attribute(name);
  if (!a) return otherwise;
  return {a->floats().begin(), a->floats().end()};
}

std::vector<std::string> Op::strings(const std::string& name) {
  const pb::AttributeProto* a = attribute(name);
  if (!a) return {};
  return {a->strings().begin(), a->strings().end()};
}

TensorDataPtr Op::tensor_attr(const std::string& name) {
  const pb::AttributeProto* a = attribute(name);
  if (!a) return nullptr;
  if (!a->has_t()) fail("Attribute '{}' is not a tensor.", name);
  return unwrap(importer.file().tensor(a->t()));
}

const pb::GraphProto* Op::graph_attr(const std::string& name) {
  const pb::AttributeProto* a = attribute(name);
  if (!a || !a->has_g()) fail("Attribute '{}' (a graph) is missing.", name);
  return &a->g();
}

std::optional<DType> Op::dtype_attr(const std::string& name) {
  if (!has_attr(name)) return std::nullopt;
  return unwrap(dtype_from_onnx(i(name, 0)));
}

int64_t Op::axis(int64_t value, int64_t rank) const {
  int64_t axis = value < 0 ? value + rank : value;
  if (axis < 0 || axis >= rank) fail("Axis {} lies outside [{}, {}).", value, -rank, rank);
  return axis;
}

std::vector<int64_t> Op::axes(std::vector<int64_t> values, int64_t rank) const {
  for (int64_t& a : values) a = axis(a, rank);
  std::sort(values.begin(), values.end());
  auto repeated = std::adjacent_find(values.begin(), values.end());
  if (repeated != values.end()) fail("Axis {} is given twice.", *repeated);
  return values;
}

Shape Op::sizes(Value* v, int i) {
  if (auto known = b.known_dims(v)) return *known;
  auto stated = declared_dims(i);
  if (stated && v->type.rank() == 1 && dimension(v, 0).is_const() &&
      dimension(v, 0).value() <= static_cast<int64_t>(stated->size())) {
    stated->resize(static_cast<size_t>(dimension(v, 0).value()));
    Value* equal = b.compare(ScalarOp::kEq, b.cast(v, DType::kI64), b.i64s(*stated));
    b.check(b.reduce(ScalarOp::kAnd, equal, {0}),
            fmt::format("The output '{}' does not have the dimensions that the model states for it.",
                        node.output(i)));
    return {stated->begin(), stated->end()};
  }
  return b.dims(v);
}

std::vector<int64_t> Op::constant_ints(int i, const char* what) {
  auto known = b.known_ints(tensor(i));
  if (!known)
    fail("Input {} ('{}', {}) is computed at run time; tern needs to know it when it compiles.", i,
         node.input(i), what);
  return *known;
}

TensorDataPtr Op::constant_tensor(int i, const char* what) {
  TensorDataPtr data = b.constant_data(tensor(i));
  if (!data)
    fail("Input {} ('{}', {}) is computed at run time; tern needs to know it when it compiles.", i,
         node.input(i), what);
  return data;
}

std::optional<int64_t> Op::known_number(int i, const char* what) {
  const auto known = b.known_ints(tensor(i));
  if (!known) return std::nullopt;
  if (known->size() != 1) fail("The {} ({}) is not one number.", what, tensor(i)->type.text());
  return known->front();
}

double Op::constant_number(int i, const char* what) {
  TensorDataPtr data = constant_tensor(i, what);
  if (data->count() != 1) fail("Input {} ({}) has {} elements instead of one.", i, what, data->count());
  return data->float_at(0);
}

}  // namespace tern::onnx

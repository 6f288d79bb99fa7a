// import_model: the model as a whole: versions, functions, inputs with their symbols, outputs.
#include "compiler/onnx/import.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>

#include "compiler/onnx/fixed_input.h"
#include "compiler/onnx/importer.h"
#include "compiler/onnx/reader_dims.h"

namespace tern::onnx {

namespace {

// A C identifier like `param` that is none of the words in a Dim's text.
std::string symbol_stem(const std::string& param) {
  std::string out;
  for (char c : param) out += isalnum(static_cast<unsigned char>(c)) || c == '_' ? c : '_';
  if (out.empty() || isdigit(static_cast<unsigned char>(out[0]))) out = "d" + out;
  for (const char* word : {"floordiv", "ceildiv", "mod", "min", "max"})
    if (out == word) out += "_";
  return out;
}

// "?", "-1" and "None" are what some exporters write for dimensions that they do not name.
std::string dimension_name(const std::string& param) {
  bool letters = std::any_of(param.begin(), param.end(), [](unsigned char c) { return isalpha(c) != 0; });
  return letters && param != "None" ? param : "";
}

}  // namespace

Importer::Importer(std::shared_ptr<ModelFile> model, const ImportOptions& options, Diagnostics& diagnostics)
    : file_(std::move(model)),
      options_(options),
      diagnostics_(diagnostics),
      graph_(std::make_unique<graph::Graph>()),
      knowledge_(*graph_) {}

bool Importer::check_model() {
  const pb::ModelProto& model = file_->model();
  if (model.ir_version() > kMaxIrVersion) {
    diagnostics_.add(error("The model's IR version ({}) is newer than the newest that tern reads ({}).",
                           model.ir_version(), kMaxIrVersion));
  }
  for (const auto& o : model.opset_import()) opsets_[normal_domain(o.domain())] = o.version();
  if (opsets_.empty()) diagnostics_.add(error("The model imports no operator set."));
  auto onnx = opsets_.find("");
  if (onnx != opsets_.end() && (onnx->second < 1 || onnx->second > kMaxOpset)) {
    diagnostics_.add(
        error("The model's opset ({}) lies outside [{}, {}], which tern reads; onnx.version_converter may "
              "convert it.",
              onnx->second, kMinOpset, kMaxOpset));
  }
  if (onnx != opsets_.end() && onnx->second >= 1 && onnx->second < kMinOpset) {
    diagnostics_.warn(fmt::format(
        "The model's opset ({}) is older than {}; its operators are read by their opset {} rules.",
        onnx->second, kMinOpset, kMinOpset));
  }
  for (const auto& proto : model.functions()) {
    Function function{&proto, {}, function_default_attributes(proto)};
    for (const auto& o : proto.opset_import()) function.opsets[normal_domain(o.domain())] = o.version();
    std::string key = normal_domain(proto.domain()) + ":" + proto.name() + ":" + function_overload(proto);
    if (!functions_.emplace(key, std::move(function)).second)
      diagnostics_.add(error("The model defines the function '{}.{}' twice.", proto.domain(), proto.name()));
  }
  // Weights that were left behind are one mistake, not one of each node that reads some.
  for (Error& absent : file_->absent_files()) diagnostics_.add(std::move(absent));
  return diagnostics_.ok();
}

void Importer::report_unsupported() {
  for (const OpUse& use : survey(file_->model())) {
    if (use.supported) continue;
    const std::string reason = unsupported_reason(use.domain, use.op);
    diagnostics_.add(
        error("Operator {}.{} (opset {}) is not supported; the model uses it {}, first in node '{}'.{}{}",
              domain_text(use.domain), use.op, use.opset,
              use.count == 1 ? "once" : fmt::format("{} times", use.count), use.first_node,
              reason.empty() ? "" : " ", reason));
  }
}

Type Importer::type_from_proto(const pb::TypeProto& proto,
                               const std::function<Dim(int axis, const std::string& param)>& make_dim) {
  if (proto.has_sequence_type()) {
    return Type::sequence(type_from_proto(proto.sequence_type().elem_type(), make_dim));
  }
  if (proto.has_optional_type()) {
    return Type::optional(type_from_proto(proto.optional_type().elem_type(), make_dim));
  }
  if (proto.value_case() == pb::TypeProto::VALUE_NOT_SET) fail("The model does not state its type.");
  if (!proto.has_tensor_type()) fail("Its type is neither tensor, sequence nor optional.");
  DType dtype = unwrap(dtype_from_onnx(proto.tensor_type().elem_type()));
  if (!proto.tensor_type().has_shape()) fail("A tensor's type has no shape.");
  Shape shape;
  for (int axis = 0; axis < proto.tensor_type().shape().dim_size(); ++axis) {
    const auto& d = proto.tensor_type().shape().dim(axis);
    // Some exporters write -1 (or 0 for a batch) where they mean "any".
    bool fixed = d.has_dim_value() && d.dim_value() >= 0;
    shape.push_back(fixed ? Dim(d.dim_value())
                          : make_dim(axis, d.has_dim_param() ? dimension_name(d.dim_param()) : ""));
  }
  return Type::tensor(dtype, std::move(shape));
}

Dim Importer::input_dim(const std::string& input, int index, int axis, const std::string& param) {
  if (!param.empty()) dim_names_.insert(param);
  auto shape = options_.shapes.find(input);
  if (shape != options_.shapes.end() && axis < static_cast<int>(shape->second.size())) {
    int64_t value = shape->second[static_cast<size_t>(axis)];
    if (value >= 0) return Dim(value);
  }
  if (!param.empty()) {
    auto value = param_values_.find(param);
    if (value != param_values_.end()) return Dim(value->second);
    auto symbol = param_symbols_.find(param);
    if (symbol != param_symbols_.end()) return Dim::symbol(symbol->second);
  }
  std::string stem = param.empty() ? symbol_stem(input) + "_" + std::to_string(axis) : symbol_stem(param);
  graph::SymbolInfo info;
  info.name = stem;
  for (int n = 2; graph_->find_symbol(info.name); ++n) info.name = stem + "_" + std::to_string(n);
  dim_names_.insert(info.name);
  auto fixed = options_.symbol_values.find(info.name);
  if (fixed != options_.symbol_values.end()) return Dim(fixed->second);
  if (options_.values.contains(input))
    fail("--value names the input '{0}', whose dimension {1}{2} is open; fix it with --shape {0}=….", input,
         axis, param.empty() ? "" : fmt::format(" ({})", param));
  info.origin = graph::SymbolInfo::Origin::kInput;
  info.input = index;
  info.axis = axis;
  auto bounds = options_.symbol_bounds.find(param);
  if (bounds == options_.symbol_bounds.end()) bounds = options_.symbol_bounds.find(info.name);
  if (bounds != options_.symbol_bounds.end()) {
    info.min = bounds->second.min;
    info.max = bounds->second.max;
    info.hint = bounds->second.hint;
  }
  graph_->symbols.push_back(info);
  if (!param.empty()) param_symbols_[param] = info.name;
  return Dim::symbol(info.name);
}

Type Importer::input_type(const pb::ValueInfoProto& info, int index) {
  pb::TypeProto proto = info.type();
  auto given = options_.shapes.find(info.name());
  if (given != options_.shapes.end()) {
    if (!proto.has_tensor_type()) fail("--shape names the input '{}', which is no tensor.", info.name());
    auto* shape = proto.mutable_tensor_type()->mutable_shape();
    if (proto.tensor_type().shape().dim_size() == 0)
      for (size_t i = 0; i < given->second.size(); ++i) shape->add_dim();
    if (shape->dim_size() != static_cast<int>(given->second.size()))
      fail("--shape gives the input '{}' {} dimensions; the model states {}.", info.name(),
           given->second.size(), shape->dim_size());
    for (int i = 0; i < shape->dim_size(); ++i) {
      int64_t value = given->second[static_cast<size_t>(i)];
      if (value >= 0) shape->mutable_dim(i)->set_dim_value(value);
    }
  }
  if (proto.has_tensor_type() && !proto.tensor_type().has_shape()) {
    if (const auto dims = dims_from_readers(file_->model().graph(), info.name())) {
      auto* shape = proto.mutable_tensor_type()->mutable_shape();
      for (const int64_t d : *dims) {
        auto* dim = shape->add_dim();
        if (d >= 0) dim->set_dim_value(d);
      }
      diagnostics_.warn(
          fmt::format("The input '{}' has no shape in the model; the nodes that read it want {} dimensions.",
                      info.name(), dims->size()));
    }
  }
  if (proto.has_tensor_type() && !proto.tensor_type().has_shape())
    fail("The input '{}' has no shape in the model; give one with --shape {}=….", info.name(), info.name());
  bool tensor = proto.has_tensor_type();
  const pb::TypeProto* element = &proto;
  while (element->has_sequence_type() || element->has_optional_type())
    element = &(element->has_sequence_type() ? element->sequence_type().elem_type()
                                             : element->optional_type().elem_type());
  if (!tensor && element->has_tensor_type() && !element->tensor_type().has_shape())
    fail("The input '{}' is a list of tensors whose shapes the model does not state.", info.name());
  return type_from_proto(proto, [&](int axis, const std::string& param) {
    if (tensor) return input_dim(info.name(), index, axis, param);
    // The dimensions of a list's elements differ from element to element.
    graph::SymbolInfo symbol;
    symbol.origin = graph::SymbolInfo::Origin::kControl;
    return Dim::symbol(graph_->new_symbol("s", symbol).name);
  });
}

void Importer::add_input(Scope& scope, const pb::ValueInfoProto& info) {
  int index = static_cast<int>(graph_->body.args.size());
  const Type type = input_type(info, index);
  check_size(type);
  Value* value = graph_->new_value(type, info.name());
  value->block = &graph_->body;
  value->index = index;
  graph_->body.args.push_back(value);
  graph_->input_names.push_back(info.name());
  bind(scope, info.name(), value);
}

void Importer::fix_input(Scope& scope, const pb::ValueInfoProto& info,
                         const std::vector<std::string>& words) {
  const Type type = input_type(info, -1);
  check_size(type);
  Value* value = scope.emit->constant(fixed_value(info.name(), type, words));
  value->name = info.name();
  scope.tensors.erase(info.name());  // --value goes before the model's default
  scope.sparse_tensors.erase(info.name());
  bind(scope, info.name(), value);
}

void Importer::add_inputs(Scope& scope) {
  const pb::GraphProto& proto = file_->model().graph();
  for (const auto& [param, value] : options_.symbol_values) param_values_[param] = value;
  // --shape's constants hold for every input that shares the dimension's name.
  for (const auto& info : proto.input()) {
    auto given = options_.shapes.find(info.name());
    if (given == options_.shapes.end()) continue;
    const auto& shape = info.type().tensor_type().shape();
    for (int i = 0; i < shape.dim_size() && i < static_cast<int>(given->second.size()); ++i) {
      int64_t value = given->second[static_cast<size_t>(i)];
      if (value >= 0 && !shape.dim(i).dim_param().empty()) param_values_[shape.dim(i).dim_param()] = value;
    }
  }
  std::set<std::string> known;
  for (const auto& info : proto.input()) {
    known.insert(info.name());
    const auto fixed = options_.values.find(info.name());
    const bool by_default = scope.tensors.count(info.name()) || scope.sparse_tensors.count(info.name());
    if (fixed == options_.values.end() && by_default) continue;
    try {
      if (fixed == options_.values.end()) {
        add_input(scope, info);
      } else {
        fix_input(scope, info, fixed->second);
      }
    } catch (ImportFailure& failure) {
      diagnostics_.add(
          std::move(failure.error).note(fmt::format("While importing the input '{}'", info.name())));
      scope.values[info.name()] = nullptr;
    }
  }
  const auto check_input = [&](const char* option, const std::string& name) {
    if (known.count(name)) return;
    diagnostics_.add(error("{} names the input '{}', which the model does not have; its inputs are '{}'.",
                           option, name, fmt::join(known, "', '")));
  };
  for (const auto& [name, dims] : options_.shapes) check_input("--shape", name);
  for (const auto& [name, words] : options_.values) check_input("--value", name);
  const auto check_dim = [&](const std::string& name) {
    if (dim_names_.count(name)) return;
    diagnostics_.add(error("--dim names the symbol '{}', which no input has; {}.", name,
                           dim_names_.empty() ? "all their dimensions are fixed"
                                              : fmt::format("they have {}", fmt::join(dim_names_, ", "))));
  };
  for (const auto& [name, value] : options_.symbol_values) check_dim(name);
  for (const auto& [name, bounds] : options_.symbol_bounds) check_dim(name);
}

// Dimensions of inputs that the model leaves open and its operators do not: they are said, planned for, and
// what `tern run` takes where it is not told a size.
void Importer::settle_symbols(const Emit& emit) {
  for (graph::SymbolInfo& info : graph_->symbols) {
    const auto size = emit.only_size(info.name);
    if (!size || info.origin != graph::SymbolInfo::Origin::kInput) continue;
    info.hint = *size;  // the check says which node needs it
    diagnostics_.warn(
        fmt::format("Dimension {} of the input '{}' ({}) can only be {}: the model's operators need it.",
                    info.axis, graph_->input_names[static_cast<size_t>(info.input)], info.name, *size));
  }
}

std::unique_ptr<graph::Graph> Importer::run() {
  if (!check_model()) return nullptr;
  report_unsupported();
  const pb::GraphProto& proto = file_->model().graph();
  graph_->name = proto.name();
  Emit emit(*graph_, knowledge_, graph_->body);
  Scope scope;
  scope.emit = &emit;
  scope.opsets = &opsets_;
  // A node may be imported often: a function's for each call, a body's for each element and for each of the
  // types that a loop carries. Nested, a few nodes would become more than any memory holds.
  const int64_t nodes = node_count(file_->model()), most = 1024 * nodes + (1 << 18);
  left_ = most;
  try {
    add_graph_names(scope, proto);
    add_inputs(scope);
    import_nodes(scope, proto.node());
    if (diagnostics_.ok()) settle_symbols(emit);
    if (diagnostics_.ok()) {
      graph_->body.results = graph_outputs(scope, proto);
      for (const auto& info : proto.output()) graph_->output_names.push_back(info.name());
      if (proto.output_size() == 0) diagnostics_.add(error("The model has no output."));
    }
  } catch (ImportFailure& failure) {
    if (!failure.error.message.empty()) diagnostics_.add(std::move(failure.error));
  } catch (const TooMuchMade&) {
    diagnostics_.add(
        error("The model's {} nodes become more than {} where functions are called, and bodies are there for "
              "each element or type.",
              nodes, most));
  }
  if (!diagnostics_.ok()) return nullptr;
  return std::move(graph_);
}

std::unique_ptr<graph::Graph> import_model(const std::string& path, const ImportOptions& options,
                                           Diagnostics& diagnostics) {
  auto file = ModelFile::open(path);
  if (!file.ok()) {
    diagnostics.add(file.take_error());
    return nullptr;
  }
  (*file)->set_written(options.written);
  const ImportOptions all = with_lengths_of_values(options, (*file)->model().graph());
  return Importer(std::move(file).value(), all, diagnostics).run();
}

Result<std::vector<OpUse>> survey_model(const std::string& path) {
  TERN_ASSIGN(std::shared_ptr<ModelFile> file, ModelFile::open(path));
  return survey(file->model());
}

}  // namespace tern::onnx

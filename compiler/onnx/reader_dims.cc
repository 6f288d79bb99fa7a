#include "compiler/onnx/reader_dims.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace tern::onnx {
namespace {

using Dims = std::vector<int64_t>;
constexpr int kMostNodes = 16;  // on the way to one that tells

const pb::TensorProto* initializer(const pb::GraphProto& graph, const std::string& name) {
  for (const auto& t : graph.initializer()) {
    if (t.name() == name) return &t;
  }
  return nullptr;
}

const pb::AttributeProto* attribute(const pb::NodeProto& node, std::string_view name) {
  for (const auto& a : node.attribute()) {
    if (a.name() == name) return &a;
  }
  return nullptr;
}

// As the model declares it, for a value that is no input.
std::optional<Dims> declared(const pb::GraphProto& graph, const std::string& value) {
  for (const auto* list : {&graph.value_info(), &graph.output()}) {
    for (const auto& info : *list) {
      if (info.name() != value || !info.type().tensor_type().has_shape()) continue;
      Dims out;
      for (const auto& d : info.type().tensor_type().shape().dim())
        out.push_back(d.has_dim_value() && d.dim_value() >= 0 ? d.dim_value() : -1);
      return out;
    }
  }
  return std::nullopt;
}

// Whether result 0 has the shape of operand 0.
bool keeps_shape(const pb::GraphProto& graph, const pb::NodeProto& node) {
  constexpr std::array<std::string_view, 26> kUnary = {"Abs",         "BatchNormalization",
                                                       "Cast",        "Ceil",
                                                       "Clip",        "DequantizeLinear",
                                                       "Dropout",     "Elu",
                                                       "Erf",         "Exp",
                                                       "Floor",       "Gelu",
                                                       "HardSigmoid", "HardSwish",
                                                       "Identity",    "InstanceNormalization",
                                                       "LeakyRelu",   "Log",
                                                       "Neg",         "QuantizeLinear",
                                                       "Relu",        "Sigmoid",
                                                       "Softmax",     "Softplus",
                                                       "Sqrt",        "Tanh"};
  constexpr std::array<std::string_view, 4> kBinary = {"Add", "Div", "Mul", "Sub"};
  const std::string_view op = node.op_type();
  if (std::find(kUnary.begin(), kUnary.end(), op) != kUnary.end()) return true;
  if (std::find(kBinary.begin(), kBinary.end(), op) == kBinary.end()) return false;
  const pb::TensorProto* other = initializer(graph, node.input(1));
  return other && other->dims_size() == 0;
}

Dims with_channels(int rank, int64_t channels) {
  Dims out(static_cast<size_t>(rank), -1);
  out[1] = channels;
  return out;
}

// What a node says of its operand 0.
std::optional<Dims> operand_dims(const pb::GraphProto& graph, const pb::NodeProto& node) {
  const std::string& op = node.op_type();
  const pb::TensorProto* weights = node.input_size() > 1 ? initializer(graph, node.input(1)) : nullptr;
  const int rank = weights ? weights->dims_size() : 0;
  if (op == "Conv" && rank >= 3) {
    const pb::AttributeProto* group = attribute(node, "group");
    return with_channels(rank, weights->dims(1) * (group ? group->i() : 1));
  }
  if (op == "ConvTranspose" && rank >= 3) return with_channels(rank, weights->dims(0));
  if (op == "Gemm" && rank == 2) {
    const auto is_set = [&](std::string_view name) {
      const pb::AttributeProto* a = attribute(node, name);
      return a && a->i() != 0;
    };
    const int64_t depth = weights->dims(is_set("transB") ? 1 : 0);
    return is_set("transA") ? Dims{depth, -1} : Dims{-1, depth};
  }
  if (op == "LSTM" || op == "GRU" || op == "RNN") return Dims{-1, -1, rank == 3 ? weights->dims(2) : -1};
  if (op == "MatMul" && rank == 2 && node.output_size() > 0) {
    std::optional<Dims> dims = declared(graph, node.output(0));
    if (dims && !dims->empty()) dims->back() = weights->dims(0);
    return dims;
  }
  if (const pb::AttributeProto* perm = attribute(node, "perm"); op == "Transpose" && perm)
    return Dims(static_cast<size_t>(perm->ints_size()), -1);
  if (const pb::AttributeProto* window = attribute(node, "kernel_shape"); op.ends_with("Pool") && window)
    return Dims(static_cast<size_t>(window->ints_size()) + 2, -1);
  if (op == "DepthToSpace" || op == "SpaceToDepth" || op == "ImageScaler") return Dims(4, -1);
  return std::nullopt;
}

std::optional<Dims> look(const pb::GraphProto& graph, const std::string& value, int& left) {
  for (const auto& node : graph.node()) {
    if (node.input_size() == 0 || node.input(0) != value || !node.domain().empty()) continue;
    if (left-- <= 0) return std::nullopt;
    if (std::optional<Dims> dims = operand_dims(graph, node)) return dims;
    if (node.output_size() == 0 || !keeps_shape(graph, node)) continue;
    if (std::optional<Dims> dims = declared(graph, node.output(0))) return dims;
    if (std::optional<Dims> dims = look(graph, node.output(0), left)) return dims;
  }
  return std::nullopt;
}

}  // namespace

std::optional<Dims> dims_from_readers(const pb::GraphProto& graph, const std::string& value) {
  int left = kMostNodes;
  return look(graph, value, left);
}

}  // namespace tern::onnx

// Models built by hand for the importer's tests.
#pragma once

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "compiler/onnx/import.h"
#include "compiler/onnx/model_file.h"

namespace tern::onnx {

// A folder of its own that goes away.
struct TempFolder {
  std::string path;
  TempFolder() {
    char name[] = "/tmp/tern_import_XXXXXX";
    path = mkdtemp(name);
  }
  ~TempFolder() { (void)!system(("rm -rf " + path).c_str()); }
  std::string write(const std::string& name, const std::string& bytes) const {
    std::string file = path + "/" + name;
    std::ofstream(file, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    return file;
  }
};

// A model of one graph: y = f(x), x f32[2,N].
struct Model {
  pb::ModelProto proto;
  explicit Model(int64_t opset = 17) {
    proto.set_ir_version(8);
    auto* import = proto.add_opset_import();
    import->set_domain("");
    import->set_version(opset);
    proto.mutable_graph()->set_name("test");
    add_value(proto.mutable_graph()->add_input(), "x", {"2", "N"});
    proto.mutable_graph()->add_output()->set_name("y");
  }
  static void add_value(pb::ValueInfoProto* info, const std::string& name,
                        const std::vector<std::string>& dims) {
    info->set_name(name);
    auto* tensor = info->mutable_type()->mutable_tensor_type();
    tensor->set_elem_type(pb::TensorProto::FLOAT);
    tensor->mutable_shape();
    for (const std::string& d : dims) {
      auto* dim = tensor->mutable_shape()->add_dim();
      if (isdigit(static_cast<unsigned char>(d[0]))) {
        dim->set_dim_value(atoll(d.c_str()));
      } else {
        dim->set_dim_param(d);
      }
    }
  }
  pb::NodeProto* node(const std::string& op, const std::vector<std::string>& inputs,
                      const std::vector<std::string>& outputs) {
    auto* n = proto.mutable_graph()->add_node();
    n->set_op_type(op);
    n->set_name(op + "_" + outputs[0]);
    for (const auto& i : inputs) n->add_input(i);
    for (const auto& o : outputs) n->add_output(o);
    return n;
  }
  void ints(const std::string& name, const std::vector<int64_t>& values) {
    auto* t = proto.mutable_graph()->add_initializer();
    t->set_name(name);
    t->set_data_type(pb::TensorProto::INT64);
    t->add_dims(static_cast<int64_t>(values.size()));
    for (int64_t v : values) t->add_int64_data(v);
  }
  pb::TensorProto* floats(const std::string& name, const std::vector<int64_t>& dims) {
    auto* t = proto.mutable_graph()->add_initializer();
    t->set_name(name);
    t->set_data_type(pb::TensorProto::FLOAT);
    for (int64_t d : dims) t->add_dims(d);
    return t;
  }
};

inline std::unique_ptr<graph::Graph> import_bytes(const std::string& bytes, Diagnostics& diagnostics,
                                                  const ImportOptions& options = {}) {
  TempFolder folder;
  return import_model(folder.write("m.onnx", bytes), options, diagnostics);
}

inline std::unique_ptr<graph::Graph> import(const Model& model, const ImportOptions& options = {}) {
  Diagnostics diagnostics;
  auto graph = import_bytes(model.proto.SerializeAsString(), diagnostics, options);
  CHECK_MESSAGE(graph, diagnostics.text());
  if (graph) CHECK(graph::verify(*graph) == "");
  return graph;
}

inline std::string errors(const Model& model, const ImportOptions& options = {}) {
  Diagnostics diagnostics;
  auto graph = import_bytes(model.proto.SerializeAsString(), diagnostics, options);
  CHECK(!graph);
  return diagnostics.text();
}

// Nodes of a kind, in subgraphs too.
inline int count_of(graph::Graph& graph, graph::OpKind kind) {
  int count = 0;
  graph::walk(graph.body, [&](const graph::Node& n) { count += n.kind == kind; });
  return count;
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace tern::onnx

// A model file in memory: the mapped and parsed ModelProto, and the external data files that its tensors
// name. Tensors made from it borrow its bytes and keep it alive.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compiler/support/result.h"
#include "compiler/support/tensor_data.h"
#include "onnx.pb.h"

namespace tern::onnx {

namespace pb = ::onnx;

constexpr int kMaxDepth = 64;  // of subgraphs in subgraphs, and of functions that call functions

// A read-only mapping of a whole file.
class MappedFile {
 public:
  static Result<std::shared_ptr<MappedFile>> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  std::span<const uint8_t> bytes() const { return {data_, size_}; }

 private:
  MappedFile() = default;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

class ModelFile : public std::enable_shared_from_this<ModelFile> {
 public:
  static Result<std::shared_ptr<ModelFile>> open(const std::string& path);
  const pb::ModelProto& model() const { return model_; }
  // Files that will be written, which cannot be external data as well.
  void set_written(std::vector<std::string> paths) { written_ = std::move(paths); }
  // One for each file of external data that the graph's initializers name and that is not there.
  std::vector<Error> absent_files() const;
  // The tensor's contents: raw and external data borrowed, typed fields converted. Checks type, dimensions
  // and sizes.
  Result<TensorDataPtr> tensor(const pb::TensorProto& proto);
  // A sparse tensor's contents, made dense.
  Result<TensorDataPtr> sparse_tensor(const pb::SparseTensorProto& proto);

 private:
  Status present(const std::string& location) const;
  Result<std::span<const uint8_t>> external_bytes(const pb::TensorProto& proto, int64_t want,
                                                  std::shared_ptr<const void>& keep_alive);
  std::string folder_;
  std::vector<std::string> written_;
  pb::ModelProto model_;
  std::map<std::string, std::shared_ptr<MappedFile>> external_;
};

// A tensor that stands in a message of its own (test data), copied.
Result<TensorDataPtr> tensor_from_proto(const pb::TensorProto& proto);

// The element type of a TensorProto.DataType number, or an error that names it.
Result<DType> dtype_from_onnx(int64_t data_type);

// The payload of each length-delimited field `number` of a serialised message: for messages and fields that
// the distribution's schema is too old to know.
std::vector<std::string> unknown_fields(const std::string& bytes, int number);

// Fields that the distribution's schema may be too old to know, read from the unknown fields.
std::string function_overload(const pb::FunctionProto& function);
std::string node_overload(const pb::NodeProto& node);
std::vector<pb::AttributeProto> function_default_attributes(const pb::FunctionProto& function);

}  // namespace tern::onnx

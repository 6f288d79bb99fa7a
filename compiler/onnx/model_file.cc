#include "compiler/onnx/model_file.h"

#include <fcntl.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <set>

#include "compiler/onnx/file_kind.h"

namespace tern::onnx {

Result<std::shared_ptr<MappedFile>> MappedFile::open(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // a pipe is refused, not waited for
  if (fd < 0) return error("Cannot open the file '{}' ({}).", path, strerror(errno));
  struct stat info{};
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return error("The file '{}' is not a regular file.", path);
  }
  std::shared_ptr<MappedFile> file(new MappedFile);
  file->size_ = static_cast<size_t>(info.st_size);
  if (file->size_ > 0) {
    void* data = mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd, 0);
    if (data == MAP_FAILED) {
      ::close(fd);
      return error("Cannot map the file '{}' ({}).", path, strerror(errno));
    }
    file->data_ = static_cast<const uint8_t*>(data);
  }
  ::close(fd);
  return file;
}

MappedFile::~MappedFile() {
  if (data_) munmap(const_cast<uint8_t*>(data_), size_);
}

namespace {

Result<std::string> canonical(const std::string& path) {
  char* resolved = realpath(path.c_str(), nullptr);
  if (!resolved) return error("Cannot resolve the path '{}' ({}).", path, strerror(errno));
  std::string text = resolved;
  free(resolved);
  return text;
}

// Whether a file that a model names is one of its folder, as far as the name says.
Status lies_inside(const std::string& location) {
  if (location.empty()) return error("The external data names no file.");
  if (location.find('\0') != std::string::npos)
    return error("The external data's file has a name with a byte of zero in it.");
  if (location[0] == '/')
    return error("The external data's file '{}' is an absolute path; it must lie in the model's folder.",
                 location);
  if (("/" + location + "/").find("/../") != std::string::npos)
    return error("The external data's file '{}' contains '..'; it must lie in the model's folder.", location);
  return Ok{};
}

std::string folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// Protobuf reads messages 100 deep unless it is told otherwise; a subgraph is three (graph, node, attribute).
// What lies deeper than is compiled is read all the same, to say how deep it is.
constexpr int kReadDepth = 400, kMessages = 3 * kReadDepth + 16;

bool parse(std::span<const uint8_t> bytes, pb::ModelProto& model) {
  google::protobuf::io::CodedInputStream in(bytes.data(), static_cast<int>(bytes.size()));
  in.SetRecursionLimit(kMessages);
  return model.ParseFromCodedStream(&in) && in.ConsumedEntireMessage();
}

int depth_of(const google::protobuf::RepeatedPtrField<pb::NodeProto>& nodes) {
  int deepest = 0;
  for (const pb::NodeProto& node : nodes) {
    for (const pb::AttributeProto& a : node.attribute()) {
      if (a.has_g()) deepest = std::max(deepest, 1 + depth_of(a.g().node()));
      for (const pb::GraphProto& g : a.graphs()) deepest = std::max(deepest, 1 + depth_of(g.node()));
    }
  }
  return deepest;
}

}  // namespace

std::vector<std::string> unknown_fields(const std::string& bytes, int number) {
  using google::protobuf::internal::WireFormatLite;
  std::vector<std::string> found;
  google::protobuf::io::CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                                            static_cast<int>(bytes.size()));
  while (uint32_t tag = in.ReadTag()) {
    if (WireFormatLite::GetTagFieldNumber(tag) == number &&
        WireFormatLite::GetTagWireType(tag) == WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      std::string payload;
      if (!WireFormatLite::ReadBytes(&in, &payload)) break;
      found.push_back(std::move(payload));
    } else if (!WireFormatLite::SkipField(&in, tag)) {
      break;
    }
  }
  return found;
}

Result<std::shared_ptr<ModelFile>> ModelFile::open(const std::string& path) {
  TERN_ASSIGN(std::shared_ptr<MappedFile> file, MappedFile::open(path));
  std::span<const uint8_t> bytes = file->bytes();
  if (bytes.empty()) return error("The model file '{}' is empty.", path);
  if (bytes.size() > INT_MAX) {
    return error(
        "The model file '{}' has {} bytes; an ONNX file holds at most {}: larger models keep their weights "
        "in "
        "external data.",
        path, bytes.size(), INT_MAX);
  }
  auto model = std::make_shared<ModelFile>();
  const bool parsed = parse(bytes, model->model_);
  if (!parsed || !model->model_.has_graph()) {
    const char* text = what_else(bytes);
    if (*text) return error("The file '{}' is not an ONNX model. {}", path, text);
  }
  if (!parsed) return error("The file '{}' is not an ONNX model, or it is truncated.", path);
  if (!model->model_.has_graph()) {
    return error("The file '{}' is not an ONNX model: it has no graph.{}", path,
                 path.ends_with(".pb") ? " If it is TensorFlow's, tf2onnx converts it." : "");
  }
  int depth = depth_of(model->model_.graph().node());
  for (const pb::FunctionProto& f : model->model_.functions()) depth = std::max(depth, depth_of(f.node()));
  if (depth > kMaxDepth)
    return error("The subgraphs of '{}' nest {} deep; tern reads them up to {} deep.", path, depth,
                 kMaxDepth);
  if (model->model_.ir_version() <= 0)
    return error("The file '{}' is not an ONNX model: it states no IR version.", path);
  TERN_ASSIGN(model->folder_, canonical(folder_of(path)));
  return model;
}

Status ModelFile::present(const std::string& location) const {
  if (access((folder_ + "/" + location).c_str(), F_OK) == 0 || errno != ENOENT) return Ok{};
  return error(
      "The model keeps weights in a file of their own, '{}', which is not in its folder '{}'; copy it there.",
      location, folder_);
}

std::vector<Error> ModelFile::absent_files() const {
  std::vector<Error> absent;
  std::set<std::string> seen;
  for (const auto& tensor : model_.graph().initializer()) {
    if (tensor.data_location() != pb::TensorProto::EXTERNAL) continue;
    for (const auto& entry : tensor.external_data()) {
      if (entry.key() != "location" || !seen.insert(entry.value()).second || !lies_inside(entry.value()).ok())
        continue;
      if (Status there = present(entry.value()); !there.ok()) absent.push_back(there.take_error());
    }
  }
  return absent;
}

Result<std::span<const uint8_t>> ModelFile::external_bytes(const pb::TensorProto& proto, int64_t want,
                                                           std::shared_ptr<const void>& keep_alive) {
  std::string location;
  int64_t offset = 0, length = want;
  for (const auto& entry : proto.external_data()) {
    if (entry.key() == "location") location = entry.value();
    if (entry.key() != "offset" && entry.key() != "length") continue;
    char* end = nullptr;
    errno = 0;
    int64_t number = strtoll(entry.value().c_str(), &end, 10);
    if (errno != 0 || entry.value().empty() || *end != 0 || number < 0)
      return error("The external data's {} ('{}') is not a size.", entry.key(), entry.value());
    (entry.key() == "offset" ? offset : length) = number;
  }
  if (Status inside = lies_inside(location); !inside.ok()) return inside.take_error();
  if (length != want)
    return error("The external data's length ({}) is not the tensor's size ({} bytes).", length, want);
  if (Status there = present(location); !there.ok()) return there.take_error();
  std::shared_ptr<MappedFile>& file = external_[location];
  if (!file) {
    TERN_ASSIGN(std::string resolved, canonical(folder_ + "/" + location));
    std::string prefix = folder_ == "/" ? folder_ : folder_ + "/";
    if (resolved.compare(0, prefix.size(), prefix) != 0)
      return error("The external data's file '{}' is a link that leaves the model's folder.", location);
    for (const std::string& written : written_) {
      const Result<std::string> output = canonical(written);
      if (output.ok() && output.value() == resolved)
        return error("The external data's file '{}' is one that is to be written ('{}'), and would be lost.",
                     location, written);
    }
    TERN_ASSIGN(file, MappedFile::open(resolved));
  }
  auto size = static_cast<int64_t>(file->bytes().size());
  if (offset > size || length > size - offset) {
    return error("The external data (offset {}, length {}) lies outside its file '{}' of {} bytes.", offset,
                 length, location, size);
  }
  keep_alive = file;
  return file->bytes().subspan(static_cast<size_t>(offset), static_cast<size_t>(length));
}

std::string function_overload(const pb::FunctionProto& function) {
  auto found = unknown_fields(function.unknown_fields(), 13);
  return found.empty() ? "" : found.back();
}

std::string node_overload(const pb::NodeProto& node) {
  auto found = unknown_fields(node.unknown_fields(), 8);
  return found.empty() ? "" : found.back();
}

std::vector<pb::AttributeProto> function_default_attributes(const pb::FunctionProto& function) {
  std::vector<pb::AttributeProto> attributes;
  for (const std::string& bytes : unknown_fields(function.unknown_fields(), 11)) {
    pb::AttributeProto attribute;
    if (attribute.ParseFromString(bytes)) attributes.push_back(std::move(attribute));
  }
  return attributes;
}

}  // namespace tern::onnx

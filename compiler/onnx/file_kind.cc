#include "compiler/onnx/file_kind.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace tern::onnx {

namespace {

struct Kind {
  size_t offset;
  std::string_view magic;
  const char* text;
};

constexpr const char* kPickle =
    "It is a Python pickle, as PyTorch's older .pt are; torch.onnx.export writes ONNX.";
constexpr const char* kText =
    "It is text. If it is ONNX's own, onnx.load(path, format=…) reads it ('textproto', 'json', 'onnxtxt'), "
    "and onnx.save writes it as ternc takes it.";

// In order: the first that fits is said.
constexpr Kind kKinds[] = {
    {0, "version https:",
     "It is Git LFS's note of where the model is; `git lfs pull` fetches the model itself."},
    {0, "<!DOCTYPE html", "It is a web page: the download gave no model."},
    {0, "<!doctype html", "It is a web page: the download gave no model."},
    {0, "<html", "It is a web page: the download gave no model."},
    {0, "PK\x03\x04",
     "It is a zip archive, as PyTorch's .pt and .pth are; torch.onnx.export writes such a network as ONNX."},
    {0, "\x80\x02", kPickle},
    {0, "\x80\x03", kPickle},
    {0, "\x80\x04", kPickle},
    {0, "\x80\x05", kPickle},
    {8, "{\"", "It holds weights alone (safetensors); export the network with them as ONNX."},
    {0, "GGUF", "It is a GGUF model; export the network that it was made from as ONNX."},
    {4, "TFL3", "It is a LiteRT (TFLite) model; tf2onnx converts it."},
    {4, "ORTM", "It is in ONNX Runtime's own format (.ort); compile the ONNX model that it was made from."},
    {0, "\x89HDF", "It is an HDF5 file, as Keras writes; tf2onnx converts such models."},
    {0, "TERN", "It is a compiled module already; `tern run` runs it."},
    {0, "<?xml", "It is XML, as OpenVINO's models are; compile the ONNX model that it was made from."},
    {0, "\x1f\x8b", "It is compressed (gzip); unpack it first."},
    {0, "\x28\xb5\x2f\xfd", "It is compressed (zstd); unpack it first."},
    {0, "BZh", "It is compressed (bzip2); unpack it first."},
    {0, "\xfd\x37\x7a\x58\x5a", "It is compressed (xz); unpack it first."},
    {257, "ustar", "It is a tar archive; unpack it first."},
    {0, "\x93NUMPY", "It is a NumPy array."},
};

// Printable as far as one looks. Protobuf is not: the tag of its first field is a control character.
bool is_text(std::span<const uint8_t> bytes) {
  bytes = bytes.first(std::min<size_t>(bytes.size(), 512));
  return std::all_of(bytes.begin(), bytes.end(),
                     [](uint8_t c) { return (c >= 32 && c < 127) || c == '\t' || c == '\n' || c == '\r'; });
}

}  // namespace

const char* what_else(std::span<const uint8_t> bytes) {
  for (const Kind& kind : kKinds) {
    if (bytes.size() >= kind.offset + kind.magic.size() &&
        memcmp(bytes.data() + kind.offset, kind.magic.data(), kind.magic.size()) == 0)
      return kind.text;
  }
  return is_text(bytes) ? kText : "";
}

}  // namespace tern::onnx

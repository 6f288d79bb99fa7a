#include "compiler/render/glsl_memory.h"

namespace tern::render {

using kernel::Access;
using kernel::BufferNode;

namespace {

// The type of a plain storage buffer's elements; "" for what is packed into words.
std::string_view plain_storage(DType dtype) {
  return dtype_bits(dtype) >= 32 ? glsl_carrier(dtype) : std::string_view();
}

std::string lane_index(int lane) {
  return lane ? fmt::format("i + {}", lane) : "i";
}

}  // namespace

void GlslMemory::declare_binding(const BufferNode* buffer, const std::string& name, size_t binding) {
  const std::string_view plain = plain_storage(buffer->type.dtype);
  const bool reads = buffer->access == Access::kRead;
  buffers_[buffer] = {name, plain.empty() ? Kind::kWords : Kind::kPlain, 0, reads ? binding : SIZE_MAX};
  declarations_ += fmt::format("layout(std430, set = 0, binding = {}) {}buffer Binding{} {{ {} {}[]; }};\n",
                               binding, reads ? "readonly " : "", binding,
                               plain.empty() ? std::string("uint") : helpers_.type(plain), name);
}

void GlslMemory::declare_stack(const BufferNode* buffer, const std::string& name) {
  buffers_[buffer] = {name};
  declarations_ += fmt::format("{} {}[{}];\n", helpers_.type(glsl_carrier(buffer->type.dtype)), name,
                               std::max<int64_t>(buffer->size, 1));
}

void GlslMemory::declare_workgroup(const BufferNode* buffer, const std::string& name, int64_t offset) {
  buffers_[buffer] = {name, Kind::kPool, offset / 4};
}

void GlslMemory::declare_pool(int64_t bytes) {
  if (bytes > 0) declarations_ += fmt::format("shared uint workgroup_pool[{}];\n", (bytes + 3) / 4);
}

std::string GlslMemory::decoded(DType dtype, const std::string& raw) {
  if (dtype == DType::kBool) return fmt::format("({} != 0u)", raw);
  if (is_float(dtype))
    return fmt::format("{}({})", helpers_.function(fmt::format("decode_{}", dtype_name(dtype)), ""), raw);
  if (is_signed_int(dtype)) return fmt::format("bitfieldExtract(int({}), 0, {})", raw, dtype_bits(dtype));
  return raw;
}

std::string GlslMemory::encoded(DType dtype, const std::string& value) {
  if (dtype == DType::kBool) return fmt::format("uint({})", value);
  if (is_float(dtype)) {
    // What is stored is rounded already: what is left to overflow is infinity itself.
    return fmt::format(
        "{}({})",
        helpers_.function(
            fmt::format("encode_{}{}", dtype_name(dtype), dtype_bits(dtype) == 8 ? "_overflow" : ""), ""),
        value);
  }
  return fmt::format("(uint({}) & {}u)", value, (1u << dtype_bits(dtype)) - 1);
}

// The statement that returns element i.
std::string GlslMemory::element_load(const BufferNode* buffer) {
  const Place& place = buffers_.at(buffer);
  const DType dtype = buffer->type.dtype;
  const int bits = dtype_bits(dtype);
  if (place.kind == Kind::kPlain) return fmt::format("return {}[i];", place.name);
  const std::string array = place.kind == Kind::kPool ? "workgroup_pool" : place.name;
  const std::string base =
      place.kind == Kind::kPool && place.first_word ? fmt::format("{} + ", place.first_word) : "";
  if (bits < 32) {
    const int per_word = 32 / bits;
    const std::string raw =
        fmt::format("(({}[{}(i >> {})] >> (uint(i & {}) * {}u)) & {}u)", array, base,
                    __builtin_ctz(static_cast<unsigned>(per_word)), per_word - 1, bits, (1u << bits) - 1);
    return fmt::format("return {};", decoded(dtype, raw));
  }
  const std::string_view type = glsl_carrier(dtype);
  if (bits == 32) {
    const std::string_view cast = type == "float" ? "uintBitsToFloat" : type == "int" ? "int" : "";
    return fmt::format("return {}({}[{}i]);", cast, array, base);
  }
  const std::string pair = fmt::format("uvec2({0}[{1}2 * i], {0}[{1}2 * i + 1])", array, base);
  if (dtype == DType::kF64) return fmt::format("return packDouble2x32({});", pair);
  if (dtype == DType::kU64) return fmt::format("return packUint2x32({});", pair);
  if (dtype == DType::kI64) return fmt::format("return int64_t(packUint2x32({}));", pair);
  return fmt::format("return uintBitsToFloat({});", pair);  // c64; c128 does not come here (see store)
}

// The statements that store v as element i.
std::string GlslMemory::element_store(const BufferNode* buffer) {
  const Place& place = buffers_.at(buffer);
  const DType dtype = buffer->type.dtype;
  const int bits = dtype_bits(dtype);
  if (place.kind == Kind::kPlain) return fmt::format("{}[i] = v;", place.name);
  const std::string array = place.kind == Kind::kPool ? "workgroup_pool" : place.name;
  const std::string base =
      place.kind == Kind::kPool && place.first_word ? fmt::format("{} + ", place.first_word) : "";
  if (bits < 32) {
    const int per_word = 32 / bits;
    return fmt::format(
        "int w = {}(i >> {});\n  uint s = uint(i & {}) * {}u;\n  atomicAnd({}[w], ~({}u << s));\n"
        "  atomicOr({}[w], {} << s);",
        base, __builtin_ctz(static_cast<unsigned>(per_word)), per_word - 1, bits, array, (1u << bits) - 1,
        array, encoded(dtype, "v"));
  }
  const std::string_view type = glsl_carrier(dtype);
  if (bits == 32) {
    const std::string_view cast = type == "float" ? "floatBitsToUint" : type == "int" ? "uint" : "";
    return fmt::format("{}[{}i] = {}(v);", array, base, cast);
  }
  const std::string_view unpack = dtype == DType::kF64   ? "unpackDouble2x32(v)"
                                  : dtype == DType::kU64 ? "unpackUint2x32(v)"
                                  : dtype == DType::kI64 ? "unpackUint2x32(uint64_t(v))"
                                                         : "floatBitsToUint(v)";
  return fmt::format("uvec2 p = {};\n  {}[{}2 * i] = p.x;\n  {}[{}2 * i + 1] = p.y;", unpack, array, base,
                     array, base);
}

// Whole words of a packed buffer, or four-byte elements as a vector; "" where that is not possible.
std::string GlslMemory::whole_words(const GlslAccess& access, bool is_store) {
  const Place& place = buffers_.at(access.buffer);
  const DType dtype = access.buffer->type.dtype;
  const int bits = dtype_bits(dtype), per_word = bits < 32 ? 32 / bits : 1;
  if (!access.is_aligned || !access.limit.empty() || access.is_indexed) return "";
  const std::string type = glsl_type(glsl_carrier(dtype), access.lanes);
  if (bits == 32 && !is_store && place.kind == Kind::kPlain && place.binding != SIZE_MAX &&
      access.lanes != 3) {
    const std::string view = fmt::format("{}_x{}", place.name, access.lanes);
    if (known_.insert(view).second)
      declarations_ +=
          fmt::format("layout(std430, set = 0, binding = {}) readonly buffer View{}_{} {{ {} {}[]; }};\n",
                      place.binding, place.binding, access.lanes, type, view);
    return fmt::format("return {}[i >> {}];", view, access.lanes == 4 ? 2 : 1);
  }
  if (place.kind == Kind::kPlain || bits >= 32 || access.lanes % per_word) return "";
  const std::string array = place.kind == Kind::kPool ? "workgroup_pool" : place.name;
  std::string text =
      fmt::format("int w = {} + (i >> {});\n  ", place.kind == Kind::kPool ? place.first_word : 0,
                  __builtin_ctz(static_cast<unsigned>(per_word)));
  std::string values;
  for (int word = 0; word < access.lanes / per_word; ++word) {
    std::string packed;
    for (int k = 0; k < per_word; ++k) {
      const int lane = word * per_word + k;
      packed += fmt::format("{}{} << {}u", k ? " | " : "",
                            encoded(dtype, fmt::format("v.{}", component(lane))), k * bits);
      const std::string raw =
          fmt::format("(({}[w + {}] >> {}u) & {}u)", array, word, k * bits, (1u << bits) - 1);
      values += (lane ? ", " : "") + decoded(dtype, raw);
    }
    if (is_store) text += fmt::format("{}[w + {}] = {};\n  ", array, word, packed);
  }
  return is_store ? text : text + fmt::format("return {}({});", type, values);
}

std::string GlslMemory::vector_load(const GlslAccess& access) {
  const std::string single = load({access.buffer});  // makes the function of one element
  if (const std::string text = whole_words(access, false); !text.empty()) return text;
  const std::string_view scalar = glsl_carrier(access.buffer->type.dtype);
  std::string values;
  for (int lane = 0; lane < access.lanes; ++lane) {
    const std::string at = access.is_indexed ? fmt::format("i.{}", component(lane)) : lane_index(lane);
    const std::string on = access.limit.empty() ? ""
                           : !access.is_mask    ? fmt::format("n > {}", lane)
                           : access.lanes == 1  ? "n"
                                                : fmt::format("n.{}", component(lane));
    const std::string value = fmt::format("{}({})", single, at);
    values += lane ? ", " : "";
    values += on.empty() ? value : fmt::format("{} ? {} : {}(0)", on, value, scalar);
  }
  return fmt::format("return {}({});", helpers_.type(scalar, access.lanes), values);
}

std::string GlslMemory::vector_store(const GlslAccess& access) {
  const std::string single = store({access.buffer});
  if (std::string text = whole_words(access, true); !text.empty()) return text;
  std::string text;
  for (int lane = 0; lane < access.lanes; ++lane) {
    const std::string at = access.is_indexed ? fmt::format("i.{}", component(lane)) : lane_index(lane);
    if (!access.limit.empty())
      text += access.is_mask ? (access.lanes == 1 ? "if (n) " : fmt::format("if (n.{}) ", component(lane)))
                             : fmt::format("if (n > {}) ", lane);
    text += fmt::format("{}({}, {});\n  ", single, at,
                        access.lanes == 1 ? "v" : fmt::format("v.{}", component(lane)));
  }
  return text;
}

namespace {

std::string suffix(const GlslAccess& access) {
  std::string out = access.lanes > 1 ? std::to_string(access.lanes) : "";
  if (access.is_indexed) out += "i";
  if (!access.limit.empty()) out += access.is_mask ? "m" : "n";
  if (access.is_aligned && access.lanes > 1 && access.limit.empty() && !access.is_indexed) out += "a";
  return out;
}

std::string parameters(GlslHelpers& helpers, const GlslAccess& access) {
  std::string out = glsl_type("int", access.is_indexed ? access.lanes : 1) + " i";
  if (!access.limit.empty())
    out += access.is_mask ? fmt::format(", {} n", helpers.type("bool", access.lanes)) : ", int n";
  return out;
}

}  // namespace

std::string GlslMemory::load(const GlslAccess& access) {
  const std::string name = fmt::format("ld{}_{}", suffix(access), buffers_.at(access.buffer).name);
  if (known_.insert(name).second) {
    const bool simple = access.lanes == 1 && access.limit.empty();
    const std::string body = simple ? element_load(access.buffer) : vector_load(access);
    functions_ += fmt::format("{} {}({}) {{\n  {}\n}}\n",
                              helpers_.type(glsl_carrier(access.buffer->type.dtype), access.lanes), name,
                              parameters(helpers_, access), body);
  }
  if (access.index.empty()) return name;
  return fmt::format("{}({}{}{})", name, access.index, access.limit.empty() ? "" : ", ", access.limit);
}

std::string GlslMemory::store(const GlslAccess& access) {
  const std::string name = fmt::format("st{}_{}", suffix(access), buffers_.at(access.buffer).name);
  if (known_.insert(name).second) {
    const bool simple = access.lanes == 1 && access.limit.empty();
    const std::string body = simple ? element_store(access.buffer) : vector_store(access);
    functions_ += fmt::format("void {}({}, {} v) {{\n  {}\n}}\n", name, parameters(helpers_, access),
                              helpers_.type(glsl_carrier(access.buffer->type.dtype), access.lanes), body);
  }
  if (access.index.empty()) return name;
  return fmt::format("{}({}{}{}, {});", name, access.index, access.limit.empty() ? "" : ", ", access.limit,
                     access.value);
}

}  // namespace tern::render

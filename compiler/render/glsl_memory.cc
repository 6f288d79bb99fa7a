#include "compiler/render/glsl_memory.h"

namespace tern::render {

using kernel::Access;
using kernel::BufferNode;

namespace {

// The type of a plain storage buffer's elements; "" for what is packed into words.
std::string_view plain_storage(DType dtype, bool narrow) {
  const int bits = dtype_bits(dtype);
  if (bits >= 32) return glsl_carrier(dtype);
  if (!narrow || bits < 8) return "";
  if (dtype == DType::kF16) return "float16_t";
  if (is_signed_int(dtype)) return bits == 16 ? "int16_t" : "int8_t";
  return bits == 16 ? "uint16_t" : "uint8_t";
}

// "f16vec4" for float16_t and 4.
std::string plain_vector(std::string_view storage, int lanes) {
  const std::string_view stem = storage == "float16_t"  ? "f16vec"
                                : storage == "int16_t"  ? "i16vec"
                                : storage == "uint16_t" ? "u16vec"
                                : storage == "int8_t"   ? "i8vec"
                                : storage == "uint8_t"  ? "u8vec"
                                                        : "";
  return stem.empty() ? glsl_type(storage, lanes) : fmt::format("{}{}", stem, lanes);
}

std::string lane_index(int lane) {
  return lane ? fmt::format("i + {}", lane) : "i";
}

}  // namespace

void GlslMemory::declare_binding(const BufferNode* buffer, const std::string& name, size_t binding) {
  const std::string_view plain = plain_storage(buffer->type.dtype, helpers_.target().narrow);
  const bool reads = buffer->access == Access::kRead;
  buffers_[buffer] = {name, plain.empty() ? Kind::kWords : Kind::kPlain, 0, binding, reads};
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

void GlslMemory::declare_pool(int64_t bytes, bool wide) {
  wide_pool_ = wide;
  if (bytes > 0)
    declarations_ += fmt::format("shared {} workgroup_pool[{}];\n", wide ? "uvec4" : "uint",
                                 wide ? (bytes + 15) / 16 : (bytes + 3) / 4);
}

// Word `index` of a buffer that lies in words.
std::string GlslMemory::word(const Place& place, const std::string& index) const {
  if (place.kind == Kind::kWords) return fmt::format("{}[{}]", place.name, index);
  const std::string at = place.first_word ? fmt::format("{} + {}", place.first_word, index) : index;
  return wide_pool_ ? fmt::format("workgroup_pool[({0}) >> 2][({0}) & 3]", at)
                    : fmt::format("workgroup_pool[{}]", at);
}

// The same binding as an array of another type.
std::string GlslMemory::view(const Place& place, const std::string& type) {
  const std::string name = fmt::format("{}_{}", place.name, type);
  if (known_.insert(name).second)
    declarations_ +=
        fmt::format("layout(std430, set = 0, binding = {}) {}buffer View{}_{} {{ {} {}[]; }};\n",
                    place.binding, place.read_only ? "readonly " : "", place.binding, type, type, name);
  return name;
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
  if (place.kind == Kind::kPlain && (place.binding == SIZE_MAX || bits >= 32))
    return fmt::format("return {}[i];", place.name);
  if (place.kind == Kind::kPlain) {
    const std::string value = fmt::format("{}[i]", place.name);
    if (dtype == DType::kF16) return fmt::format("return float({});", value);
    if (is_signed_int(dtype)) return fmt::format("return int({});", value);
    return fmt::format("return {};", decoded(dtype, fmt::format("uint({})", value)));
  }
  if (bits < 32) {
    const int per_word = 32 / bits;
    const std::string raw =
        fmt::format("(({} >> (uint(i & {}) * {}u)) & {}u)",
                    word(place, fmt::format("(i >> {})", __builtin_ctz(static_cast<unsigned>(per_word)))),
                    per_word - 1, bits, (1u << bits) - 1);
    return fmt::format("return {};", decoded(dtype, raw));
  }
  const std::string_view type = glsl_carrier(dtype);
  if (bits == 32) {
    const std::string_view cast = type == "float" ? "uintBitsToFloat" : type == "int" ? "int" : "";
    return fmt::format("return {}({});", cast, word(place, "i"));
  }
  const std::string pair = fmt::format("uvec2({}, {})", word(place, "2 * i"), word(place, "2 * i + 1"));
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
  if (place.kind == Kind::kPlain && (place.binding == SIZE_MAX || bits >= 32))
    return fmt::format("{}[i] = v;", place.name);
  if (place.kind == Kind::kPlain) {
    const bool direct = dtype == DType::kF16 || (is_int(dtype) && dtype != DType::kBool);
    return fmt::format("{}[i] = {}({});", place.name, plain_storage(dtype, true),
                       direct ? "v" : encoded(dtype, "v"));
  }
  if (bits < 32) {
    const int per_word = 32 / bits;
    const std::string at = word(place, "w");
    return fmt::format(
        "int w = i >> {};\n  uint s = uint(i & {}) * {}u;\n  atomicAnd({}, ~({}u << s));\n  atomicOr({}, {} "
        "<< s);",
        __builtin_ctz(static_cast<unsigned>(per_word)), per_word - 1, bits, at, (1u << bits) - 1, at,
        encoded(dtype, "v"));
  }
  const std::string_view type = glsl_carrier(dtype);
  if (bits == 32) {
    const std::string_view cast = type == "float" ? "floatBitsToUint" : type == "int" ? "uint" : "";
    return fmt::format("{} = {}(v);", word(place, "i"), cast);
  }
  const std::string_view unpack = dtype == DType::kF64   ? "unpackDouble2x32(v)"
                                  : dtype == DType::kU64 ? "unpackUint2x32(v)"
                                  : dtype == DType::kI64 ? "unpackUint2x32(uint64_t(v))"
                                                         : "floatBitsToUint(v)";
  return fmt::format("uvec2 p = {};\n  {} = p.x;\n  {} = p.y;", unpack, word(place, "2 * i"),
                     word(place, "2 * i + 1"));
}

// A vector of a binding's elements in one access of 16 bytes or less; "" where that is not possible.
std::string GlslMemory::vector_view(const GlslAccess& access, bool is_store) {
  const Place& place = buffers_.at(access.buffer);
  const DType dtype = access.buffer->type.dtype;
  const int lanes = access.lanes, bits = dtype_bits(dtype);
  const std::string type = glsl_type(glsl_carrier(dtype), lanes);
  if (lanes != 2 && lanes != 4) return "";
  const std::string at = fmt::format("[i >> {}]", lanes == 4 ? 2 : 1);
  if (place.kind == Kind::kPool && wide_pool_ && lanes == 4 && bits == 32) {
    const std::string slot = fmt::format("workgroup_pool[{} + (i >> 2)]", place.first_word / 4);
    const bool is_uint = dtype == DType::kU32;
    if (is_store)
      return fmt::format("{} = {}(v);\n  ", slot,
                         is_uint                ? ""
                         : dtype == DType::kF32 ? "floatBitsToUint"
                                                : "uvec4");
    return fmt::format("return {}({});",
                       is_uint                ? ""
                       : dtype == DType::kF32 ? "uintBitsToFloat"
                                              : "ivec4",
                       slot);
  }
  if (place.kind != Kind::kPlain || place.binding == SIZE_MAX || bits > 32 || is_complex(dtype)) return "";
  const std::string stored = plain_vector(plain_storage(dtype, true), lanes);
  const std::string slot = view(place, stored) + at;
  if (dtype == DType::kF16 || (is_int(dtype) && dtype != DType::kBool) || bits == 32)
    return is_store ? fmt::format("{} = {}(v);\n  ", slot, stored)
                    : fmt::format("return {}({});", type, slot);
  std::string values;  // patterns
  for (int lane = 0; lane < lanes; ++lane) {
    const char c = component(lane);
    values += lane ? ", " : "";
    values += is_store ? encoded(dtype, fmt::format("v.{}", c)) : decoded(dtype, fmt::format("p.{}", c));
  }
  if (is_store) return fmt::format("{} = {}(uvec{}({}));\n  ", slot, stored, lanes, values);
  return fmt::format("uvec{} p = uvec{}({});\n  return {}({});", lanes, lanes, slot, type, values);
}

// Whole words of a packed buffer, or elements as a vector; "" where that is not possible.
std::string GlslMemory::whole_words(const GlslAccess& access, bool is_store) {
  const Place& place = buffers_.at(access.buffer);
  const DType dtype = access.buffer->type.dtype;
  const int bits = dtype_bits(dtype), per_word = bits < 32 ? 32 / bits : 1;
  if (!access.is_aligned || !access.limit.empty() || access.is_indexed) return "";
  if (std::string text = vector_view(access, is_store); !text.empty()) return text;
  const std::string type = glsl_type(glsl_carrier(dtype), access.lanes);
  if (place.kind == Kind::kPlain || bits >= 32 || access.lanes % per_word) return "";
  std::string text = fmt::format("int w = i >> {};\n  ", __builtin_ctz(static_cast<unsigned>(per_word)));
  std::string values;
  for (int k = 0; k < access.lanes / per_word; ++k) {
    const std::string at = word(place, fmt::format("w + {}", k));
    std::string packed;
    for (int p = 0; p < per_word; ++p) {
      const int lane = k * per_word + p;
      packed += fmt::format("{}{} << {}u", p ? " | " : "",
                            encoded(dtype, fmt::format("v.{}", component(lane))), p * bits);
      const std::string raw = fmt::format("(({} >> {}u) & {}u)", at, p * bits, (1u << bits) - 1);
      values += (lane ? ", " : "") + decoded(dtype, raw);
    }
    if (is_store) text += fmt::format("{} = {};\n  ", at, packed);
  }
  return is_store ? text : text + fmt::format("return {}({});", type, values);
}

GlslMemory::Tile GlslMemory::tile(const BufferNode* buffer, const std::string& index) {
  const Place& place = buffers_.at(buffer);
  const int shift = __builtin_ctz(static_cast<unsigned>(128 / dtype_bits(buffer->type.dtype)));
  if (place.kind != Kind::kPool) return {view(place, "uvec4"), fmt::format("uint(({}) >> {})", index, shift)};
  return {"workgroup_pool", fmt::format("uint({} + (({}) >> {}))", place.first_word / 4, index, shift)};
}

std::string GlslMemory::raw_load(const BufferNode* buffer, const std::string& index, int words) {
  const Place& place = buffers_.at(buffer);
  const int bits = dtype_bits(buffer->type.dtype);
  const bool pool = place.kind == Kind::kPool;
  if (bits > 32 || (pool && (!wide_pool_ || words != 4)) || (!pool && place.binding == SIZE_MAX)) return "";
  if (words == 4) {
    const Tile at = tile(buffer, index);
    return fmt::format("{}[{}]", at.array, at.element);
  }
  const int shift = __builtin_ctz(static_cast<unsigned>(words * 32 / bits));
  return fmt::format("{}[({}) >> {}]", view(place, glsl_type("uint", words)), index, shift);
}

std::string GlslMemory::raw_store(const BufferNode* buffer, const std::string& index, int words,
                                  const std::string& value) {
  const std::string place = raw_load(buffer, index, words);
  return place.empty() ? "" : fmt::format("{} = {};", place, value);
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

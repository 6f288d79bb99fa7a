#include "compiler/render/memory_helpers.h"

#include <algorithm>

namespace tern::render {

namespace {

struct Access {
  HelperSet& set;
  std::string_view scalar;
  int lanes;
  std::string self;
  bool is_store, is_mask;
  std::string element, vector, limit;  // C types

  int bits() const { return c_type_bits(scalar); }
  int total_bits() const { return bits() * lanes; }
  std::string signature() const {
    return is_store
               ? fmt::format("static inline void {}({}* p, {} x, {} n) {{\n", self, element, vector, limit)
               : fmt::format("static inline {} {}(const {}* p, {} n) {{\n", vector, self, element, limit);
  }
};

std::string_view family(std::string_view scalar) {
  return scalar[0] == 'f' ? "f" : "i";
}

// The mask as an integer of at least 8 bits, for AVX-512.
std::string mask_bits(const Access& a) {
  int width = a.lanes < 8 ? 8 : a.lanes;
  std::string type = fmt::format("u{}", width);
  a.set.named_type(type, 1);
  if (a.is_mask) {
    return fmt::format("  union {{ {} m; {} u; }} bits = {{n}};\n  {} k = bits.u;\n", a.limit, type, type);
  }
  if (a.lanes == 64) return "  u64 k = n >= 64 ? ~0ull : (1ull << n) - 1;\n";
  return fmt::format("  {} k = ({})((1ull << n) - 1);\n", type, type);
}

std::string avx512(const Access& a) {
  std::string suffix = a.scalar == "f32"   ? "ups"
                       : a.scalar == "f64" ? "upd"
                       : a.bits() == 64    ? "dqudi"
                       : a.bits() == 32    ? "dqusi"
                       : a.bits() == 16    ? "dquhi"
                                           : "dquqi";
  std::string name =
      fmt::format("__builtin_ia32_{}{}{}_mask", a.is_store ? "store" : "load", suffix, a.total_bits());
  std::string text = a.signature() + mask_bits(a);
  std::string pointee = a.scalar == "f32"   ? "float"
                        : a.scalar == "f64" ? "double"
                        : a.bits() == 64    ? "long long"
                        : a.bits() == 32    ? "int"
                        : a.bits() == 16    ? "short"
                                            : "char";
  if (a.is_store) return text + fmt::format("  {}(({}*)p, x, k);\n}}\n", name, pointee);
  return text +
         fmt::format("  return ({}){}((const {}*)p, ({})(0), k);\n}}\n", a.vector, name, pointee, a.vector);
}

// The first n lanes in pieces of half the size each. A store behind a mask takes 12 cycles on a Zen 3, pieces
// of a known number 2 or 3, of an unknown one 5.
std::string pieces(const Access& a) {
  std::string text = a.signature();
  std::string rest = "x";
  const auto store = [&](int lanes, const std::string& value) {
    return lanes == 1 ? fmt::format("*p = {};", value)
                      : fmt::format("*({}*)p = {};", a.set.memory_type(a.scalar, lanes), value);
  };
  text += fmt::format("  if (n >= {}) {{\n    {}\n    return;\n  }}\n", a.lanes, store(a.lanes, rest));
  for (int lanes = a.lanes / 2; lanes >= 1; lanes /= 2) {
    const std::string type = a.set.named_type(a.scalar, lanes), piece = fmt::format("x{}", lanes);
    text += fmt::format("  {} {} = {}{};\n  if (n & {}) {{\n    {}\n", type, piece, rest,
                        lanes == 1 ? "[0]" : ".lo", lanes, store(lanes, piece));
    if (lanes > 1) text += fmt::format("    p += {};\n    {} = {}.hi;\n", lanes, piece, rest);
    text += "  }\n";
    rest = piece;
  }
  return text + "}\n";
}

std::string avx2(const Access& a) {
  if (a.is_store && !a.is_mask) return pieces(a);
  bool is_float = family(a.scalar) == "f";
  std::string ints = a.set.named_type(a.bits() == 32 ? "i32" : "i64", a.lanes);
  std::string text = a.signature();
  if (a.is_mask) {
    text += fmt::format("  {} k = __builtin_convertvector(n, {}) != 0;\n", ints, ints);
  } else {
    std::string lanes;
    for (int l = 0; l < a.lanes; ++l) lanes += fmt::format("{}{}", l == 0 ? "" : ", ", l);
    text += fmt::format("  {} k = ({}){{{}}} < ({})(n);\n", ints, ints, lanes, ints);
  }
  std::string suffix = is_float ? (a.bits() == 32 ? "ps" : "pd") : (a.bits() == 32 ? "d" : "q");
  std::string name = fmt::format("__builtin_ia32_mask{}{}{}", a.is_store ? "store" : "load", suffix,
                                 a.total_bits() == 256 ? "256" : "");
  // The builtins name their own vector types: float and integer ones of the same size convert implicitly.
  if (a.is_store) return text + fmt::format("  {}((void*)p, k, x);\n}}\n", name);
  return text + fmt::format("  return ({}){}((const void*)p, k);\n}}\n", a.vector, name);
}

std::string halves(Access& a) {
  std::string name = fmt::format("{}_{}", a.is_store ? "store" : "load", a.is_mask ? "mask" : "count");
  int half = a.lanes / 2;
  std::string inner = a.set.function(name, a.scalar, half);
  std::string text = a.signature();
  std::string low = "n", high = "n";
  if (a.is_mask) {
    std::string bytes = a.set.named_type("i8", a.lanes), half_mask = a.set.named_type("b1", half);
    text += fmt::format("  {} m = __builtin_convertvector(n, {});\n", bytes, bytes);
    low = fmt::format("__builtin_convertvector(m.lo, {})", half_mask);
    high = fmt::format("__builtin_convertvector(m.hi, {})", half_mask);
  } else {
    low = fmt::format("n < {} ? n : {}", half, half);
    high = fmt::format("n > {} ? n - {} : 0", half, half);
  }
  if (a.is_store) {
    return text +
           fmt::format("  {}(p, x.lo, {});\n  {}(p + {}, x.hi, {});\n}}\n", inner, low, inner, half, high);
  }
  return text + fmt::format("  {} r;\n  r.lo = {}(p, {});\n  r.hi = {}(p + {}, {});\n  return r;\n}}\n",
                            a.vector, inner, low, inner, half, high);
}

std::string lane_by_lane(const Access& a) {
  std::string text = a.signature();
  if (!a.is_store) text += fmt::format("  {} r = ({})(0);\n", a.vector, a.vector);
  if (a.lanes == 1) {
    text += a.is_store ? "  if (n) *p = x;\n" : "  if (n) r = *p;\n";
  } else {
    for (int l = 0; l < a.lanes; ++l) {
      std::string on = a.is_mask ? fmt::format("n[{}]", l) : fmt::format("n > {}", l);
      text += a.is_store ? fmt::format("  if ({}) p[{}] = x[{}];\n", on, l, l)
                         : fmt::format("  if ({}) r[{}] = p[{}];\n", on, l, l);
    }
  }
  return text + (a.is_store ? "}\n" : "  return r;\n}\n");
}

std::string limited(Access a) {
  const CTarget& t = a.set.target();
  bool wide = a.total_bits() == 128 || a.total_bits() == 256 || a.total_bits() == 512;
  if (a.lanes > 1 && t.avx512 && wide) return avx512(a);
  if (a.lanes > 1 && t.avx2 && a.bits() >= 32 && wide && a.total_bits() < 512) return avx2(a);
  if (a.lanes > 4) return halves(a);
  return lane_by_lane(a);
}

std::string indexed(const Access& a) {
  std::string index = a.set.named_type("i64", a.lanes);
  std::string mask = a.is_mask ? fmt::format(", {} n", a.limit) : "";
  std::string text = a.is_store
                         ? fmt::format("static inline void {}({}* p, {} i, {} x{}) {{\n", a.self, a.element,
                                       index, a.vector, mask)
                         : fmt::format("static inline {} {}(const {}* p, {} i{}) {{\n  {} r = ({})(0);\n",
                                       a.vector, a.self, a.element, index, mask, a.vector, a.vector);
  for (int l = 0; l < a.lanes; ++l) {
    std::string on = a.is_mask ? fmt::format("if (n[{}]) ", l) : "";
    text += a.is_store ? fmt::format("  {}p[i[{}]] = x[{}];\n", on, l, l)
                       : fmt::format("  {}r[{}] = p[i[{}]];\n", on, l, l);
  }
  return text + (a.is_store ? "}\n" : "  return r;\n}\n");
}

// Past the caches, a whole vector or half a line at a time, where such a store can begin: at multiples of its
// size.
std::string streamed(HelperSet& set, std::string_view scalar, int lanes, std::string_view self) {
  const std::string element = set.named_type(scalar, 1), vector = set.named_type(scalar, lanes);
  const int bits = c_type_bits(scalar) * lanes;
  std::string text = fmt::format("static inline void {}({}* p, {} x) {{\n", self, element, vector);
  if (bits > set.target().vector_bits) {
    const std::string half = set.function("stream", scalar, lanes / 2);
    return text + fmt::format("  {0}(p, x.lo);\n  {0}(p + {1}, x.hi);\n}}\n", half, lanes / 2);
  }
  const std::string plain = fmt::format("*({}*)p = x;\n", set.memory_type(scalar, lanes));
  constexpr int kHalfLine = 256;
  if (bits < std::min(set.target().vector_bits, kHalfLine)) return text + "  " + plain + "}\n";
  return text +
         fmt::format(
             "  if (((u64)p & {}) == 0)\n    __builtin_nontemporal_store(x, ({}*)p);\n  else\n    {}}}\n",
             bits / 8 - 1, vector, plain);
}

}  // namespace

std::string memory_helper_text(HelperSet& set, std::string_view name, std::string_view scalar, int lanes,
                               std::string_view self) {
  if (name == "stream") return streamed(set, scalar, lanes, self);
  bool is_store = name.starts_with("store_") || name.starts_with("scatter");
  bool is_mask = name.ends_with("_mask");
  Access access{set,
                scalar,
                lanes,
                std::string(self),
                is_store,
                is_mask,
                set.named_type(scalar, 1),
                set.named_type(scalar, lanes),
                is_mask ? set.named_type("b1", lanes) : set.named_type("i64", 1)};
  if (name == "load_count" || name == "load_mask" || name == "store_count" || name == "store_mask") {
    return limited(access);
  }
  if (name == "gather" || name == "gather_mask" || name == "scatter" || name == "scatter_mask") {
    return indexed(access);
  }
  return "";
}

}  // namespace tern::render

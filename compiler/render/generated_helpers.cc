#include <algorithm>

#include "compiler/render/memory_helpers.h"

namespace tern::render {

namespace {

// A pairwise tree, lane k with lane k + n/2: the evaluator's order.
std::string reduce_text(HelperSet& set, std::string_view op, std::string_view scalar, int lanes,
                        std::string_view self) {
  std::string text = fmt::format("static inline {} {}({} x) {{\n", set.named_type(scalar, 1), self,
                                 set.named_type(scalar, lanes));
  bool is_float = scalar[0] == 'f';
  std::string from = "x";
  for (int half = lanes / 2; half >= 1; half /= 2) {
    std::string type = set.named_type(scalar, half);
    std::string low = half == 1 ? from + "[0]" : from + ".lo", high = half == 1 ? from + "[1]" : from + ".hi";
    std::string value;
    if (op == "min" || op == "max") {
      std::string f = is_float ? set.function(op, scalar, half) : fmt::format("__builtin_elementwise_{}", op);
      value = fmt::format("{}({}, {})", f, low, high);
    } else {
      std::string_view sign = op == "add"   ? "+"
                              : op == "mul" ? "*"
                              : op == "and" ? "&"
                              : op == "or"  ? "|"
                                            : "^";
      value = fmt::format("({})({} {} {})", type, low, sign, high);
    }
    text += fmt::format("  {} x{} = {};\n", type, half, value);
    from = fmt::format("x{}", half);
  }
  return text + fmt::format("  return {};\n}}\n", from);
}

// One machine instruction for the whole vector, or "".
std::string dot_instruction(const CTarget& target, std::string_view name, int lanes, const std::string& acc) {
  const bool words = name == "dot2_i16";
  const int bits = 32 * lanes;
  const bool whole = bits == 128 || bits == 256 || bits == 512;
  if (whole && target.vnni && bits <= target.vector_bits && name != "dot4_i8i8") {
    return fmt::format("({})__builtin_ia32_{}{}(acc, ({})a, ({})b)", acc, words ? "vpdpwssd" : "vpdpbusd",
                       bits, acc, acc);
  }
  if (whole && words && target.arch == CArch::kX86_64 && bits <= target.vector_bits) {
    // The builtins' own vector types have the same size: they convert implicitly.
    return fmt::format("acc + ({})__builtin_ia32_pmaddwd{}(a, b)", acc, bits);
  }
  return "";
}

std::string dot_text(HelperSet& set, std::string_view name, int lanes, std::string_view self) {
  const int width = name == "dot2_i16" ? 2 : 4;
  std::string acc = set.named_type("i32", lanes), wide = set.named_type("i32", width * lanes);
  std::string a = set.named_type(width == 2            ? "i16"
                                 : name == "dot4_u8i8" ? "u8"
                                                       : "i8",
                                 width * lanes),
              b = set.named_type(width == 2 ? "i16" : "i8", width * lanes);
  std::string text = fmt::format("static inline {} {}({} acc, {} a, {} b) {{\n", acc, self, acc, a, b);
  if (const std::string one = dot_instruction(set.target(), name, lanes, acc); !one.empty())
    return text + fmt::format("  return {};\n}}\n", one);
  if (name == "dot4_i8i8" && lanes == 4 && set.target().dotprod)
    return text +
           "  __asm__(\"sdot %0.4s, %1.16b, %2.16b\" : \"+w\"(acc) : \"w\"(a), \"w\"(b));\n  return "
           "acc;\n}\n";
  if (name == "dot4_u8i8" && lanes == 4 && set.target().usdot)
    return text +
           "  __asm__(\"usdot %0.4s, %1.16b, %2.16b\" : \"+w\"(acc) : \"w\"(a), \"w\"(b));\n  return "
           "acc;\n}\n";
  text += fmt::format("  {0} p = __builtin_convertvector(a, {0}) * __builtin_convertvector(b, {0});\n", wide);
  if (lanes == 1)
    return text + fmt::format("  return acc + p[0] + p[1]{};\n}}\n", width == 4 ? " + p[2] + p[3]" : "");
  std::string sum = "acc";
  for (int k = 0; k < width; ++k) {
    std::string picks;
    for (int l = 0; l < lanes; ++l) picks += fmt::format(", {}", width * l + k);
    sum += fmt::format(" + __builtin_shufflevector(p, p{})", picks);
  }
  return text + fmt::format("  return {};\n}}\n", sum);
}

std::string pairs_text(HelperSet& set, int lanes, std::string_view self) {
  const std::string sum = set.named_type("i16", lanes), u8 = set.named_type("u8", 2 * lanes),
                    i8 = set.named_type("i8", 2 * lanes);
  std::string text = fmt::format("static inline {} {}({} a, {} b) {{\n", sum, self, u8, i8);
  const int bits = 16 * lanes;
  if (set.target().arch == CArch::kX86_64 && bits <= set.target().vector_bits &&
      (bits == 128 || bits == 256 || bits == 512))
    return text + fmt::format("  return ({})__builtin_ia32_pmaddubsw{}(a, b);\n}}\n", sum, bits);
  const std::string wide = set.named_type("i32", 2 * lanes), half = set.named_type("i32", lanes);
  text += fmt::format("  {0} p = __builtin_convertvector(a, {0}) * __builtin_convertvector(b, {0});\n", wide);
  const auto bounded = [](std::string_view s) {
    return fmt::format("{0} < -32768 ? -32768 : {0} > 32767 ? 32767 : {0}", s);
  };
  if (lanes == 1)
    return text + fmt::format("  i32 s = p[0] + p[1];\n  return (i16)({});\n}}\n", bounded("s"));
  std::string even, odd;
  for (int l = 0; l < lanes; ++l) {
    even += fmt::format(", {}", 2 * l);
    odd += fmt::format(", {}", 2 * l + 1);
  }
  return text +
         fmt::format("  {} s = __builtin_shufflevector(p, p{}) + __builtin_shufflevector(p, p{});\n", half,
                     even, odd) +
         fmt::format("  {} r;\n  for (int k = 0; k < {}; ++k) r[k] = (i16)({});\n  return r;\n}}\n", sum,
                     lanes, bounded("s[k]"));
}

std::string dot2_text(HelperSet& set, int lanes, std::string_view self) {
  const std::string acc = set.named_type("f32", lanes), pairs = set.named_type("u32", lanes);
  const std::string text = fmt::format("static inline {0} {1}({0} acc, {2} a, {2} b) {{\n", acc, self, pairs);
  const int bits = 32 * lanes;
  if (set.target().bf16 && set.target().arch == CArch::kAArch64 && bits == 128)
    return text +
           "  __asm__(\"bfdot %0.4s, %1.8h, %2.8h\" : \"+w\"(acc) : \"w\"(a), \"w\"(b));\n  return acc;\n}\n";
  if (set.target().bf16 && set.target().arch == CArch::kX86_64 &&
      (bits == 128 || bits == 256 || bits == 512)) {
    return text + fmt::format(
                      "  typedef __bf16 bf16_pairs __attribute__((vector_size({})));\n"
                      "  return ({})__builtin_ia32_dpbf16ps_{}(acc, (bf16_pairs)a, (bf16_pairs)b);\n}}\n",
                      bits / 8, acc, bits);
  }
  const auto floats = [&](const std::string& x) {
    return lanes == 1 ? fmt::format("__builtin_bit_cast(f32, {})", x) : fmt::format("({})({})", acc, x);
  };
  return text + fmt::format("  acc = acc + {} * {};\n  return acc + {} * {};\n}}\n",
                            floats("a & 0xffff0000u"), floats("b & 0xffff0000u"), floats("a << 16"),
                            floats("b << 16"));
}

// The nearest whole number, halves to even, within bounds that are small whole numbers; low for NaN.
std::string round_between_text(HelperSet& set, int lanes, std::string_view self) {
  std::string f = set.named_type("f32", lanes), i = set.named_type("i32", lanes),
              one = set.named_type("f32", 1);
  std::string text = fmt::format("static inline {} {}({} x, {} low, {} high) {{\n", i, self, f, one, one);
  text +=
      fmt::format("  x = x > ({0})(low) ? x : ({0})(low);\n  x = x < ({0})(high) ? x : ({0})(high);\n", f);
  const CTarget& target = set.target();
  const int bits = 32 * lanes;
  // With the rounding mode that every thread of the runtime has: to nearest even.
  std::string convert;
  if (target.arch == CArch::kX86_64 && bits == 128) convert = "__builtin_ia32_cvtps2dq(x)";
  if (target.avx2 && bits == 256) convert = "__builtin_ia32_cvtps2dq256(x)";
  if (target.avx512 && bits == 512)
    convert = fmt::format("__builtin_ia32_cvtps2dq512_mask(x, ({})(0), -1, 4)", i);
  if (!convert.empty()) return text + fmt::format("  return ({}){};\n}}\n", i, convert);
  std::string rounded = "__builtin_elementwise_roundeven(x)";
  return text + (lanes == 1 ? fmt::format("  return ({}){};\n}}\n", i, rounded)
                            : fmt::format("  return __builtin_convertvector({}, {});\n}}\n", rounded, i));
}

// round_between and what is added to it, as a float: sums with 1.5 * 2^23 have no room for fractions. A zero
// is positive, as one that was an integer.
std::string whole_between_text(HelperSet& set, int lanes, std::string_view self) {
  const std::string f = set.named_type("f32", lanes), one = set.named_type("f32", 1),
                    i = set.named_type("i32", 1);
  return fmt::format(
      "static inline {0} {1}({0} x, {2} low, {2} high, {3} added) {{\n"
      "  x = x > ({0})(low) ? x : ({0})(low);\n  x = x < ({0})(high) ? x : ({0})(high);\n"
      "  return (x + ({0})12582912.0f) - ({0})({2})(12582912 - added);\n}}\n",
      f, self, one, i);
}

// round_between and the zero point, for AVX-512: what is above 255 saturates (conversions that overflow are
// large as unsigned).
std::string quantise_text(HelperSet& set, int lanes, std::string_view self) {
  std::string f = set.named_type("f32", lanes), i = set.named_type("i32", lanes),
              u = set.named_type("u8", lanes);
  std::string one = set.named_type("f32", 1), zero = set.named_type("i32", 1);
  return fmt::format(
      "static inline {0} {1}({2} x, {3} low, {4} zero) {{\n  x = x > ({2})(low) ? x : ({2})(low);\n"
      "  {5} i = ({5})__builtin_ia32_cvtps2dq512_mask(x, ({5})(0), -1, 4) + ({5})(zero);\n"
      "  return ({0})__builtin_ia32_pmovusdb512_mask(i, ({0})(0), -1);\n}}\n",
      u, self, f, one, zero, i);
}

// quantise_u8 by packs that saturate, of a vector of 8 or two vectors; the zero point fits a byte, so that
// adding it may saturate, too. Conversions that overflow, and those of NaN, give the smallest integer: they
// may from below, not from above.
std::string quantise_packed_text(HelperSet& set, int lanes, std::string_view self) {
  const bool wide = set.target().avx512;
  const int vector = wide ? 16 : 8;
  const std::string f = set.named_type("f32", vector), i = set.named_type("i32", vector),
                    x = set.named_type("f32", lanes), u = set.named_type("u8", lanes);
  const auto lanes_of = [](std::string_view from, const std::string& picks) {
    return fmt::format("__builtin_shufflevector({0}, {0}, {1})", from, picks);
  };
  std::string text = fmt::format("static inline {} {}({} x, {} high, {} zero) {{\n", u, self, x,
                                 set.named_type("f32", 1), set.named_type("i32", 1));
  const auto convert = [&](std::string_view name, std::string_view from) {
    text +=
        fmt::format("  {0} f{1} = {2};\n  f{1} = ({0})(high) < f{1} ? ({0})(high) : f{1};\n", f, name, from);
    text += wide ? fmt::format("  {0} {1} = ({0})__builtin_ia32_cvtps2dq512_mask(f{1}, ({0})(0), -1, 4);\n",
                               i, name)
                 : fmt::format("  {0} {1} = ({0})__builtin_ia32_cvtps2dq256(f{1});\n", i, name);
  };
  const auto pack = [&](int bits, std::string_view a, std::string_view b) {
    text += fmt::format(
        "  {0} w = ({0})__builtin_ia32_packssdw{1}({2}, {3});\n"
        "  w = __builtin_elementwise_add_sat(w, ({0})({4})zero);\n",
        set.named_type("i16", bits / 16), bits, a, b, set.named_type("i16", 1));
  };
  if (lanes == 8) {
    convert("a", "x");
    pack(128, lanes_of("a", "0, 1, 2, 3"), lanes_of("a", "4, 5, 6, 7"));
    const std::string bytes = set.named_type("u8", 16);
    text += fmt::format("  {0} p = ({0})__builtin_ia32_packuswb128(w, w);\n", bytes);
    return text + fmt::format("  return {};\n}}\n", lanes_of("p", "0, 1, 2, 3, 4, 5, 6, 7"));
  }
  convert("a", wide ? lanes_of("x", "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15")
                    : lanes_of("x", "0, 1, 2, 3, 4, 5, 6, 7"));
  convert("b", wide ? lanes_of("x", "16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31")
                    : lanes_of("x", "8, 9, 10, 11, 12, 13, 14, 15"));
  pack(wide ? 512 : 256, "a", "b");
  // Each 128 bits hold four lanes of a, then four of b.
  const std::string fours = set.named_type("i32", wide ? 16 : 4);
  if (wide) {
    text += fmt::format("  {0} p = ({0})__builtin_ia32_packuswb512(w, w);\n", fours);
    return text + fmt::format("  return ({}){};\n}}\n", u, lanes_of("p", "0, 4, 8, 12, 1, 5, 9, 13"));
  }
  text += fmt::format("  {0} p = ({0})__builtin_ia32_packuswb128({1}, {2});\n", fours,
                      lanes_of("w", "0, 1, 2, 3, 4, 5, 6, 7"), lanes_of("w", "8, 9, 10, 11, 12, 13, 14, 15"));
  return text + fmt::format("  return ({}){};\n}}\n", u, lanes_of("p", "0, 2, 1, 3"));
}

// 0, 1, .. count - 1, and -1 up to `lanes`: picks of a shuffle.
std::string first_picks(int count, int lanes) {
  std::string out;
  for (int l = 0; l < lanes; ++l) out += fmt::format(", {}", l < count ? l : -1);
  return out;
}

// w: 32 bytes, each in a word. Pairs of neighbours of the table by one of two permutations, then one of both.
std::string lookup_words_text(HelperSet& set, std::string_view self) {
  const std::string w = set.named_type("u16", 32), m = set.memory_type("u16", 32);
  return fmt::format(
      "static inline {0} {1}(const u8* t, {0} w) {{\n  const {2}* p = (const {2}*)t;\n  {0} i = w >> 1;\n"
      "  {0} low = ({0})__builtin_ia32_vpermi2varhi512(p[0], i, p[1]);\n"
      "  {0} high = ({0})__builtin_ia32_vpermi2varhi512(p[2], i, p[3]);\n"
      "  {0} pair = (w & 128) != 0 ? high : low;\n  return (pair >> ((w & 1) << 3)) & 255;\n}}\n",
      w, self, m);
}

// Sixteen shuffles by the lower four bits, then choices by the upper ones.
std::string lookup_by_shuffles(int bytes, const std::string& v, const std::string& m) {
  const std::string wide = bytes == 32 ? "256" : "128";
  std::string text = fmt::format("  {0} i = x & 15;\n  {0} s4 = x << 3, s5 = x << 2, s6 = x << 1;\n", v);
  for (int c = 0; c < 16; ++c) {
    const std::string row = fmt::format("*(const {}*)(t + {})", m, 16 * c);
    text += bytes == 16 ? fmt::format("  {} r{} = {};\n", v, c, row)
                        : fmt::format("  {} r{} = __builtin_shufflevector({}, {}{}{});\n", v, c, row, row,
                                      first_picks(16, 16), first_picks(16, 16));
    text += fmt::format("  r{0} = ({1})__builtin_ia32_pshufb{2}(r{0}, i);\n", c, v, wide);
  }
  for (int step = 1; step < 16; step *= 2) {
    const std::string by = step == 1 ? "s4" : step == 2 ? "s5" : step == 4 ? "s6" : "x";
    for (int c = 0; c < 16; c += 2 * step)
      text += fmt::format("  r{0} = ({1})__builtin_ia32_pblendvb{2}(r{0}, r{3}, {4});\n", c, v, wide,
                          c + step, by);
  }
  return text + "  return r0;\n}\n";
}

std::string lookup_by_neon_tables(const std::string& v, const std::string& m) {
  std::string text = fmt::format("  const {}* p = (const {}*)t;\n", m, m);
  for (int c = 0; c < 4; ++c) {
    text += fmt::format(
        "  {0}r = ({1})__builtin_neon_vqtb{2}4q_v({3}p[{4}], p[{5}], p[{6}], p[{7}], x - {8}, 48);\n",
        c == 0 ? v + " " : "", v, c == 0 ? "l" : "x", c == 0 ? "" : "r, ", 4 * c, 4 * c + 1, 4 * c + 2,
        4 * c + 3, 64 * c);
  }
  return text + "  return r;\n}\n";
}

// t[x] for tables of 256 bytes, without accesses of single lanes.
std::string lookup_text(HelperSet& set, int lanes, std::string_view self) {
  const CTarget& target = set.target();
  const std::string v = set.named_type("u8", lanes);
  const std::string head = fmt::format("static inline {0} {1}(const u8* t, {0} x) {{\n", v, self);
  const bool x86 = target.arch == CArch::kX86_64;
  const int whole = target.avx512 ? 64 : target.avx2 && lanes > 16 ? 32 : 16;
  if (lanes > whole) {
    const std::string half = set.function("lookup", "u8", lanes / 2);
    return head + fmt::format("  {0} r;\n  r.lo = {1}(t, x.lo);\n  r.hi = {1}(t, x.hi);\n  return r;\n}}\n",
                              v, half);
  }
  if (target.avx512) {
    const std::string words = set.function("lookup_words", "u16", 32), w = set.named_type("u16", 32);
    if (lanes == 64)
      return head +
             fmt::format("  {0} w = ({0})x;\n  return ({1})({2}(t, w & 255) | ({2}(t, w >> 8) << 8));\n}}\n",
                         w, v, words);
    const std::string few = set.named_type("u16", lanes);
    std::string wide = fmt::format("__builtin_convertvector(x, {})", few), narrow = words + "(t, w)";
    if (lanes < 32) {
      wide = fmt::format("__builtin_shufflevector({0}, {0}{1})", wide, first_picks(lanes, 32));
      narrow = fmt::format("__builtin_shufflevector({0}, {0}{1})", narrow, first_picks(lanes, lanes));
    }
    return head +
           fmt::format("  {} w = {};\n  return __builtin_convertvector({}, {});\n}}\n", w, wide, narrow, v);
  }
  if (x86 && lanes < whole) {  // sixteen shuffles for so few are more than their loads
    std::string text = head + fmt::format("  {} r;\n", v);
    for (int l = 0; l < lanes; ++l) text += fmt::format("  r[{0}] = t[x[{0}]];\n", l);
    return text + "  return r;\n}\n";
  }
  if (lanes < whole) {
    const std::string full = set.function("lookup", "u8", whole), all = set.named_type("u8", whole);
    return head + fmt::format(
                      "  {0} r = {1}(t, __builtin_shufflevector(x, x{2}));\n"
                      "  return __builtin_shufflevector(r, r{3});\n}}\n",
                      all, full, first_picks(lanes, whole), first_picks(lanes, lanes));
  }
  const std::string m = set.memory_type("u8", 16);
  return head + (x86 ? lookup_by_shuffles(whole, v, m) : lookup_by_neon_tables(v, m));
}

// Packed elements: `bits` a piece, element 0 lowest. p: bytes; i: element indices; n: a count or a mask.
std::string packed_text(HelperSet& set, std::string_view name, int lanes, std::string_view self) {
  bool by_count = name.ends_with("_count"), by_mask = name.ends_with("_mask");
  name = name.substr(0, name.size() - (by_count ? 6 : by_mask ? 5 : 0));
  bool is_store = name.starts_with("store_bits");
  DType dtype = is_store ? DType::kNone : dtype_from_name(name.substr(5));
  int bits = is_store ? name.back() - '0' : dtype_bits(dtype);
  int per_byte = 8 / bits, mask = (1 << bits) - 1;
  std::string index = set.named_type("i64", lanes);
  std::string limit = by_count  ? fmt::format(", {} n", set.named_type("i64", 1))
                      : by_mask ? fmt::format(", {} n", set.named_type("b1", lanes))
                                : "";
  auto lane = [&](std::string_view v, int l) {
    return lanes == 1 ? std::string(v) : fmt::format("{}[{}]", v, l);
  };
  auto on = [&](int l) {
    return by_count ? fmt::format("if (n > {}) ", l) : by_mask ? fmt::format("if ({}) ", lane("n", l)) : "";
  };
  std::string raw = set.named_type("u8", lanes), text;
  if (is_store) {
    text = fmt::format("static inline void {}(u8* p, {} i, {} x{}) {{\n", self, index, raw, limit);
    for (int l = 0; l < lanes; ++l) {
      text += fmt::format(
          "  {5}{{ i64 b = {0} / {1}; i32 s = (i32)({0} % {1}) * {2}; p[b] = (u8)((p[b] & ~({3} << s)) | "
          "(({4} & {3}) << s)); }}\n",
          lane("i", l), per_byte, bits, mask, lane("x", l), on(l));
    }
    return text + "}\n";
  }
  std::string result = set.named_type(carrier(dtype), lanes);
  text = fmt::format("static inline {} {}(const u8* p, {} i{}) {{\n  {} r = ({})(0);\n", result, self, index,
                     limit, raw, raw);
  for (int l = 0; l < lanes; ++l) {
    text += fmt::format("  {5}{0} = (u8)((p[{1} / {2}] >> ({1} % {2} * {3})) & {4});\n", lane("r", l),
                        lane("i", l), per_byte, bits, mask, on(l));
  }
  if (is_float(dtype)) {
    std::string f = set.function(fmt::format("decode_{}", dtype_name(dtype)), "u8", lanes);
    return text + fmt::format("  return {}(r);\n}}\n", f);
  }
  if (!is_signed_int(dtype)) return text + "  return r;\n}\n";
  int shift = 8 - bits;
  return text + fmt::format("  {0} s = ({0})(r << {1});\n  return ({0})(s >> {1});\n}}\n", result, shift);
}

// Lanes beyond the fast reduction's range, one by one; usually none.
std::string reduce_far_text(HelperSet& set, int lanes, std::string_view self) {
  std::string one = set.function("reduce_large", "f64", 1);
  std::string v = set.named_type("f64", lanes), i = set.named_type("i64", lanes);
  std::string text = fmt::format("static inline void {}({} x, {}* y, {}* n) {{\n", self, v, v, i);
  std::string limit = "1000000.0";
  if (lanes == 1) {
    return text + fmt::format(
                      "  f64 a = __builtin_elementwise_abs(x);\n  if (a > {} && a < __builtin_inf()) *y = "
                      "{}(x, n);\n}}\n",
                      limit, one);
  }
  std::string mask = set.named_type("i64", lanes);
  text += fmt::format(
      "  {} a = __builtin_elementwise_abs(x);\n  {} far = (a > ({})({})) & (a < ({})(__builtin_inf()));\n", v,
      mask, v, limit, v);
  text += "  if (__builtin_reduce_or(far) == 0) return;\n";
  text += fmt::format(
      "  for (i32 k = 0; k < {}; ++k) {{\n    if (!far[k]) continue;\n    i64 q;\n    (*y)[k] = {}(x[k], "
      "&q);\n"
      "    (*n)[k] = q;\n  }}\n}}\n",
      lanes, one);
  return text;
}

bool is_packed_access(std::string_view name) {
  for (std::string_view base :
       {"load_i4", "load_u4", "load_i2", "load_u2", "load_f4e2m1", "store_bits4", "store_bits2"}) {
    if (name.starts_with(base)) return true;
  }
  return false;
}

}  // namespace

std::string intrinsic_helper_text(HelperSet& set, std::string_view name, std::string_view scalar, int lanes,
                                  std::string_view self) {
  bool of_lanes =
      name.starts_with("reduce_") && scalar::scalar_op_from_name(name.substr(7)) != scalar::ScalarOp::kCount;
  if (of_lanes) return reduce_text(set, name.substr(7), scalar, lanes, self);
  if (name == "dot4_u8i8" || name == "dot4_i8i8" || name == "dot2_i16")
    return dot_text(set, name, lanes, self);
  if (name == "pairs_u8i8") return pairs_text(set, lanes, self);
  if (name == "lookup") return lookup_text(set, lanes, self);
  if (name == "lookup_words") return lookup_words_text(set, self);
  if (name == "quantise_u8") return quantise_text(set, lanes, self);
  if (name == "whole_between") return whole_between_text(set, lanes, self);
  if (name == "quantise_packed_u8") return quantise_packed_text(set, lanes, self);
  if (name == "round_between") return round_between_text(set, lanes, self);
  if (name == "dot2_bf16") return dot2_text(set, lanes, self);
  if (name == "reduce_far") return reduce_far_text(set, lanes, self);
  if (is_packed_access(name)) return packed_text(set, name, lanes, self);
  return "";
}

bool is_generated(std::string_view name) {
  constexpr std::string_view kNames[] = {
      "load_count",         "load_mask",     "store_count",  "store_mask",    "gather",
      "gather_mask",        "scatter",       "scatter_mask", "dot4_u8i8",     "dot4_i8i8",
      "dot2_i16",           "dot2_bf16",     "pairs_u8i8",   "round_between", "quantise_u8",
      "quantise_packed_u8", "whole_between", "lookup",       "lookup_words",  "stream"};
  if (name == "reduce_large" || name == "reduce_quadrant") return false;
  return name.starts_with("reduce_") || is_packed_access(name) ||
         std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

}  // namespace tern::render

// The text of shaders; that every op compiles and computes what it should is tests/native/glsl_test.cc's.
#include "compiler/render/glsl.h"

#include <doctest/doctest.h>

using namespace tern;

namespace {

render::GlslKernel rendered(std::string_view text, const render::GlslTarget& target = {}) {
  auto kernel = kernel::parse_kernel(text);
  REQUIRE_MESSAGE(kernel.ok(), (kernel.ok() ? "" : kernel.error().text()));
  const std::string problems = kernel::verify(kernel.value());
  REQUIRE_MESSAGE(problems.empty(), problems);
  auto glsl = render::render_glsl(kernel.value(), target);
  REQUIRE_MESSAGE(glsl.ok(), (glsl.ok() ? "" : glsl.error().text()));
  return std::move(glsl.value());
}

}  // namespace

TEST_CASE(
    "glsl: indices have 32 bits, bytes are words, workgroup memory is shared, surplus workgroups leave") {
  const render::GlslKernel kernel = rendered(R"(kernel tile {
  bind x: f32 read
  bind y: u8 write
  param n = "N"
  grid i < n = "N"
  grid j < 4 = "4"
  threads t < 64
  workgroup 256
  alloc s: f32[64] workgroup at 0
  let at: i64 = (((i * 4) + j) * 64)
  s[t] = x[(at + t)]
  barrier
  let v: f32x4 = x[(i * 4); 4]
  y[(at + t)] = cast.u8((s[(63 - t)] + reduce.add(v)))
}
)");
  CHECK_FALSE(kernel.needs.int64);
  CHECK_FALSE(kernel.needs.shuffle);
  CHECK("\n" + kernel.text.substr(kernel.text.find("void main")) == R"(
void main() {
  const uint tile_number = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  if (tile_number >= launch.tiles) return;
  const int v_n = int(launch.params[0].x);
  const int v_t = int(gl_LocalInvocationID.x);
  const int v_j = int(tile_number % uint(4));
  const uint v_j_rest = tile_number / uint(4);
  const int v_i = int(v_j_rest);
  const int v_at = (((v_i * 4) + v_j) * 64);
  st_v_s(v_t, ld_v_x((v_at + v_t)));
  barrier();
  const vec4 v_v = ld4a_v_x((v_i * 4));
  st_v_y((v_at + v_t), min(to_uint_float((ld_v_s((63 - v_t)) + reduce_add4_float(v_v))), uint(255u)));
}
)");
  CHECK(kernel.text.find("readonly buffer View0_vec4 { vec4 v_x_vec4[]; };") != std::string::npos);
  CHECK(kernel.text.find("buffer Binding1 { uint v_y[]; };") != std::string::npos);
  CHECK(kernel.text.find("shared uint workgroup_pool[64];") != std::string::npos);
}

TEST_CASE("glsl: quotients that are rounded to whole numbers are exact") {
  const auto text = [](std::string_view value) {
    return rendered(fmt::format(R"(kernel divide {{
  bind x: f32 read
  bind y: u8 write
  bind z: f32 write
  threads t < 64
  let v: f32x4 = x[(t * 4); 4]
  z[(t * 4)] = (v / x[0; 4])
  y[t] = {}
}}
)",
                                value))
        .text;
  };
  const std::string rounded = text("cast.u8(round_even((x[t] / x[1])))");
  CHECK(rounded.find("st_v_y(v_t, min(to_uint_float(roundEven(quotient_float(") != std::string::npos);
  CHECK(rounded.find("vec4 quotient_float(vec4 a, vec4 b)") != std::string::npos);
  CHECK(text("cast.u8(t)").find("quotient_float") == std::string::npos);
}

TEST_CASE("glsl: 16-bit storage: elements of their own, words as they are, matrices") {
  const render::GlslKernel kernel = rendered(R"(kernel tile {
  bind x: f16 read
  bind y: u8 write
  threads t < 32
  subgroup 32
  tiles 16 16 16
  workgroup 2560
  alloc s: f16[640] workgroup at 1280
  alloc a: f16x8[1] register
  alloc b: f16x8[1] register
  alloc c: f32x8[2] register
  s[(t * 8)] = bitcast.f16x8(bitcast.u32x4(x[(t * 8); 8]))
  y[(t * 4)] = cast.u8(x[(t * 4); 4])
  tile_fill c[1], 0.0
  tile_load a[0], s[(t * 8)], 24
  tile_load_columns b[0], x[16], 8
  tile_multiply c[1], a[0], b[0]
}
)",
                                             {true});
  CHECK(kernel.needs.tiles);
  CHECK(kernel.text.find("return vec4(v_x_f16vec4[i >> 2]);") != std::string::npos);
  CHECK(kernel.text.find("v_y_u8vec4[i >> 2] = u8vec4(v);") != std::string::npos);
  CHECK("\n" + kernel.text.substr(kernel.text.find("void main")) == R"(
void main() {
  const uint tile_number = gl_WorkGroupID.y * gl_NumWorkGroups.x + gl_WorkGroupID.x;
  if (tile_number >= launch.tiles) return;
  const int v_t = int(gl_SubgroupID * 32u + gl_SubgroupInvocationID);
  coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA> v_a[1];
  coopmat<float16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB> v_b[1];
  coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> v_c[2];
  workgroup_pool[uint(80 + (((v_t * 8)) >> 3))] = v_x_uvec4[uint(((v_t * 8)) >> 3)];
  st4a_v_y((v_t * 4), min(to_uint_float(ld4a_v_x((v_t * 4))), uvec4(255u)));
  v_c[1] = coopmat<float, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0.0);
  coopMatLoad(v_a[0], workgroup_pool, uint(80 + (((v_t * 8)) >> 3)), uint((24) >> 3), gl_CooperativeMatrixLayoutRowMajor);
  coopMatLoad(v_b[0], v_x_uvec4, uint((16) >> 3), uint((8) >> 3), gl_CooperativeMatrixLayoutColumnMajor);
  v_c[1] = coopMatMulAdd(v_a[0], v_b[0], v_c[1]);
}
)");
}

TEST_CASE("glsl: dot products of bytes in words, with the device's instructions and without") {
  constexpr std::string_view kText = R"(kernel dots {
  bind a: u8 read
  bind b: u32 read
  bind y: i32 read_write
  threads t < 32
  let row: u32 = bitcast.u32(a[(t * 4); 4])
  y[(t * 4)] = dot4_u8i8.i32x4(y[(t * 4); 4], bitcast.u8x16(broadcast(row, 4)), bitcast.i8x16(b[0; 4]))
  y[t] = dot4_i8i8.i32(y[t], bitcast.i8x4(row), bitcast.i8x4(b[t]))
}
)";
  const render::GlslKernel kernel = rendered(kText, {true, true}), plain = rendered(kText);
  CHECK(kernel.needs.dots);
  CHECK_FALSE(plain.needs.dots);
  for (const char* line :
       {"#extension GL_EXT_spirv_intrinsics : require\n",
        "capabilities = [6018, 6019], id = 4452)\nint dot_i8u8(uint a, uint b, spirv_literal int format);\n",
        "  return c + dot_i8u8(b, a, 0);\n", "  return c + dot_i8i8(a, b, 0);\n",
        "  const uint v_row = v_a_uint[((v_t * 4)) >> 2];\n",
        "  st_v_y(v_t, dot4_i8i8_words_int(ld_v_y(v_t), v_row, ld_v_b(v_t)));\n"})
    CHECK_MESSAGE(kernel.text.find(line) != std::string::npos, kernel.text);
  CHECK(kernel.text.find("dot4_u8i8_words_int(ld4a_v_y((v_t * 4)), uvec4(v_row), ld4a_v_b(0))") !=
        std::string::npos);
  CHECK(plain.text.find("spirv_instruction") == std::string::npos);
  CHECK(plain.text.find("return dot4_u8i8_int(c, unpack_u8(a), unpack_i8(b));") != std::string::npos);
}

TEST_CASE("tiles of bytes: 32 steps of A's rows and of B's columns") {
  const char* const text = R"(kernel tile {
  bind x: i8 read
  threads t < 32
  subgroup 32
  tiles 16 16 32
  alloc s: i8[768] workgroup
  alloc a: i8x16[1] register
  alloc b: i8x16[1] register
  alloc c: i32x8[1] register
  s[(t * 16)] = bitcast.i8x16(bitcast.u32x4(x[(t * 16); 16]))
  tile_fill c[0], 0:i32
  tile_load a[0], s[0], 48
  tile_load_columns b[0], x[512], 32
  tile_multiply c[0], a[0], b[0]
}
)";
  const render::GlslKernel kernel = rendered(text, {true});
  CHECK(kernel.text.find("#extension GL_EXT_shader_explicit_arithmetic_types_int8 : require") !=
        std::string::npos);
  CHECK("\n" + kernel.text.substr(kernel.text.find("  coopmat")) == R"(
  coopmat<int8_t, gl_ScopeSubgroup, 16, 32, gl_MatrixUseA> v_a[1];
  coopmat<int8_t, gl_ScopeSubgroup, 32, 16, gl_MatrixUseB> v_b[1];
  coopmat<int, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator> v_c[1];
  workgroup_pool[uint(0 + (((v_t * 16)) >> 4))] = v_x_uvec4[uint(((v_t * 16)) >> 4)];
  v_c[0] = coopmat<int, gl_ScopeSubgroup, 16, 16, gl_MatrixUseAccumulator>(0);
  coopMatLoad(v_a[0], workgroup_pool, uint(0 + ((0) >> 4)), uint((48) >> 4), gl_CooperativeMatrixLayoutRowMajor);
  coopMatLoad(v_b[0], v_x_uvec4, uint((512) >> 4), uint((32) >> 4), gl_CooperativeMatrixLayoutColumnMajor);
  v_c[0] = coopMatMulAdd(v_a[0], v_b[0], v_c[0]);
}
)");
  // Other shapes, of subgroups of another size.
  std::string other = text;
  const auto put = [&](const std::string& from, const std::string& to) {
    other.replace(other.find(from), from.size(), to);
  };
  put("threads t < 32\n  subgroup 32\n  tiles 16 16 32", "threads t < 32\n  subgroup 16\n  tiles 8 16 32");
  put("b: i8x16[1]", "b: i8x32[1]");
  const std::string wide = rendered(other, {true}).text;
  CHECK(wide.find("coopmat<int8_t, gl_ScopeSubgroup, 8, 32, gl_MatrixUseA> v_a[1];") != std::string::npos);
  CHECK(wide.find("coopmat<int8_t, gl_ScopeSubgroup, 32, 16, gl_MatrixUseB> v_b[1];") != std::string::npos);
  CHECK(wide.find("coopmat<int, gl_ScopeSubgroup, 8, 16, gl_MatrixUseAccumulator> v_c[1];") !=
        std::string::npos);
  CHECK(wide.find("gl_SubgroupID * 16u + gl_SubgroupInvocationID") != std::string::npos);
}

TEST_CASE("elements of tiles are computed one by one, and a subgroup's barrier orders workgroup memory") {
  const std::string text = rendered(R"(kernel tile {
  threads t < 32
  subgroup 32
  tiles 16 16 16
  alloc s: f32[256] workgroup
  alloc a: f32x8[1] register
  alloc b: f16x8[1] register
  tile_load a[0], s[0], 16
  subgroup_barrier
  tile_fill b[0], cast.f16((a[0] * broadcast(2.0, 8)))
}
)")
                               .text;
  CHECK(text.find(
            "for (int e = 0; e < v_b[0].length(); ++e) { const float v_a_1 = float(v_a[0][e]); v_b[0][e] = "
            "float16_t((v_a_1 * 2.0)); }") != std::string::npos);
  CHECK(text.find("gl_StorageSemanticsShared") != std::string::npos);
}

TEST_CASE("barriers of a kernel on tiles order stores to what it reads, wherever the read stands") {
  const auto text = [](std::string_view value) {
    return rendered(fmt::format(R"(kernel tile {{
  bind y: f32 read_write
  bind z: f32 write
  threads t < 32
  subgroup 32
  tiles 16 16 16
  alloc c: f32x8[1] register
  tile_fill c[0], 0.0
  y[t] = 1.0
  barrier
  z[t] = {}
}}
)",
                                value))
        .text;
  };
  CHECK(text("y[(31 - t)]").find("groupMemoryBarrier") != std::string::npos);
  CHECK(text("(y[(31 - t)] + 1.0)").find("groupMemoryBarrier") != std::string::npos);
  CHECK(text("1.0").find("groupMemoryBarrier") == std::string::npos);
}

TEST_CASE("a long loop of a kernel on tiles stays one, a short one may be unrolled") {
  const auto text = [](int rounds, std::string_view index = "(i * 256)") {
    return rendered(fmt::format(R"(kernel tile {{
  bind x: f16 read
  threads t < 32
  subgroup 32
  tiles 16 16 16
  workgroup 512
  alloc s: f16[256] workgroup at 0
  alloc a: f16x8[1] register
  alloc b: f16x8[1] register
  alloc c: f32x8[1] register
  tile_fill c[0], 0.0
  serial i = 0 .. +{} {{
    s[(t * 8)] = bitcast.f16x8(bitcast.u32x4(x[({} + (t * 8)); 8]))
    tile_load a[0], s[0], 16
    tile_load b[0], s[0], 16
    tile_multiply c[0], a[0], b[0]
  }}
}}
)",
                                rounds, index),
                    {true})
        .text;
  };
  CHECK(text(300).find("[[dont_unroll]]\n  for (int v_i = 0;") != std::string::npos);
  CHECK(text(300).find("#extension GL_EXT_control_flow_attributes : require") != std::string::npos);
  CHECK(text(9).find("dont_unroll") == std::string::npos);
  // Divisions by a round are constants once it is unrolled.
  CHECK(text(90).find("dont_unroll") != std::string::npos);
  CHECK(text(90, "(idiv(i, 3) * 256)").find("dont_unroll") == std::string::npos);
}

TEST_CASE("glsl: masks of lanes and loops over indices need no 64-bit integers, loops over data do") {
  const render::GlslKernel masked = rendered(R"(kernel masked {
  bind x: f32 read
  bind y: f32 write
  param n = "N"
  threads t < 32
  let inside: boolx4 = (ramp((t * 4), 1, 4) < broadcast((n - 1), 4))
  y[(t * 4) if inside] = x[(t * 4); 4 if inside]
}
)");
  CHECK_FALSE(masked.needs.int64);
  CHECK(masked.text.find("lessThan((ivec4((v_t * 4)) + ivec4(0, 1, 2, 3)), ivec4((v_n + (-1)))") !=
        std::string::npos);
  // Indices of swizzled places, and sizes as floats.
  const render::GlslKernel swizzled = rendered(R"(kernel swizzled {
  bind y: f32 write
  param n = "N"
  threads t < 32
  let place: i64 = (xor(t, 5) + (and(n, 7) * 32))
  y[place] = cast.f32(n)
}
)");
  CHECK_FALSE(swizzled.needs.int64);
  CHECK(swizzled.text.find("const int v_place = ((v_t ^ 5) + ((v_n & 7) * 32));") != std::string::npos);
  CHECK(swizzled.text.find("float(v_n)") != std::string::npos);
  const render::GlslKernel stored = rendered(R"(kernel stored {
  bind x: i64 read
  bind y: i64 write
  serial i = x[0] .. +x[1] {
    y[0] = (i * i)
  }
}
)");
  CHECK(stored.needs.int64);
  CHECK(stored.text.find(
            "for (int64_t v_i = ld_v_x(0), v_i_end = ld_v_x(0) + ld_v_x(1); v_i < v_i_end; ++v_i)") !=
        std::string::npos);
}

TEST_CASE("glsl: what a kernel needs of the device, and what has no form") {
  CHECK(rendered("kernel k {\n  bind x: i64 read_write\n  x[0] = (x[1] + 3)\n}\n").needs.int64);
  CHECK(rendered("kernel k {\n  bind x: f64 read_write\n  x[0] = sqrt(x[1])\n}\n").needs.float64);
  CHECK(rendered("kernel k {\n  bind x: f32 read_write\n  threads t < 32\n  subgroup 32\n"
                 "  let v: f32 = subgroup_shuffle_xor.f32(x[t], 1)\n  x[t] = v\n}\n")
            .needs.shuffle);
  CHECK(rendered("kernel k {\n  bind x: i64 read_write\n  threads t < 32\n  subgroup 32\n"
                 "  let v: i64 = subgroup_shuffle_xor.i64(x[t], 1)\n  x[t] = v\n}\n")
            .text.find("packInt2x32(subgroupShuffleXor(unpackInt2x32(") != std::string::npos);
  const auto wide =
      kernel::parse_kernel("kernel wide {\n  bind x: f32 read_write\n  x[0] = exp(x[8; 8])\n}\n");
  REQUIRE(wide.ok());
  CHECK(render::render_glsl(wide.value()).error().text() ==
        "Kernel 'wide' cannot be written as GLSL: a vector of 8 lanes has no form.");
}

TEST_CASE("glsl: a kernel of long loops ends with one that shows whether the device still makes them") {
  const std::string text = rendered(R"(kernel long_loop {
  bind y: f32 write
  threads t < 1
  checks_loops
  serial i = 0 .. +100000 {
    y[i] = 1.0
  }
}
)")
                               .text;
  CHECK(text.find("buffer Fault { int fault_word; };") != std::string::npos);
  CHECK(text.find("for (int all = 2 + int(launch.reserved); made_loops < all; ++made_loops) {}") !=
        std::string::npos);
  CHECK(text.find("if (made_loops < 2) fault_word = 4;") != std::string::npos);
}

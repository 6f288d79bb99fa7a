// Copies of boxes of tensors on the evaluator: what they bring, and what is reported.
#include <doctest/doctest.h>

#include "compiler/kernel/ir.h"
#include "compiler/kernel/test_util.h"

namespace tern::kernel {
namespace {

// Two subgroups of 32; the first one brings boxes of 2 x 4 from (i - 1, 2) on of a tensor of 3 x 5 whose rows
// are eight elements apart.
std::string boxes(const std::string& wait, const std::string& left, const std::string& at = "(i - 1)") {
  return "kernel k {\n  bind x: f32 read\n  bind y: f32 write\n  param n = \"N\"\n"
         "  tensor m = x: n by 8 box 2, 5 by 1 box 4\n  threads t < 64\n  subgroup 32\n"
         "  alloc s: f32[8] workgroup\n  alloc c: u64[2] workgroup\n  arrivals_start c[0], 1\n"
         "  arrivals_start c[1]\n  barrier\n  serial i = 0 .. +4 {\n    if (t < 32) {\n"
         "      tensor_copy s[0] = m[" +
         at + ", 2], c[0]\n      arrive c[0]\n    }\n" + wait +
         "    if (t < 8) {\n      y[((i * 8) + t)] = s[t]\n    }\n    arrive c[1]\n" + left + "  }\n}\n";
}
const std::string kWait = "    arrivals_wait c[0], i\n", kLeft = "    arrivals_wait c[1], i\n";

TEST_CASE("tensor: boxes, with zeros outside, as text and on the evaluator") {
  const Kernel k = parsed(boxes(kWait, kLeft));
  CHECK(print_kernel(k) == boxes(kWait, kLeft));
  const auto data = run_f32(k, 32, {3});
  for (int64_t i = 0; i < 32; ++i) {
    const int64_t row = i / 8 - 1 + i % 8 / 4, column = 2 + i % 4;
    const bool inside = row >= 0 && row < 3 && column < 5;
    CHECK(data[1][static_cast<size_t>(i)] ==
          (inside ? data[0][static_cast<size_t>(row * 8 + column)] : 0.0f));
  }
}

TEST_CASE("tensor: missing waits, races, ends and partial subgroups are reported") {
  CHECK(complaint(parsed(boxes("", kLeft)), 32, {3}).starts_with("There is a race"));
  CHECK(complaint(parsed(boxes(kWait, "")), 32, {3}).starts_with("There is a race"));
  CHECK(complaint(parsed(boxes(kWait, kLeft, "(i + 1)")), 32, {9}).find("lies outside its 32 elements") !=
        std::string::npos);
  CHECK(
      complaint(parsed(boxes(kWait, kLeft, "t")), 32, {3})
          .starts_with("A copy of tensor 'm' is reached by 32 of 32 threads of a subgroup, with different"));
  std::string open = boxes(kWait, kLeft);
  open.replace(open.rfind("  }\n}"), 6,
               "  }\n  if (t < 32) {\n    tensor_copy s[0] = m[0, 0], c[0]\n    arrive c[0]\n  }\n}");
  CHECK(
      complaint(parsed(open), 32, {3}).starts_with("A workgroup may end before copies end that 'c' counts."));
}

TEST_CASE("tensor: rows of 64 swizzled as products of groups read them") {
  const Kernel k = parsed(
      "kernel k {\n  bind x: f16 read\n  bind y: f16 write\n  tensor m = x: 16 by 64 box 16, 64 by 1 box 64 "
      "swizzled\n  threads t < 32\n  subgroup 32\n  alloc s: f16[1024] workgroup\n  alloc c: u64[1] "
      "workgroup\n"
      "  arrivals_start c[0]\n  barrier\n  tensor_copy s[0] = m[0, 0], c[0]\n  arrive c[0]\n"
      "  arrivals_wait c[0], 0\n  serial i = 0 .. +32 {\n    y[((i * 32) + t)] = s[((i * 32) + t)]\n  "
      "}\n}\n");
  std::vector<uint16_t> x(1024), y(1024);
  for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<uint16_t>(i);
  const std::vector<EvalBinding> bindings = {{reinterpret_cast<uint8_t*>(x.data()), 2048},
                                             {reinterpret_cast<uint8_t*>(y.data()), 2048}};
  REQUIRE(evaluate(k, bindings, {}, 0, 1).ok());
  for (size_t i = 0; i < y.size(); ++i) CHECK(y[i] == (i ^ (i / 64 % 8 * 8)));
}

TEST_CASE("tensor: what the verifier refuses") {
  const std::string head = "kernel k {\n  bind x: f32 read\n",
                    tail = "\n  threads t < 32\n  subgroup 32\n}\n";
  CHECK(refusal(head + "  tensor m = x: 3 by 6 box 2, 5 by 2 box 3" + tail) ==
        "The stride of axis 0 of tensor 'm' is not 1 or no whole 16 bytes.\n"
        "The stride of axis 1 of tensor 'm' is not 1 or no whole 16 bytes.\n"
        "Rows of the boxes of tensor 'm' have 3 elements of 4 bytes.\n");
  CHECK(refusal(head + "  tensor m = x: 0 by 4 box 300, 5 by 1 box 64 swizzled" + tail) ==
        "Axis 0 of tensor 'm' is not positive.\n"
        "Axis 0 of tensor 'm' has boxes of 300 elements, not 1 to 256.\n"
        "Rows of the boxes of tensor 'm' have 64 elements of 4 bytes.\n");
}

}  // namespace
}  // namespace tern::kernel

// Rows on GPUs, on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/gpu/rows.h"

#include "compiler/lower/lower_test_util.h"
#include "compiler/lower/visit_dispatches.h"

namespace tern::lower {
namespace {

const char* const kNorm = R"(
  input %x: f32[5,96]
  input %y: f32[5,96]
  input %g: f32[96]
  %a = add(%x, %y) : f32[5,96]
  %s = reduce(%a) <op=add, axes=[1]> : f32[5]
  %sr = reshape(%s) <shape=[5,1]> : f32[5,1]
  %sb = broadcast(%sr) <shape=[5,96]> : f32[5,96]
  %d = sub(%a, %sb) : f32[5,96]
  %q = mul(%d, %d) : f32[5,96]
  %v = reduce(%q) <op=add, axes=[1]> : f32[5]
  %vr = reshape(%v) <shape=[5,1]> : f32[5,1]
  %vb = broadcast(%vr) <shape=[5,96]> : f32[5,96]
  %n = div(%d, %vb) : f32[5,96]
  %gb = broadcast(%g) <shape=[5,96]> : f32[5,96]
  %o = mul(%n, %gb) : f32[5,96]
  output %o as "o"
)";

TEST_CASE("a GPU's threads keep the elements of their row that several loops read") {
  for (const Target& target : {Target{Arch::kCuda, {Level::kCudaSm80}},
                               Target{Arch::kVulkan, {Level::kVulkan11, Level::kVulkanSubgroup}}}) {
    LowerCase c{kNorm};
    check_lowering_for(c, target, "norm");
    const auto program = lowered(kNorm, target);
    int kernels = 0;
    visit_dispatches(program->steps, [&](const DispatchStep& dispatch) {
      for (const auto& variant : dispatch.variants) {
        const std::string text = kernel::print_kernel(*variant.kernel);
        CAPTURE(text);
        int reads = 0;  // of either operand: three rounds of 32 threads
        for (size_t at = 0; (at = text.find(" b0[", at)) != std::string::npos; ++at) ++reads;
        for (size_t at = 0; (at = text.find("(b0[", at)) != std::string::npos; ++at) ++reads;
        CHECK(reads == 3);
        ++kernels;
      }
    });
    CHECK(kernels > 0);
  }
}

// The normalisation of each pixel's channels, whose mean went through a shape of another order.
TEST_CASE("a row's scalars may have their ones anywhere") {
  const char* const text = R"(
  input %x: f32[2,6,5,6]
  %s = reduce(%x) <op=add, axes=[1]> : f32[2,5,6]
  %sr = reshape(%s) <shape=[2,5,6,1]>
  %k = constant f32[] {0.25}
  %kb = broadcast(%k) <shape=[2,5,6,1]>
  %m = mul(%sr, %kb)
  %mr = reshape(%m) <shape=[2,1,5,6]>
  %mb = broadcast(%mr) <shape=[2,6,5,6]>
  %d = sub(%x, %mb)
  %q = mul(%d, %d)
  %v = reduce(%q) <op=add, axes=[1]>
  %vr = reshape(%v) <shape=[2,1,5,6]>
  %vb = broadcast(%vr) <shape=[2,6,5,6]>
  %o = mul(%d, %vb)
  output %o as "o"
)";
  check_lowering({text, {}, {}, {}, 1});
}

// A square matrix turned inside the region: it has the rows' shape, yet a row reads another row's elements.
TEST_CASE("what a row reads through a view is not kept as its own") {
  const std::string head = R"(
  input %x: f32[2,6,6]
  input %m: f32[2,6]
  %mr = reshape(%m) <shape=[2,1,6]>
  %mb = broadcast(%mr) <shape=[2,6,6]>
)",
                    tail = R"(
  %s = reduce(%t) <op=max, axes=[2]>
  %sr = reshape(%s) <shape=[2,6,1]>
  %sb = broadcast(%sr) <shape=[2,6,6]>
  %e = sub(%t, %sb)
  %v = reduce(%e) <op=add, axes=[2]>
  %vr = reshape(%v) <shape=[2,6,1]>
  %vb = broadcast(%vr) <shape=[2,6,6]>
  %o = mul(%e, %vb)
  output %o as "o"
)";
  check_lowering({head + "  %d = sub(%x, %mb)\n  %t = transpose(%d) <perm=[0,2,1]>\n" + tail});
  check_lowering(
      {head + "  %d = sub(%x, %mb)\n  %f = exp(%d)\n  %u = transpose(%f) <perm=[0,2,1]>\n  %t = sqrt(%u)\n" +
       tail});
}

}  // namespace
}  // namespace tern::lower

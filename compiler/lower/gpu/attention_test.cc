// Attention regions on the kernel evaluator, against the graph evaluator.
#include "compiler/lower/gpu/attention.h"

#include "compiler/lower/lower_test_util.h"
#include "compiler/lower/visit_dispatches.h"

namespace tern::lower {
namespace {

// q, k and v are stored between dispatches, so that their rows are of 16 bits.
const std::string kAttention = R"(
  input %x: f32[2,3,N,16]
  input %y: f32[2,3,K,16]
  input %mask: f32[2,1,1,K]
  %q = abs(%x) : f32[2,3,N,16]
  %k = neg(%y) : f32[2,3,K,16]
  %v = abs(%y) : f32[2,3,K,16]
  %kt = transpose(%k) <perm=[0,1,3,2]> : f32[2,3,16,K]
  %s = dot(%q, %kt) : f32[2,3,N,K]
  %c = constant f32[] {0.25}
  %cb = broadcast(%c) <shape=[2,3,N,K]> : f32[2,3,N,K]
  %t = mul(%s, %cb) : f32[2,3,N,K]
  %mb = broadcast(%mask) <shape=[2,3,N,K]> : f32[2,3,N,K]
  %u = add(%t, %mb) : f32[2,3,N,K]
)" + softmax_lines("u", "p", "2,3,N,K", 3) +
                               R"(
  %o = dot(%p, %v) : f32[2,3,N,16]
  %z = neg(%o) : f32[2,3,N,16]
  output %z as "z"
)";

std::string sized(std::string text, const std::string& n, const std::string& k) {
  const auto replace = [&](const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
      text.replace(at, from.size(), to);
  };
  replace(",N", "," + n);
  replace(",K", "," + k);
  return text;
}

const Target kCudaTarget{Arch::kCuda, {Level::kCudaSm80}},
    kVulkanTarget{Arch::kVulkan, {Level::kVulkanF16, Level::kVulkanMatrix, Level::kVulkanMatrixBf16}};

int dispatches(const std::string& text, std::vector<std::string> disabled, const Target& target = kCudaTarget,
               DType precision = DType::kF16) {
  return count_dispatches(lowered(text, target, std::move(disabled), precision)->steps);
}

TEST_CASE("attention is one dispatch where its operands are stored in 16 bits") {
  const std::string text = sized(kAttention, "20", "37");
  CHECK(dispatches(text, {}) == dispatches(text, {"fuse_attention"}) - 2);
  check_lowering({text});
}

TEST_CASE("attention is one dispatch where keys and values are outputs too") {
  std::string text = sized(kAttention, "20", "37");
  const auto put = [&](const std::string& from, const std::string& to) {
    text.replace(text.find(from), from.size(), to);
  };
  put("input %y: f32[2,3,37,16]", "input %y: f32[2,6,37,16]");
  put("%k = neg(%y)",
      "%kv = neg(%y) : f32[2,6,37,16]\n  %k = slice(%kv) <starts=[0,0,0,0], sizes=[2,3,37,16], "
      "steps=[1,1,1,1]>");
  put("%v = abs(%y)", "%v = slice(%kv) <starts=[0,3,0,0], sizes=[2,3,37,16], steps=[1,1,1,1]>");
  text += "  output %k as \"keys\"\n  output %v as \"values\"\n";
  CHECK(dispatches(text, {}) == dispatches(text, {"fuse_attention"}) - 2);
  check_lowering({text});
}

TEST_CASE("attention of a model of 16-bit floats") {
  std::string text = sized(kAttention, "20", "37");
  for (size_t at; (at = text.find("f32")) != std::string::npos;) text.replace(at, 3, "f16");
  CHECK(dispatches(text, {}) == dispatches(text, {"fuse_attention"}) - 2);
  check_lowering({text});
}

TEST_CASE("attention of a model of 16-bit floats, with its softmax in f32") {
  const auto narrow = [](std::string text) {
    for (size_t at; (at = text.find("f32")) != std::string::npos;) text.replace(at, 3, "f16");
    return text;
  };
  const std::string softmax = softmax_lines("u", "p", "2,3,N,K", 3);
  const size_t at = kAttention.find(softmax);
  const std::string text =
      sized(narrow(kAttention.substr(0, at)) + "  %wide = cast(%u) <to=f32>\n" +
                softmax_lines("wide", "weights", "2,3,N,K", 3) + "  %p = cast(%weights) <to=f16>\n" +
                narrow(kAttention.substr(at + softmax.size())),
            "20", "37");
  for (const Target& target : {kCudaTarget, kVulkanTarget})
    CHECK(dispatches(text, {}, target, DType::kF32) ==
          dispatches(text, {"fuse_attention"}, target, DType::kF32) - 2);
  check_lowering({text});
}

TEST_CASE("attention of few queries: a cluster's workgroups share the keys, of any number") {
  const Target cuda{Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}};
  const auto wide = [](std::string text, const std::string& depth) {
    if (depth == "16") return text;
    for (size_t at; (at = text.find(",16]")) != std::string::npos;) text.replace(at, 4, "," + depth + "]");
    for (size_t at; (at = text.find("3,16,")) != std::string::npos;) text.replace(at, 5, "3," + depth + ",");
    return text;
  };
  for (const char* depth : {"16", "40"}) {
    for (const int64_t keys : {1, 9, 300}) {
      LowerCase c{wide(kAttention, depth), {1, keys}};
      c.precision = DType::kF16;
      check_lowering_for(c, cuda, "symbolic");
      c.text = sized(c.text, "9", std::to_string(keys));
      c.symbols = {};
      check_lowering_for(c, cuda, "static");
    }
  }
  const auto program = lowered(sized(kAttention, "1", "300"), cuda, {}, DType::kF16);
  bool split = false;
  visit_dispatches(program->steps, [&](const DispatchStep& dispatch) {
    for (const auto& variant : dispatch.variants) split |= variant.kernel->cluster > 1;
  });
  CHECK(split);
}

TEST_CASE("attention is one dispatch on Vulkan, whatever its floats") {
  const std::string text = sized(kAttention, "20", "37");
  for (const DType precision : {DType::kF32, DType::kF16, DType::kBF16}) {
    for (const Target& target : {kVulkanTarget, Target{Arch::kVulkan, {Level::kVulkan11}}})
      CHECK(dispatches(text, {}, target, precision) ==
            dispatches(text, {"fuse_attention"}, target, precision) - 2);
  }
}

TEST_CASE("attention on Vulkan: the best level's kernel is the one on matrices of its operands' type") {
  const Target all = parse_targets("vulkan").value().front();
  const auto best = [&](DType precision) {
    std::string schedule;
    visit_dispatches(lowered(sized(kAttention, "20", "37"), all, {}, precision)->steps,
                     [&](const DispatchStep& dispatch) {
                       if (dispatch.label == "attention")
                         schedule = dispatch.variants.back().kernel->schedule;
                     });
    return schedule;
  };
  CHECK(best(DType::kF16).find("warps") != std::string::npos);
  CHECK(best(DType::kBF16).find("warps") != std::string::npos);
  CHECK(best(DType::kF32).find("rows a thread") != std::string::npos);
}

TEST_CASE("attention on GPUs: a symbolic number of keys, and none") {
  LowerCase c{sized(kAttention, "20", "K")};
  for (const int64_t keys : {37, 150, 0}) {
    c.symbols = {keys};
    for (const DType precision : {DType::kF32, DType::kF16, DType::kBF16}) {
      c.precision = precision;
      check_lowering_for(c, {Arch::kCuda, {Level::kCudaSm80, Level::kCudaSm90}}, "cuda");
      check_lowering_for(c, kVulkanTarget, "vulkan");
    }
  }
}

}  // namespace
}  // namespace tern::lower

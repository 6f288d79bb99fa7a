// Attention over grouped heads: keys and values are read once a group, and it is one dispatch whatever shape
// the heads have between the products.
#include "compiler/lower/grouped_products.h"

#include "compiler/lower/lower_test_util.h"

namespace tern::lower {
namespace {

constexpr int kHeads = 6, kGroups = 2;

// Scores [1, heads, queries, keys] to outputs, by a softmax over keys; `mask`: of positions, for all heads.
std::string softmax(int queries, int keys, bool mask) {
  const std::string shape = fmt::format("[1,{},{},{}]", kHeads, queries, keys);
  std::string text = mask ? fmt::format(R"(
  %rows = iota() <shape=[{0},{1}], axis=0, dtype=i64>
  %columns = iota() <shape=[{0},{1}], axis=1, dtype=i64>
  %shown = le(%columns, %rows)
  %shown_all = broadcast(%shown) <shape={2}>
  %none = constant f32[] {{-inf}}
  %none_all = broadcast(%none) <shape={2}>
  %masked = select(%shown_all, %scores, %none_all))",
                                        queries, keys, shape)
                          : "\n  %masked = neg(%scores)";
  return text + fmt::format(R"(
  %m = reduce(%masked) <op=max, axes=[3]>
  %m1 = reshape(%m) <shape=[1,{0},{1},1]>
  %mb = broadcast(%m1) <shape={2}>
  %d = sub(%masked, %mb)
  %e = exp(%d)
  %s = reduce(%e) <op=add, axes=[3]>
  %s1 = reshape(%s) <shape=[1,{0},{1},1]>
  %sb = broadcast(%s1) <shape={2}>
  %w = div(%e, %sb))",
                            kHeads, queries, shape);
}

// Groups as dimensions of the products.
std::string grouped(int queries, int keys, bool mask) {
  const int each = kHeads / kGroups;
  return fmt::format(
      R"(
  input %q: f32[1,{0},{1},{2},8] as "q"
  input %k: f32[1,{0},1,8,{3}] as "k"
  input %v: f32[1,{0},1,{3},8] as "v"
  %p = dot(%q, %k)
  %scores = reshape(%p) <shape=[1,{4},{2},{3}]>{5}
  %wg = reshape(%w) <shape=[1,{0},{1},{2},{3}]>
  %y = dot(%wg, %v)
  output %y as "y")",
      kGroups, each, queries, keys, kHeads, softmax(queries, keys, mask));
}

// Keys and values repeated for their group.
std::string repeated(int queries, int keys, bool mask) {
  const int each = kHeads / kGroups;
  const auto repeat = [&](const std::string& from) {
    return fmt::format(R"(
  %{0}u = reshape(%{0}) <shape=[1,{1},1,{2},8]>
  %{0}b = broadcast(%{0}u) <shape=[1,{1},{3},{2},8]>
  %{0}r = reshape(%{0}b) <shape=[1,{4},{2},8]>)",
                       from, kGroups, keys, each, kHeads);
  };
  return fmt::format(
      R"(
  input %q: f32[1,{0},{1},8] as "q"
  input %k: f32[1,{2},{3},8] as "k"
  input %v: f32[1,{2},{3},8] as "v"{4}{5}
  %kt = transpose(%kr) <perm=[0,1,3,2]>
  %scores = dot(%q, %kt){6}
  %y = dot(%w, %vr)
  output %y as "y")",
      kHeads, queries, kGroups, keys, repeat("k"), repeat("v"), softmax(queries, keys, mask));
}

TEST_CASE("attention over grouped heads is one dispatch") {
  for (const bool mask : {false, true}) {
    for (const int queries : {1, 5}) {
      const int keys = mask ? queries + 4 : 9;
      LowerCase as_groups{grouped(queries, keys, mask)}, as_copies{repeated(queries, keys, mask)};
      for (LowerCase* c : {&as_groups, &as_copies}) {
        c->dispatches = 1;  // a mask of a few numbers is computed for each head
        check_lowering_for(*c, {Arch::kX86_64, {Level::kX86V2, Level::kX86V4}}, "CPU");
        c->dispatches = -1;
        check_lowering(*c);
      }
    }
  }
}

}  // namespace
}  // namespace tern::lower

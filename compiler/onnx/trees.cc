// Ensembles of decision trees (ai.onnx.ml). All trees of all rows descend one level at a time: a loop of
// gathers from tables of nodes, in which leaves lead to themselves; then the leaves' weights are summed.
#include "compiler/onnx/trees.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>
#include <numeric>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

constexpr const char* kMl = "ai.onnx.ml";
constexpr int64_t kMostWeights = int64_t{1} << 28;
constexpr const char* kTransforms[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};

struct TreeNode {
  int64_t feature = 0, yes = 0, no = 0;
  double threshold = 0;
  bool leaf = false, equal = false, missing_is_yes = false;
  bool goes_on = false;  // it asks for one value of a set; `no` asks for the next one, and leads to `yes` too
};

struct Weight {
  int64_t node, target;
  double value;
};

struct Ensemble {
  std::vector<TreeNode> nodes;
  std::vector<int64_t> roots;
  std::vector<Weight> weights;
  int64_t targets = 1;
  std::string aggregate = "SUM";
  std::vector<double> base;
};

// A branch as x < threshold or x == threshold. A comparison that is turned round is false where its mirror is
// true, but for NaN, which goes the way that it went before.
void set_mode(TreeNode& n, const std::string& mode, bool missing_is_yes, bool wide) {
  auto above = [&](double v) {
    return wide ? std::nextafter(v, HUGE_VAL)
                : static_cast<double>(
                      std::nextafter(static_cast<float>(v), std::numeric_limits<float>::infinity()));
  };
  n.missing_is_yes = missing_is_yes;
  bool mirrored = mode == "BRANCH_GTE" || mode == "BRANCH_GT" || mode == "BRANCH_NEQ";
  if (mode == "BRANCH_LEQ" || mode == "BRANCH_GT") n.threshold = above(n.threshold);
  n.equal = mode == "BRANCH_EQ" || mode == "BRANCH_NEQ";
  if (!mirrored && mode != "BRANCH_LEQ" && mode != "BRANCH_LT" && mode != "BRANCH_EQ")
    fail("A node's mode ('{}') is not supported.", mode);
  if (!mirrored) return;
  std::swap(n.yes, n.no);
  // NaN != v holds; x >= NaN does not.
  n.missing_is_yes = mode == "BRANCH_NEQ" ? false : !missing_is_yes;
}

// The most branches from a root to a leaf. Nodes that lead to themselves or to nodes of another walk are
// refused.
int64_t depth_of(const Ensemble& e) {
  std::vector<bool> seen(e.nodes.size(), false);
  int64_t depth = 0;
  std::vector<int64_t> level = e.roots;
  for (; !level.empty(); ++depth) {
    std::vector<int64_t> next;
    for (int64_t i : level) {
      const TreeNode& n = e.nodes[static_cast<size_t>(i)];
      if (seen[static_cast<size_t>(i)]) fail("Node {} of the trees is reached in two ways.", i);
      seen[static_cast<size_t>(i)] = true;
      if (n.leaf) continue;
      if (!n.goes_on) next.push_back(n.yes);
      next.push_back(n.no);
    }
    level = std::move(next);
  }
  return std::max<int64_t>(depth - 1, 0);
}

// The same trees with the two nodes that one leads to side by side, `no` first, so that one number says where
// both are; nothing where nodes share one. A leaf leads to itself, and nothing is less than its threshold.
// The last node is nobody's: a number and 1 more is always a node's.
std::optional<Ensemble> side_by_side(const Ensemble& e) {
  depth_of(e);  // refuses what has no end
  const auto node = [&](int64_t i) -> const TreeNode& { return e.nodes[static_cast<size_t>(i)]; };
  std::vector<int64_t> order = e.roots, number(e.nodes.size(), -1);
  for (size_t i = 0; i < order.size(); ++i) {
    const TreeNode& n = node(order[i]);
    number[static_cast<size_t>(order[i])] = static_cast<int64_t>(i);
    if (n.leaf) continue;
    if (n.goes_on) return std::nullopt;
    order.insert(order.end(), {n.no, n.yes});
  }
  Ensemble out = e;
  out.nodes.clear();
  for (const int64_t i : order) {
    TreeNode n = node(i);
    n.no = number[static_cast<size_t>(n.no)];
    n.yes = number[static_cast<size_t>(n.yes)];
    if (n.leaf) n.threshold = -HUGE_VAL;
    if (n.leaf) n.equal = n.missing_is_yes = false;
    out.nodes.push_back(n);
  }
  out.nodes.push_back({0, 0, 0, -HUGE_VAL, true});
  std::iota(out.roots.begin(), out.roots.end(), 0);
  out.weights.clear();
  for (Weight w : e.weights) {
    w.node = number[static_cast<size_t>(w.node)];
    if (w.node >= 0) out.weights.push_back(w);
  }
  return out;
}

template <typename Get>
Value* table(Emit& b, const Ensemble& e, DType type, Get get) {
  auto data = TensorData::make(type, {static_cast<int64_t>(e.nodes.size())});
  for (size_t i = 0; i < e.nodes.size(); ++i) {
    if (is_float(type)) {
      data->set_float(static_cast<int64_t>(i), static_cast<double>(get(e.nodes[i])));
    } else {
      data->set_int(static_cast<int64_t>(i), static_cast<int64_t>(get(e.nodes[i])));
    }
  }
  return b.constant(std::move(data));
}

// The leaf of each tree for each row of x: i32 [N, trees], so that vectors have as many numbers of nodes as
// thresholds. `close`: e is what side_by_side made.
Value* leaves(Op& op, const Ensemble& e, bool close, Value* x) {
  Emit& b = op.b;
  DType type = x->type.dtype;
  int64_t depth = depth_of(e), trees = static_cast<int64_t>(e.roots.size());
  auto any = [&](auto predicate) { return std::any_of(e.nodes.begin(), e.nodes.end(), predicate); };
  bool equal = any([](const TreeNode& n) { return n.equal; });
  bool missing = any([](const TreeNode& n) { return n.missing_is_yes; });
  Value* feature = table(b, e, DType::kI32, [](const TreeNode& n) { return n.feature; });
  Value* threshold = table(b, e, type, [](const TreeNode& n) { return n.threshold; });
  Value* yes = close ? nullptr : table(b, e, DType::kI32, [](const TreeNode& n) { return n.yes; });
  Value* no = table(b, e, DType::kI32, [](const TreeNode& n) { return n.no; });
  Value* is_equal = equal ? table(b, e, DType::kBool, [](const TreeNode& n) { return n.equal; }) : nullptr;
  Value* nan_is_yes =
      missing ? table(b, e, DType::kBool, [](const TreeNode& n) { return n.missing_is_yes; }) : nullptr;
  auto roots = TensorData::make(DType::kI32, {trees});
  for (int64_t i = 0; i < trees; ++i) roots->set_int(i, e.roots[static_cast<size_t>(i)]);
  Value* start = b.broadcast(b.constant(std::move(roots)), {dimension(x, 0), Dim(trees)});
  if (depth == 0) return start;
  return build_loop(
      op, b.i64(depth), b.integer(DType::kBool, 1), {start},
      [&](Importer::Region& region, Value*, Value*, const std::vector<Value*>& inside) {
        Emit& l = *region.emit;
        Value* at = inside[0];
        auto of = [&](Value* from) { return l.gather(from, at, 0); };
        Value* value = l.emit(OpKind::kGatherElements, {x, of(feature)}, {{"axis", int64_t{1}}});
        Value* limit = of(threshold);
        Value* goes = l.compare(ScalarOp::kLt, value, limit);
        if (is_equal) goes = l.select(of(is_equal), l.compare(ScalarOp::kEq, value, limit), goes);
        if (nan_is_yes)
          goes = l.map(ScalarOp::kOr,
                       {goes, l.map(ScalarOp::kAnd, {of(nan_is_yes), l.unary(ScalarOp::kIsNan, value)})});
        LoopResult result;
        result.condition = l.integer(DType::kBool, 1);
        result.carried = {yes ? l.select(goes, of(yes), of(no)) : l.add(of(no), l.cast(goes, DType::kI32))};
        return result;
      })[0];
}

// The sums (or least, or largest) of the leaves' weights: [N, targets].
Value* ensemble_scores(Op& op, const Ensemble& ensemble, Value* x, DType type) {
  Emit& b = op.b;
  const std::optional<Ensemble> close = side_by_side(ensemble);
  const Ensemble& e = close ? *close : ensemble;
  auto nodes = static_cast<int64_t>(e.nodes.size());
  if (e.targets < 1 || e.targets > kMostWeights / std::max<int64_t>(nodes, 1))
    fail("{} targets of {} nodes are not supported.", e.targets, nodes);
  bool least = e.aggregate == "MIN", most = e.aggregate == "MAX";
  if (!least && !most && e.aggregate != "SUM" && e.aggregate != "AVERAGE")
    fail("Attribute 'aggregate_function' ('{}') must be SUM, AVERAGE, MIN or MAX.", e.aggregate);
  auto data = TensorData::make(type, {nodes, e.targets});
  double none = least ? HUGE_VAL : most ? -HUGE_VAL : 0;
  for (int64_t i = 0; i < data->count(); ++i) data->set_float(i, none);
  for (const Weight& w : e.weights) {
    int64_t at = w.node * e.targets + w.target;
    data->set_float(at, least || most ? w.value : data->float_at(at) + w.value);
  }
  Value* given = b.gather(b.constant(std::move(data)), leaves(op, e, close.has_value(), x), 0);
  Value* y = b.reduce(least ? ScalarOp::kMin : most ? ScalarOp::kMax : ScalarOp::kAdd, given, {1});
  if (least || most) y = b.select(b.unary(ScalarOp::kIsInf, y), b.like(y, 0), y);
  if (e.aggregate == "AVERAGE") y = b.div(y, static_cast<double>(e.roots.size()));
  return y;
}

std::vector<double> float_list(Op& op, const std::string& name) {
  if (TensorDataPtr data = op.tensor_attr(name + "_as_tensor")) {
    std::vector<double> out;
    for (int64_t i = 0; i < data->count(); ++i) out.push_back(data->float_at(i));
    return out;
  }
  return op.floats(name);
}

// The lists of TreeEnsembleClassifier and -Regressor; `prefix` is what weights are called there.
Ensemble read_lists(Op& op, const std::string& prefix, bool wide) {
  Ensemble e;
  std::vector<int64_t> trees = op.ints("nodes_treeids"), ids = op.ints("nodes_nodeids"),
                       features = op.ints("nodes_featureids"), yes = op.ints("nodes_truenodeids"),
                       no = op.ints("nodes_falsenodeids"),
                       missing = op.ints("nodes_missing_value_tracks_true");
  std::vector<std::string> modes = op.strings("nodes_modes");
  std::vector<double> values = float_list(op, "nodes_values");
  op.ignore({"nodes_hitrates", "nodes_hitrates_as_tensor"});
  size_t n = trees.size();
  for (size_t size : {ids.size(), features.size(), yes.size(), no.size(), modes.size(), values.size()})
    if (size != n) fail("The lists of nodes have {} and {} elements.", n, size);
  if (!missing.empty() && missing.size() != n)
    fail("Attribute 'nodes_missing_value_tracks_true' has {} elements instead of {}.", missing.size(), n);
  std::map<std::pair<int64_t, int64_t>, int64_t> number;
  for (size_t i = 0; i < n; ++i)
    if (!number.emplace(std::pair(trees[i], ids[i]), static_cast<int64_t>(i)).second)
      fail("Node {} of tree {} is given twice.", ids[i], trees[i]);
  auto find = [&](int64_t tree, int64_t id) {
    auto at = number.find({tree, id});
    if (at == number.end()) fail("Tree {} has no node {}.", tree, id);
    return at->second;
  };
  std::vector<bool> child(n, false);
  for (size_t i = 0; i < n; ++i) {
    TreeNode node{features[i], static_cast<int64_t>(i), static_cast<int64_t>(i), values[i]};
    node.leaf = modes[i] == "LEAF";
    if (node.leaf) {
      node.feature = 0;
    } else {
      node.yes = find(trees[i], yes[i]);
      node.no = find(trees[i], no[i]);
      child[static_cast<size_t>(node.yes)] = child[static_cast<size_t>(node.no)] = true;
      set_mode(node, modes[i], !missing.empty() && missing[i] != 0, wide);
    }
    e.nodes.push_back(node);
  }
  for (size_t i = 0; i < n; ++i)
    if (!child[i]) e.roots.push_back(static_cast<int64_t>(i));
  std::vector<int64_t> weight_trees = op.ints(prefix + "_treeids"),
                       weight_nodes = op.ints(prefix + "_nodeids"), targets = op.ints(prefix + "_ids");
  std::vector<double> weights = float_list(op, prefix + "_weights");
  for (size_t size : {weight_nodes.size(), targets.size(), weights.size()})
    if (size != weight_trees.size())
      fail("The lists of weights have {} and {} elements.", weight_trees.size(), size);
  for (size_t i = 0; i < weights.size(); ++i)
    e.weights.push_back({find(weight_trees[i], weight_nodes[i]), targets[i], weights[i]});
  e.base = float_list(op, "base_values");
  return e;
}

void check_ensemble(const Ensemble& e, Value* x) {
  if (x->type.rank() != 2) fail("The operand ({}) does not have two dimensions.", x->type.text());
  if (e.roots.empty()) fail("The trees have no root.");
  const Dim& width = dimension(x, 1);
  for (const TreeNode& n : e.nodes)
    if (n.feature < 0 || n.feature > INT32_MAX ||
        (width.is_const() && n.feature >= std::max<int64_t>(width.value(), 1)))
      fail("A node reads feature {} of {}.", n.feature, x->type.text());
  for (const Weight& w : e.weights)
    if (w.target < 0 || w.target >= e.targets) fail("A leaf adds to target {} of {}.", w.target, e.targets);
}

// Features in a type that holds them: thresholds are compared in it.
Value* features(Op& op) {
  Value* x = op.tensor(0);
  DType type = x->type.dtype;
  return type == DType::kF32 || type == DType::kF64   ? x
         : type == DType::kI64 || type == DType::kI32 ? op.b.cast(x, DType::kF64)
                                                      : op.b.cast(x, DType::kF32);
}

Value* with_base(Emit& b, Value* scores, const std::vector<double>& base) {
  return base.empty() ? scores : b.add(scores, b.floats(scores->type.dtype, base));
}

void import_tree_regressor(Op& op) {
  Value* x = features(op);
  Ensemble e = read_lists(op, "target", x->type.dtype == DType::kF64);
  e.targets = op.i("n_targets", 1);
  e.aggregate = op.s("aggregate_function", "SUM");
  check_ensemble(e, x);
  Value* y = with_base(op.b, ensemble_scores(op, e, x, DType::kF32), e.base);
  op.output(0, regression_transform(op.b, y, op.s("post_transform", "NONE")));
}

// Two classes whose trees give one score each.
void binary_tree_classifier(Op& op, Ensemble& e, Value* x, const std::string& transform) {
  Emit& b = op.b;
  bool positive =
      std::all_of(e.weights.begin(), e.weights.end(), [](const Weight& w) { return w.value >= 0; });
  for (Weight& w : e.weights) w.target = 0;
  e.targets = 1;
  Value* score = ensemble_scores(op, e, x, DType::kF32);
  if (!e.base.empty()) score = b.add(score, b.scalar(DType::kF32, e.base.back()));
  Value* second = b.compare(ScalarOp::kGt, b.squeeze(score, {1}), positive ? 0.5 : 0.0);
  op.output(0, labels_of(op, b.cast(second, DType::kI64), "classlabels_int64s", "classlabels_strings"));
  op.output(1, two_scores(b, score, positive ? SecondClass::kComplement : SecondClass::kNegative, transform));
}

void import_tree_classifier(Op& op) {
  Emit& b = op.b;
  Value* x = features(op);
  Ensemble e = read_lists(op, "class", x->type.dtype == DType::kF64);
  std::string transform = op.s("post_transform", "NONE");
  e.targets = static_cast<int64_t>(
      std::max(op.ints("classlabels_int64s").size(), op.strings("classlabels_strings").size()));
  check_ensemble(e, x);
  bool one = std::all_of(e.weights.begin(), e.weights.end(),
                         [&](const Weight& w) { return w.target == e.weights[0].target; });
  if (e.targets == 2 && one) return binary_tree_classifier(op, e, x, transform);
  Value* scores = with_base(b, ensemble_scores(op, e, x, DType::kF32), e.base);
  Value* best = best_class(b, scores);
  op.output(0, labels_of(op, best, "classlabels_int64s", "classlabels_strings"));
  op.output(1, post_transform(b, scores, transform));
}

// The values of each node that asks for membership, in the order of these nodes: lists that NaN part.
std::vector<std::vector<double>> membership_sets(Op& op) {
  std::vector<std::vector<double>> sets;
  TensorDataPtr data = op.tensor_attr("membership_values");
  bool begins = true;
  for (int64_t i = 0; data && i < data->count(); ++i) {
    const double value = data->float_at(i);
    if (begins) sets.emplace_back();
    begins = std::isnan(value);
    if (!begins) sets.back().push_back(value);
  }
  return sets;
}

// Node `i`, which asks whether its feature equals its threshold, asks for the other values too.
void add_members(Ensemble& e, size_t i, const std::vector<double>& others) {
  for (const double value : others) {
    if (e.nodes[i].yes == e.nodes[i].no) return;
    TreeNode next = e.nodes[i];
    next.threshold = value;
    next.missing_is_yes = false;
    e.nodes[i].no = static_cast<int64_t>(e.nodes.size());
    e.nodes[i].goes_on = true;
    i = e.nodes.size();
    e.nodes.push_back(next);
  }
}

// Since version 5: nodes and leaves are numbered apart, and lists are tensors.
void import_tree_ensemble(Op& op) {
  constexpr const char* kModes[] = {"BRANCH_LEQ", "BRANCH_LT",  "BRANCH_GTE",   "BRANCH_GT",
                                    "BRANCH_EQ",  "BRANCH_NEQ", "BRANCH_MEMBER"};
  constexpr int64_t kEqual = 4, kMember = 6;
  constexpr const char* kAggregates[] = {"AVERAGE", "SUM", "MIN", "MAX"};
  Value* x = features(op);
  Ensemble e;
  TensorDataPtr splits = op.tensor_attr("nodes_splits"), modes = op.tensor_attr("nodes_modes"),
                weights = op.tensor_attr("leaf_weights");
  op.ignore({"nodes_hitrates"});
  if (!splits || !modes || !weights)
    fail("Attributes 'nodes_splits', 'nodes_modes' and 'leaf_weights' are needed.");
  std::vector<int64_t> feature = op.ints("nodes_featureids"), yes = op.ints("nodes_truenodeids"),
                       no = op.ints("nodes_falsenodeids"), yes_leaf = op.ints("nodes_trueleafs"),
                       no_leaf = op.ints("nodes_falseleafs"),
                       missing = op.ints("nodes_missing_value_tracks_true"),
                       targets = op.ints("leaf_targetids");
  auto n = static_cast<int64_t>(feature.size()), leaf_count = weights->count();
  for (auto size : {static_cast<int64_t>(yes.size()), static_cast<int64_t>(no.size()),
                    static_cast<int64_t>(yes_leaf.size()), static_cast<int64_t>(no_leaf.size()),
                    splits->count(), modes->count()})
    if (size != n) fail("The lists of nodes have {} and {} elements.", n, size);
  if (static_cast<int64_t>(targets.size()) != leaf_count)
    fail("{} leaves have {} targets.", leaf_count, targets.size());
  if (!missing.empty() && static_cast<int64_t>(missing.size()) != n)
    fail("Attribute 'nodes_missing_value_tracks_true' has {} elements instead of {}.", missing.size(), n);
  auto child = [&](int64_t id, bool leaf) {
    if (id < 0 || id >= (leaf ? leaf_count : n))
      fail("A node leads to {} {}, which is not there.", leaf ? "leaf" : "node", id);
    return leaf ? n + id : id;
  };
  bool wide = x->type.dtype == DType::kF64;
  std::vector<std::vector<double>> sets = membership_sets(op);
  std::vector<int64_t> members;  // nodes that ask for membership
  for (int64_t i = 0; i < n; ++i) {
    auto at = static_cast<size_t>(i);
    int64_t mode = modes->int_at(i);
    if (mode < 0 || mode > 6) fail("A node's mode ({}) is not known.", mode);
    TreeNode node{feature[at], child(yes[at], yes_leaf[at] != 0), child(no[at], no_leaf[at] != 0),
                  splits->float_at(i)};
    // A leaf alone is a node whose ways both lead to it.
    if (node.yes == node.no) node.feature = 0;
    if (mode == kMember) {
      if (members.size() == sets.size() || sets[members.size()].empty())
        fail("Attribute 'membership_values' has no values for node {}.", i);
      node.threshold = sets[members.size()].front();
      members.push_back(i);
      mode = kEqual;
    }
    set_mode(node, kModes[mode], !missing.empty() && missing[at] != 0, wide);
    e.nodes.push_back(node);
  }
  for (int64_t i = 0; i < leaf_count; ++i) {
    e.nodes.push_back({0, n + i, n + i, 0, true});
    e.weights.push_back({n + i, targets[static_cast<size_t>(i)], weights->float_at(i)});
  }
  for (size_t k = 0; k < members.size(); ++k)
    add_members(e, static_cast<size_t>(members[k]), {sets[k].begin() + 1, sets[k].end()});
  for (int64_t root : op.ints("tree_roots")) e.roots.push_back(child(root, false));
  for (size_t i = 0; i < e.nodes.size(); ++i) {
    TreeNode& node = e.nodes[i];
    if (!node.leaf && node.yes == node.no) {  // reached once is enough
      auto copy = e.nodes[static_cast<size_t>(node.yes)];
      if (copy.leaf) {
        for (Weight& w : e.weights)
          if (w.node == node.yes) w.node = static_cast<int64_t>(i);
        node = {0, static_cast<int64_t>(i), static_cast<int64_t>(i), 0, true};
      }
    }
  }
  int64_t aggregate = op.i("aggregate_function", 1), transform = op.i("post_transform", 0);
  if (aggregate < 0 || aggregate > 3 || transform < 0 || transform >= std::ssize(kTransforms))
    fail("Attribute 'aggregate_function' ({}) or 'post_transform' ({}) is not known.", aggregate, transform);
  e.targets = op.i("n_targets", 1);
  e.aggregate = kAggregates[aggregate];
  check_ensemble(e, x);
  op.output(0,
            regression_transform(op.b, ensemble_scores(op, e, x, weights->dtype()), kTransforms[transform]));
}

// The inverse of the normal distribution by Winitzki's approximation of the inverse error function, as ONNX
// defines it: -inf at 0, inf at 1, NaN outside.
Value* probit(Emit& b, Value* p) {
  constexpr double kA = 0.147;
  Value* x = b.sub(b.mul(p, 2.0), 1.0);
  Value* log = b.unary(ScalarOp::kLog, b.mul(b.sub(b.like(x, 1), x), b.add(x, 1.0)));
  Value* half = b.add(b.mul(log, 0.5), 2 / (std::numbers::pi * kA));
  Value* root = b.unary(ScalarOp::kSqrt, b.sub(b.mul(half, half), b.mul(log, 1 / kA)));
  Value* size = b.mul(b.unary(ScalarOp::kSqrt, b.sub(root, half)), std::numbers::sqrt2);
  return b.select(b.compare(ScalarOp::kLt, x, 0.0), b.unary(ScalarOp::kNeg, size), size);
}

constexpr OpRow kRows[] = {
    {kMl, "TreeEnsembleRegressor", 1, kLatest, import_tree_regressor},
    {kMl, "TreeEnsembleClassifier", 1, kLatest, import_tree_classifier},
    {kMl, "TreeEnsemble", 5, kLatest, import_tree_ensemble},
};

}  // namespace

void check_transform(const std::string& name) {
  for (const char* known : kTransforms)
    if (name == known) return;
  fail("Attribute 'post_transform' ('{}') must be NONE, LOGISTIC, SOFTMAX, SOFTMAX_ZERO or PROBIT.", name);
}

Value* regression_transform(Emit& b, Value* scores, const std::string& name) {
  check_transform(name);
  if (dimension(scores, 1).is_const(1) && name != "PROBIT") return scores;
  return post_transform(b, scores, name);
}

Value* post_transform(Emit& b, Value* scores, const std::string& name) {
  check_transform(name);
  if (name == "LOGISTIC") return sigmoid(b, scores);
  if (name == "SOFTMAX") return b.softmax(scores, {scores->type.rank() - 1});
  if (name == "NONE") return scores;
  if (name == "PROBIT") return probit(b, scores);
  Value* most = b.reduce(ScalarOp::kMax, scores, {scores->type.rank() - 1}, true);
  // Scores that are nearly 0 stay out.
  Value* counts = b.compare(ScalarOp::kGt, b.unary(ScalarOp::kAbs, scores), 1e-7);
  Value* e = b.select(counts, b.unary(ScalarOp::kExp, b.sub(scores, most)), b.like(scores, 0));
  Value* sum = b.reduce(ScalarOp::kAdd, e, {scores->type.rank() - 1}, true);
  return b.div(e, b.select(b.compare(ScalarOp::kEq, sum, 0.0), b.like(sum, 1), sum));
}

Value* best_class(Emit& b, Value* scores) {
  return b.emit(OpKind::kArgReduce, {scores},
                {{"largest", true}, {"axis", int64_t{1}}, {"last", false}, {"dtype", DType::kI64}});
}

Value* labels_of(Op& op, Value* indices, const char* ints, const char* strings) {
  std::vector<int64_t> labels = op.ints(ints);
  if (!labels.empty()) return op.b.gather(op.b.i64s(labels), indices, 0);
  std::vector<std::string> names = op.strings(strings);
  return names.empty() ? indices : op.b.gather(op.b.strings(std::move(names)), indices, 0);
}

Value* two_scores(Emit& b, Value* score, SecondClass second, const std::string& transform) {
  check_transform(transform);
  if (transform == "PROBIT")
    fail(
        "Attribute 'post_transform' (PROBIT) of two classes that share one score is not defined: ONNX "
        "Runtime "
        "computes one score a row and leaves the other as it is.");
  if (second == SecondClass::kComplement) return b.concat({b.sub(b.like(score, 1), score), score}, 1);
  Value* both = b.concat({b.unary(ScalarOp::kNeg, score), score}, 1);
  return transform == "LOGISTIC" ? sigmoid(b, both) : both;
}

std::span<const OpRow> trees_rows() {
  return kRows;
}

}  // namespace tern::onnx

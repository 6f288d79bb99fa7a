#include "compiler/lower/block_lowering.h"

#include <algorithm>
#include <utility>

#include "compiler/lower/attention.h"
#include "compiler/lower/attention_chain.h"
#include "compiler/lower/contraction.h"
#include "compiler/lower/depthwise_chain.h"
#include "compiler/lower/fusion_cost.h"
#include "compiler/lower/gpu/attention.h"
#include "compiler/lower/gpu/contraction.h"
#include "compiler/lower/gpu/depthwise_rows.h"
#include "compiler/lower/gpu/mma_contraction.h"
#include "compiler/lower/gpu/recurrence.h"
#include "compiler/lower/nests.h"
#include "compiler/lower/plane_conv.h"
#include "compiler/lower/split_products.h"
#include "compiler/lower/transposed_conv.h"

namespace tern::lower {
namespace {

using graph::Node;
using graph::OpKind;
using graph::Value;

// The same order of all dimensions that have more than one element.
bool same_order(const Layout& a, const Layout& b, const Shape& shape) {
  const auto real = [&](const Layout& l) {
    std::vector<int> out;
    for (const int d : l.order) {
      if (!shape[static_cast<size_t>(d)].is_const(1)) out.push_back(d);
    }
    return out;
  };
  return real(a) == real(b);
}

// Where the operand of a slice must lie that turns whole axes around.
std::optional<Place> place_before_turn(const Node& slice, const Place& result) {
  if (slice.kind != OpKind::kSlice) return std::nullopt;
  Place place = result;
  for (size_t d = 0; d < place.strides.size(); ++d) {
    const Dim &from = slice.operand()->type.shape[d], &to = slice.result()->type.shape[d];
    const int64_t step = slice.ints("steps")[d];
    const Dim& start = slice.dims("starts")[d];
    if (from != to || (step == 1 ? !start.is_const(0) : step != -1 || start != from - 1)) return std::nullopt;
    if (step == 1) continue;
    if (!place.strides[d].is_const()) return std::nullopt;
    place.offset = place.offset + (from - 1) * place.strides[d];
    place.strides[d] = place.strides[d] * Dim(-1);
  }
  return place;
}

bool reads_symbol(const graph::SymbolInfo& s) {
  return s.origin == graph::SymbolInfo::Origin::kElement && s.value;
}

}  // namespace

Place BlockLowering::allocate(const Value* value) {
  return allocate_planes(value, 1);
}

Place BlockLowering::allocate(const Value* value, DType stored) {
  return allocate_planes(value, 1, stored);
}

Place BlockLowering::allocate_planes(const Value* value, int planes) {
  const DType planned = context_.precision().storage(value);
  context_.note_stored(value, planned);
  // Parts of a sum may be larger than the sum: they are not rounded.
  return allocate_planes(value, planes, planes > 1 ? value->type.dtype : planned);
}

Place BlockLowering::allocate_planes(const Value* value, int planes, DType stored) {
  auto it = layouts_.find(value);
  const Layout layout = it == layouts_.end() ? Layout::dense(value->type.rank()) : it->second;
  const Dim plane = product(value->type.shape);
  const int buffer = context_.add_temporary(value->name, stored, plane * Dim(planes));
  Place place = dense_place(buffer, layout, value->type.shape);
  place.planes = planes;
  place.plane = plane;
  return place;
}

bool BlockLowering::check_types(const Node& node) {
  const auto supported = [](const graph::Type& t) { return t.is_tensor() && t.dtype != DType::kString; };
  // What reads a value of a node that was refused fails for the same reason.
  const bool told = std::any_of(node.operands.begin(), node.operands.end(),
                                [&](const Value* v) { return v->def && refused_.contains(v->def); });
  for (const auto* list : {&node.operands, &node.results}) {
    for (const Value* v : *list) {
      if (supported(v->type)) continue;
      if (!told) context_.fail(node, error("Values of type {} have no kernels.", v->type.text()));
      refused_.insert(&node);
      return false;
    }
  }
  return true;
}

void BlockLowering::copy_to(Value* value, const Place& place, FusionReason reason) {
  auto node = std::make_unique<Node>();
  node->kind = OpKind::kCast;
  node->operands = {value};
  node->set("to", value->type.dtype);
  Value* copy = context_.graph().new_value(value->type, value->name);
  copy->def = node.get();
  node->results = {copy};
  if (value->def) node->source = value->def->source;
  ensure_place(value);
  context_.set_place(copy, place);
  Region region;
  region.nodes = {node.get()};
  region.members = {node.get()};
  region.inputs = {value};
  region.outputs = {copy};
  region.copy_for = reason;
  lower_elementwise(region, context_);
  copy->def = nullptr;  // from here on a value of its own
}

Value* BlockLowering::copy_in_layout(Value* value, const Layout& layout, DType stored) {
  for (const LaidOutCopy& known : copies_[value]) {
    if (known.layout == layout && known.stored == stored) return known.value;
  }
  Value* copy = context_.graph().new_value(value->type, value->name);
  layouts_[copy] = layout;
  const Place place = allocate(copy, stored);
  copy_to(value, place, FusionReason::kCopyLayout);
  context_.set_place(copy, place);
  copies_[value].push_back({layout, stored, copy});
  return copy;
}

void BlockLowering::ensure_place(Value* value) {
  if (context_.has_place(value)) return;
  TERN_CHECK(value->def && is_view(*value->def), "value {} is read before it is computed", value->id);
  Value* base = value->def->operand();
  ensure_place(base);
  if (context_.has_place(value)) return;
  // Only a reshape can fail; of dense memory none does, nor of a copy in the order that its readers want.
  const auto wanted = layouts_.find(value);
  const std::optional<Layout> below = wanted == layouts_.end() || wanted->second.is_dense()
                                          ? std::nullopt
                                          : layout_below(*value->def, wanted->second);
  Value* copy =
      copy_in_layout(base, below.value_or(Layout::dense(base->type.rank())), context_.stored_type(base));
  const auto view = view_place(*value->def, context_.place(copy));
  TERN_CHECK(view.has_value(), "a reshape of a copy in its order is no view");
  context_.set_place(value, *view);
}

Value* BlockLowering::ensure_dense(Value* value) {
  ensure_place(value);
  const Place& place = context_.place(value);
  const bool dense = same_order(place.layout, Layout::dense(value->type.rank()), value->type.shape);
  const bool wide = context_.stored_type(value) == value->type.dtype;
  if (dense && wide && is_contiguous(place, value->type.shape)) return value;
  return copy_in_layout(value, Layout::dense(value->type.rank()), value->type.dtype);
}

// ---- Where results and the parts of concatenations go

bool BlockLowering::can_compute_in(const Value* value, const Place& place) const {
  if (!value->def || context_.program().buffers.empty()) return false;
  auto it = plan_.fates.find(value->def);
  if (it == plan_.fates.end()) return false;
  const OpKind kind = value->def->kind;
  const bool is_scatter = kind == OpKind::kScatterElements || kind == OpKind::kScatterNd;
  // A recurrence stores its results where they shall lie. Not among others' parts, though: whoever writes
  // those would have to wait for all of its steps.
  if (it->second == Fate::kSpecial && !is_scatter) {
    const BufferDef& def = context_.program().buffers[static_cast<size_t>(place.buffer)];
    const Dim bytes = product(value->type.shape) * Dim(dtype_bits(def.dtype));
    return place.layout.is_dense() && place.planes == 1 && def.bytes * 8 == bytes &&
           gpu::makes_one_dispatch(*value->def, context_);
  }
  const bool computed = it->second == Fate::kStore || it->second == Fate::kClaimed ||
                        it->second == Fate::kConcat ||
                        (is_scatter && is_contiguous(place, value->type.shape));
  if (!computed) return false;
  // Memory that rounds what the plan keeps is not for it.
  const DType there = context_.program().buffers[static_cast<size_t>(place.buffer)].dtype;
  if (there != value->type.dtype && there != context_.precision().storage(value)) return false;
  auto layout = layouts_.find(value);
  const Layout own = layout == layouts_.end() ? Layout::dense(value->type.rank()) : layout->second;
  return same_order(own, place.layout, value->type.shape);
}

// Whether the sizes of all these views are known when the last one is computed, so that the memory that they
// lie in can be there by then: sizes of inputs, and those that its own shape has.
bool BlockLowering::sizes_known_early(const std::vector<std::pair<Value*, Place>>& views) const {
  std::vector<std::string> needed, own;
  for (const Dim& d : views.back().first->type.shape) d.collect_symbols(own);
  for (const auto& [v, at] : views)
    for (const Dim& d : v->type.shape) d.collect_symbols(needed);
  return std::all_of(needed.begin(), needed.end(), [&](const std::string& s) {
    const graph::SymbolInfo* info = context_.graph().find_symbol(s);
    return !info || info->origin == graph::SymbolInfo::Origin::kInput ||
           std::find(own.begin(), own.end(), s) != own.end();
  });
}

// What the value shows is computed where it has to lie, if it can be: through transposes and reshapes, which
// are views; a recurrence's results from the last one to the first, too.
void BlockLowering::place_at(Value* value, const Place& place) {
  std::vector<std::pair<Value*, Place>> views{{value, place}};
  bool turned = false;
  while (true) {
    const auto& [v, at] = views.back();
    if (context_.has_place(v) || !v->def) return;
    const bool loop = v->def->kind == OpKind::kLoop;
    if (turned && !loop && !is_view(*v->def)) return;
    if ((v->def->results.size() == 1 || loop) && can_compute_in(v, at)) break;
    std::optional<Place> below = place_below(*v->def, at);
    if (!below) {
      below = place_before_turn(*v->def, at);
      turned = true;
    }
    if (!below) return;
    views.emplace_back(v->def->operand(), *below);
  }
  if (!sizes_known_early(views)) return;
  for (const auto& [v, at] : views) context_.set_place(v, at);
}

void BlockLowering::plan_result_places(graph::Block& block, const std::vector<Place>& result_places) {
  for (size_t r = 0; r < block.results.size(); ++r) {
    if (result_places[r].buffer < 0) continue;
    place_at(block.results[r], result_places[r]);
  }
  for (size_t i = block.nodes.size(); i-- > 0;) {
    const Node& node = *block.nodes[i];
    auto it = plan_.fates.find(&node);
    if (it != plan_.fates.end() && it->second == Fate::kConcat) place_concat(node);
    place_changed(node);
  }
}

void BlockLowering::place_concat(const Node& node) {
  Value* whole = node.result();
  // A size that is read during the run is not known here: the whole is allocated when its turn comes.
  if (!context_.upper_bound(product(whole->type.shape))) return;
  std::vector<std::string> symbols;
  for (const Dim& d : whole->type.shape) d.collect_symbols(symbols);
  for (const std::string& s : symbols) {
    const graph::SymbolInfo* info = context_.graph().find_symbol(s);
    if (info && info->origin != graph::SymbolInfo::Origin::kInput) return;
  }
  if (!context_.has_place(whole)) context_.set_place(whole, allocate(whole));
  const Place place = context_.place(whole);
  const auto axis = static_cast<int>(node.int_attr("axis"));
  Dim start = 0;
  for (Value* part : node.operands) {
    const Place sub = sub_place(place, axis, start);
    start = start + part->type.shape[static_cast<size_t>(axis)];
    place_at(part, sub);
  }
}

void BlockLowering::emit_concat(Node& node) {
  Value* whole = node.result();
  if (!context_.has_place(whole)) context_.set_place(whole, allocate(whole));
  const Place place = context_.place(whole);
  const auto axis = static_cast<int>(node.int_attr("axis"));
  Dim start = 0;
  for (Value* part : node.operands) {
    const Place sub = sub_place(place, axis, start);
    start = start + part->type.shape[static_cast<size_t>(axis)];
    ensure_place(part);
    const Place& at = context_.place(part);
    if (at.buffer == sub.buffer && at.offset == sub.offset && at.strides == sub.strides) continue;
    copy_to(part, sub, FusionReason::kCopyPart);
  }
}

// ---- Emission

void BlockLowering::run(graph::Block& block, const std::vector<Place>& result_places) {
  assign_layouts(block, context_, layouts_);
  for (const graph::SymbolInfo& s : context_.graph().symbols) {
    if (reads_symbol(s)) symbol_values_.insert(s.value);
  }
  plan_ = form_regions(block, uses_, context_, symbol_values_);
  if (context_.enabled("fuse_attention")) chain_attention(plan_, uses_);
  if (context_.enabled("fuse_depthwise") && context_.target().arch != Arch::kCuda)
    chain_depthwise(plan_, uses_);
  keep_requested();
  plan_result_places(block, result_places);
  if (context_.enabled("split_products")) split_products(plan_, uses_, context_);
  read_symbols(block, SIZE_MAX, SIZE_MAX);
  find_donors(block, result_places);
  begin_early(block);
  finished_.assign(block.results.size(), false);
  size_t done = 0;
  for (BlockItem& item : plan_.items) {
    read_symbols(block, done, item.position);
    done = item.position;
    emit(item);
    if (!context_.diagnostics().ok()) continue;
    read_symbols(block, item.position, item.position + 1);
    done = item.position + 1;
    finish_outputs(item, block, result_places);
  }
  read_symbols(block, done, block.nodes.size());
  if (!context_.diagnostics().ok()) return;
  for (size_t r = 0; r < block.results.size(); ++r) {
    if (!finished_[r]) finish_result(block.results[r], result_places[r]);
  }
}

void BlockLowering::finish_result(Value* v, const Place& to) {
  ensure_place(v);
  const Place& at = context_.place(v);
  if (to.buffer < 0) return;
  if (at.buffer == to.buffer && at.offset == to.offset &&
      (at.strides == to.strides ||
       (is_contiguous(at, v->type.shape) && same_order(at.layout, to.layout, v->type.shape))))
    return;
  copy_to(v, to, FusionReason::kCopyResult);
}

// Whether the numbers that the value's shape, and its view's, are made of are inputs' or have been read.
bool BlockLowering::has_known_sizes(const Value* v) const {
  std::vector<std::string> names;
  for (const Dim& d : v->type.shape) d.collect_symbols(names);
  if (v->def && v->def->kind == OpKind::kSlice)
    for (const Dim& d : v->def->dims("starts")) d.collect_symbols(names);
  return std::all_of(names.begin(), names.end(), [&](const std::string& name) {
    for (const graph::SymbolInfo& s : context_.graph().symbols)
      if (s.name == name) return s.origin == graph::SymbolInfo::Origin::kInput || read_.count(name) > 0;
    return true;
  });
}

// Outputs that show what the item has just computed, so that it need not wait in memory for the end: it is in
// the caches now, too.
void BlockLowering::finish_outputs(const BlockItem& item, const graph::Block& block,
                                   const std::vector<Place>& result_places) {
  const auto computes = [&](const Value* v) {
    if (item.node) return v->def == item.node;
    const auto in = [&](const std::unique_ptr<Region>& region) {
      return std::find(region->outputs.begin(), region->outputs.end(), v) != region->outputs.end();
    };
    return item.region ? in(item.region) : std::any_of(item.chain.begin(), item.chain.end(), in);
  };
  for (size_t r = 0; r < block.results.size(); ++r) {
    const int buffer = result_places[r].buffer;
    if (finished_[r] || buffer < 0) continue;
    if (context_.program().buffers[static_cast<size_t>(buffer)].kind != BufferKind::kOutput) continue;
    const Value* shown = block.results[r];
    bool sizes_known = has_known_sizes(shown);
    while (shown->def && is_view(*shown->def)) {
      shown = shown->def->operand();
      sizes_known = sizes_known && has_known_sizes(shown);
    }
    if (!sizes_known || !computes(shown)) continue;
    finish_result(block.results[r], result_places[r]);
    finished_[r] = true;
  }
}

// Binds the symbols that elements of the results of nodes [from, to) give (SIZE_MAX: of arguments).
void BlockLowering::read_symbols(const graph::Block& block, size_t from, size_t to) {
  if (!context_.diagnostics().ok()) return;
  const auto here = [&](const Value* v) {
    if (from == SIZE_MAX) return v->block == &block;
    for (size_t i = from; i < to; ++i) {
      if (v->def == block.nodes[i].get()) return true;
    }
    return false;
  };
  for (size_t i = 0; i < context_.graph().symbols.size(); ++i) {
    const graph::SymbolInfo s = context_.graph().symbols[i];
    if (!reads_symbol(s) || !here(s.value)) continue;
    ensure_place(s.value);
    const Place& place = context_.place(s.value);
    Dim at = place.offset;
    int64_t flat = s.element;
    for (size_t d = s.value->type.shape.size(); d-- > 0;) {
      const int64_t n = s.value->type.shape[d].maybe_value().value_or(INT64_MAX);
      at = at + place.strides[d] * Dim(flat % n);
      flat /= n;
    }
    Step step;
    step.kind = Step::Kind::kRead;
    const DType dtype = s.value->type.dtype;
    step.read = std::make_shared<ReadStep>(
        ReadStep{s.name, place.buffer, at * Dim(dtype_bits(dtype) / 8), dtype, s.min, s.max});
    context_.push(std::move(step));
    read_.insert(s.name);
  }
}

// A node that --keep-f32 names may be inside a region: what the region stores of it stays f32.
void BlockLowering::keep_requested() {
  PrecisionPlan& precision = context_.precision();
  for (const BlockItem& item : plan_.items) {
    if (!item.region) continue;
    const auto& nodes = item.region->nodes;
    if (std::none_of(nodes.begin(), nodes.end(), [&](const Node* n) { return precision.requested(*n); }))
      continue;
    for (const Value* v : item.region->outputs) precision.keep(v, Keep::kRequested);
  }
}

void BlockLowering::emit_chain(BlockItem& item) {
  std::vector<std::unique_ptr<Region>>& chain = item.chain;
  for (size_t part = 0; part < chain.size(); ++part) {
    for (const Node* n : chain[part]->nodes) {
      if (!check_types(*n)) return;
    }
    // What the parts pass on has no place of its own yet.
    for (Value* v : chain[part]->inputs) {
      const bool inside = std::any_of(
          chain.begin(), chain.begin() + static_cast<std::ptrdiff_t>(part), [&](const auto& earlier) {
            return std::find(earlier->outputs.begin(), earlier->outputs.end(), v) != earlier->outputs.end();
          });
      if (!inside && context_.diagnostics().ok() && !LoweringContext::splat(v)) ensure_place(v);
    }
  }
  if (!context_.diagnostics().ok()) return;
  for (const Value* v : chain.back()->outputs) {
    if (!context_.has_place(v)) context_.set_place(v, allocate(v));
  }
  const bool on_gpu = is_gpu(context_.target().arch);
  const bool depthwise = item.chain_kind == ChainKind::kDepthwiseProduct;
  if (depthwise) arrange_operand(*chain[0]);
  std::optional<FusionReason> refused;
  std::optional<Prediction> predicted;
  if (!on_gpu) {
    const FusionCost cost(context_);
    predicted = cost.chain(chain, depthwise ? computations_of_rows(*chain[1]->root, context_) : 1);
    if (!cost.join(*predicted)) refused = FusionReason::kSlowerBehind;
  }
  if (!refused) {
    predicted.reset();
    if (depthwise) {
      if (on_gpu ? gpu::lower_depthwise_product(chain, context_) : lower_depthwise_product(chain, context_))
        return;
    } else {
      if (on_gpu ? gpu::lower_attention(chain, context_) : lower_attention(chain, context_)) return;
      refused = on_gpu ? FusionReason::kGpuAttention : FusionReason::kCpuAttention;
    }
  }
  for (const auto& part : chain) {
    for (Neighbour& n : part->neighbours) {
      const auto joined = [&](const auto& other) { return other->contains(n.node); };
      if (!refused || std::none_of(chain.begin(), chain.end(), joined)) continue;
      n.reason = *refused;
      n.predicted = predicted;
    }
    emit_region(*part);
  }
}

void BlockLowering::emit(BlockItem& item) {
  if (!item.chain.empty()) {
    emit_chain(item);
    return;
  }
  if (item.region) {
    const size_t first_step = context_.steps()->size();
    emit_region(*item.region);
    for (const Value* v : item.region->outputs) skip_where_donated(v, first_step);
  } else if (item.node->kind == OpKind::kConcat) {
    if (!check_types(*item.node) || !context_.diagnostics().ok()) return;
    emit_concat(*item.node);
  } else {
    emit_node(*item.node);
  }
}

// Operand 0 of a contraction in the order, and on matrix units in the type, that its kernel wants.
void BlockLowering::arrange_operand(Region& region) {
  Value* x = region.root->operand();
  const std::optional<gpu::OperandCopy> wanted = gpu::wanted_copy(*region.root, context_);
  const DType stored = wanted ? wanted->dtype : context_.stored_type(x);
  Value* copy = nullptr;
  if (region.root->kind == OpKind::kConv) {
    if (x->type.shape[1].is_const(1)) {
      // One channel: its stride means nothing, and 1 lets kernels run from a pixel into the next one.
      Place one_channel = context_.place(x);
      one_channel.strides[1] = 1;
      context_.set_place(x, one_channel);
    }
    const Layout layout = Layout::channels_last(x->type.rank());
    const bool ready = x->type.shape[1].is_const(1) || context_.place(x).strides[1].is_const(1) ||
                       !context_.enabled("channels_last") || gpu::reads_in_place(*region.root, context_);
    if (wanted && wanted->channel_pitch > 0) {
      copy = copy_with_pitch(x, *wanted);
    } else if (!ready) {
      copy = copy_in_layout(x, layout, stored);
    }
  } else if (wanted) {
    copy = copy_in_layout(x, Layout::dense(x->type.rank()), stored);
  }
  if (copy) read_instead(region, 0, copy);
}

void BlockLowering::arrange_filters(Region& region) {
  if (!takes_computed_filters(region, context_) || lies_in_steps(*region.root, context_)) return;
  Value* filters = region.root->operand(1);
  read_instead(region, 1,
               copy_in_layout(filters, filter_layout(*region.root), context_.stored_type(filters)));
}

void BlockLowering::read_instead(Region& region, size_t operand, Value* copy) {
  std::vector<Value*>& operands = region.root->operands;
  Value* value = std::exchange(operands[operand], copy);
  std::replace(region.inputs.begin(), region.inputs.end(), value, copy);
  if (std::find(operands.begin(), operands.end(), value) != operands.end()) region.inputs.push_back(value);
}

// Channels last, a pixel `channel_pitch` elements from the next: what lies between is never read.
Value* BlockLowering::copy_with_pitch(Value* value, const gpu::OperandCopy& wanted) {
  Value* copy = context_.graph().new_value(value->type, value->name);
  Shape padded = value->type.shape;
  padded[1] = wanted.channel_pitch;
  const Layout layout = Layout::channels_last(value->type.rank());
  const int buffer = context_.add_temporary(value->name, wanted.dtype, product(padded));
  const Place place = dense_place(buffer, layout, padded);
  copy_to(value, place, FusionReason::kCopyPitch);
  context_.set_place(copy, place);
  return copy;
}

// A reshape that lays several axes in line along the innermost one (repeated elements) is where its operand
// is stored, so that loops go along those axes and no place is a quotient or a rest.
bool BlockLowering::end_before_reshape(const Region& region) {
  if (region.outputs.size() != 1) return false;
  const Value* out = region.outputs[0];
  if (out->type.rank() == 0) return false;
  Node* reshape = out->def;
  if (!reshape || reshape->kind != OpKind::kReshape || !region.contains(reshape)) return false;
  Value* from = reshape->operand();
  const auto used = uses_.find(from);
  const bool computed = from->def && region.contains(from->def);
  if (from->type.rank() == 0 || (computed && (used == uses_.end() || used->second.size() != 1))) return false;
  const Place& whole = context_.place(out);
  const auto inner = static_cast<size_t>(whole.layout.order.back());
  const std::optional<Place> below = place_below(*reshape, whole);
  if (!below || !whole.strides[inner].is_const(1)) return false;
  const auto last = static_cast<size_t>(below->layout.order.back());
  if (from->type.shape[last] == out->type.shape[inner]) return false;
  if (!computed) {
    copy_to(from, *below, region.copy_for.value_or(FusionReason::kCopyLayout));
    return true;
  }
  context_.set_place(from, *below);
  Region before = region;
  before.outputs = {from};
  before.members.erase(reshape);
  std::erase(before.nodes, reshape);
  lower_elementwise(before, context_);
  return true;
}

void BlockLowering::emit_region(Region& region) {
  for (const Node* n : region.nodes) {
    if (!check_types(*n)) return;
  }
  if (!context_.diagnostics().ok()) return;  // only looking for more problems
  for (Value* v : region.inputs) {
    if (!LoweringContext::splat(v)) ensure_place(v);
  }
  const auto place_outputs = [&] {
    for (const Value* v : region.outputs) {
      if (!context_.has_place(v)) context_.set_place(v, allocate_planes(v, region.split));
    }
  };
  if (region.kind == RootKind::kContraction) {
    if (suits_planes(*region.root, context_.target())) {
      place_outputs();
      if (lower_plane_conv(region, context_)) return;
    }
    arrange_operand(region);
    arrange_filters(region);
  }
  place_outputs();
  switch (region.kind) {
    case RootKind::kNone:
      if (is_gpu(context_.target().arch) || !end_before_reshape(region)) lower_elementwise(region, context_);
      return;
    case RootKind::kContraction:
      if (context_.enabled("split_transposed_conv") && lower_transposed_conv(region, context_)) return;
      if (!lower_contraction(region, context_)) lower_contraction_naive(region, context_);
      return;
    case RootKind::kRows:
      lower_rows(region, context_);
      return;
    case RootKind::kWindow:
      lower_window(region, context_);
      return;
    case RootKind::kScan:
      region.root->kind == OpKind::kScan ? lower_scan(region, context_) : lower_arg_reduce(region, context_);
      return;
    case RootKind::kSpecial:
      TERN_UNREACHABLE("a special node in a region");
  }
}

void BlockLowering::emit_node(Node& node) {
  switch (node.kind) {
    case OpKind::kIf:
      return lower_if(node, *this);
    case OpKind::kLoop:
      return lower_loop(node, *this);
    case OpKind::kCheck:
      return lower_check(node, *this);
    default:
      break;
  }
  if (!check_types(node)) return;
  if (lower_special(node, *this)) return;
  context_.fail(node, error("The op has no lowering."));
}

}  // namespace tern::lower

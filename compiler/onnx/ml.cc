// ai.onnx.ml: what classical pipelines put around a network.
#include <cmath>
#include <set>
#include <utility>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"
#include "compiler/onnx/trees.h"

namespace tern::onnx {

namespace {

constexpr const char* kMl = "ai.onnx.ml";

void import_binarizer(Op& op) {
  Value* x = op.tensor(0);
  op.output(0, op.b.cast(op.b.compare(ScalarOp::kGt, x, op.f("threshold", 0)), x->type.dtype));
}

// The entries of the last axis that the indices name.
void import_array_feature_extractor(Op& op) {
  Value* x = op.tensor(0);
  if (x->type.rank() == 0) fail("The operand ({}) has no dimensions.", x->type.text());
  if (x->type.rank() == 1) x = op.b.unsqueeze(x, {0});
  Value* indices = op.b.cast(op.tensor(1), DType::kI64);
  indices = op.b.reshape(indices, {product(indices->type.shape)});
  op.output(0, op.b.gather(x, indices, x->type.rank() - 1));
}

// (x - offset) * scale, each one number or one per feature.
void import_scaler(Op& op) {
  Value* x = op.b.cast(op.tensor(0), DType::kF32);
  std::vector<double> offset = op.floats("offset"), scale = op.floats("scale");
  if (!offset.empty()) x = op.b.sub(x, op.b.floats(DType::kF32, offset));
  if (!scale.empty()) x = op.b.mul(x, op.b.floats(DType::kF32, scale));
  op.output(0, x);
}

// [N, C] times coefficients [rows, C], plus intercepts.
Value* linear_scores(Op& op, int64_t rows) {
  Emit& b = op.b;
  Value* x = b.cast(op.tensor(0), DType::kF32);
  if (x->type.rank() == 1) x = b.unsqueeze(x, {0});
  std::vector<double> coefficients = op.floats("coefficients"), intercepts = op.floats("intercepts");
  auto count = static_cast<int64_t>(coefficients.size());
  if (x->type.rank() != 2 || rows < 1 || count % rows != 0 || count == 0)
    fail("{} coefficients do not make {} rows for {}.", count, rows, x->type.text());
  x = b.adapt(x, 1, Dim(count / rows));
  Value* y = b.dot(x, b.transpose(b.floats(DType::kF32, coefficients, {rows, count / rows}), {1, 0}));
  return intercepts.empty() ? y : b.add(y, b.floats(DType::kF32, intercepts));
}

void import_linear_regressor(Op& op) {
  op.output(
      0, regression_transform(op.b, linear_scores(op, op.i("targets", 1)), op.s("post_transform", "NONE")));
}

void import_linear_classifier(Op& op) {
  Emit& b = op.b;
  op.ignore({"multi_class"});
  size_t labels = std::max(op.ints("classlabels_ints").size(), op.strings("classlabels_strings").size());
  size_t intercepts = op.floats("intercepts").size();
  Value* scores = linear_scores(op, static_cast<int64_t>(intercepts ? intercepts : labels));
  std::string transform = op.s("post_transform", "NONE");
  if (dimension(scores, 1).is_const(1)) {
    check_transform(transform);
    Value* second = b.compare(ScalarOp::kGt, b.squeeze(scores, {1}), 0.0);
    op.output(0, labels_of(op, b.cast(second, DType::kI64), "classlabels_ints", "classlabels_strings"));
    // As ONNX Runtime: the other transforms leave one score as it is.
    SecondClass made = transform == "LOGISTIC" ? SecondClass::kNegative : SecondClass::kComplement;
    if (labels == 2) scores = two_scores(b, scores, made, transform);
    return op.output(1, scores);
  }
  Value* best = best_class(b, scores);
  op.output(0, labels_of(op, best, "classlabels_ints", "classlabels_strings"));
  op.output(1, post_transform(b, scores, transform));
}

void import_normalizer(Op& op) {
  Emit& b = op.b;
  Value* x = b.cast(op.tensor(0), DType::kF32);
  std::string norm = op.s("norm", "MAX");
  std::vector<int64_t> last = {x->type.rank() - 1};
  Value* size = nullptr;
  if (norm == "MAX") size = b.reduce(ScalarOp::kMax, x, last, true);
  if (norm == "L1") size = b.reduce(ScalarOp::kAdd, b.unary(ScalarOp::kAbs, x), last, true);
  if (norm == "L2") size = b.unary(ScalarOp::kSqrt, b.reduce(ScalarOp::kAdd, b.mul(x, x), last, true));
  if (!size) fail("Attribute 'norm' ('{}') must be MAX, L1 or L2.", norm);
  op.output(0, b.div(x, b.select(b.compare(ScalarOp::kEq, size, 0.0), b.like(size, 1), size)));
}

void import_imputer(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  DType type = x->type.dtype;
  Value *imputed, *missing;
  if (is_float(type)) {
    double replaced = op.f("replaced_value_float", 0);
    imputed = b.floats(type, op.floats("imputed_value_floats"));
    missing = std::isnan(replaced) ? b.unary(ScalarOp::kIsNan, x) : b.compare(ScalarOp::kEq, x, replaced);
  } else {
    imputed = b.cast(b.i64s(op.ints("imputed_value_int64s")), type);
    missing = b.compare(ScalarOp::kEq, x, b.integer(type, op.i("replaced_value_int64", 0)));
  }
  op.ignore({"imputed_value_floats", "imputed_value_int64s", "replaced_value_float", "replaced_value_int64"});
  if (dimension(imputed, 0).is_const(0)) fail("There is no value to put where one is missing.");
  op.output(0, b.select(missing, imputed, x));
}

void import_one_hot_encoder(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  const std::vector<int64_t> numbers = op.ints("cats_int64s");
  const std::vector<std::string> names = op.strings("cats_strings");
  const bool text = x->type.dtype == DType::kString;
  if (text ? names.empty() : numbers.empty())
    fail("Attribute '{}' is missing, of which the elements ({}) are.", text ? "cats_strings" : "cats_int64s",
         x->type.text());
  Value* wide = b.unsqueeze(text ? x : b.cast(x, DType::kI64), {x->type.rank()});
  Value* is = b.compare(ScalarOp::kEq, wide, text ? b.strings(names) : b.i64s(numbers));
  if (op.i("zeros", 1) == 0) {
    Value* found = b.reduce(ScalarOp::kOr, is, {x->type.rank()});
    b.check(b.reduce(ScalarOp::kAnd, b.reshape(found, {product(found->type.shape)}), {0}),
            fmt::format("An element is none of the categories of node '{}'.", op.node.name()));
  }
  op.output(0, b.cast(is, DType::kF32));
}

// What attributes '<name>_int64s', '<name>_floats', '<name>_strings' or '<name>_tensor' list.
TensorDataPtr label_list(Op& op, const std::string& name) {
  std::vector<int64_t> ints = op.ints(name + "_int64s");
  std::vector<double> floats = op.floats(name + "_floats");
  std::vector<std::string> names = op.strings(name + "_strings");
  if (!names.empty()) {
    const auto count = static_cast<int64_t>(names.size());
    return TensorData::strings({count}, std::move(names));
  }
  if (!ints.empty() || !floats.empty()) {
    size_t count = std::max(ints.size(), floats.size());
    auto data = TensorData::make(ints.empty() ? DType::kF32 : DType::kI64, {static_cast<int64_t>(count)});
    for (size_t i = 0; i < count; ++i) {
      if (ints.empty()) {
        data->set_float(static_cast<int64_t>(i), floats[i]);
      } else {
        data->set_int(static_cast<int64_t>(i), ints[i]);
      }
    }
    return data;
  }
  TensorDataPtr data = op.tensor_attr(name + "_tensor");
  if (!data)
    fail("Attributes '{}_int64s', '{}_floats', '{}_strings' and '{}_tensor' are missing.", name, name, name,
         name);
  return data->reshaped({data->count()});
}

// Where a list has its different elements first; NaN is one number.
std::vector<int64_t> first_places(const TensorData& list) {
  std::vector<int64_t> places;
  std::set<int64_t> ints;
  std::set<double> floats;
  std::set<std::string> names;
  bool nan = false;
  for (int64_t i = 0; i < list.count(); ++i) {
    bool first;
    if (list.dtype() == DType::kString) {
      first = names.insert(list.string_values()[static_cast<size_t>(i)]).second;
    } else if (!is_float(list.dtype())) {
      first = ints.insert(list.int_at(i)).second;
    } else if (double v = list.float_at(i); std::isnan(v)) {
      first = !std::exchange(nan, true);
    } else {
      first = floats.insert(v).second;
    }
    if (first) places.push_back(i);
  }
  return places;
}

Value* elements_at(Emit& b, const TensorData& list, const std::vector<int64_t>& places) {
  if (list.dtype() == DType::kString) {
    std::vector<std::string> names;
    for (const int64_t i : places) names.push_back(list.string_values()[static_cast<size_t>(i)]);
    return b.strings(std::move(names));
  }
  auto data = TensorData::make(list.dtype(), {static_cast<int64_t>(places.size())});
  int width = dtype_bits(list.dtype());
  for (size_t i = 0; i < places.size(); ++i)
    store_element_bits(data->mutable_bytes().data(), width, static_cast<int64_t>(i),
                       load_element_bits(list.bytes().data(), width, places[i]));
  return b.constant(std::move(data));
}

Value* default_label(Op& op, DType type) {
  Emit& b = op.b;
  if (TensorDataPtr data = op.tensor_attr("default_tensor")) {
    if (data->count() != 1) fail("Attribute 'default_tensor' has {} elements instead of one.", data->count());
    if ((data->dtype() == DType::kString) != (type == DType::kString))
      fail("Attribute 'default_tensor' ({}) does not suit values of {}.", dtype_name(data->dtype()),
           dtype_name(type));
    Value* one = b.constant(data->reshaped({1}));
    return type == DType::kString ? one : b.cast(one, type);
  }
  if (type == DType::kString) return b.strings({op.s("default_string", "_Unused")});
  Value* one =
      is_float(type) ? b.scalar(type, op.f("default_float", 0)) : b.integer(type, op.i("default_int64", -1));
  return b.reshape(one, {Dim(1)});
}

// The value of the first key that an element equals, else the default; `nan`: NaN is a key like others.
Value* looked_up(Op& op, Value* x, const TensorData& key_list, const TensorData& value_list, bool nan) {
  Emit& b = op.b;
  if (key_list.count() != value_list.count())
    fail("{} keys have {} values.", key_list.count(), value_list.count());
  const bool text = x->type.dtype == DType::kString;
  if (text != (key_list.dtype() == DType::kString))
    fail("Elements of {} have keys of {}.", dtype_name(x->type.dtype), dtype_name(key_list.dtype()));
  const std::vector<int64_t> places = first_places(key_list);
  Value *keys = elements_at(b, key_list, places), *values = elements_at(b, value_list, places);
  if (!text) keys = b.cast(keys, x->type.dtype);
  const int64_t axis = x->type.rank();
  Value* element = b.unsqueeze(x, {axis});
  Value* is = b.compare(ScalarOp::kEq, element, keys);
  if (nan)
    is = b.map(
        ScalarOp::kOr,
        {is, b.map(ScalarOp::kAnd, {b.unary(ScalarOp::kIsNan, element), b.unary(ScalarOp::kIsNan, keys)})});
  const auto count = static_cast<int64_t>(places.size());
  // The default lies behind the values.
  Value* at = b.select(is, b.iota({Dim(count)}, 0, DType::kI64), b.i64(count));
  return b.gather(b.concat({values, default_label(op, values->type.dtype)}, 0),
                  b.reduce(ScalarOp::kMin, at, {axis}), 0);
}

void import_label_encoder(Op& op) {
  Value* x = op.tensor(0);
  TensorDataPtr keys = label_list(op, "keys"), values = label_list(op, "values");
  // Before version 4 ONNX Runtime finds no NaN.
  op.output(0, looked_up(op, x, *keys, *values, is_float(x->type.dtype) && op.version >= 4));
  op.ignore({"default_float", "default_int64", "default_string"});
}

// Strings to numbers or back.
void import_category_mapper(Op& op) {
  Value* x = op.tensor(0);
  const std::vector<int64_t> ints = op.ints("cats_int64s");
  std::vector<std::string> names = op.strings("cats_strings");
  const auto count = static_cast<int64_t>(names.size());
  auto numbers = TensorData::make(DType::kI64, {static_cast<int64_t>(ints.size())});
  for (size_t i = 0; i < ints.size(); ++i) numbers->set_int(static_cast<int64_t>(i), ints[i]);
  auto texts = TensorData::strings({count}, std::move(names));
  const bool text = x->type.dtype == DType::kString;
  op.output(0, looked_up(op, x, text ? *texts : *numbers, text ? *numbers : *texts, false));
  op.ignore({"default_int64", "default_string"});
}

// Before version 2: strings to their places in a list, or back.
void import_label_encoder_of_classes(Op& op) {
  Value* x = op.tensor(0);
  std::vector<std::string> names = op.strings("classes_strings");
  const auto count = static_cast<int64_t>(names.size());
  auto places = TensorData::make(DType::kI64, {count});
  for (int64_t i = 0; i < count; ++i) places->set_int(i, i);
  auto texts = TensorData::strings({count}, std::move(names));
  const bool text = x->type.dtype == DType::kString;
  op.output(0, looked_up(op, x, text ? *texts : *places, text ? *places : *texts, false));
  op.ignore({"default_int64", "default_string"});
}

// A row of numbers for each element of axis 0, `width` of them: what is more is left out, what is less is 0.
Value* feature_row(Emit& b, Value* x, std::optional<int64_t> width) {
  x = b.cast(x, DType::kF32);
  if (x->type.rank() < 2) x = b.reshape(x, {Dim(1), x->type.rank() == 1 ? dimension(x, 0) : Dim(1)});
  Dim have(1);
  for (int64_t a = 1; a < x->type.rank(); ++a) have = have * dimension(x, a);
  x = b.reshape(x, {dimension(x, 0), have});
  if (!width) return x;
  if (!have.is_const()) return b.adapt(x, 1, Dim(*width));
  if (have.value() >= *width) return b.slice_axis(x, 1, Dim(0), Dim(*width));
  return b.pad(x, {Dim(0), Dim(0)}, {Dim(0), Dim(*width) - have}, b.like(x, 0));
}

void import_feature_vectorizer(Op& op) {
  const std::vector<int64_t> widths = op.ints("inputdimensions");
  if (!widths.empty() && static_cast<int>(widths.size()) != op.input_count())
    fail("Attribute 'inputdimensions' has {} sizes for {} inputs.", widths.size(), op.input_count());
  std::vector<Value*> rows;
  for (int i = 0; i < op.input_count(); ++i) {
    std::optional<int64_t> width;
    if (!widths.empty()) width = widths[static_cast<size_t>(i)];
    if (width && *width < 0) fail("Attribute 'inputdimensions' has a negative size ({}).", *width);
    rows.push_back(feature_row(op.b, op.tensor(i), width));
  }
  op.output(0, op.b.concat(rows, 1));
}

// Maps from classes to scores, one a row, are nothing that compiled programs hold: they have the scores, in
// the order of the classes.
void import_zip_map(Op& op) {
  op.ignore({"classlabels_int64s", "classlabels_strings"});
  op.output(0, op.tensor(0));
  op.importer.diagnostics().warn(fmt::format(
      "'{}' is a tensor of scores, one a class in the model's order, instead of a list of maps (node '{}', "
      "ZipMap).",
      op.node.output_size() ? op.node.output(0) : "", op.node.name()));
}

constexpr OpRow kRows[] = {
    {kMl, "LinearRegressor", 1, kLatest, import_linear_regressor},
    {kMl, "LinearClassifier", 1, kLatest, import_linear_classifier},
    {kMl, "Normalizer", 1, kLatest, import_normalizer},
    {kMl, "Imputer", 1, kLatest, import_imputer},
    {kMl, "OneHotEncoder", 1, kLatest, import_one_hot_encoder},
    {kMl, "LabelEncoder", 1, 1, import_label_encoder_of_classes},
    {kMl, "LabelEncoder", 2, kLatest, import_label_encoder},
    {kMl, "FeatureVectorizer", 1, kLatest, import_feature_vectorizer},
    {kMl, "CategoryMapper", 1, kLatest, import_category_mapper},
    {kMl, "ZipMap", 1, kLatest, import_zip_map},
    {kMl, "Binarizer", 1, kLatest, import_binarizer},
    {kMl, "ArrayFeatureExtractor", 1, kLatest, import_array_feature_extractor},
    {kMl, "Scaler", 1, kLatest, import_scaler},
};

}  // namespace

std::span<const OpRow> ml_rows() {
  return kRows;
}

}  // namespace tern::onnx

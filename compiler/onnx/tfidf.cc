// TfIdfVectorizer of numbers: how often each n-gram of a pool occurs in a row.
#include <algorithm>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

// Of the pool's n-grams of one length, how often each occurs in x [N, C] with `skip` elements left out
// between two of its own: f32 [N, grams]. Null where no row is long enough.
Value* occurrences(Emit& b, Value* x, Value* grams, int64_t length, int64_t skip) {
  const Dim width = dimension(x, 1), reach((length - 1) * (skip + 1));
  if (width.is_const() && width.value() <= reach.value()) return nullptr;
  const Dim places = b.max_dim(width - reach, Dim(0));
  Value* found = nullptr;
  for (int64_t i = 0; i < length; ++i) {
    // Where places may be none the slice begins within the row all the same.
    const Dim from = b.min_dim(Dim(i * (skip + 1)), width);
    Value* here = b.unsqueeze(b.slice_axis(x, 1, from, places), {2});
    Value* gram = b.unsqueeze(b.slice_axis(grams, 1, Dim(i), Dim(1)), {0, 1});
    Value* same = b.compare(ScalarOp::kEq, here, b.reshape(gram, {Dim(1), Dim(1), dimension(grams, 0)}));
    found = found ? b.map(ScalarOp::kAnd, {found, same}) : same;
  }
  return b.reduce(ScalarOp::kAdd, b.cast(found, DType::kF32), {1});
}

// The number of occurrences of each n-gram, of all skips: [N, grams], or null where no row is long enough.
Value* all_occurrences(Emit& b, Value* x, Value* grams, int64_t length, int64_t skips) {
  constexpr int64_t kMostSkips = 255;  // each is a search of its own in the program
  Value* sum = nullptr;
  for (int64_t skip = 0; skip <= (length == 1 ? 0 : skips); ++skip) {
    Value* found = occurrences(b, x, grams, length, skip);
    if (!found) break;  // nor with longer skips
    if (skip > kMostSkips)
      fail(
          "Attribute 'max_skip_count' ({}) is the most elements that are skipped in rows of {}; at most {} "
          "are supported.",
          skips, dimension(x, 1).text(), kMostSkips);
    sum = sum ? b.add(sum, found) : found;
  }
  return sum;
}

// How many columns the places of the n-grams make.
int64_t columns_of(const std::vector<int64_t>& places) {
  constexpr int64_t kMostNumbers = 1 << 26;  // of the table from n-grams to columns
  const auto [least, most] = std::minmax_element(places.begin(), places.end());
  if (*least < 0) fail("A place of an n-gram ({}) is negative.", *least);
  if (*most >= kMostNumbers / static_cast<int64_t>(places.size()))
    fail(
        "A place of an n-gram ({}) is beyond the columns that {} n-grams may have: their table has at most "
        "{} numbers.",
        *most, places.size(), kMostNumbers);
  return *most + 1;
}

void import_tfidf(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  if (x->type.dtype == DType::kString || op.has_attr("pool_strings"))
    fail("Its words are text, which tern's programs do not hold; do this step in the application.");
  const std::string mode = op.s("mode", "");
  if (mode != "TF" && mode != "IDF" && mode != "TFIDF")
    fail("Attribute 'mode' ('{}') must be TF, IDF or TFIDF.", mode);
  const int64_t rank = x->type.rank(), longest = op.i("max_gram_length", 0),
                shortest = op.i("min_gram_length", 0), skips = op.i("max_skip_count", 0);
  const std::vector<int64_t> pool = op.ints("pool_int64s"), starts = op.ints("ngram_counts"),
                             places = op.ints("ngram_indexes");
  const std::vector<double> weights = op.floats("weights");
  if ((rank != 1 && rank != 2) || shortest < 1 || longest < shortest || skips < 0 || places.empty() ||
      (!weights.empty() && weights.size() != places.size()))
    fail("N-grams of {} to {} elements, {} places and {} weights do not fit an operand {}.", shortest,
         longest, places.size(), weights.size(), x->type.text());
  x = b.cast(rank == 1 ? b.unsqueeze(x, {0}) : x, DType::kI64);
  const int64_t columns = columns_of(places);
  Value* y = b.full({dimension(x, 0), Dim(columns)}, b.scalar(DType::kF32, 0));
  int64_t gram = 0;
  for (size_t n = 0; n < starts.size(); ++n) {
    const auto length = static_cast<int64_t>(n) + 1;
    const int64_t from = starts[n],
                  to = n + 1 < starts.size() ? starts[n + 1] : static_cast<int64_t>(pool.size()),
                  count = (to - from) / length;
    if (from < 0 || to < from || to > static_cast<int64_t>(pool.size()) || (to - from) % length != 0 ||
        gram + count > static_cast<int64_t>(places.size()))
      fail("Attribute 'ngram_counts' does not divide the {} elements of the pool in n-grams.", pool.size());
    gram += count;
    if (length < shortest || length > longest || count == 0) continue;
    Value* grams = b.reshape(b.i64s({pool.begin() + from, pool.begin() + to}), {Dim(count), Dim(length)});
    Value* sum = all_occurrences(b, x, grams, length, skips);
    if (!sum) continue;
    if (mode != "TF") {
      std::vector<double> factor(static_cast<size_t>(count), 1);
      if (!weights.empty()) std::copy_n(weights.begin() + (gram - count), count, factor.begin());
      if (mode == "IDF") sum = b.cast(b.compare(ScalarOp::kGt, sum, 0.0), DType::kF32);
      sum = b.mul(sum, b.floats(DType::kF32, factor));
    }
    std::vector<double> where(static_cast<size_t>(count * columns), 0);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t place = places[static_cast<size_t>(gram - count + i)];
      where[static_cast<size_t>(i * columns + place)] = 1;
    }
    y = b.add(y, b.dot(sum, b.floats(DType::kF32, where, {count, columns})));
  }
  op.output(0, rank == 1 ? b.squeeze(y, {0}) : y);
}

constexpr OpRow kRows[] = {
    {kOnnx, "TfIdfVectorizer", 9, kLatest, import_tfidf},
};

}  // namespace

std::span<const OpRow> tfidf_rows() {
  return kRows;
}

}  // namespace tern::onnx

// Signal processing: DFT as products with cosine and sine matrices (of long signals in two steps), STFT,
// windows, the mel matrix.
#include <cmath>
#include <numbers>

#include "compiler/onnx/common.h"
#include "compiler/onnx/families.h"

namespace tern::onnx {

namespace {

// cos or sin of 2 pi j k / n as [rows, columns]: a constant up to 2^20 elements, else computed at run time.
Value* trigonometric(Emit& b, ScalarOp op, const Dim& n, const Dim& rows, const Dim& columns, DType type) {
  if (n.is_const() && rows.is_const() && columns.is_const() && rows.value() * columns.value() <= (1 << 20)) {
    const double step = 2 * std::numbers::pi / static_cast<double>(n.value());
    std::vector<double> values;
    for (int64_t j = 0; j < rows.value(); ++j) {
      for (int64_t k = 0; k < columns.value(); ++k) {
        double angle = step * static_cast<double>(j * k % n.value());
        values.push_back(op == ScalarOp::kCos ? std::cos(angle) : std::sin(angle));
      }
    }
    return b.floats(type, values, {rows.value(), columns.value()});
  }
  Shape shape = {rows, columns};
  Value* turns = b.map(ScalarOp::kFloorMod,
                       {b.mul(b.iota(shape, 0, DType::kI64), b.iota(shape, 1, DType::kI64)), b.dim(n)});
  const DType wide = type == DType::kF64 ? type : DType::kF32;
  Value* step = b.div(b.scalar(wide, 2 * std::numbers::pi), b.cast(b.dim(n), wide));
  return b.cast(b.unary(op, b.mul(b.cast(turns, wide), step)), type);
}

struct Complex {
  Value *real = nullptr, *imaginary = nullptr;  // imaginary: null for a real signal
};

// What a row of real parts, or of real and imaginary ones behind them, is multiplied by to make n results,
// real parts first.
Value* rotations(Emit& b, int64_t n, bool complex, double sign, DType type) {
  const double step = 2 * std::numbers::pi / static_cast<double>(n);
  std::vector<double> values;
  for (int part = 0; part < (complex ? 2 : 1); ++part) {
    for (int64_t j = 0; j < n; ++j) {
      for (int to = 0; to < 2; ++to) {
        for (int64_t k = 0; k < n; ++k) {
          const double angle = step * static_cast<double>(j * k % n);
          values.push_back(part == to ? std::cos(angle) : (part == 0 ? sign : -sign) * std::sin(angle));
        }
      }
    }
  }
  return b.floats(type, values, {complex ? 2 * n : n, 2 * n});
}

// The factor of n by which a transform in two steps takes less than half the time: products of p and of n / p
// terms, and some passes between them. 0: none.
int64_t first_length(const Dim& n, const Dim& bins, bool complex) {
  constexpr int64_t kPasses = 96;  // multiply-adds' worth an element
  // The file holds the factors' matrices: 4 MB, of f32, of the longest factor.
  constexpr int64_t kMost = 1 << 16, kLongestFactor = 512;
  if (!n.is_const() || !bins.is_const() || n.value() > kMost) return 0;
  int64_t p = static_cast<int64_t>(std::sqrt(static_cast<double>(n.value())));
  while (p > 1 && n.value() % p != 0) --p;
  if (n.value() > p * kLongestFactor) return 0;
  const int64_t steps = (complex ? 4 : 2) * p + 4 * (n.value() / p) + kPasses;
  return p > 1 && 2 * steps <= (complex ? 4 : 2) * bins.value() ? p : 0;
}

// Of n = p q results (Cooley and Tukey): element j1 q + j2 and result k1 + p k2. Transforms over j1, turned
// by j2 k1 / n, then transforms over j2.
Complex transform_in_steps(Emit& b, const Complex& x, int64_t n, int64_t p, double sign) {
  const int64_t q = n / p, rank = x.real->type.rank() + 1;
  const DType type = x.real->type.dtype;
  std::vector<int64_t> turned;
  for (int64_t d = 0; d < rank; ++d) turned.push_back(d);
  std::swap(turned[static_cast<size_t>(rank - 1)], turned[static_cast<size_t>(rank - 2)]);
  Shape split = x.real->type.shape;
  split.back() = Dim(p);
  split.push_back(Dim(q));
  const auto lines = [&](Value* v) { return b.transpose(b.reshape(v, split), turned); };
  const auto halves = [&](Value* v, int64_t length) {
    return Complex{b.slice_axis(v, rank - 1, Dim(0), Dim(length)),
                   b.slice_axis(v, rank - 1, Dim(length), Dim(length))};
  };
  Value* rows = x.imaginary ? b.concat({lines(x.real), lines(x.imaginary)}, rank - 1) : lines(x.real);
  const Complex y = halves(matmul(b, rows, rotations(b, p, x.imaginary != nullptr, sign, type)), p);
  std::vector<double> cosines, sines;
  for (int64_t j = 0; j < q; ++j) {
    for (int64_t k = 0; k < p; ++k) {
      const double angle = 2 * std::numbers::pi / static_cast<double>(n) * static_cast<double>(j * k);
      cosines.push_back(std::cos(angle));
      sines.push_back(sign * std::sin(angle));
    }
  }
  Value *cosine = b.floats(type, cosines, {q, p}), *sine = b.floats(type, sines, {q, p});
  Value* real = b.sub(b.mul(y.real, cosine), b.mul(y.imaginary, sine));
  Value* imaginary = b.add(b.mul(y.real, sine), b.mul(y.imaginary, cosine));
  rows = b.concat({b.transpose(real, turned), b.transpose(imaginary, turned)}, rank - 1);
  const Complex z = halves(matmul(b, rows, rotations(b, q, true, sign, type)), q);
  const auto in_line = [&](Value* v) { return b.reshape(b.transpose(v, turned), x.real->type.shape); };
  return {in_line(z.real), in_line(z.imaginary)};
}

// The transform along the last axis of length n to its first `bins` results.
Complex transform(Emit& b, Complex x, const Dim& n, const Dim& bins, bool inverse) {
  DType type = x.real->type.dtype;
  const Dim rows = last_dimension(x.real);
  const double sign = inverse ? 1 : -1;
  Complex y;
  if (const int64_t p = rows == n ? first_length(n, bins, x.imaginary != nullptr) : 0; p > 0) {
    y = transform_in_steps(b, x, n.value(), p, sign);
    const auto first = [&](Value* v) { return b.slice_axis(v, v->type.rank() - 1, Dim(0), bins); };
    if (bins != n) y = {first(y.real), first(y.imaginary)};
  } else {
    Value* cosine = trigonometric(b, ScalarOp::kCos, n, rows, bins, type);
    Value* sine = trigonometric(b, ScalarOp::kSin, n, rows, bins, type);
    y = {matmul(b, x.real, cosine), b.mul(matmul(b, x.real, sine), sign)};
    if (x.imaginary) {
      y.real = b.sub(y.real, b.mul(matmul(b, x.imaginary, sine), sign));
      y.imaginary = b.add(y.imaginary, matmul(b, x.imaginary, cosine));
    }
  }
  if (inverse) {
    Value* count = b.cast(b.dim(n), type);
    y.real = b.div(y.real, count);
    y.imaginary = b.div(y.imaginary, count);
  }
  return y;
}

// [.., n, 1 or 2] to its parts [.., n].
Complex parts(Emit& b, Value* x) {
  int64_t last = x->type.rank() - 1;
  const Dim& width = last_dimension(x);
  if (!width.is_const(1) && !width.is_const(2))
    fail("The last dimension of {} is neither 1 (real) nor 2 (complex).", x->type.text());
  auto part = [&](int64_t i) { return b.squeeze(b.slice_axis(x, last, Dim(i), Dim(1)), {last}); };
  return {part(0), width.is_const(2) ? part(1) : nullptr};
}

Value* interleave(Emit& b, const Complex& x) {
  int64_t rank = x.real->type.rank();
  return b.concat({b.unsqueeze(x.real, {rank}), b.unsqueeze(x.imaginary, {rank})}, rank);
}

// x cut or padded with zeros to n along the axis.
Value* fit(Emit& b, Value* x, int64_t axis, const Dim& n) {
  const Dim have = dimension(x, axis), kept = b.min_dim(have, n);
  x = b.slice_axis(x, axis, Dim(0), kept);
  Shape low(x->type.shape.size(), Dim(0)), high = low;
  high[static_cast<size_t>(axis)] = n - kept;
  return kept == n ? x : b.pad(x, low, high, b.like(x, 0));
}

// How many results of n a one-sided spectrum has.
Dim one_side(const Dim& n) {
  return floordiv(n, Dim(2)) + Dim(1);
}

// A one-sided spectrum mirrored to its full length: x[n - k] is the conjugate of x[k].
Complex mirrored(Emit& b, const Complex& x, const Dim& n) {
  const int64_t axis = x.real->type.rank() - 1;
  const Dim missing = n - last_dimension(x.real);
  if (missing.is_const() && missing.value() <= 0) return x;
  auto mirror = [&](Value* v) { return b.slice_axis(v, axis, missing, missing, -1); };
  return {b.concat({x.real, mirror(x.real)}, axis),
          b.concat({x.imaginary, b.unary(ScalarOp::kNeg, mirror(x.imaginary))}, axis)};
}

struct DftMode {
  bool inverse, one_sided;
  std::optional<Dim> length;  // none: the axis's own
  bool to_real() const { return inverse && one_sided; }
  Dim bins(const Dim& n) const { return one_sided && !inverse ? one_side(n) : n; }
};

Dim dft_length(const DftMode& mode, const Dim& extent) {
  if (mode.length) return *mode.length;
  return mode.to_real() ? Dim(2) * (extent - Dim(1)) : extent;
}

Value* dft(Emit& b, Value* x, const DftMode& mode, int64_t axis) {
  int64_t part_rank = x->type.rank() - 1;
  const Dim n = dft_length(mode, dimension(x, axis));
  if (n.is_const() && (n.value() < 1 || n.value() > (1 << 24)))
    fail("A transform of length {} is not supported.", n.value());
  b.require(ScalarOp::kGe, n, Dim(1),
            fmt::format("A transform's length ({}) is less than 1 for these input shapes.", n.text()));
  x = fit(b, x, axis, mode.to_real() ? one_side(n) : n);
  Complex signal = parts(b, x);
  for (Value** v : {&signal.real, &signal.imaginary})
    if (*v) *v = b.transpose(*v, axis_to_end(part_rank, axis, false));
  if (mode.to_real()) {
    if (!signal.imaginary) signal.imaginary = b.full(signal.real->type.shape, b.like(signal.real, 0));
    signal = mirrored(b, signal, n);
  }
  Complex spectrum = transform(b, signal, n, mode.bins(n), mode.inverse);
  spectrum.real = b.transpose(spectrum.real, axis_to_end(part_rank, axis, true));
  spectrum.imaginary = b.transpose(spectrum.imaginary, axis_to_end(part_rank, axis, true));
  return mode.to_real() ? b.unsqueeze(spectrum.real, {part_rank}) : interleave(b, spectrum);
}

// An axis that is known at run time only: one `if` for each that may give the stated shape.
Value* dft_at_run_time(Op& op, Value* x, const DftMode& mode) {
  Emit& b = op.b;
  int64_t rank = x->type.rank();
  auto stated = op.declared_dims(0);
  if (!product(op.tensor(2)->type.shape).is_const(1))
    fail("The axis ({}) is not one number.", op.tensor(2)->type.text());
  Value* axis = as_i64(b, op.tensor(2));
  axis = b.select(b.compare(ScalarOp::kLt, axis, 0.0), b.add(axis, b.i64(rank)), axis);
  std::vector<SwitchCase> cases;
  for (int64_t a = 0; a + 1 < rank; ++a) {
    auto at = static_cast<size_t>(a);
    Shape result = x->type.shape;
    result[at] = mode.bins(dft_length(mode, result[at]));
    result.back() = Dim(mode.to_real() ? 1 : 2);
    if (!stated || !is_static(result) || static_dims(result) == *stated)
      cases.push_back({{a}, [=](Emit& e) { return std::vector<Value*>{dft(e, x, mode, a)}; }});
  }
  if (cases.empty()) fail("No axis gives the output's stated shape.");
  return switch_over(b, axis, cases)[0];
}

void import_dft(Op& op) {
  Value* x = op.tensor(0);
  int64_t rank = x->type.rank();
  if (rank < 2) fail("The operand ({}) has less than two dimensions.", x->type.text());
  DftMode mode{op.i("inverse", 0) != 0, op.i("onesided", 0) != 0, std::nullopt};
  if (op.has(1)) {
    Value* length = op.tensor(1);
    if (!product(length->type.shape).is_const(1))
      fail("The length ({}) is not one number.", length->type.text());
    mode.length = op.b.dims(op.b.reshape(length, {Dim(1)}))[0];
  }
  int64_t axis = op.version >= 20 ? -2 : op.i("axis", 1);
  if (op.version >= 20 && op.has(2)) {
    const auto known = op.known_number(2, "axis");
    if (!known) return op.output(0, dft_at_run_time(op, x, mode));
    axis = *known;
  }
  axis = op.axis(axis, rank);
  if (axis == rank - 1) fail("The last axis holds real and imaginary parts and cannot be transformed.");
  op.output(0, dft(op.b, x, mode, axis));
}

Value* stft(Emit& b, Value* x, Value* step, Value* window, int64_t length, const Dim& frames,
            bool one_sided) {
  Shape grid = {frames, Dim(length)};
  Value* index = b.add(b.mul(b.iota(grid, 0, DType::kI64), step), b.iota(grid, 1, DType::kI64));
  Complex signal = parts(b, b.gather(x, index, 1));  // [B, frames, length]
  if (window) {
    signal.real = b.mul(signal.real, window);
    if (signal.imaginary) signal.imaginary = b.mul(signal.imaginary, window);
  }
  return interleave(b, transform(b, signal, Dim(length), Dim(one_sided ? length / 2 + 1 : length), false));
}

// The frame's length: the window's, the input's, or what the stated number of bins allows (one or two
// values).
std::vector<int64_t> frame_lengths(Op& op, Value* window, bool one_sided) {
  op.has(3);  // beside a window it says the same
  if (window && window->type.shape.size() == 1 && dimension(window, 0).is_const())
    return {dimension(window, 0).value()};
  if (const auto known = op.known_number(3, "frame's length")) return {*known};
  auto stated = op.declared_dims(0);
  if (!stated || stated->size() != 4) return op.constant_ints(3, "frame_length");
  int64_t bins = (*stated)[2];
  if (!one_sided) return {bins};
  return {2 * (bins - 1), 2 * bins - 1};
}

void import_stft(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  if (x->type.rank() == 2) x = b.unsqueeze(x, {2});
  if (x->type.rank() != 3) fail("The signal ({}) does not have three dimensions.", x->type.text());
  bool one_sided = op.i("onesided", 1) != 0;
  Value* window = op.has(2) ? op.tensor(2) : nullptr;
  auto stated = op.declared_dims(0);
  Value* step = b.reshape(b.cast(op.tensor(1), DType::kI64), {});
  std::vector<SwitchCase> cases;
  for (int64_t length : frame_lengths(op, window, one_sided)) {
    if (length < 1 || length > (1 << 24)) fail("A frame of {} samples is not supported.", length);
    Value* count = b.add(b.div(b.sub(b.dim(dimension(x, 1)), b.i64(length)), step), b.i64(1));
    auto known = b.known_dims(count);
    Dim frames = known ? (*known)[0] : stated && stated->size() == 4 ? Dim((*stated)[1]) : b.dims(count)[0];
    cases.push_back({{length}, [=](Emit& e) {
                       return std::vector<Value*>{stft(e, x, step, window, length, frames, one_sided)};
                     }});
  }
  if (cases.size() == 1) return op.output(0, cases[0].build(b)[0]);
  op.output(0, switch_over(b, as_i64(b, op.tensor(3)), cases)[0]);
}

// a0 - a1 cos(2 pi i / N) + a2 cos(4 pi i / N), N the size or, symmetric, one less.
void window(Op& op, double a0, double a1, double a2) {
  Emit& b = op.b;
  DType type = op.dtype_attr("output_datatype").value_or(DType::kF32);
  bool periodic = op.i("periodic", 1) != 0;
  Value* size = b.reshape(b.cast(op.tensor(0), DType::kI64), {Dim(1)});
  Dim count = op.sizes(size, 0)[0];
  Value* length = b.cast(b.dim(periodic ? count : count - Dim(1)), DType::kF32);
  Value* angle = b.div(b.mul(b.iota({count}, 0, DType::kF32), 2 * std::numbers::pi), length);
  Value* y = b.sub(b.scalar(DType::kF32, a0), b.mul(b.unary(ScalarOp::kCos, angle), a1));
  if (a2 != 0) y = b.add(y, b.mul(b.unary(ScalarOp::kCos, b.mul(angle, 2.0)), a2));
  op.output(0, b.cast(y, type));
}

void import_hann(Op& op) {
  window(op, 0.5, 0.5, 0);
}
void import_hamming(Op& op) {
  window(op, 25.0 / 46, 21.0 / 46, 0);
}
void import_blackman(Op& op) {
  window(op, 0.42, 0.5, 0.08);
}

// Triangles that are equally wide on the mel scale, as [bins, bands]; all arguments may come at run time when
// the model states the result's shape.
void import_mel(Op& op) {
  Emit& b = op.b;
  DType type = op.dtype_attr("output_datatype").value_or(DType::kF32);
  auto number = [&](int i, DType t) { return b.reshape(b.cast(op.tensor(i), t), {}); };
  Value *bands = number(0, DType::kI64), *length = number(1, DType::kI64), *rate = number(2, DType::kI64);
  Value *low = number(3, DType::kF64), *high = number(4, DType::kF64);
  Value* bins = b.add(b.div(length, b.i64(2)), b.i64(1));
  Shape shape = op.sizes(b.concat({b.reshape(bins, {Dim(1)}), b.reshape(bands, {Dim(1)})}, 0), 0);
  auto mel = [&](Value* hertz) {
    return b.mul(b.unary(ScalarOp::kLog, b.add(b.div(hertz, 700.0), 1.0)), 2595 / std::numbers::ln10);
  };
  Value *low_mel = mel(low), *high_mel = mel(high);
  Value* step = b.div(b.sub(high_mel, low_mel), b.cast(b.add(bands, 2.0), DType::kF64));
  Dim edges = shape[1] + Dim(2);
  Value* edge_mel = b.add(b.mul(b.iota({edges}, 0, DType::kF64), step), low_mel);
  Value* edge_hertz = b.mul(b.unary(ScalarOp::kExpm1, b.mul(edge_mel, std::numbers::ln10 / 2595)), 700.0);
  Value* scaled =
      b.div(b.mul(edge_hertz, b.cast(b.add(length, 1.0), DType::kF64)), b.cast(rate, DType::kF64));
  Value* edge_bin = b.cast(b.unary(ScalarOp::kFloor, scaled), DType::kI64);
  Value* bin = b.unsqueeze(b.iota({shape[0]}, 0, DType::kI64), {1});
  auto edge = [&](int64_t i) { return b.unsqueeze(b.slice_axis(edge_bin, 0, Dim(i), shape[1]), {0}); };
  Value *left = edge(0), *centre = edge(1), *right = edge(2);
  auto real = [&](Value* v) { return b.cast(v, DType::kF64); };
  auto between = [&](Value* from, ScalarOp from_op, ScalarOp to_op, Value* to) {
    return b.map(ScalarOp::kAnd, {b.map(from_op, {bin, from}), b.map(to_op, {bin, to})});
  };
  Value* rise_width = b.sub(centre, left);
  Value* rise = b.div(real(b.sub(bin, left)), b.max(real(rise_width), b.scalar(DType::kF64, 1)));
  Value* fall = b.div(real(b.sub(right, bin)), b.max(real(b.sub(right, centre)), b.scalar(DType::kF64, 1)));
  Value* zero = b.scalar(DType::kF64, 0);
  Value* y = b.select(between(left, ScalarOp::kGe, ScalarOp::kLe, centre), rise, zero);
  y = b.select(between(centre, ScalarOp::kGe, ScalarOp::kLt, right), fall, y);
  Value* point =
      b.map(ScalarOp::kAnd, {b.compare(ScalarOp::kEq, rise_width, 0.0), b.map(ScalarOp::kEq, {bin, centre})});
  y = b.select(point, b.scalar(DType::kF64, 1), y);
  op.output(0, b.cast(y, type));
}

// com.microsoft's transforms of real signals, over the last `signal_ndim` axes: the last one is one-sided.
int64_t signal_axes(Op& op, int64_t axes) {
  const int64_t count = op.i("signal_ndim", 1);
  if (count < 1 || count > axes) fail("Attribute 'signal_ndim' ({}) must be from 1 to {}.", count, axes);
  if (op.i("onesided", 1) != 1 || op.i("normalized", 0) != 0)
    fail("Attributes 'onesided' and 'normalized' must be 1 and 0.");
  return count;
}

void import_rfft(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  const int64_t rank = x->type.rank(), count = signal_axes(op, rank);
  Value* y = dft(b, b.unsqueeze(x, {rank}), {false, true, {}}, rank - 1);
  for (int64_t a = rank - 2; a >= rank - count; --a) y = dft(b, y, {false, false, {}}, a);
  op.output(0, y);
}

void import_irfft(Op& op) {
  Emit& b = op.b;
  Value* x = op.tensor(0);
  const int64_t rank = x->type.rank() - 1;  // without the pairs
  const int64_t count = signal_axes(op, rank);
  for (int64_t a = rank - count; a < rank - 1; ++a) x = dft(b, x, {true, false, {}}, a);
  op.output(0, b.squeeze(dft(b, x, {true, true, {}}, rank - 1), {rank}));
}

constexpr OpRow kRows[] = {
    {kOnnx, "DFT", 17, kLatest, import_dft},
    {kMicrosoft, "Rfft", 1, kLatest, import_rfft},
    {kMicrosoft, "Irfft", 1, kLatest, import_irfft},
    {kOnnx, "STFT", 17, kLatest, import_stft},
    {kOnnx, "HannWindow", 17, kLatest, import_hann},
    {kOnnx, "HammingWindow", 17, kLatest, import_hamming},
    {kOnnx, "BlackmanWindow", 17, kLatest, import_blackman},
    {kOnnx, "MelWeightMatrix", 17, kLatest, import_mel},
};

}  // namespace

std::span<const OpRow> signal_rows() {
  return kRows;
}

}  // namespace tern::onnx

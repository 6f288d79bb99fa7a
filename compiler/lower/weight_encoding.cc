#include "compiler/lower/weight_encoding.h"

#include "compiler/lower/encoding_steps.h"

namespace tern::lower {

bool WeightEncoding::has_inverse() const {
  return kind == Kind::kPairs || (kind == Kind::kBytes && batch * k * n % kByteGroup == 0 && has_axes(*this));
}

namespace {

std::shared_ptr<WeightEncoding> encoding_of(WeightEncoding::Kind kind, DType dtype,
                                            const PanelSource& source) {
  auto encoding = std::make_shared<WeightEncoding>();
  encoding->kind = kind;
  encoding->dtype = dtype;
  encoding->batch = source.batch;
  encoding->k = source.k;
  encoding->n = source.n;
  return encoding;
}

}  // namespace

std::shared_ptr<const WeightEncoding> pair_encoding(const TensorDataPtr& weights, const PanelSource& source) {
  auto encoding = encoding_of(WeightEncoding::Kind::kPairs, DType::kBF16, source);
  encoding->panels = [weights, source] { return pack_panels(*weights, source, DType::kBF16); };
  return encoding;
}

std::shared_ptr<const WeightEncoding> byte_encoding(const TensorDataPtr& weights, const PanelSource& source) {
  auto encoding = encoding_of(WeightEncoding::Kind::kBytes, DType::kI8, source);
  encoding->element = source.element;
  encoding->panels = [weights] { return weights; };
  return encoding;
}

std::shared_ptr<const WeightEncoding> with_steps_last(const WeightEncoding& e) {
  if (e.kind != WeightEncoding::Kind::kBytes || e.batch != 1 || e.steps_last) return nullptr;
  if (e.k > 1 && e.element(0, 1, 0) == 1) return nullptr;  // they are
  auto turned = std::make_shared<WeightEncoding>(e);
  turned->steps_last = true;
  turned->panels = [weights = e.panels(), element = e.element, k = e.k, n = e.n] {
    auto out = TensorData::make(DType::kI8, {n, k});
    auto* to = out->mutable_as<int8_t>();
    for (int64_t column = 0; column < n; ++column) {
      for (int64_t step = 0; step < k; ++step) *to++ = weights->as<int8_t>()[element(0, step, column)];
    }
    return TensorDataPtr(std::move(out));
  };
  return turned;
}

Step derive_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program, int from,
                 int to, bool from_pairs) {
  TERN_CHECK(e.kind == WeightEncoding::Kind::kMatrix, "an encoding that is not computed from panels");
  return matrix_step(e, target, program, from, to, from_pairs);
}

Step derive_panels_step(const WeightEncoding& e, const Target& target, const LoweredProgram& program,
                        int from, int to) {
  if (e.kind == WeightEncoding::Kind::kBytes) return bytes_step(e, target, program, from, to);
  TERN_CHECK(e.has_inverse(), "panels of weights that have none");
  return panels_from_pairs_step(e, target, program, from, to);
}

}  // namespace tern::lower

#include "compiler/lower/packing.h"

#include "compiler/lower/contraction_schedule.h"
#include "compiler/support/small_float.h"

namespace tern::lower {
namespace {

// Reads elements of any float type as f32, f32 itself without conversion.
class FloatReader {
 public:
  explicit FloatReader(const TensorData& data)
      : data_(data), f32_(data.dtype() == DType::kF32 ? data.as<float>() : nullptr) {}
  float operator()(int64_t i) const { return f32_ ? f32_[i] : static_cast<float>(data_.float_at(i)); }

 private:
  const TensorData& data_;
  const float* f32_;
};

// `element`: what is stored of the weight at a flat index.
template <typename T, typename Element>
void fill_panels(T* to, const PanelSource& s, Element element) {
  const int64_t panels = (s.n + kPanelColumns - 1) / kPanelColumns;
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t columns = std::min<int64_t>(kPanelColumns, s.n - p * kPanelColumns);
      for (int64_t k = 0; k < s.k; ++k, to += kPanelColumns) {
        for (int64_t c = 0; c < columns; ++c) {
          const int64_t at = s.element(b, k, p * kPanelColumns + c);
          if (at >= 0) to[c] = element(at);
        }
      }
    }
  }
}

}  // namespace

TensorDataPtr pack_panels(const TensorData& weights, const PanelSource& s, DType stored) {
  const int64_t panels = (s.n + kPanelColumns - 1) / kPanelColumns;
  auto out = TensorData::make(stored, {s.batch, panels, s.k, kPanelColumns});
  const FloatReader read(weights);
  if (stored == DType::kF16) {
    fill_panels(out->mutable_as<uint16_t>(), s, [&](int64_t i) { return encode_f16(read(i)); });
  } else if (stored == DType::kBF16) {
    fill_panels(out->mutable_as<uint16_t>(), s, [&](int64_t i) { return encode_bf16(read(i)); });
  } else if (stored == DType::kF64) {
    fill_panels(out->mutable_as<double>(), s, [&](int64_t i) { return weights.float_at(i); });
  } else if (!is_float(stored) && dtype_bits(stored) == 64) {
    fill_panels(out->mutable_as<int64_t>(), s, [&](int64_t i) { return weights.int_at(i); });
  } else if (!is_float(stored) && dtype_bits(stored) == 32) {
    fill_panels(out->mutable_as<int32_t>(), s,
                [&](int64_t i) { return static_cast<int32_t>(weights.int_at(i)); });
  } else {
    TERN_CHECK(stored == DType::kF32, "panels of {}", dtype_name(stored));
    fill_panels(out->mutable_as<float>(), s, read);
  }
  return out;
}

TensorDataPtr pack_rows(const TensorData& weights, const PanelSource& s, int64_t padded) {
  auto out = TensorData::make(DType::kF32, {s.batch, s.n, padded});  // zero-filled
  auto* to = out->mutable_as<float>();
  const FloatReader read(weights);
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t n = 0; n < s.n; ++n)
      for (int64_t k = 0; k < s.k; ++k) to[(b * s.n + n) * padded + k] = read(s.element(b, k, n));
  }
  return out;
}

TensorDataPtr pack_bf16_pairs(const TensorData& weights, const PanelSource& s) {
  const int64_t panels = (s.n + kPanelColumns - 1) / kPanelColumns, pairs = (s.k + 1) / 2;
  auto out = TensorData::make(DType::kU32, {s.batch, panels, pairs, kPanelColumns});
  auto* to = out->mutable_as<uint32_t>();
  const FloatReader read(weights);
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t columns = std::min<int64_t>(kPanelColumns, s.n - p * kPanelColumns);
      for (int64_t k = 0; k < s.k; ++k) {
        uint32_t* const row = to + ((b * panels + p) * pairs + k / 2) * kPanelColumns;
        for (int64_t c = 0; c < columns; ++c)
          row[c] |= uint32_t{encode_bf16(read(s.element(b, k, p * kPanelColumns + c)))} << (16 * (k % 2));
      }
    }
  }
  return out;
}

TensorDataPtr pack_byte_panels(const TensorData& weights, const PanelSource& s) {
  const int64_t panels = (s.n + kPanelColumns - 1) / kPanelColumns,
                steps = (s.k + kByteGroup - 1) / kByteGroup;
  auto out = TensorData::make(DType::kI8, {s.batch, panels, steps, kPanelColumns, kByteGroup});
  auto* to = out->mutable_as<int8_t>();
  const auto* from = weights.as<int8_t>();
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t p = 0; p < panels; ++p) {
      const int64_t columns = std::min<int64_t>(kPanelColumns, s.n - p * kPanelColumns);
      for (int64_t step = 0; step < steps; ++step, to += kPanelColumns * kByteGroup) {
        const int64_t left = std::min<int64_t>(kByteGroup, s.k - step * kByteGroup);
        for (int64_t c = 0; c < columns; ++c) {
          for (int64_t i = 0; i < left; ++i)
            to[c * kByteGroup + i] = from[s.element(b, step * kByteGroup + i, p * kPanelColumns + c)];
        }
      }
    }
  }
  return out;
}

TensorDataPtr pack_byte_sums(const TensorData& weights, const PanelSource& s, int64_t factor) {
  const int64_t panels = (s.n + kPanelColumns - 1) / kPanelColumns;
  auto out = TensorData::make(DType::kI32, {s.batch, panels * kPanelColumns});  // zero-filled
  auto* to = out->mutable_as<int32_t>();
  const auto* from = weights.as<int8_t>();
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t n = 0; n < s.n; ++n) {
      int64_t sum = 0;
      for (int64_t k = 0; k < s.k; ++k) sum += from[s.element(b, k, n)];
      to[b * panels * kPanelColumns + n] = static_cast<int32_t>(sum * factor);
    }
  }
  return out;
}

namespace {

template <typename T, typename Element>
TensorDataPtr fill_matrix(const PanelSource& s, DType dtype, const Element& element) {
  constexpr int64_t kWidth = 128 / sizeof(T), kChunk = kWidth / 8;
  const int64_t rows = (s.n + 7) / 8 * 8, k_blocks = (s.k + kWidth - 1) / kWidth;
  auto out = TensorData::make(dtype, {s.batch, k_blocks, rows, kWidth});  // zero-filled
  auto* to = out->mutable_as<T>();
  for (int64_t b = 0; b < s.batch; ++b) {
    for (int64_t n = 0; n < s.n; ++n) {
      for (int64_t k = 0; k < s.k; ++k) {
        const int64_t from = s.element(b, k, n);
        if (from < 0) continue;
        const int64_t row = (b * k_blocks + k / kWidth) * rows + n;
        to[row * kWidth + ((k % kWidth / kChunk) ^ (n % 8)) * kChunk + k % kChunk] = element(from);
      }
    }
  }
  return out;
}

}  // namespace

TensorDataPtr pack_matrix(const TensorData& weights, const PanelSource& s, DType dtype) {
  if (dtype == DType::kI8) {
    const auto* bytes = weights.as<int8_t>();
    return fill_matrix<int8_t>(s, dtype, [&](int64_t from) { return bytes[from]; });
  }
  const FloatReader read(weights);
  if (dtype == DType::kF32)
    return fill_matrix<float>(s, dtype, [&](int64_t from) { return round_tf32(read(from)); });
  TERN_CHECK(dtype == DType::kF16 || dtype == DType::kBF16, "matrix units read {}", dtype_name(dtype));
  const auto encode = dtype == DType::kF16 ? encode_f16 : encode_bf16;
  return fill_matrix<uint16_t>(s, dtype, [&](int64_t from) { return encode(read(from)); });
}

TensorDataPtr pack_depthwise(const TensorData& weights, int64_t channels, int64_t taps, int64_t granule) {
  const int64_t padded = (channels + granule - 1) / granule * granule;
  auto out = TensorData::make(DType::kF32, {taps, padded});
  float* to = out->mutable_as<float>();
  const FloatReader read(weights);
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t t = 0; t < taps; ++t) to[t * padded + c] = read(c * taps + t);
  }
  return out;
}

TensorDataPtr pack_groups(const TensorData& weights, int64_t channels, int64_t inputs, int64_t taps) {
  const int64_t blocks = (channels + kPanelColumns - 1) / kPanelColumns;
  auto out = TensorData::make(DType::kF32, {blocks, taps, inputs, kPanelColumns});
  float* to = out->mutable_as<float>();
  const FloatReader read(weights);
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < inputs; ++i) {
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t row = (c / kPanelColumns * taps + t) * inputs + i;
        to[row * kPanelColumns + c % kPanelColumns] = read((c * inputs + i) * taps + t);
      }
    }
  }
  return out;
}

TensorDataPtr pack_group_pairs(const TensorData& weights, int64_t channels, int64_t inputs, int64_t taps) {
  const int64_t blocks = (channels + kPanelColumns - 1) / kPanelColumns;
  auto out = TensorData::make(DType::kI16, {blocks, taps, inputs / 2, kPanelColumns, 2});  // zero-filled
  auto* to = out->mutable_as<int16_t>();
  const auto* from = weights.as<int8_t>();
  for (int64_t c = 0; c < channels; ++c) {
    for (int64_t i = 0; i < inputs; ++i) {
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t row = (c / kPanelColumns * taps + t) * (inputs / 2) + i / 2;
        to[(row * kPanelColumns + c % kPanelColumns) * 2 + i % 2] = from[(c * inputs + i) * taps + t];
      }
    }
  }
  return out;
}

TensorDataPtr pack_channel_sums(const TensorData& weights, int64_t channels, int64_t factor) {
  const int64_t padded = (channels + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  auto out = TensorData::make(DType::kI32, {padded});  // zero-filled
  auto* to = out->mutable_as<int32_t>();
  const auto* from = weights.as<int8_t>();
  const int64_t each = weights.count() / channels;
  for (int64_t i = 0; i < channels * each; ++i) to[i / each] += static_cast<int32_t>(factor) * from[i];
  return out;
}

// The number of the vector of all channels that a row's group reads.
int64_t depthwise_byte_vector(const DepthwiseShape& s, int64_t ky, int64_t shift, int64_t group) {
  int64_t row = 0, before = 0;
  for (int64_t x = 0; x < DepthwiseBytes::shifts(s); ++x) {
    if (x < shift) before += DepthwiseBytes::groups(s, x);
    row += DepthwiseBytes::groups(s, x);
  }
  return ky * row + before + group;
}

TensorDataPtr pack_depthwise_bytes(const TensorData& weights, const DepthwiseShape& s) {
  const int64_t channels = s.channels.value();
  const int64_t padded = (channels + kPanelColumns - 1) / kPanelColumns * kPanelColumns;
  auto out = TensorData::make(DType::kI8, {depthwise_byte_vector(s, s.window_h, 0, 0), padded, kByteGroup});
  auto* to = out->mutable_as<int8_t>();
  const auto* from = weights.as<int8_t>();
  for (int64_t ky = 0; ky < s.window_h; ++ky) {
    for (int64_t shift = 0; shift < DepthwiseBytes::shifts(s); ++shift) {
      for (int64_t kx = 0; kx < s.window_w; ++kx) {
        const int64_t place = kx + shift;
        const int64_t vector = depthwise_byte_vector(s, ky, shift, place / kByteGroup);
        for (int64_t c = 0; c < channels; ++c)
          to[(vector * padded + c) * kByteGroup + place % kByteGroup] =
              from[(c * s.window_h + ky) * s.window_w + kx];
      }
    }
  }
  return out;
}

}  // namespace tern::lower

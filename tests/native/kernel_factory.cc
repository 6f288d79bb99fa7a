#include "tests/native/kernel_factory.h"

#include <bit>
#include <cmath>
#include <cstring>

#include "compiler/kernel/assign_scratch.h"
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/simplify.h"
#include "compiler/kernel/vectorize.h"
#include "schemas/abi/kernel_abi.h"

namespace tern::test {

using namespace kernel;

Buffer input_buffer(const std::string& name, DType dtype) {
  return make_buffer(name, {dtype, 1}, Scope::kGlobal, Access::kRead);
}

Kernel elementwise_kernel(const std::string& name, const std::vector<Buffer>& inputs, DType out, const Var& i,
                          const Expr& value, int lanes) {
  Kernel k;
  k.name = name;
  k.bindings = inputs;
  Buffer y = make_buffer("y", {out, 1}, Scope::kGlobal, Access::kWrite);
  k.bindings.push_back(y);
  Stmt l = loop(i, int_const(0), int_const(kCaseElements), LoopKind::kSerial, {store(y, var_expr(i), value)});
  k.body = lanes > 1 ? vectorize_loop(l, lanes) : std::vector<Stmt>{l};
  simplify(k);
  assign_scratch(k);
  std::string problems = verify(k);
  TERN_CHECK(problems.empty(), "{}\n{}", problems, print_kernel(k));
  return k;
}

namespace {

double random_float(DType dtype, std::mt19937& random) {
  static const double kSpecial[] = {0.0,     -0.0,    1.0,   -1.0,          0.5,   2.0,   3.0,
                                    1e30,    -1e30,   1e-40, -1e-39,        127.5, 128.0, -128.5,
                                    65504.0, 70000.0, 1e-7,  2.147483648e9, -3e9,  1e19};
  static const double kExtreme[] = {INFINITY, -INFINITY, NAN, 1e300};
  switch (random() % 8) {
    case 0:
      return kSpecial[random() % std::size(kSpecial)];
    case 1:
      return kExtreme[random() % std::size(kExtreme)];
    case 2: {
      if (dtype == DType::kF64) return std::bit_cast<double>(uint64_t{random()} << 32 | random());
      return std::bit_cast<float>(static_cast<uint32_t>(random()));
    }
    case 3:
      return static_cast<double>(static_cast<int>(random() % 21) - 10);
    default:
      return (static_cast<double>(random() % 2000001) - 1e6) / 1e5;
  }
}

}  // namespace

std::vector<uint8_t> random_bytes(DType dtype, int64_t elements, std::mt19937& random) {
  std::vector<uint8_t> bytes(static_cast<size_t>(dtype_storage_bytes(dtype, elements)) + 16);
  for (int64_t k = 0; k < elements; ++k) {
    scalar::ScalarValue v;
    switch (dtype_kind(dtype)) {
      case DTypeKind::kFloat:
        v = scalar::scalar_from_double(dtype, random_float(dtype, random));
        break;
      case DTypeKind::kComplex:
        v = scalar::scalar_from_double(dtype, (random() % 41) / 4.0 - 5);
        v.imaginary = (random() % 41) / 4.0 - 5;
        break;
      case DTypeKind::kBool:
        v = scalar::scalar_from_int(dtype, random() % 2);
        break;
      default: {
        uint64_t raw = uint64_t{random()} << 32 | random();
        if (random() % 3 == 0) raw = random() % 9 - 4;
        if (random() % 9 == 0) raw = static_cast<uint64_t>(scalar::lowest(dtype).i);
        if (random() % 9 == 0) raw = static_cast<uint64_t>(scalar::highest(dtype).i);
        v = scalar::scalar_from_int(dtype, static_cast<int64_t>(raw));
      }
    }
    write_element(dtype, bytes.data(), k, v);
  }
  return bytes;
}

namespace {

// Distance in units in the last place of the type.
double ulp_distance(DType dtype, double a, double b) {
  if (std::isnan(a) || std::isnan(b)) return std::isnan(a) && std::isnan(b) ? 0 : INFINITY;
  if (a == b) return 0;
  if (dtype == DType::kF64) {
    auto order = [](double v) {
      int64_t i = std::bit_cast<int64_t>(v);
      return i < 0 ? INT64_MIN - i : i;
    };
    return std::fabs(static_cast<double>(order(a)) - static_cast<double>(order(b)));
  }
  if (dtype == DType::kF32) {
    auto order = [](double v) {
      int32_t i = std::bit_cast<int32_t>(static_cast<float>(v));
      return i < 0 ? int64_t{INT32_MIN} - i : int64_t{i};
    };
    return static_cast<double>(std::abs(order(a) - order(b)));
  }
  // Narrow types: one step is a neighbour.
  auto bits = [&](double v) {
    auto i = static_cast<int64_t>(scalar::encode_float(dtype, std::fabs(v)));
    return std::signbit(v) ? -i : i;
  };
  return static_cast<double>(std::abs(bits(a) - bits(b)));
}

}  // namespace

Contents random_contents(const Kernel& k, std::mt19937& random) {
  Contents contents;
  for (const Buffer& b : k.bindings) contents.push_back(random_bytes(b->type.dtype, kCaseElements, random));
  return contents;
}

std::string compare_with_evaluator(const Kernel& k, const Contents& inputs, int32_t code,
                                   const Contents& theirs, double ulps) {
  Contents mine = inputs;
  std::vector<EvalBinding> bindings;
  for (size_t b = 0; b < mine.size(); ++b) {
    bindings.push_back({mine[b].data(), dtype_storage_bytes(k.bindings[b]->type.dtype, kCaseElements)});
  }
  auto result = evaluate(k, bindings, {}, 0, 1);
  if (!result.ok()) return result.error().text();
  if (code != *result) return fmt::format("status {} instead of {}", code, *result);
  size_t out = mine.size() - 1;
  DType dtype = k.bindings[out]->type.dtype;
  size_t bytes = static_cast<size_t>(dtype_storage_bytes(dtype, kCaseElements));
  if (std::memcmp(mine[out].data() + bytes, theirs[out].data() + bytes, mine[out].size() - bytes) != 0) {
    return "memory behind the output is touched";
  }
  for (int64_t e = 0; e < kCaseElements; ++e) {
    auto a = read_element(dtype, mine[out].data(), e), b = read_element(dtype, theirs[out].data(), e);
    bool same = is_float(dtype) ? ulp_distance(dtype, a.f, b.f) <= ulps : a.i == b.i;
    if (is_complex(dtype)) {
      double scale = 1e-5 * (std::hypot(a.f, a.imaginary) + 1e-30);
      same = a.f == b.f && a.imaginary == b.imaginary;
      same |=
          std::hypot(a.f - b.f, a.imaginary - b.imaginary) <= scale || (std::isnan(a.f) && std::isnan(b.f));
    }
    if (same) continue;
    std::string text;
    for (size_t n = 0; n < out; ++n) {
      auto v = read_element(k.bindings[n]->type.dtype, inputs[n].data(), e);
      text += fmt::format(" {}={}|{}", k.bindings[n]->name, v.i, v.f);
    }
    return fmt::format("element {}: evaluator {}|{}, native {}|{};{}", e, a.i, a.f, b.i, b.f, text);
  }
  return "";
}

}  // namespace tern::test

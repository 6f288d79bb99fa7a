// Kernels as GLSL: every scalar op on every type and every conversion compiles to SPIR-V that validates and,
// where there is a Vulkan device (lavapipe will do), computes what the evaluator does.
#include "compiler/render/glsl.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "compiler/kernel/assign_scratch.h"
#include "compiler/kernel/eval_memory.h"
#include "compiler/kernel/expr_util.h"
#include "compiler/kernel/text.h"
#include "compiler/kernel/vectorize.h"
#include "compiler/toolchain/shaderc.h"
#include "drivers/vulkan/vulkan_driver.h"
#include "tests/native/op_cases.h"

namespace tern::test {
namespace {

using namespace kernel;

// What GLSL has no form for (docs/kernel-ir.md).
bool has_no_form(ScalarOp op, DType dtype) {
  return is_complex(dtype) && op == ScalarOp::kPow;
}

// A Vulkan device, where the machine has one; else the code is compiled only.
struct VulkanDevice {
  tern_hal_driver_registry_t registry = {};
  tern_hal_device_t* device = nullptr;
  VulkanDevice() {
    static tern_vulkan_options_t options = {"", 0, 0, 0};  // no pipeline cache
    tern_hal_device_desc_t desc = {};
    desc.driver_options = &options;
    tern_status_free(tern_vulkan_driver_register(&registry));
    const tern_status_t status =
        tern_hal_driver_create_device(registry.drivers[0], &desc, tern_allocator_system(), &device);
    if (status) MESSAGE("not run on Vulkan: " << tern_status_message(status));
    tern_status_free(status);
  }
  ~VulkanDevice() { tern_hal_device_release(device); }
};

void ok(tern_status_t status) {
  const std::string text = status ? tern_status_message(status) : "";
  tern_status_free(status);
  REQUIRE_MESSAGE(text.empty(), text);
}

// Runs a kernel of one tile; every binding's contents afterwards.
Contents run(tern_hal_device_t* device, const Kernel& kernel, tern_const_bytes_t code, Contents contents) {
  const uint32_t count = static_cast<uint32_t>(contents.size());
  tern_hal_entry_t entry = {};
  entry.name = tern_string_view(kernel.name.c_str());
  entry.binding_count = count;
  const tern_hal_executable_desc_t executable_desc = {
      TERN_HAL_EXECUTABLE_SPIRV, 1, code, &entry, 1, nullptr, 0};
  tern_hal_executable_t* executable = nullptr;
  ok(tern_hal_executable_create(device, &executable_desc, &executable));
  std::vector<tern_hal_range_t> ranges;
  std::vector<tern_hal_binding_t> bindings;
  for (uint32_t k = 0; k < count; ++k) {
    const int64_t bytes = static_cast<int64_t>(contents[k].size());
    tern_hal_buffer_t* buffer = nullptr;
    ok(tern_hal_device_allocate_buffer(device, TERN_HAL_MEMORY_DEVICE_LOCAL, bytes, &buffer));
    ok(tern_hal_buffer_write(buffer, 0, contents[k].data(), bytes));
    ranges.push_back({buffer, 0, TERN_HAL_WHOLE});
    const bool reads = kernel.bindings[k]->access == Access::kRead;
    bindings.push_back(
        {k,
         static_cast<uint32_t>(reads ? TERN_HAL_ACCESS_READ : TERN_HAL_ACCESS_READ | TERN_HAL_ACCESS_WRITE),
         tern_hal_constant(0), tern_hal_constant(bytes)});
  }
  const std::vector<uint8_t> classes(count, TERN_HAL_SLOT_EXTERNAL);
  const tern_hal_command_buffer_desc_t desc = {classes.data(), count, 0};
  tern_hal_command_buffer_t* commands = nullptr;
  ok(tern_hal_command_buffer_create(device, &desc, &commands));
  tern_hal_dispatch_t dispatch = {};
  dispatch.executable = executable;
  dispatch.binding_count = count;
  dispatch.bindings = bindings.data();
  dispatch.grid_rank = 1;
  dispatch.grid[0] = tern_hal_constant(1);
  ok(tern_hal_command_buffer_dispatch(commands, &dispatch));
  ok(tern_hal_command_buffer_end(commands));
  tern_hal_submit_t submit = {};
  submit.command_buffer = commands;
  submit.bindings = ranges.data();
  submit.binding_count = count;
  ok(tern_hal_device_submit(device, &submit));
  ok(tern_hal_device_wait_idle(device));
  for (uint32_t k = 0; k < count; ++k)
    ok(tern_hal_buffer_read(ranges[k].buffer, 0, contents[k].data(),
                            static_cast<int64_t>(contents[k].size())));
  tern_hal_command_buffer_release(commands);
  tern_hal_executable_release(executable);
  for (const tern_hal_range_t& range : ranges) tern_hal_buffer_release(range.buffer);
  return contents;
}

// One element of a result against the evaluator's. Functions may be off by a part of 10^5 (f64: of 10^13),
// and are not asked about arguments that floats cannot reduce. `largest`: of the arguments; a remainder is as
// exact as they are.
bool close(DType dtype, const scalar::ScalarValue& a, const scalar::ScalarValue& b, bool function,
           double largest) {
  const auto near = [&](double x, double y) {
    if (std::isnan(x) || std::isnan(y)) return std::isnan(x) && std::isnan(y);
    const double unit = dtype == DType::kF64 ? 1e-15 : dtype_bits(dtype) >= 32 ? 3e-7 : 0;
    const double tiny = dtype == DType::kF64      ? 1e-307 + (function ? 1e-15 * largest : 0)
                        : dtype_bits(dtype) >= 32 ? 1e-37 + (function ? 3e-7 * largest : 0)
                                                  : 0;  // denormals may be flushed
    const double part = dtype == DType::kF64 ? 1e-13 : 1e-5;
    return x == y ||
           std::fabs(x - y) <= (function ? part : unit) * std::fmax(std::fabs(x), std::fabs(y)) + tiny ||
           (function && dtype_bits(dtype) < 32 && std::fabs(x - y) <= 0.3 * std::fabs(x));
  };
  if (is_float(dtype)) return near(a.f, b.f);
  if (is_complex(dtype)) {
    const double scale = 1e-5 * (std::hypot(a.f, a.imaginary) + 1e-30);
    return (a.f == b.f && a.imaginary == b.imaginary) ||
           std::hypot(a.f - b.f, a.imaginary - b.imaginary) <= scale || (std::isnan(a.f) && std::isnan(b.f));
  }
  return a.i == b.i;
}

struct Results {
  Kernel kernel;
  std::vector<std::string> what;  // of each written binding, in order
  std::vector<bool> function;
};

void check(tern_hal_device_t* device, const Results& results, tern_const_bytes_t code, std::mt19937& random) {
  const Kernel& kernel = results.kernel;
  Contents before;
  for (const Buffer& b : kernel.bindings) {
    before.push_back(random_bytes(b->type.dtype, kCaseElements, random));
    before.back().resize((before.back().size() + 15) / 16 * 16);
  }
  Contents mine = before;
  std::vector<EvalBinding> bindings;
  for (size_t b = 0; b < mine.size(); ++b)
    bindings.push_back({mine[b].data(), dtype_storage_bytes(kernel.bindings[b]->type.dtype, kCaseElements)});
  auto status = evaluate(kernel, bindings, {}, 0, 1);
  REQUIRE_MESSAGE(status.ok(), (status.ok() ? "" : status.error().text()));
  const Contents theirs = run(device, kernel, code, before);
  size_t result = 0;
  for (size_t b = 0; b < mine.size(); ++b) {
    const DType dtype = kernel.bindings[b]->type.dtype;
    if (kernel.bindings[b]->access == Access::kRead) continue;
    const size_t used = static_cast<size_t>(dtype_storage_bytes(dtype, kCaseElements));
    CHECK_MESSAGE(std::memcmp(mine[b].data() + used, theirs[b].data() + used, mine[b].size() - used) == 0,
                  results.what[result] << ": memory behind the output is touched");
    for (int64_t e = 0; e < kCaseElements; ++e) {
      const auto x = read_element(dtype, mine[b].data(), e), y = read_element(dtype, theirs[b].data(), e);
      std::string inputs;
      bool reducible = true;
      double largest = 0;
      for (size_t n = 0; n < mine.size(); ++n) {
        if (kernel.bindings[n]->access != Access::kRead) continue;
        const auto v = read_element(kernel.bindings[n]->type.dtype, before[n].data(), e);
        reducible &= !(std::fabs(v.f) > 1e4) && !(v.f != 0 && std::fabs(v.f) < 1e-2);
        if (std::isfinite(v.f)) largest = std::fmax(largest, std::fabs(v.f));
        inputs += fmt::format(" {}={}|{}", kernel.bindings[n]->name, v.i, v.f);
      }
      const bool function = results.function[result];
      if ((function && !reducible) || close(dtype, x, y, function, largest)) continue;
      CHECK_MESSAGE(false, results.what[result]
                               << ": element " << e << ": evaluator "
                               << fmt::format("{}|{}, device {}|{};{}", x.i, x.f, y.i, y.f, inputs));
      break;
    }
    ++result;
  }
}

// Whether 16- and 8-bit storage changes its text.
bool has_narrow(const Results& results) {
  return std::any_of(results.kernel.bindings.begin(), results.kernel.bindings.end(), [](const Buffer& b) {
    return dtype_bits(b->type.dtype) == 8 || dtype_bits(b->type.dtype) == 16;
  });
}

// Whether instructions for dot products change its text.
bool has_dots(const Results& results) {
  bool found = false;
  visit(results.kernel.body, [&](const Stmt& s) {
    visit_exprs(s, [&](const Expr& whole) {
      visit(whole, [&](const Expr& e) {
        found |= e->kind == ExprKind::kIntrinsic &&
                 (e->intrinsic == Intrinsic::kDot4U8I8 || e->intrinsic == Intrinsic::kDot4I8I8);
      });
    });
  });
  return found;
}

// For the floor, and what is narrow for devices with 16- and 8-bit storage too.
void compile_and_check(const std::vector<Results>& each) {
  std::vector<toolchain::Shader> shaders;
  std::vector<Results> all;
  const auto add = [&](const Results& results, const render::GlslTarget& target,
                       toolchain::ShaderEnvironment environment) {
    auto rendered = render::render_glsl(results.kernel, target);
    REQUIRE_MESSAGE(rendered.ok(), (rendered.ok() ? "" : rendered.error().text()));
    shaders.push_back({results.kernel.name, rendered->text, environment});
    all.push_back(results);
    for (std::string& what : all.back().what)
      what += target.dots ? ", dot products" : target.narrow ? ", 16-bit storage" : "";
  };
  for (const Results& results : each) {
    add(results, {}, toolchain::ShaderEnvironment::kVulkan11);
    if (has_narrow(results)) add(results, {true}, toolchain::ShaderEnvironment::kVulkan12);
    if (has_dots(results)) add(results, {true, true}, toolchain::ShaderEnvironment::kVulkan12);
  }
  // The optimiser takes long over kernels that have many functions in them.
  toolchain::CompileOptions options;
  options.optimization = "-O0";
  auto image = toolchain::compile_shaders(shaders, options);
  REQUIRE_MESSAGE(image.ok(), (image.ok() ? "" : image.error().text()));
  REQUIRE(image->offsets.size() == shaders.size());
  const VulkanDevice vulkan;
  std::mt19937 random(7), first = random;
  for (size_t k = 0; k < all.size(); ++k) {
    const uint64_t begin = image->offsets[k],
                   end = k + 1 < all.size() ? image->offsets[k + 1] : image->bytes.size();
    CHECK(*reinterpret_cast<const uint32_t*>(image->bytes.data() + begin) ==
          0x07230203);  // SPIR-V's magic number
    // Both forms of a kernel get the same numbers.
    const bool again = k > 0 && all[k].kernel.name == all[k - 1].kernel.name;
    if (!again) first = random;
    std::mt19937 copy = first;
    if (vulkan.device)
      check(vulkan.device, all[k], tern_const_bytes(image->bytes.data() + begin, end - begin),
            again ? copy : random);
  }
}

// Kernels with several results, each stored to its own binding: a compilation costs more than what is in it.
class Collector {
 public:
  Collector(const std::string& name, int lanes, std::vector<Results>& all)
      : name_(name), lanes_(lanes), all_(all) {}
  Expr operand(DType dtype, size_t number) {
    const std::string name = fmt::format("x{}_{}", dtype_name(dtype), number);
    for (const Buffer& b : kernel_.bindings) {
      if (b->name == name) return load(b, var_expr(i_));
    }
    kernel_.bindings.push_back(input_buffer(name, dtype));
    return load(kernel_.bindings.back(), var_expr(i_));
  }
  void result(const Expr& value, const std::string& what, bool function = false) {
    const std::string name = fmt::format("y{}", kernel_.bindings.size());
    kernel_.bindings.push_back(make_buffer(name, {value->type.dtype, 1}, Scope::kGlobal, Access::kWrite));
    stores_.push_back(store(kernel_.bindings.back(), var_expr(i_), value));
    what_.push_back(fmt::format("{} x {}", what, lanes_));
    function_.push_back(function);
    ++count;
    if (stores_.size() == 8) finish();
  }
  void finish() {
    if (stores_.empty()) return;
    kernel_.name = fmt::format("{}_{}", name_, count);
    const Stmt all = loop(i_, int_const(0), int_const(kCaseElements), LoopKind::kSerial, stores_);
    kernel_.body = lanes_ > 1 ? vectorize_loop(all, lanes_) : std::vector<Stmt>{all};
    assign_scratch(kernel_);
    const std::string problems = verify(kernel_);
    REQUIRE_MESSAGE(problems.empty(), problems);
    all_.push_back({std::move(kernel_), std::move(what_), std::move(function_)});
    kernel_ = {};
    stores_.clear();
    what_.clear();
    function_.clear();
    i_ = make_var("i");
  }
  size_t count = 0;

 private:
  std::string name_;
  int lanes_;
  std::vector<Results>& all_;
  Var i_ = make_var("i");
  Kernel kernel_;
  std::vector<Stmt> stores_;
  std::vector<std::string> what_;
  std::vector<bool> function_;
};

// Vectors have tails, so one number of lanes shows most; scalars where they are rendered differently.
std::vector<int> lanes_of(DType dtype) {
  if (dtype == DType::kString) return {};
  if (is_complex(dtype)) return {1};
  return dtype == DType::kF32 || dtype == DType::kI64 || dtype == DType::kU8 ? std::vector{1, 4}
                                                                             : std::vector{4};
}

TEST_CASE("glsl: scalar ops on every type") {
  std::vector<Results> results;
  size_t cases = 0;
  for (DType dtype : all_types()) {
    for (int lanes : lanes_of(dtype)) {
      Collector all(fmt::format("ops_{}_x{}", dtype_name(dtype), lanes), lanes, results);
      for (size_t number = 0; number < static_cast<size_t>(ScalarOp::kCount); ++number) {
        const auto op = static_cast<ScalarOp>(number);
        const auto& row = scalar::info(op);
        std::vector<DType> operands(static_cast<size_t>(row.arity), dtype);
        if (row.rule == scalar::TypeRule::kSelect) operands[0] = DType::kBool;
        if (!scalar::result_type(op, operands).ok() || has_no_form(op, dtype)) continue;
        std::vector<Expr> args;
        for (size_t a = 0; a < operands.size(); ++a) args.push_back(all.operand(operands[a], a));
        all.result(kernel::op(op, args), fmt::format("{} on {}", row.name, dtype_name(dtype)),
                   is_float(dtype) && (row.expensive || op == ScalarOp::kRem || op == ScalarOp::kFloorMod));
      }
      cases += all.count;
      all.finish();
    }
  }
  CHECK(cases > 500);
  compile_and_check(results);
}

TEST_CASE("glsl: conversions") {
  std::vector<Results> results;
  for (DType from : all_types()) {
    for (int lanes : lanes_of(from)) {
      Collector all(fmt::format("casts_{}_x{}", dtype_name(from), lanes), lanes, results);
      for (DType to : all_types()) {
        if (to == DType::kString || from == to || (is_complex(to) && lanes > 1)) continue;
        if (from == DType::kF64 && to == DType::kF8E8M0)
          continue;  // goes through f32, which loses the sign of what is tiny
        const std::string what = fmt::format("cast {} to {}", dtype_name(from), dtype_name(to));
        all.result(cast(all.operand(from, 0), to), what);
        if (is_float(to) && dtype_bits(to) == 8)
          all.result(cast(all.operand(from, 0), to, false), what + " overflow");
      }
      all.finish();
    }
  }
  compile_and_check(results);
}

TEST_CASE("glsl: dot products of bytes in words, and bytes that become words") {
  std::vector<Results> results;
  Collector all("dots", 1, results);
  const Expr sum = all.operand(DType::kI32, 0), a = all.operand(DType::kU32, 0),
             b = all.operand(DType::kU32, 1);
  const auto bytes = [](const Expr& words, DType dtype) {
    return bitcast(words, {dtype, 4 * words->type.lanes});
  };
  for (const auto which : {Intrinsic::kDot4U8I8, Intrinsic::kDot4I8I8}) {
    const DType left = which == Intrinsic::kDot4U8I8 ? DType::kU8 : DType::kI8;
    const std::string name(intrinsic_name(which));
    all.result(intrinsic(which, {sum, bytes(a, left), bytes(b, DType::kI8)}, {DType::kI32, 1}), name);
    const Expr turns = shuffle(a, b, {0, 1, 0, 1}), halves = shuffle(a, b, {1, 1, 0, 0});
    const Expr four = intrinsic(which, {broadcast(sum, 4), bytes(turns, left), bytes(halves, DType::kI8)},
                                {DType::kI32, 4});
    all.result(op(ScalarOp::kXor, {shuffle(four, nullptr, {1}), shuffle(four, nullptr, {2})}), name + " x 4");
  }
  for (const DType dtype : {DType::kU8, DType::kI8}) {
    const Expr four = add(bytes(a, dtype), bytes(b, dtype));
    all.result(bitcast(four, {DType::kU32, 1}), fmt::format("sums of {}", dtype_name(dtype)));
  }
  all.finish();
  compile_and_check(results);
}

}  // namespace
}  // namespace tern::test

// Makes small lowered programs for this folder's tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compiler/lower/program_ir.h"

namespace tern::program {

// What a test dispatch does with a buffer.
struct TestUse {
  int buffer;
  kernel::Access access = kernel::Access::kRead;
  bool may_alias = false;
};

class TestProgram {
 public:
  lower::LoweredProgram program;
  TestProgram() { program.function = "main"; }

  void symbol(const std::string& name, int64_t hint, int64_t max = INT64_MAX) {
    graph::SymbolInfo info;
    info.name = name;
    info.min = 1;
    info.max = max;
    info.hint = hint;
    program.symbols.push_back(info);
  }
  int buffer(lower::BufferKind kind, Dim bytes, const std::string& name = "") {
    lower::BufferDef def;
    def.kind = kind;
    def.name = name;
    def.dtype = DType::kF32;
    def.bytes = bytes;
    program.buffers.push_back(def);
    return static_cast<int>(program.buffers.size()) - 1;
  }
  int temporary(Dim bytes) { return buffer(lower::BufferKind::kTemporary, bytes); }
  int view(int of, Dim offset, Dim bytes) {
    const int index = temporary(bytes);
    program.buffers.back().alias_of = of;
    program.buffers.back().alias_offset = offset;
    return index;
  }
  int input(const std::string& name, Shape shape) { return io(name, shape, true); }
  int output(const std::string& name, Shape shape) { return io(name, shape, false); }
  int constant(std::shared_ptr<TensorData> data, const std::string& name) {
    const int index = buffer(lower::BufferKind::kConstant, static_cast<int64_t>(data->bytes().size()), name);
    program.buffers.back().data = std::move(data);
    return index;
  }

  lower::Step dispatch(const std::vector<TestUse>& uses, std::vector<Dim> params = {}, Dim tiles = 1,
                       const std::string& name = "k") const {
    auto kernel = std::make_shared<kernel::Kernel>();
    kernel->name = name;
    kernel->body.push_back(kernel::comment(name));  // kernels of other names are other kernels
    lower::Step step;
    step.kind = lower::Step::Kind::kDispatch;
    step.dispatch = std::make_shared<lower::DispatchStep>();
    step.dispatch->label = name;
    for (const TestUse& use : uses) {
      auto binding = std::make_shared<kernel::BufferNode>();
      binding->name = "b" + std::to_string(kernel->bindings.size());
      binding->type = {DType::kF32, 1};
      binding->access = use.access;
      binding->may_alias = use.may_alias;
      kernel->bindings.push_back(binding);
      step.dispatch->bindings.push_back(
          {use.buffer, 0, program.buffers[static_cast<size_t>(use.buffer)].bytes, use.access});
    }
    for (const Dim& param : params) kernel->params.push_back({kernel::make_var("p"), param});
    step.dispatch->params = std::move(params);
    step.dispatch->variants.push_back({lower::Level::kX86V3, std::move(kernel), tiles});
    return step;
  }
  static lower::Step branch(int condition, std::vector<lower::Step> then_steps,
                            std::vector<lower::Step> else_steps) {
    lower::Step step;
    step.kind = lower::Step::Kind::kIf;
    step.branch = std::make_shared<lower::IfStep>();
    *step.branch = {condition, std::move(then_steps), std::move(else_steps)};
    return step;
  }
  static lower::Step loop(Dim trips, std::vector<lower::Step> body, const std::string& iteration = "") {
    lower::Step step;
    step.kind = lower::Step::Kind::kLoop;
    step.loop = std::make_shared<lower::LoopStep>();
    step.loop->trip_count = trips;
    step.loop->iteration_symbol = iteration;
    step.loop->body = std::move(body);
    return step;
  }
  static lower::Step swap(int a, int b) {
    lower::Step step;
    step.kind = lower::Step::Kind::kSwap;
    step.swap = std::make_shared<lower::SwapStep>();
    *step.swap = {a, b};
    return step;
  }
  static lower::Step read(const std::string& symbol, int buffer, int64_t max) {
    lower::Step step;
    step.kind = lower::Step::Kind::kRead;
    step.read = std::make_shared<lower::ReadStep>();
    step.read->symbol = symbol;
    step.read->buffer = buffer;
    step.read->max = max;
    return step;
  }

 private:
  int io(const std::string& name, const Shape& shape, bool is_input) {
    const int index =
        buffer(is_input ? lower::BufferKind::kInput : lower::BufferKind::kOutput, product(shape) * 4, name);
    std::vector<lower::IoDef>& list = is_input ? program.inputs : program.outputs;
    program.buffers.back().io_index = static_cast<int>(list.size());
    list.push_back({name, DType::kF32, shape, index});
    return index;
  }
};

inline constexpr kernel::Access kWrite = kernel::Access::kWrite;
inline constexpr kernel::Access kRead = kernel::Access::kRead;

}  // namespace tern::program

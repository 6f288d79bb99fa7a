#include "compiler/lower/step_eval.h"

#include <algorithm>
#include <cstring>

#include "compiler/lower/donation.h"

namespace tern::lower {
namespace {

constexpr int64_t kSmall = 3;                     // a size that data would decide
constexpr int64_t kMostBytes = int64_t{1} << 30;  // of memory that is only walked

class Machine {
 public:
  Machine(const LoweredProgram& program, int level, bool bounds_only = false, bool in_place = false)
      : program_(program),
        level_(level),
        bounds_only_(bounds_only),
        in_place_(in_place),
        undefined_(bounds_only ? 0 : 0xCD) {
    memory_.resize(program.buffers.size());
    for (size_t b = 0; b < memory_.size(); ++b) names_.push_back(static_cast<int>(b));
  }

  Status start(const std::vector<TensorDataPtr>& inputs) {
    for (const graph::SymbolInfo& s : program_.symbols) {
      if (inputs.empty()) break;
      if (s.origin == graph::SymbolInfo::Origin::kInput)
        symbols_[s.name] = inputs[static_cast<size_t>(s.input)]->shape()[static_cast<size_t>(s.axis)];
    }
    for (size_t b = 0; b < memory_.size(); ++b) {
      const BufferDef& def = program_.buffers[b];
      std::vector<uint8_t>& bytes = memory_[b];
      if (def.kind == BufferKind::kInput && !inputs.empty()) {
        const auto data = inputs[static_cast<size_t>(def.io_index)]->bytes();
        bytes.assign(data.begin(), data.end());
      } else if (def.kind == BufferKind::kConstant) {
        bytes.assign(def.data->bytes().begin(), def.data->bytes().end());
      } else if ((def.kind == BufferKind::kTemporary && !inputs.empty()) ||
                 def.kind == BufferKind::kDerived) {
        TERN_ASSIGN(const int64_t size, value(def.bytes));
        TERN_TRY(take(size));
        bytes.assign(static_cast<size_t>(size), undefined_);
      }
    }
    return Ok{};
  }

  Status run(const std::vector<Step>& steps) {
    for (const Step& s : steps) TERN_TRY(step(s));
    return Ok{};
  }

  std::vector<std::vector<uint8_t>> derived() {
    for (size_t b = 0; b < memory_.size(); ++b) {
      if (program_.buffers[b].kind != BufferKind::kDerived) memory_[b].clear();
    }
    return std::move(memory_);
  }

  Result<std::vector<TensorDataPtr>> outputs() {
    std::vector<TensorDataPtr> out;
    for (const IoDef& io : program_.outputs) {
      std::vector<int64_t> shape;
      for (const Dim& d : io.shape) {
        TERN_ASSIGN(const int64_t n, value(d));
        shape.push_back(n);
      }
      auto data = TensorData::make(io.dtype, shape);
      const std::vector<uint8_t>& bytes = buffer(io.buffer);
      const auto size = static_cast<size_t>(dtype_storage_bytes(io.dtype, data->count()));
      if (bytes.size() < size) return error("Output '{}' has {} of {} bytes.", io.name, bytes.size(), size);
      if (size > 0) std::memcpy(data->mutable_bytes().data(), bytes.data(), size);
      out.push_back(std::move(data));
    }
    return out;
  }

 private:
  Result<int64_t> value(const Dim& d) {
    const auto v = d.evaluate([&](const std::string& name) -> std::optional<int64_t> {
      auto it = symbols_.find(name);
      return it == symbols_.end() ? std::nullopt : std::optional<int64_t>(it->second);
    });
    if (!v) return error("The size {} has no value.", d.text());
    return *v;
  }

  Status take(int64_t bytes) {
    taken_ += bytes;
    if (bounds_only_ && (bytes < 0 || taken_ > kMostBytes))
      return error("More than {} bytes are not walked.", kMostBytes);
    return Ok{};
  }

  // Outputs get their memory when they are first touched: their symbols may be bound late.
  std::vector<uint8_t>& buffer(int id) {
    std::vector<uint8_t>& bytes = memory_[static_cast<size_t>(names_[static_cast<size_t>(id)])];
    const BufferDef& def = program_.buffers[static_cast<size_t>(id)];
    if (def.kind == BufferKind::kOutput && bytes.empty()) {
      if (auto size = value(def.bytes); size.ok()) bytes.assign(static_cast<size_t>(*size), undefined_);
    }
    return bytes;
  }

  Result<kernel::EvalBinding> span(const Binding& b) {
    const BufferDef& def = program_.buffers[static_cast<size_t>(b.buffer)];
    if (bounds_only_ && def.kind == BufferKind::kOutput &&
        memory_[static_cast<size_t>(names_[static_cast<size_t>(b.buffer)])].empty()) {
      if (auto size = value(def.bytes); size.ok()) TERN_TRY(take(*size));
    }
    std::vector<uint8_t>& bytes = buffer(b.buffer);
    TERN_ASSIGN(const int64_t offset, value(b.offset));
    TERN_ASSIGN(const int64_t length, value(b.length));
    const std::string& name = program_.buffers[static_cast<size_t>(b.buffer)].name;
    if (offset < 0 || length < 0 || offset + length > static_cast<int64_t>(bytes.size())) {
      return error("A binding of buffer {} ('{}') covers bytes {} to {} of {}.", b.buffer, name, offset,
                   offset + length, bytes.size());
    }
    return kernel::EvalBinding{bytes.data() + offset, length};
  }

  Result<bool> condition(int id) {
    const std::vector<uint8_t>& bytes = buffer(id);
    if (bytes.empty()) return error("The condition in buffer {} has no memory.", id);
    return bytes[0] != 0;
  }

  Status dispatch(const DispatchStep& d) {
    const size_t pick = d.variants.size() - 1 - std::min(static_cast<size_t>(level_), d.variants.size() - 1);
    const KernelVariant& variant = d.variants[pick];
    std::vector<kernel::EvalBinding> bindings;
    for (const Binding& b : d.bindings) {
      TERN_ASSIGN(auto s, span(b));
      bindings.push_back(s);
    }
    std::vector<int64_t> params;
    for (const Dim& p : d.params) {
      TERN_ASSIGN(const int64_t v, value(p));
      params.push_back(v);
    }
    TERN_ASSIGN(const int64_t tiles, value(variant.tiles));
    if (bounds_only_) {
      if (tiles == 0) return Ok{};
      Status inside = kernel::check_bounds(*variant.kernel, bindings, params);
      if (inside.ok()) return Ok{};
      return inside.take_error().note(fmt::format("In dispatch {} at level {}", d.label, pick));
    }
    Result<int32_t> status = kernel::evaluate(*variant.kernel, bindings, params, 0, tiles);
    if (!status.ok()) {
      return status.take_error().note(
          fmt::format("In dispatch {}:\n{}", d.label, kernel::print_kernel(*variant.kernel)));
    }
    if (*status != 0) return error("Kernel {} fails with code {}.", d.label, *status);
    return Ok{};
  }

  Status read(const ReadStep& r) {
    TERN_ASSIGN(auto bytes, span({r.buffer, r.offset, dtype_bits(r.dtype) / 8, kernel::Access::kRead}));
    auto data = TensorData::borrow(r.dtype, {1}, {bytes.data, static_cast<size_t>(bytes.bytes)}, nullptr);
    const int64_t v = bounds_only_ ? std::clamp<int64_t>(kSmall, r.min, r.max) : data->int_at(0);
    if (v < r.min || v > r.max)
      return error("Symbol {} ({}) lies outside [{}, {}].", r.symbol, v, r.min, r.max);
    symbols_[r.symbol] = v;
    return Ok{};
  }

  Status loop(const LoopStep& l) {
    TERN_ASSIGN(const int64_t trips, value(l.trip_count));
    int64_t i = 0;
    for (; i < (bounds_only_ ? std::min<int64_t>(trips, 2) : trips); ++i) {
      if (l.condition >= 0 && !bounds_only_) {
        TERN_ASSIGN(const bool go, condition(l.condition));
        if (!go) break;
      }
      if (!l.iteration_symbol.empty()) symbols_[l.iteration_symbol] = i;
      TERN_TRY(run(l.body));
    }
    if (!l.count_symbol.empty()) symbols_[l.count_symbol] = i;
    return Ok{};
  }

  Status step(const Step& s) {
    switch (s.kind) {
      case Step::Kind::kDispatch:
        return dispatch(*s.dispatch);
      case Step::Kind::kCopy: {
        TERN_ASSIGN(auto from, span(s.copy->from));
        TERN_ASSIGN(auto to, span(s.copy->to));
        if (from.bytes != to.bytes) return error("A copy of {} bytes to {}.", from.bytes, to.bytes);
        if (from.bytes > 0) std::memmove(to.data, from.data, static_cast<size_t>(from.bytes));
        return Ok{};
      }
      case Step::Kind::kFill: {
        TERN_ASSIGN(auto to, span(s.fill->to));
        for (int64_t i = 0; i < to.bytes; ++i)
          to.data[i] = s.fill->pattern[static_cast<size_t>(i) % s.fill->pattern.size()];
        return Ok{};
      }
      case Step::Kind::kBind: {
        if (const std::optional<Donation> asked = donation_of(*s.bind)) {
          const IoDef &output = program_.outputs[static_cast<size_t>(asked->output)],
                      &input = program_.inputs[static_cast<size_t>(asked->input)];
          if (in_place_) names_[static_cast<size_t>(output.buffer)] = input.buffer;
          symbols_[s.bind->symbol] = in_place_ ? 1 : 0;
          return Ok{};
        }
        TERN_ASSIGN(const int64_t v, value(s.bind->value));
        symbols_[s.bind->symbol] = v;
        return Ok{};
      }
      case Step::Kind::kRead:
        return read(*s.read);
      case Step::Kind::kAllocate: {
        TERN_ASSIGN(const int64_t size, value(s.allocate->bytes));
        TERN_TRY(take(size));
        buffer(s.allocate->buffer).assign(static_cast<size_t>(size), undefined_);
        return Ok{};
      }
      case Step::Kind::kSwap:
        std::swap(names_[static_cast<size_t>(s.swap->a)], names_[static_cast<size_t>(s.swap->b)]);
        return Ok{};
      case Step::Kind::kIf: {
        if (bounds_only_) {
          TERN_TRY(run(s.branch->then_steps));
          return run(s.branch->else_steps);
        }
        TERN_ASSIGN(const bool yes, condition(s.branch->condition));
        return run(yes ? s.branch->then_steps : s.branch->else_steps);
      }
      case Step::Kind::kLoop:
        return loop(*s.loop);
      case Step::Kind::kCheck: {
        if (bounds_only_ && s.check->condition >= 0) return Ok{};
        bool good = false;
        if (s.check->condition < 0) {
          TERN_ASSIGN(const int64_t holds, value(s.check->holds));
          good = holds != 0;
        } else {
          TERN_ASSIGN(good, condition(s.check->condition));
        }
        if (!good) return error("{}", s.check->message);
        return Ok{};
      }
    }
    return Ok{};
  }

  const LoweredProgram& program_;
  const int level_;
  const bool bounds_only_, in_place_;
  int64_t taken_ = 0;        // bytes
  const uint8_t undefined_;  // what memory holds that nobody has written
  std::vector<std::vector<uint8_t>> memory_;
  std::vector<int> names_;
  std::unordered_map<std::string, int64_t> symbols_;
};

Result<std::vector<TensorDataPtr>> run_all(Machine machine, const LoweredProgram& program,
                                           const std::vector<TensorDataPtr>& inputs) {
  TERN_TRY(machine.start(inputs));
  TERN_TRY(machine.run(program.init_steps));
  TERN_TRY(machine.run(program.steps));
  return machine.outputs();
}

}  // namespace

Result<std::vector<TensorDataPtr>> evaluate_program(const LoweredProgram& program,
                                                    const std::vector<TensorDataPtr>& inputs, int level) {
  return run_all(Machine(program, level), program, inputs);
}

Result<std::vector<TensorDataPtr>> evaluate_program_in_place(const LoweredProgram& program,
                                                             const std::vector<TensorDataPtr>& inputs,
                                                             int level) {
  return run_all(Machine(program, level, false, true), program, inputs);
}

Status check_program_bounds(const LoweredProgram& program, const std::vector<std::vector<int64_t>>& shapes,
                            int level) {
  std::vector<TensorDataPtr> inputs;
  int64_t bytes = 0;
  for (size_t i = 0; i < shapes.size(); ++i) {
    double count = dtype_bits(program.inputs[i].dtype) / 8.0;
    for (const int64_t d : shapes[i]) count *= static_cast<double>(d);
    if (count > static_cast<double>(kMostBytes - bytes))
      return error("More than {} bytes are not walked.", kMostBytes);
    bytes += static_cast<int64_t>(count);
  }
  for (size_t i = 0; i < shapes.size(); ++i)
    inputs.push_back(TensorData::make(program.inputs[i].dtype, shapes[i]));
  Machine machine(program, level, true);
  TERN_TRY(machine.start(inputs));
  TERN_TRY(machine.run(program.init_steps));
  return machine.run(program.steps);
}

Result<std::vector<std::vector<uint8_t>>> evaluate_init(const LoweredProgram& program) {
  Machine machine(program, 0);
  TERN_TRY(machine.start({}));
  TERN_TRY(machine.run(program.init_steps));
  return machine.derived();
}

}  // namespace tern::lower

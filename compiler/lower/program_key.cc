#include "compiler/lower/program_key.h"

#include <algorithm>

#include "compiler/kernel/text.h"

namespace tern::lower {
namespace {

// Most structures are taken apart by structured bindings (kernels are what print_kernel says of them): one
// that gets a member does not compile until it is decided here whether that member changes what is computed.
class Writer {
 public:
  explicit Writer(size_t level) : level_(level) {}

  void program(const LoweredProgram& p) {
    const auto& [function, inputs, outputs, symbols, buffers, init_steps, run_steps, precision] = p;
    ios(inputs);
    ios(outputs);
    for (const graph::SymbolInfo& s : symbols) {
      text(s.name);
      numbers(s.origin, s.input, s.axis);
    }
    for (const BufferDef& b : buffers) buffer(b);
    steps(init_steps);
    steps(run_steps);
  }

  std::string take() { return std::move(key_); }

 private:
  void text(std::string_view t) {
    numbers(t.size());
    key_ += t;
  }
  template <typename... Numbers>
  void numbers(Numbers... n) {
    ((key_ += std::to_string(static_cast<int64_t>(n)) + ' '), ...);
  }
  // Expressions are interned: the hash is the expression's own number.
  template <typename... Dims>
  void dims(const Dims&... d) {
    numbers(d.hash()...);
  }

  void ios(const std::vector<IoDef>& list) {
    numbers(list.size());
    for (const auto& [name, dtype, shape, buffer] : list) {
      numbers(dtype, shape.size(), buffer);
      for (const Dim& d : shape) dims(d);
    }
  }

  void buffer(const BufferDef& b) {
    const auto& [kind, name, dtype, bytes, io_index, data, encoding, for_init, alias_of, alias_offset] = b;
    numbers(kind, dtype, io_index, alias_of);
    dims(bytes, alias_offset);
    if (!data) return;
    const auto content = data->bytes();
    text({reinterpret_cast<const char*>(content.data()), content.size()});
  }

  void binding(const Binding& b) {
    const auto& [buffer, offset, length, access] = b;
    numbers(buffer, access);
    dims(offset, length);
  }

  void dispatch(const DispatchStep& d) {
    numbers(d.bindings.size(), d.params.size());
    for (const Binding& b : d.bindings) binding(b);
    for (const Dim& p : d.params) dims(p);
    // As evaluate_program counts levels: from the best, the last one, down.
    const KernelVariant& v = d.variants[d.variants.size() - 1 - std::min(level_, d.variants.size() - 1)];
    dims(v.tiles);
    text(kernel::print_kernel(*v.kernel));
  }

  void steps(const std::vector<Step>& list) {
    numbers(list.size());
    for (const Step& s : list) step(s);
  }

  void step(const Step& s) {
    numbers(s.kind);
    switch (s.kind) {
      case Step::Kind::kDispatch:
        return dispatch(*s.dispatch);
      case Step::Kind::kCopy: {
        const auto& [from, to] = *s.copy;
        binding(from);
        return binding(to);
      }
      case Step::Kind::kFill: {
        const auto& [to, pattern] = *s.fill;
        binding(to);
        return text({reinterpret_cast<const char*>(pattern.data()), pattern.size()});
      }
      case Step::Kind::kBind: {
        const auto& [symbol, value] = *s.bind;
        text(symbol);
        return dims(value);
      }
      case Step::Kind::kRead: {
        const auto& [symbol, buffer, offset, dtype, min, max] = *s.read;
        text(symbol);
        numbers(buffer, dtype, min, max);
        return dims(offset);
      }
      case Step::Kind::kAllocate: {
        const auto& [buffer, bytes] = *s.allocate;
        numbers(buffer);
        return dims(bytes);
      }
      case Step::Kind::kSwap: {
        const auto& [a, b] = *s.swap;
        return numbers(a, b);
      }
      case Step::Kind::kIf: {
        const auto& [condition, then_steps, else_steps] = *s.branch;
        numbers(condition);
        steps(then_steps);
        return steps(else_steps);
      }
      case Step::Kind::kLoop: {
        const auto& [trip_count, condition, iteration_symbol, count_symbol, body] = *s.loop;
        dims(trip_count);
        numbers(condition);
        text(iteration_symbol);
        text(count_symbol);
        return steps(body);
      }
      case Step::Kind::kCheck: {
        const auto& [condition, holds, message] = *s.check;
        numbers(condition);
        return dims(holds);
      }
    }
  }

  const size_t level_;
  std::string key_;
};

}  // namespace

std::string program_key(const LoweredProgram& program, int level) {
  Writer writer(static_cast<size_t>(level));
  writer.program(program);
  return writer.take();
}

}  // namespace tern::lower

// Modules as careless programs use them. Whatever happens to a session, its next proper invocation gives what
// a fresh session gives, bit for bit; every failure is a status with a sentence; all memory comes back.
//
//   session_abuse [--driver cpu] [--threads 1] [--seed 1] [--only WORD] MODULE.tern…
//
// Sizes of symbolic dimensions that grow and shrink; each allocation of load, creation and invocation
// failing; timeouts and cancellation at any moment; limits of memory from none to enough; dimensions beyond
// any memory; places for outputs that are a byte too small; sessions on threads of their own, with sizes of
// their own.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "schemas/abi/dtypes.h"
#include "tern/tern.h"
#include "tests/support/test_allocator.h"
#include "tools/tern/random_data.h"

namespace tern::abuse {
namespace {

constexpr __int128 kMostBytes = 8 << 20;  // of an input

struct Options {
  std::string driver = "cpu", only;
  uint32_t threads = 1;
  uint64_t seed = 1;
  std::vector<std::string> modules;
};

struct Result {
  tern_status_code_t code = TERN_STATUS_OK;
  std::string text;  // the message; of a success all outputs' shapes and bytes
  bool operator==(const Result& other) const {
    return code == other.code && (code != TERN_STATUS_OK || text == other.text);
  }
};

Result take(tern_status_t status) {
  Result out = {tern_status_code(status), status ? tern_status_message(status) : ""};
  tern_status_free(status);
  return out;
}

// Inputs of the sizes that `symbols` says, with reproducible data.
class Call {
 public:
  Call(const tern_module_t* module, std::vector<int64_t> symbols, uint64_t seed)
      : symbols_(std::move(symbols)) {
    const uint32_t count = tern_module_input_count(module, 0);
    for (uint32_t i = 0; i < count; ++i) {
      tern_tensor_info_t info;
      if (take(tern_module_input_info(module, 0, i, &info)).code != TERN_STATUS_OK) continue;
      tern_tensor_t tensor = {};
      tensor.dtype = info.dtype;
      tensor.rank = info.rank;
      __int128 elements = 1;
      for (uint32_t k = 0; k < info.rank; ++k) {
        const tern_dim_info_t& dim = info.dims[k];
        tensor.dims[k] = dim.kind == TERN_DIM_STATIC ? dim.value : symbols_[static_cast<size_t>(dim.value)];
        elements *= std::max<int64_t>(tensor.dims[k], 0);
        elements = std::min(elements, static_cast<__int128>(1) << 60);
      }
      __int128 bytes = (elements * tern_dtype_bits(info.dtype) + 7) / 8;
      if (bytes > largest_) largest_ = bytes;
      if (bytes > kMostBytes || bytes < 0) bytes = 64;
      memory_.emplace_back(static_cast<size_t>(bytes) + 64);
      uint8_t* data = memory_.back().data();
      data += (64 - reinterpret_cast<uintptr_t>(data) % 64) % 64;
      cli::fill_random(data, info.dtype, static_cast<size_t>(bytes) * 8 / tern_dtype_bits(info.dtype),
                       seed + i);
      tensor.data = data;
      tensor.size = static_cast<uint64_t>(bytes);
      inputs_.push_back(tensor);
    }
    outputs_ = tern_module_output_count(module, 0);
  }
  bool fits() const { return largest_ <= kMostBytes; }
  std::vector<tern_tensor_t>& inputs() { return inputs_; }
  uint32_t outputs() const { return outputs_; }

  Result run(tern_session_t* session, uint64_t timeout_ns = 0) {
    std::vector<tern_tensor_t> outputs(outputs_);
    return run(session, outputs, timeout_ns);
  }
  Result run(tern_session_t* session, std::vector<tern_tensor_t>& outputs, uint64_t timeout_ns = 0) {
    const tern_invoke_t invoke = {inputs_.data(), outputs.data(), static_cast<uint32_t>(inputs_.size()),
                                  outputs_, timeout_ns};
    Result result = take(tern_session_invoke(session, &invoke));
    if (result.code != TERN_STATUS_OK) return result;
    for (const tern_tensor_t& o : outputs) {
      int64_t elements = 1;
      for (uint32_t k = 0; k < o.rank; ++k) {
        elements *= o.dims[k];
        result.text += std::to_string(o.dims[k]) + " ";
      }
      const size_t bits = static_cast<size_t>(elements) * tern_dtype_bits(o.dtype);
      if (bits / 8) result.text.append(static_cast<const char*>(o.data), bits / 8);
      if (bits % 8)
        result.text +=
            static_cast<char>(static_cast<const uint8_t*>(o.data)[bits / 8] & ((1 << bits % 8) - 1));
    }
    return result;
  }

 private:
  std::vector<int64_t> symbols_;
  std::vector<std::vector<uint8_t>> memory_;
  std::vector<tern_tensor_t> inputs_;
  uint32_t outputs_ = 0;
  __int128 largest_ = 0;
};

// An instance with one device and one module, on an allocator that can fail.
struct Runtime {
  test::TestAllocator* allocator = new test::TestAllocator;
  tern_instance_t* instance = nullptr;
  tern_device_t* device = nullptr;
  tern_module_t* module = nullptr;

  ~Runtime() {
    tern_module_release(module);
    tern_device_release(device);
    tern_instance_destroy(instance);
    delete allocator;
  }
  tern_status_t open(const Options& options, const std::string& path, uint64_t memory_limit = 0) {
    const tern_instance_desc_t instance_desc = {allocator->get()};
    if (tern_status_t status = tern_instance_create(&instance_desc, &instance)) return status;
    tern_hal_driver_registry_t* drivers = tern_instance_drivers(instance);
    if (tern_status_t status = tern_cpu_driver_register(drivers)) return status;
    if (tern_status_t status = tern_cuda_driver_register(drivers)) return status;
#ifdef TERN_HAS_VULKAN
    if (tern_status_t status = tern_vulkan_driver_register(drivers)) return status;
#endif
    tern_device_desc_t desc = {};
    desc.driver = options.driver.c_str();
    desc.thread_count = options.threads;
    desc.memory_limit = memory_limit;
    if (tern_status_t status = tern_device_create(instance, &desc, &device)) return status;
    return load(path);
  }
  tern_status_t load(const std::string& path) {
    tern_module_desc_t desc = {};
    desc.code_policy = TERN_CODE_TRUSTED;
    return tern_module_load_file(instance, path.c_str(), &desc, &module);
  }
};

struct Session {
  tern_session_t* session = nullptr;
  Result made;
  Session(const Runtime& runtime, const tern_session_desc_t& desc = {})
      : made(take(tern_session_create(runtime.module, runtime.device, &desc, &session))) {}
  Session(const Session&) = delete;
  ~Session() { tern_session_destroy(session); }
  operator tern_session_t*() const { return session; }
};

class Abuse {
 public:
  Abuse(const Options& options, const std::string& path)
      : options_(options), path_(path), random_(options.seed) {}

  // Faults found.
  int run() {
    const Result opened = take(runtime_.open(options_, path_));
    if (opened.code != TERN_STATUS_OK) return fault("cannot be opened", opened);
    Session first(runtime_);
    if (first.made.code == TERN_STATUS_INCOMPATIBLE) return 0;
    if (first.made.code != TERN_STATUS_OK) return fault("has no session", first.made);
    choose_sizes();
    for (Call& call : calls_) {
      wanted_.push_back(call.run(Session(runtime_)));
      check_sentence("fresh", wanted_.back());
      if (!(call.run(Session(runtime_)) == wanted_.back())) return 0;  // random numbers
    }
    const std::pair<const char*, void (Abuse::*)()> parts[] = {{"reuse", &Abuse::reuse},
                                                               {"creation", &Abuse::failing_creation},
                                                               {"invocation", &Abuse::failing_invocation},
                                                               {"time", &Abuse::timeouts},
                                                               {"cancel", &Abuse::cancellation},
                                                               {"limits", &Abuse::limits},
                                                               {"extremes", &Abuse::extremes},
                                                               {"places", &Abuse::places},
                                                               {"threads", &Abuse::threads}};
    for (auto [name, part] : parts) {
      if (!options_.only.empty() && options_.only != name) continue;
      part_ = name;
      (this->*part)();
    }
    return faults_;
  }

 private:
  const Options& options_;
  std::string path_;
  const char* part_ = "";
  std::mt19937_64 random_;
  Runtime runtime_;
  std::vector<std::vector<int64_t>> sizes_;
  std::vector<Call> calls_;
  std::vector<Result> wanted_;
  std::atomic<int> faults_ = 0;

  int fault(const std::string& what, const Result& got) {
    fprintf(stderr, "%s: %s: %s: code %d: %.300s\n", path_.c_str(), part_, what.c_str(), got.code,
            got.code == TERN_STATUS_OK ? "(other bytes)" : got.text.c_str());
    return ++faults_;
  }
  void check_sentence(const std::string& what, const Result& got) {
    if (got.code == TERN_STATUS_OK) return;
    const std::string line = got.text.substr(0, got.text.find('\n'));
    if (got.code == TERN_STATUS_INTERNAL || got.code == TERN_STATUS_DEVICE_LOST || line.empty() ||
        got.text.size() < 10)
      fault(what + " is no proper failure", got);
  }
  void expect(const std::string& what, size_t call, const Result& got) {
    if (!(got == wanted_[call])) fault(what + " (sizes " + text(sizes_[call]) + ")", got);
  }
  static std::string text(const std::vector<int64_t>& values) {
    std::string out;
    for (int64_t v : values) out += (out.empty() ? "" : ", ") + std::to_string(v);
    return out;
  }

  int64_t draw(const tern_symbol_info_t& s) {
    const int64_t usual[] = {0, 1, 2, 3, 5, 7, 8, 16, 17, 31, 64, 100, s.hint, s.min, s.max};
    int64_t value = usual[random_() % std::size(usual)];
    if (value < s.min) value = s.min;
    if (value > s.max) value = s.max;
    const int64_t unit = s.multiple_of > 0 ? s.multiple_of : 1;
    if (value % unit) value = value / unit * unit + (value / unit * unit < s.min ? unit : 0);
    return value;
  }
  void choose_sizes() {
    std::vector<tern_symbol_info_t> symbols(tern_module_symbol_count(runtime_.module));
    for (uint32_t i = 0; i < symbols.size(); ++i)
      tern_status_free(tern_module_symbol_info(runtime_.module, i, &symbols[i]));
    const size_t wanted = symbols.empty() ? 1 : 5;
    for (int tries = 0; tries < 60 && calls_.size() < wanted; ++tries) {
      std::vector<int64_t> values;
      for (const tern_symbol_info_t& s : symbols) values.push_back(draw(s));
      Call call(runtime_.module, values, options_.seed + static_cast<uint64_t>(tries));
      if (!call.fits()) continue;
      sizes_.push_back(values);
      calls_.push_back(std::move(call));
    }
  }
  size_t any() { return random_() % calls_.size(); }

  void reuse() {
    Session session(runtime_);
    for (int i = 0; i < 12 && !calls_.empty(); ++i) {
      const size_t call = any();
      expect("a session used again", call, calls_[call].run(session));
      if (i == 7) check_sentence("reset", take(tern_session_reset(session)));
    }
  }

  void failing_creation() {
    for (size_t n = 1; n < 2000; ++n) {
      Runtime own;
      const size_t before = own.allocator->live_count();
      own.allocator->fail_at(n);
      const Result opened = take(own.open(options_, path_));
      Result got = opened;
      if (opened.code == TERN_STATUS_OK) {
        Session session(own);
        got = session.made;
        const bool reached = own.allocator->calls() >= n;
        own.allocator->fail_at(0);
        if (got.code == TERN_STATUS_OK && !calls_.empty())
          expect("a session after a failed allocation", 0, calls_[0].run(session));
        if (!reached) return;
      }
      own.allocator->fail_at(0);
      if (got.code != TERN_STATUS_OK && got.code != TERN_STATUS_OUT_OF_MEMORY)
        fault("the failure of allocation " + std::to_string(n) + " of creation", got);
      (void)before;
      // A driver that is big has thousands: later ones at random.
      if (n > 150) n += random_() % 20;
    }
  }

  void failing_invocation() {
    if (calls_.empty()) return;
    Session session(runtime_);
    size_t call = 0;
    for (size_t n = 1; n < 400; ++n) {
      call = any();
      const size_t calls = runtime_.allocator->calls();
      runtime_.allocator->fail_at(n, n % 3 == 0);
      const Result got = calls_[call].run(session);
      const bool reached = runtime_.allocator->calls() >= calls + n;
      runtime_.allocator->fail_at(0);
      if (got.code != TERN_STATUS_OUT_OF_MEMORY) expect("an invocation whose allocation failed", call, got);
      if (n % 5 == 0) {
        const size_t other = any();
        expect("the invocation behind one that found no memory", other, calls_[other].run(session));
      }
      if (!reached && n > 8) break;
    }
    Session fresh(runtime_);  // grows from nothing each time
    for (size_t n = 1; n < 200; ++n) {
      Session young(runtime_);
      call = n % calls_.size();
      const size_t calls = runtime_.allocator->calls();
      runtime_.allocator->fail_at(n);
      const Result got = calls_[call].run(young);
      const bool reached = runtime_.allocator->calls() >= calls + n;
      runtime_.allocator->fail_at(0);
      if (got.code != TERN_STATUS_OUT_OF_MEMORY)
        expect("a first invocation whose allocation failed", call, got);
      expect("the invocation behind a first one that found no memory", call, calls_[call].run(young));
      if (!reached) break;
    }
  }

  void timeouts() {
    if (calls_.empty()) return;
    Session session(runtime_);
    for (uint64_t ns = 1; ns < 3'000'000; ns = ns * 3 + 1) {
      const size_t call = any();
      const Result got = calls_[call].run(session, ns);
      if (got.code != TERN_STATUS_DEADLINE_EXCEEDED)
        expect("an invocation with a timeout of " + std::to_string(ns) + " ns", call, got);
      expect("the invocation behind one with a timeout", call, calls_[call].run(session));
    }
    const size_t call = any();
    expect("an invocation with the longest timeout", call, calls_[call].run(session, UINT64_MAX));
  }

  void cancellation() {
    if (calls_.empty()) return;
    Session session(runtime_);
    std::atomic<bool> end = false;
    std::thread other([&] {
      std::mt19937_64 random(options_.seed);
      while (!end) {
        for (uint64_t spin = random() % 20000; spin; --spin)
          std::atomic_signal_fence(std::memory_order_seq_cst);
        tern_session_cancel(session);
      }
    });
    for (int i = 0; i < 60; ++i) {
      const size_t call = any();
      const Result got = calls_[call].run(session);
      if (got.code != TERN_STATUS_CANCELLED) expect("an invocation that may be cancelled", call, got);
    }
    end = true;
    other.join();
    for (int i = 0; i < 3; ++i) {
      const size_t call = any();
      expect("the invocation behind a cancelled one", call, calls_[call].run(session));
    }
  }

  void limits() {
    if (calls_.empty()) return;
    for (uint64_t limit = 1; limit < uint64_t{1} << 30; limit = limit * 4 + random_() % (limit + 1)) {
      Runtime own;
      Result got = take(own.open(options_, path_, limit));
      if (got.code == TERN_STATUS_OK) {
        Session session(own);
        got = session.made;
        if (got.code == TERN_STATUS_OK) {
          for (int i = 0; i < 3; ++i) {
            const size_t call = any();
            got = calls_[call].run(session);
            if (got.code != TERN_STATUS_OUT_OF_MEMORY) expect("with limited device memory", call, got);
          }
          continue;
        }
      }
      if (got.code != TERN_STATUS_OUT_OF_MEMORY)
        fault("a memory limit of " + std::to_string(limit) + " bytes", got);
    }
    for (uint64_t limit = 1; limit < uint64_t{1} << 24; limit *= 16) {
      for (int which = 0; which < 3; ++which) {
        tern_session_desc_t desc = {};
        (which == 0 ? desc.arena_limit : which == 1 ? desc.dynamic_limit : desc.step_limit) = limit;
        Session session(runtime_, desc);
        if (session.made.code != TERN_STATUS_OK) {
          if (session.made.code != TERN_STATUS_OUT_OF_MEMORY) fault("a limit of a session", session.made);
          continue;
        }
        for (int i = 0; i < 2; ++i) {
          const size_t call = any();
          const Result got = calls_[call].run(session);
          check_sentence("a limit of a session", got);
          const tern_status_code_t allowed =
              which == 2 ? TERN_STATUS_OUT_OF_RANGE : TERN_STATUS_OUT_OF_MEMORY;
          if (got.code != allowed && !(which == 2 && got.code == TERN_STATUS_FAILED_PRECONDITION))
            expect("with a limited session", call, got);
        }
      }
    }
  }

  // Symbols of any size with little memory: refused, whatever the size of the memory claims.
  void extremes() {
    Session session(runtime_);
    const int64_t far[] = {INT64_MIN,        -1,
                           int64_t{1} << 31, (int64_t{1} << 32) + 1,
                           int64_t{1} << 40, int64_t{1} << 60,
                           int64_t{1} << 61, int64_t{1} << 62,
                           INT64_MAX};
    const size_t symbols = tern_module_symbol_count(runtime_.module);
    for (size_t s = 0; s <= symbols && symbols; ++s) {
      for (int64_t value : far) {
        std::vector<int64_t> values = sizes_.empty() ? std::vector<int64_t>(symbols, 1) : sizes_[0];
        if (s == symbols)
          for (int64_t& v : values) v = value;
        else
          values[s] = value;
        Call call(runtime_.module, values, 1);
        if (call.fits() && value >= 0) continue;  // no input has it
        const Result got = call.run(session);
        if (got.code == TERN_STATUS_OK && value < 0) continue;  // no input has it
        check_sentence("a symbol of " + std::to_string(value), got);
        if (got.code == TERN_STATUS_OK)
          fault("a symbol of " + std::to_string(value) + " with no memory behind it", got);
        for (tern_tensor_t& t : call.inputs()) {
          __int128 bytes = tern_dtype_bits(t.dtype);
          for (uint32_t k = 0; k < t.rank; ++k)
            if (bytes < (__int128{1} << 60)) bytes *= std::max<int64_t>(t.dims[k], 0);
          if (bytes / 8 > static_cast<__int128>(INT64_MAX)) t.size = UINT64_MAX;
        }
        const Result claimed = call.run(session);
        check_sentence("a symbol of " + std::to_string(value), claimed);
        if (claimed.code == TERN_STATUS_OK)
          fault("a symbol of " + std::to_string(value) + " that overflows", claimed);
      }
    }
    if (calls_.empty()) return;
    for (size_t i = 0; i < calls_[0].inputs().size(); ++i) {
      std::vector<tern_tensor_t>& inputs = calls_[0].inputs();
      const tern_tensor_t kept = inputs[i];
      std::vector<tern_tensor_t> odd(7, kept);
      odd[0].dtype = kept.dtype == 1 ? 7 : 1;
      odd[1].rank = kept.rank + 1;
      odd[1].dims[kept.rank] = 1;
      odd[2].rank = UINT32_MAX;
      odd[3].data = nullptr;
      odd[4].size = kept.size ? kept.size - 1 : 0;
      odd[5].owner = 99;
      odd[6].dtype = 1000;
      for (size_t k = 0; k < odd.size(); ++k) {
        inputs[i] = odd[k];
        const Result got = calls_[0].run(session);
        check_sentence("an odd tensor", got);
        if (got.code == TERN_STATUS_OK && k != 5 && kept.size && wanted_[0].code == TERN_STATUS_OK)
          fault("odd tensor " + std::to_string(k) + " of input " + std::to_string(i) + " is taken", got);
      }
      inputs[i] = kept;
      expect("the invocation behind odd ones", 0, calls_[0].run(session));
    }
  }

  // Outputs where the caller says: exactly enough, a byte too few, an input's memory.
  void places() {
    for (size_t c = 0; c < calls_.size(); ++c) {
      if (wanted_[c].code != TERN_STATUS_OK) continue;
      Session session(runtime_);
      std::vector<tern_tensor_t> known(calls_[c].outputs());
      expect("outputs of the session", c, calls_[c].run(session, known));
      std::vector<std::vector<uint8_t>> memory;
      std::vector<tern_tensor_t> placed(known.size());
      auto place = [&](size_t less, size_t which) {
        memory.clear();
        for (size_t i = 0; i < known.size(); ++i) {
          int64_t elements = 1;
          for (uint32_t k = 0; k < known[i].rank; ++k) elements *= known[i].dims[k];
          uint64_t bytes = (static_cast<uint64_t>(elements) * tern_dtype_bits(known[i].dtype) + 7) / 8;
          memory.emplace_back(bytes + 128, uint8_t{0x5a});
          placed[i] = {};
          uint8_t* data = memory.back().data();
          placed[i].data = data + (64 - reinterpret_cast<uintptr_t>(data) % 64) % 64;
          placed[i].size = i == which && bytes ? bytes - less : bytes;
        }
      };
      place(0, 0);
      const Result exact = calls_[c].run(session, placed);
      expect("outputs in memory of the caller", c, exact);
      for (size_t i = 0; i < placed.size(); ++i)
        for (const uint8_t* p = static_cast<uint8_t*>(placed[i].data) + placed[i].size;
             p < memory[i].data() + memory[i].size(); ++p)
          if (*p != 0x5a) {
            fault("bytes behind output " + std::to_string(i) + " are written", exact);
            break;
          }
      for (size_t i = 0; i < known.size(); ++i) {
        place(1, i);
        const bool none = memory[i].size() == 128;
        const Result small = calls_[c].run(session, placed);
        if (small.code != TERN_STATUS_OUT_OF_RANGE && !none)
          fault("an output's place that is too small", small);
        for (const uint8_t* p = static_cast<uint8_t*>(placed[i].data) + placed[i].size;
             p < memory[i].data() + memory[i].size(); ++p)
          if (*p != 0x5a) {
            fault("bytes behind a place that is too small are written", small);
            break;
          }
      }
      expect("the invocation behind one with a small place", c, calls_[c].run(session));
    }
  }

  void threads() {
    if (calls_.empty()) return;
    std::vector<std::thread> running;
    for (uint64_t t = 0; t < 4; ++t) {
      running.emplace_back([this, t] {
        std::mt19937_64 random(options_.seed + t);
        for (int round = 0; round < 2; ++round) {
          Session session(runtime_);
          if (session.made.code != TERN_STATUS_OK) {
            fault("creation beside others", session.made);
            return;
          }
          for (int i = 0; i < 6; ++i) {
            const size_t call = random() % calls_.size();
            expect("an invocation beside others", call, calls_[call].run(session));
          }
        }
      });
    }
    for (std::thread& each : running) each.join();
  }
};

int main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--driver" && i + 1 < argc)
      options.driver = argv[++i];
    else if (word == "--only" && i + 1 < argc)
      options.only = argv[++i];
    else if (word == "--threads" && i + 1 < argc)
      options.threads = static_cast<uint32_t>(atoi(argv[++i]));
    else if (word == "--seed" && i + 1 < argc)
      options.seed = strtoull(argv[++i], nullptr, 10);
    else
      options.modules.push_back(word);
  }
  int wrong = 0;
  for (const std::string& path : options.modules) {
    if (Abuse(options, path).run()) ++wrong;
  }
  printf("%zu modules, %d with faults\n", options.modules.size(), wrong);
  return wrong ? 1 : 0;
}

}  // namespace
}  // namespace tern::abuse

int main(int argc, char** argv) {
  return tern::abuse::main(argc, argv);
}

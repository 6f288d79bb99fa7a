// How a recording runs: on the submitting thread alone, or by a team whose workers walk the list together.
//
// A team splits the tiles of a command by the workers' weights; a worker takes its own share in halves and
// then what others left of theirs. A phase is over when its tiles are counted as done, so that a worker that
// is late, or was put to sleep by the system, delays nobody unless it holds tiles. Nothing is decided by who
// ran what: tiles give the same bytes in any split.
#include <atomic>

#include "drivers/cpu/cpu_command_buffer.h"
#include "drivers/cpu/cpu_device.h"
#include "drivers/cpu/float_environment.h"

namespace tern::cpu {
namespace {

constexpr int kEpochShift = 40;
constexpr uint64_t kTakenMask = (uint64_t{1} << kEpochShift) - 1;

class Replay {
 public:
  Replay(Device* device, const tern_hal_submit_t* submit)
      : device_(device),
        submit_(submit),
        commands_(reinterpret_cast<CommandBuffer*>(submit->command_buffer)) {}

  tern_status_t run();

 private:
  void run_alone();
  void run_on_executor();
  void walk(uint32_t worker);
  void run_serial(const Segment& segment);
  void work(uint32_t index, uint32_t rotation, uint32_t worker);
  bool claim(uint32_t index, uint32_t owner, int64_t* out_begin, int64_t* out_end);
  bool call(const Command& command, int64_t begin, int64_t end, void* scratch);
  bool interrupted();
  void stop() {
    stopped_.store(true, std::memory_order_release);
    device_->team.notify();
  }
  void log(const Command& command, int64_t begin_ns, uint32_t workers);
  tern_status_t result();

  bool stopped() const { return stopped_.load(std::memory_order_acquire); }
  int64_t target(uint32_t index) const {
    return int64_t{commands_->epoch} * commands_->commands[index].tiles;
  }
  bool is_done(uint32_t index) const {
    return commands_->progress[index].done.load(std::memory_order_acquire) == target(index);
  }
  void* scratch_of(uint32_t worker) const {
    return worker == 0 ? own_scratch_ : device_->team_scratch + (worker - 1) * device_->team_stride;
  }

  Device* device_;
  const tern_hal_submit_t* submit_;
  CommandBuffer* commands_;
  void* own_scratch_ = nullptr;
  std::atomic<bool> stopped_{false};
  std::atomic<uint64_t> failure_{
      UINT64_MAX};  // the first failed command's index, then its kernel's code in the lower half
  tern_status_code_t interruption_ = TERN_STATUS_OK;
};

// Whether the caller wants to stop; looked at by the submitting thread between dispatches.
bool Replay::interrupted() {
  if (submit_->cancel && __atomic_load_n(&submit_->cancel->requested, __ATOMIC_ACQUIRE)) {
    interruption_ = TERN_STATUS_CANCELLED;
  } else if (submit_->deadline && tern_host_now() >= submit_->deadline) {
    interruption_ = TERN_STATUS_DEADLINE_EXCEEDED;
  } else {
    return false;
  }
  stop();
  return true;
}

bool Replay::call(const Command& command, int64_t begin, int64_t end, void* scratch) {
  const int32_t code = command.function(&command.args, begin, end, scratch, command.scratch);
  if (__builtin_expect(code == TERN_KERNEL_OK, 1)) return true;
  const uint64_t failure = uint64_t{command.index} << 32 | static_cast<uint32_t>(code);
  uint64_t first = failure_.load(std::memory_order_relaxed);
  while (failure < first && !failure_.compare_exchange_weak(first, failure, std::memory_order_relaxed)) {
  }
  stop();
  return false;
}

void Replay::log(const Command& command, int64_t begin_ns, uint32_t workers) {
  const tern_hal_event_t event = {begin_ns, tern_host_now(), command.index, workers,
                                  commands_->head.commands[command.index].label};
  tern_hal_event_log_append(submit_->event_log, &event);
}

void Replay::run_serial(const Segment& segment) {
  for (uint32_t i = segment.first; i < segment.first + segment.count; ++i) {
    const Command& command = commands_->commands[i];
    if (interrupted()) return;
    if (command.tiles == 0) continue;
    const int64_t begin = submit_->event_log ? tern_host_now() : 0;
    if (!call(command, 0, command.tiles, own_scratch_)) return;
    if (submit_->event_log) log(command, begin, 1);
  }
}

void Replay::run_alone() {
  run_serial({0, commands_->command_count, true});
}

// Takes half of what is left of a worker's share of a command.
bool Replay::claim(uint32_t index, uint32_t owner, int64_t* out_begin, int64_t* out_end) {
  const int64_t tiles = commands_->commands[index].tiles;
  const uint32_t workers = commands_->worker_count;
  const int64_t begin = device_->shares.begin(owner, workers, tiles);
  const int64_t size = device_->shares.begin(owner + 1, workers, tiles) - begin;
  const size_t stride = (commands_->command_count + 7) & ~size_t{7};
  std::atomic<uint64_t>& claimed = commands_->claims[owner * stride + index];
  uint64_t before = claimed.load(std::memory_order_relaxed);
  for (;;) {
    const int64_t taken =
        before >> kEpochShift == commands_->epoch ? static_cast<int64_t>(before & kTakenMask) : 0;
    if (taken >= size) return false;
    const int64_t take = (size - taken + 1) / 2;
    const uint64_t after = uint64_t{commands_->epoch} << kEpochShift | static_cast<uint64_t>(taken + take);
    if (claimed.compare_exchange_weak(before, after, std::memory_order_relaxed)) {
      *out_begin = begin + taken;
      *out_end = begin + taken + take;
      return true;
    }
  }
}

// Does as much of a command as there is to take: the own share, and then that of others.
// `rotation`: where in its phase the command stands.
void Replay::work(uint32_t index, uint32_t rotation, uint32_t worker) {
  const Command& command = commands_->commands[index];
  if (command.tiles == 0) return;
  std::atomic<int64_t>& done = commands_->progress[index].done;
  const uint32_t workers = commands_->worker_count;
  for (uint32_t i = 0; i < workers; ++i) {
    // Commands of a phase begin at different workers, so that several small ones spread.
    const uint32_t owner = (worker + rotation + i) % workers;
    int64_t completed = 0, begin, end;
    while (claim(index, owner, &begin, &end)) {
      if (stopped() || !call(command, begin, end, scratch_of(worker))) return;
      completed += end - begin;
    }
    if (completed && done.fetch_add(completed, std::memory_order_acq_rel) + completed == target(index)) {
      device_->team.notify();
      return;
    }
    if (done.load(std::memory_order_relaxed) == target(index)) return;
  }
}

// What each worker of a team does.
void Replay::walk(uint32_t worker) {
  const DefaultFloatEnvironment environment;
  const bool leads = worker == 0;
  for (uint32_t s = 0; s < commands_->segment_count; ++s) {
    const Segment& segment = commands_->segments[s];
    const bool is_last = s + 1 == commands_->segment_count;
    if (segment.serial) {
      std::atomic<int64_t>& done = commands_->progress[segment.first].done;
      if (leads) {
        run_serial(segment);
        done.store(commands_->epoch, std::memory_order_release);
        device_->team.notify();
      } else if (!is_last) {
        device_->team.wait(
            [&] { return done.load(std::memory_order_acquire) == commands_->epoch || stopped(); });
      }
      if (stopped() || (is_last && !leads)) return;
      continue;
    }
    if (leads && interrupted()) return;
    const uint32_t end = segment.first + segment.count;
    // With a log, commands of a phase run one after the other, so that each has a time of its own.
    const bool separate = submit_->event_log != nullptr;
    for (uint32_t i = segment.first; i < end; ++i) {
      const int64_t begin = separate && leads ? tern_host_now() : 0;
      work(i, i - segment.first, worker);
      if (stopped()) return;
      if (!separate) continue;
      device_->team.wait([&] { return is_done(i) || stopped(); });
      if (leads && !stopped() && commands_->commands[i].tiles)
        log(commands_->commands[i], begin, commands_->worker_count);
    }
    if (is_last && !leads) return;
    for (uint32_t i = segment.first; i < end; ++i) {
      device_->team.wait([&] { return is_done(i) || stopped(); });
    }
    if (stopped()) return;
  }
}

// The host's executor may run its bodies one after the other, so none of them waits for another.
void Replay::run_on_executor() {
  struct Body {
    Replay* replay;
    uint32_t command, rotation;
  };
  auto run_body = [](void* self, uint32_t worker) {
    const Body* body = static_cast<const Body*>(self);
    const DefaultFloatEnvironment environment;
    if (worker < body->replay->commands_->worker_count)
      body->replay->work(body->command, body->rotation, worker);
  };
  for (uint32_t s = 0; s < commands_->segment_count && !stopped(); ++s) {
    const Segment& segment = commands_->segments[s];
    if (segment.serial) {
      run_serial(segment);
      continue;
    }
    for (uint32_t i = segment.first; i < segment.first + segment.count; ++i) {
      if (stopped() || interrupted()) return;
      const int64_t begin = submit_->event_log ? tern_host_now() : 0;
      Body body = {this, i, i - segment.first};
      device_->executor.parallel_for(device_->executor.self, commands_->worker_count, run_body, &body);
      if (!stopped() && !is_done(i)) work(i, 0, 0);  // an executor that left bodies out
      if (submit_->event_log && !stopped()) log(commands_->commands[i], begin, commands_->worker_count);
    }
  }
}

tern_status_t Replay::run() {
  ScratchBlock* block = nullptr;
  if (commands_->scratch) {
    TERN_RETURN_IF_ERROR(cpu_device_take_scratch(device_, &block));
    own_scratch_ = reinterpret_cast<char*>(block) + kScratchOffset;
  }
  const bool shares =
      commands_->worker_count > 1 && !(commands_->segment_count == 1 && commands_->segments[0].serial);
  if (shares && device_->team.try_acquire()) {
    if (commands_->epoch == kMaxEpoch) cpu_command_buffer_reset_progress(commands_);
    ++commands_->epoch;
    if (device_->executor.parallel_for) {
      const DefaultFloatEnvironment environment;
      run_on_executor();
    } else {
      device_->team.run([](void* self, uint32_t worker) { static_cast<Replay*>(self)->walk(worker); }, this);
    }
    if (stopped()) cpu_command_buffer_reset_progress(commands_);
    device_->team.release();
  } else {
    const DefaultFloatEnvironment environment;
    run_alone();
  }
  cpu_device_return_scratch(device_, block);
  return stopped() ? result() : TERN_OK;
}

tern_status_t Replay::result() {
  [[maybe_unused]] tern_allocator_t allocator = device_->head.allocator;
  const uint64_t failure = failure_.load(std::memory_order_relaxed);
  if (failure == UINT64_MAX) {
    return tern_status_make(allocator, interruption_, "%s",
                            interruption_ == TERN_STATUS_CANCELLED ? "The caller cancelled the submission."
                                                                   : "The submission's deadline has passed.");
  }
  return tern_hal_kernel_failure(&commands_->head, static_cast<int32_t>(failure),
                                 static_cast<uint32_t>(failure >> 32));
}

}  // namespace

tern_status_t cpu_replay(Device* device, const tern_hal_submit_t* submit) {
  return Replay(device, submit).run();
}

}  // namespace tern::cpu

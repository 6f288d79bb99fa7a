// The table of `tern bench --dispatches`: each dispatch's mean time beside what it does (the module's sources
// say: dispatch_work.h) and what the machine could do at most (machine_peak.h).
#pragma once

#include <string>
#include <vector>

#include "tools/tern/commands.h"
#include "tools/tern/dispatch_work.h"
#include "tools/tern/machine_peak.h"

namespace tern::cli {

class DispatchTable {
 public:
  // Reads the module's file again: the runtime keeps no work. `device`: a GPU's name; empty: the CPU, which
  // is measured.
  DispatchTable(const BenchOptions& options, const Arguments& arguments, const std::string& device, int runs);

  // One command of one of the runs; `number` counts within the run.
  void add(uint32_t number, const tern_profile_event_t& event);

  void print() const;
  void json(Json& out) const;  // keys of an open object

 private:
  struct Row {
    std::string label;
    double us = 0;  // mean
    std::optional<DispatchWork> work;
  };
  struct Rates {
    double gflops = -1, gbs = -1, roofline = -1;  // -1: not known. roofline: 1 is the limit
  };
  Rates rates(const Row& row) const;

  struct Source {
    std::string text;
    std::optional<DispatchWork> work;
  };
  std::vector<Source> sources_;
  std::vector<Row> rows_;
  MachinePeak peak_;
  int runs_;
  bool measured_ = false;
  std::string device_;  // whose row of the table of GPUs the limits are; else empty
  int threads_ = 0;
};

}  // namespace tern::cli

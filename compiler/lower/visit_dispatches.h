// Every dispatch of a list of steps, those in branches and loops too, in the order of the steps.
#pragma once

#include <functional>

#include "compiler/lower/program_ir.h"

namespace tern::lower {

inline void visit_dispatches(const std::vector<Step>& steps, const std::function<void(DispatchStep&)>& f) {
  for (const Step& step : steps) {
    if (step.dispatch) f(*step.dispatch);
    if (step.branch) {
      visit_dispatches(step.branch->then_steps, f);
      visit_dispatches(step.branch->else_steps, f);
    }
    if (step.loop) visit_dispatches(step.loop->body, f);
  }
}

}  // namespace tern::lower

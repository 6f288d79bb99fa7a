#include "compiler/explain.h"

#include <algorithm>
#include <array>
#include <map>

namespace tern {
namespace {

using lower::DispatchStep;
using lower::FusionReason;
using lower::Neighbour;
using lower::ReasonSubject;
using lower::Step;

// "1.23 M": three digits and a decimal prefix.
std::string scaled(double value) {
  constexpr std::array prefixes = {"", "k", "M", "G", "T", "P"};
  size_t prefix = 0;
  for (; value >= 999.5 && prefix + 1 < prefixes.size(); ++prefix) value /= 1000;
  if (prefix == 0) return fmt::format("{:.0f} ", value);
  return fmt::format("{:.{}f} {}", value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0, prefixes[prefix]);
}

// "1.23 MB"; a thousand bytes are a KB, as everywhere in tern's reports.
std::string bytes_text(double bytes) {
  std::string out = scaled(bytes);
  if (out.back() == 'k') out.back() = 'K';
  return out + "B";
}

std::string time_text(double seconds) {
  if (seconds <= 0) return "not predicted";
  return seconds < 1e-3 ? fmt::format("{:.1f} us", seconds * 1e6) : fmt::format("{:.2f} ms", seconds * 1e3);
}

std::string source_text(const graph::Source* source, const std::string& op) {
  if (!source) return op;
  return source->node.empty() ? source->op : fmt::format("{} '{}'", source->op, source->node);
}

// The same times and numbers of all levels together.
struct Totals {
  int dispatches = 0, copies = 0;
  double flops = 0, read = 0, written = 0;
  std::map<lower::Level, double> seconds;
};

class Explanation {
 public:
  Explanation(const lower::LoweredProgram& program, const lower::Target& target)
      : program_(program), target_(target) {}

  std::string text() {
    steps(program_.steps, "");
    return head() + body_;
  }

 private:
  std::string head() const {
    const std::string_view arch = lower::arch_name(target_.arch);
    std::string out = fmt::format("{}: {} {}", arch, totals_.dispatches,
                                  totals_.dispatches == 1 ? "dispatch" : "dispatches");
    if (totals_.copies > 0)
      out += fmt::format(", {} of them {}", totals_.copies, totals_.copies == 1 ? "a copy" : "copies");
    out += fmt::format("; {}FLOP, reads {}, writes {}; predicted", scaled(totals_.flops),
                       bytes_text(totals_.read), bytes_text(totals_.written));
    std::string_view separator = " ";
    for (const auto& [level, seconds] : totals_.seconds) {
      out += fmt::format("{}{} {}", separator, lower::level_name(level), time_text(seconds));
      separator = ", ";
    }
    out += lower::is_gpu(target_.arch) ? "" : " on one core";
    return out + (has_symbols() ? " (at usual sizes)\n" : "\n");
  }

  bool has_symbols() const { return !program_.symbols.empty(); }

  void steps(const std::vector<Step>& list, const std::string& indent) {
    for (const Step& s : list) {
      switch (s.kind) {
        case Step::Kind::kDispatch:
          dispatch(*s.dispatch, indent);
          break;
        case Step::Kind::kIf:
          body_ += fmt::format("\n{}if\n", indent);
          steps(s.branch->then_steps, indent + "  ");
          body_ += fmt::format("\n{}else\n", indent);
          steps(s.branch->else_steps, indent + "  ");
          break;
        case Step::Kind::kLoop:
          body_ += fmt::format("\n{}loop {}\n", indent, s.loop->trip_count.text());
          steps(s.loop->body, indent + "  ");
          break;
        default:
          break;  // no kernels: `ternc -v` lists copies, --dump-dir has the program
      }
    }
  }

  void line(const std::string& indent, std::string_view word, const std::string& text) {
    body_ += fmt::format("{}  {:<8} {}\n", indent, word, text);
  }

  void dispatch(const DispatchStep& d, const std::string& indent) {
    body_ += fmt::format("\n{}#{} {}\n", indent, totals_.dispatches++, d.label);
    std::string nodes;
    for (const auto& source : d.sources) nodes += (nodes.empty() ? "" : ", ") + source_text(source.get(), "");
    if (!nodes.empty()) line(indent, "nodes", nodes);
    if (d.copy_for) line(indent, "copy", fmt::format("it {}", reason_row(*d.copy_for).sentence));
    totals_.copies += d.copy_for ? 1 : 0;
    variants(d, indent);
    line(indent, "work", work(d.work));
    for (const bool before : {true, false}) {
      for (const Neighbour& n : d.neighbours) {
        if (n.before == before) line(indent, before ? "before" : "after", neighbour(n));
      }
    }
  }

  void variants(const DispatchStep& d, const std::string& indent) {
    std::string_view word = "kernel";
    for (const lower::KernelVariant& v : d.variants) {
      const std::string& schedule = v.kernel->schedule;
      const std::string kind = schedule.starts_with(d.kind) ? "" : fmt::format("{}; ", d.kind);
      std::string text = fmt::format("{}: {}{}", lower::level_name(v.level), kind, schedule);
      if (v.kernel->threads > 0 && schedule.find("threads") == std::string::npos)
        text += fmt::format("; {} threads", v.kernel->threads);
      text += v.tiles.is_const(1) ? "; 1 tile" : fmt::format("; {} tiles", v.tiles.text());
      line(indent, word, fmt::format("{}; {}", text, time_text(v.predicted)));
      word = "";
    }
    for (const auto* levels : {&target_.levels, &target_.product_levels}) {
      for (const lower::Level level : *levels) totals_.seconds[level] += kernel_of(d, level).predicted;
    }
  }

  // A level without a kernel of its own runs its base's, or the best one below.
  static const lower::KernelVariant& kernel_of(const DispatchStep& d, lower::Level level) {
    const lower::KernelVariant* best = &d.variants.front();
    for (const lower::KernelVariant& v : d.variants) {
      if (v.level == level) return v;
      if (v.level <= lower::base_level(level)) best = &v;
    }
    return *best;
  }

  std::string work(const lower::Work& w) {
    totals_.flops += static_cast<double>(w.usual_flops);
    totals_.read += static_cast<double>(w.usual_read);
    totals_.written += static_cast<double>(w.usual_written);
    std::string out = fmt::format("{}{}, reads {}, writes {}", scaled(static_cast<double>(w.usual_flops)),
                                  w.on_bytes ? "operations on bytes" : "FLOP",
                                  bytes_text(static_cast<double>(w.usual_read)),
                                  bytes_text(static_cast<double>(w.usual_written)));
    const double bytes = static_cast<double>(w.usual_read + w.usual_written);
    if (bytes > 0) out += fmt::format("; {:.1f} a byte", static_cast<double>(w.usual_flops) / bytes);
    return out;
  }

  static std::string neighbour(const Neighbour& n) {
    const std::string name = source_text(n.source.get(), n.op);
    const lower::ReasonRow row = reason_row(n.reason);
    const std::string sentence =
        n.predicted ? fmt::format("{} (would take {} together, {} apart)", row.sentence,
                                  time_text(n.predicted->together), time_text(n.predicted->apart))
                    : std::string(row.sentence);
    if (n.before) {
      return row.subject == ReasonSubject::kBefore
                 ? fmt::format("{} is not taken in: it {}", name, sentence)
                 : fmt::format("{} does not take this in: this {}", name, sentence);
    }
    return row.subject == ReasonSubject::kAfter
               ? fmt::format("{} does not join: it {}", name, sentence)
               : fmt::format("{} does not take this in: this {}", name, sentence);
  }

  const lower::LoweredProgram& program_;
  const lower::Target& target_;
  Totals totals_;
  std::string body_;
};

}  // namespace

std::string explain(const lower::LoweredProgram& program, const lower::Target& target) {
  return Explanation(program, target).text();
}

}  // namespace tern

"""What cpu.py prints: the table and the geometric means of one run's facts."""

import math
import os
import platform
from datetime import date
from pathlib import Path

F32 = ("mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "resnet50", "vit_b16", "yolov8n", "bert_base", "gpt2_prefill", "gpt2_decode", "ppocr_det", "ppocr_rec", "minilm")  # fmt: skip
INT8 = ("mobilenet_v2_qdq", "resnet50_qdq", "bert_base_qdq")


def text(rows, peers, options):
    """All of it, as Markdown."""
    versions = {p: r[p]["version"] for _, _, r in rows for p in peers if "version" in r.get(p, {})}
    head = f"{machine()}; {', '.join(versions.values())}; medians of {options.rounds} interleaved rounds, {date.today()}."
    if options.level:
        free = any("free" in f for _, _, r in rows for f in r.values())
        head += f" All are held to {options.level}{' but those marked °, which cannot be and are not among the best here' if free else ''}."
    marks = "–: cannot convert or run the model; ≠: its outputs differ from ONNX Runtime's; *: one round only; ~: of an earlier run."
    return f"{head}\n\n{table(rows, peers)}\n\n{means(rows) + chr(10) * 2 if means(rows) else ''}{marks}\n"


def cell(facts):
    if "ms" in facts:
        mark = ("~" if "recorded" in facts else "*" if "once" in facts else "") + ("°" if "free" in facts else "")
        return (f"{facts['ms']:.3g}" if facts["ms"] < 1000 else f"{facts['ms']:.0f}") + mark
    if "differs" not in facts and "again_ms" in facts:
        return f"({facts['again_ms']:.3g})"
    return "≠" if facts.get("differs") else "–"


def fastest(results):
    """(time, name) of the fastest runtime besides tern."""
    return min(((f["ms"], p) for p, f in results.items() if p != "tern" and "ms" in f and "free" not in f), default=(None, None))


def beside_least(results, key, form):
    """tern's fact over the least of the others that run the model."""
    mine = sum(results["tern"].get(k, 0) for k in key)
    others = [(sum(f[k] for k in key), p) for p, f in results.items() if p != "tern" and "ms" in f and set(key) <= set(f)]
    least = min(others, default=None)
    return f"{mine:{form}} / {least[0]:{form}} {least[1]}" if least else f"{mine:{form}} / –"


def table(rows, peers):
    """Markdown: a line a model and thread count; the ratio is tern's time over the fastest other runtime's."""
    head = ["model", "threads", *[f"{p} ms" for p in peers], "tern/ort", "tern/best", "load + first run ms", "adds MB", "process MB"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    notes = []
    for name, threads, r in rows:
        mine = r.get("tern", {}).get("ms")
        best, who = fastest(r)
        ort = r["ort"].get("ms")
        ratio = lambda other: f"{mine / other:.2f}" if mine and other else "–"
        cells = [name, str(threads), *[cell(r.get(p, {})) + note(notes, p, r.get(p, {})) for p in peers], ratio(ort), f"{ratio(best)} {who}"]
        if mine:
            cells += [beside_least(r, ("load_ms", "first_ms"), ".3g"), *[beside_least(r, (key,), ".0f") for key in ("peak_rss_mb", "process_mb")]]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", *[f"{i + 1}. {text}" for i, text in enumerate(notes)]] if notes else []
    return "\n".join(lines)


def short(error):
    """The line of a message that says most."""
    lines = error.strip().splitlines() or ["no message"]
    return next((line for line in reversed(lines) if "rror" in line), lines[-1])[:160]


def note(notes, peer, facts):
    """The number of the reason why a peer has no time, which is added to the list where it is new."""
    if "error" not in facts:
        return ""
    text = f"{peer}: {short(facts['error'])}"
    if text not in notes:
        notes.append(text)
    return f" ({notes.index(text) + 1})"


def means(rows):
    """How much faster than each model's fastest other runtime tern is: geometric means a group and thread count."""
    lines = []
    for title, group in (("f32", F32), ("8-bit", INT8)):
        for threads in sorted({t for _, t, _ in rows}):
            runs = [r for n, t, r in rows if n in group and t == threads and "ms" in r.get("tern", {}) and fastest(r)[0]]
            ratios = [fastest(r)[0] / r["tern"]["ms"] for r in runs]
            if len(ratios) > 1:
                mean = math.exp(sum(map(math.log, ratios)) / len(ratios))
                lines.append(f"{title}, {threads} threads: {mean:.2f} times as fast as the fastest other ({len(ratios)} models, least {min(ratios):.2f}).")
    return "\n".join(lines)


def machine():
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    facts = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    cpu = f"{facts.get('model name', platform.machine())} (family {facts.get('cpu family', '?')}, model {facts.get('model', '?')})"
    return f"{cpu}, {os.cpu_count()} cores"



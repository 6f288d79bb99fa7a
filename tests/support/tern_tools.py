"""What the Python tests and benchmarks share: finding the built programs, calling them, comparing tensors."""

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "models"))

os.environ.setdefault("TERN_STRICT", "1")  # mistakes that users need not see are failures (compiler/graph/passes/rewrite.h)
BUILD = Path(os.environ.get("TERN_BUILD", ROOT / "build" / "release"))
TERNC = BUILD / "bin" / "ternc"
# TERN_GUARDED=1: on a CPU kernels run between guard pages (tests/guarded).
GUARDED = "_guarded" if os.environ.get("TERN_GUARDED") else ""
TERN = BUILD / "bin" / f"tern{GUARDED}"
AARCH64 = ROOT / "build" / "aarch64" / "bin" / "tern"


def need_aarch64():
    """Ends the program with a sentence where what runs aarch64's tern is not there."""
    if not AARCH64.exists():
        sys.exit(f"The tern of aarch64 ({AARCH64.relative_to(ROOT)}) is not built: cmake --preset aarch64 && cmake --build --preset aarch64 --target tern")
    if not shutil.which("qemu-aarch64"):
        sys.exit("The program qemu-aarch64, which runs aarch64's tern, is not installed.")


class ToolError(Exception):
    """A tern program failed; the text is what it said, ending with its exit code."""


class ServerError(ToolError):
    """A server ended without an answer, or was ended because it took too long."""


class Server:
    """A tern_server process (tests/onnx_conformance): runs of tern one after the other in one process, for a driver; without
    a driver a ternc_server: runs of ternc. One that crashes or hangs is started anew for the next run."""

    def __init__(self, driver=None):
        self.name, self.process = "tern" if driver else "ternc", None
        self.command = [str(BUILD / "bin" / f"tern_server{GUARDED}"), driver] if driver else [str(BUILD / "bin" / "ternc_server")]

    def close(self):
        if self.process:
            self.process.kill()
            self.process.communicate()
        self.process = None

    def call(self, arguments, timeout):
        """As call(), without the program's name."""
        if not self.process:
            self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        expired = threading.Event()

        def stop(process=self.process):
            expired.set()
            process.kill()

        late = threading.Timer(timeout, stop)
        late.start()
        try:
            self.process.stdin.write(("\t".join(str(a) for a in arguments) + "\n").encode())
            self.process.stdin.flush()
            code, size = (int(word) for word in self.process.stdout.readline().split())
            text = self.process.stdout.read(size).decode(errors="replace")
        except (ValueError, OSError):
            code, text = self.process.wait(), ""
            self.process = None
            how = f"took longer than {timeout} s" if expired.is_set() else f"died: signal {-code}" if code < 0 else f"exit code {code}"
            raise ServerError(f"{self.name} {how}") from None
        finally:
            late.cancel()
        if code:
            how = f"signal {code - 128}" if code > 128 else f"exit code {code}"  # as ternc_server says it
            raise ToolError(f"{text.strip()} ({how})")
        return text


def call(command, timeout):
    """Runs a program; its output, or ToolError with what it wrote to stderr."""
    try:
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise ToolError(f"{Path(command[0]).name} took longer than {timeout} s") from None
    except FileNotFoundError:
        raise SystemExit(f"{command[0]} is not there: build it first (tools/test builds everything)") from None
    if done.returncode:
        how = f"signal {-done.returncode}" if done.returncode < 0 else f"exit code {done.returncode}"
        raise ToolError(f"{(done.stderr or done.stdout).strip()} ({how})")
    return done.stdout


def compile_model(model, module, *options, timeout=600, server=None):
    if server:
        return server.call([model, "-o", module, *options], timeout)
    return call([TERNC, model, "-o", module, *options], timeout)


def file_name(tensor):
    """What `tern run` calls a tensor's file: every character but letters, digits, '.', '_' and '-' becomes '_'."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in tensor)


def run_module(module, inputs, output_names, folder, *options, timeout=120, tern=(TERN,), server=None):
    """`tern run` on these arrays: a list of the outputs in the order of their names. `tern` may name an emulator first; a server
    runs it instead."""
    folder = Path(folder)
    sent, got = folder / "in", folder / "out"
    sent.mkdir(parents=True, exist_ok=True)
    got.mkdir(parents=True, exist_ok=True)
    command = ["run", module, "--output-dir", got, *options]
    for i, (name, array) in enumerate(inputs.items()):
        # Types that NumPy lacks travel as bytes; ml_dtypes gives one of them (float8_e5m2) a letter that nobody else knows.
        foreign = array.dtype.type.__module__.split(".")[0] != "numpy"
        np.save(sent / f"{i}.npy", array.view(f"V{array.dtype.itemsize}") if foreign else array)
        command += ["--input", f"{name}={sent / f'{i}.npy'}"]
    if server:
        server.call(command, timeout)
    else:
        call([*tern, *command], timeout)
    return [np.load(got / f"{file_name(n)}.npy") for n in output_names]


def steps_error(got, wanted):
    """Mean and maximum of the errors, as parts of the largest value."""
    error = np.abs(got.astype(np.float64) - wanted) / max(float(np.abs(wanted).max(initial=0)), 1e-12)
    return float(error.mean()), float(error.max(initial=0))


def steps_difference(got, wanted, mean, most):
    """difference() for quantised models, where a rounding that falls the other way moves what follows by whole steps. `mean` and
    `most`: what such roundings alone do to this output (steps_error)."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype or wanted.dtype.kind != "f":
        return difference(got, wanted)
    found, limits = steps_error(got, wanted), (max(0.004, 1.5 * mean), max(0.02, 1.5 * most))
    if not (found[0] <= limits[0] and found[1] <= limits[1]):
        return (
            f"errors up to {found[1]:.2e} of the largest value, {found[0]:.2e} on average; "
            f"limits {limits[1]:.2e} and {limits[0]:.2e}, 1.5 times what roundings do in ONNX Runtime itself"
        )
    return None


def difference(got, wanted, relative=1e-3, floor=0.01):
    """None when the two agree, else a sentence. Floats: relative_error at most `relative`; anything else must be equal."""
    if got.shape != wanted.shape:
        return f"shape {list(got.shape)}, expected {list(wanted.shape)}"
    if got.dtype != wanted.dtype:
        return f"type {got.dtype}, expected {wanted.dtype}"
    if not wanted.size:
        return None
    if wanted.dtype.kind not in "fc":
        wrong = int(np.count_nonzero(got != wanted))
        return f"{wrong} of {wanted.size} values differ" if wrong else None
    got, wanted = got.astype(np.float64), wanted.astype(np.float64)
    if not np.array_equal(np.isnan(got), np.isnan(wanted)):
        return "NaN in other places"
    finite = np.isfinite(wanted)
    if not np.array_equal(got[~finite & ~np.isnan(wanted)], wanted[~finite & ~np.isnan(wanted)]):
        return "infinities differ"
    if not finite.any():
        return None
    error = relative_error(got[finite], wanted[finite], floor)
    worst = int(np.argmax(error))
    if not error[worst] <= relative:
        return f"relative error {error[worst]:.2e} (got {got[finite][worst]:.6g}, expected {wanted[finite][worst]:.6g})"
    return None


def relative_error(got, wanted, floor=0.01):
    """|got - wanted| over |wanted|, where a value below `floor` (1 %) of the tensor's largest, or below 1e-3, counts as that
    much: a sum's error follows its largest terms, and the reference's own sigmoid is off by 3e-3 where it gives 2e-5."""
    with np.errstate(invalid="ignore"):
        least = max(floor * np.abs(wanted).max(), 1e-3)
        error = np.abs(got - wanted) / np.maximum(np.abs(wanted), least)
    return np.where(np.isfinite(error), error, np.inf)


def read_expected(path):
    """Rows of 'name: reason'; '#' begins a comment."""
    rows = {}
    for line in Path(path).read_text().splitlines() if Path(path).exists() else []:
        line = line.strip()
        if line and not line.startswith("#"):
            name, _, reason = line.partition(":")
            rows[name.strip()] = reason.strip()
    return rows

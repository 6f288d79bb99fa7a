#!/usr/bin/env python3
"""Runs file tests: text files whose comments say what to run and what must come out.

    ; test: tern-opt --passes=simplify     first line: the command (tern-opt or ternc); the file's path is added
    ; run: f32[2] {1, 2} == f32[2] {2, 4}  evaluating gives this, before the passes and after them
    ; error: The op ...                    the command fails with this message
    graph "..." { ... }
    ; ---
    ; graph "..." {                        what the command prints

TERN_BLESS=1 rewrites what stands below `; ---` and after `; error:`.
"""
import argparse
import os
import pathlib
import re
import subprocess
import sys

MARK = "; ---"
os.environ.setdefault("TERN_STRICT", "1")  # as tests/support/tern_tools.py


def call(command):
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr.strip()


def commented(text):
    return "".join(("; " + line).rstrip() + "\n" for line in text.splitlines())


def run_lines(source):
    for line in re.findall(r"^; run: (.*)$", source, re.M):
        inputs, _, outputs = line.partition(" == ")
        yield inputs.strip() if inputs.strip() != "-" else "", outputs.strip()


def check(path, tools, bless):
    """A list of complaints; empty when the file passes."""
    text = path.read_text()
    source, mark, expected = text.partition(MARK + "\n")
    first = re.match(r"; test: (tern-opt|ternc) ?(.*)\n", text)
    if not first:
        return ["the first line is not '; test: tern-opt …' or '; test: ternc …'"]
    tool = tools[first.group(1)]
    arguments = first.group(2).split()
    complaints = []
    for inputs, outputs in run_lines(source):
        for args in ([], arguments):
            code, out, err = call([tool, *args, f"--run={inputs}", str(path)])
            if code or out.strip() != outputs:
                complaints.append(f"evaluated {'after ' + ' '.join(args) if args else 'as it stands'} on {inputs or '-'}:\n"
                                  f"  expected {outputs}\n  got      {(out or err).strip()}")
    code, out, err = call([tool, *arguments, str(path)])
    pinned = re.search(r"^; error: (.*)$", source, re.M)
    if pinned:
        message = err.removeprefix("error: ").splitlines()[0] if err else ""
        if code == 0:
            complaints.append("an error is expected and there is none")
        elif message != pinned.group(1):
            if bless:
                path.write_text(text.replace(pinned.group(0), "; error: " + message, 1))
            else:
                complaints.append(f"expected the error {pinned.group(1)}\n  got                {message}")
        return complaints
    if code:
        return complaints + [f"{first.group(1)} failed: {err}"]
    if commented(out) != expected:
        if bless:
            path.write_text(source.rstrip("\n") + "\n" + MARK + "\n" + commented(out))
        else:
            complaints.append("expected\n" + expected + "got\n" + commented(out))
    return complaints


def is_test(path):
    """Graph tests, and whatever else says that tern-opt is to run it (kernel text has its own programs, too)."""
    return path.suffix == ".tg" or (path.suffix == ".tk" and path.read_text().startswith("; test: tern-opt"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tern-opt", required=True)
    parser.add_argument("--ternc", help="for files whose first line names it")
    parser.add_argument("paths", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    bless = os.environ.get("TERN_BLESS") == "1"
    files = []
    for path in options.paths:
        files += sorted(p for p in path.rglob("*") if is_test(p)) if path.is_dir() else [path]
    if not files:
        sys.exit("no file tests found")
    failed = 0
    for path in files:
        complaints = check(path, {"tern-opt": options.tern_opt, "ternc": options.ternc}, bless)
        failed += bool(complaints)
        for complaint in complaints:
            print(f"{path}: {complaint}\n")
    print(f"{len(files) - failed} of {len(files)} file tests pass")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()

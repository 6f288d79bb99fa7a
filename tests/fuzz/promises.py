"""What ternc promises of any model, and how the tests that look for broken promises keep what broke one."""

import re


def broken_answer(code, said):
    """What is wrong with an exit code and what was written to stderr beside it, or None."""
    if code < 0:
        return f"died of signal {-code}: {said[-600:]}"
    if code not in (0, 1, 4):
        return f"ended with exit code {code}: {said[-600:]}"
    if code and not re.search(r"\w+.*\.(\n|$)", said):
        return f"refused it without a sentence: {said[-600:]!r}"
    return None


def keep(folder, name, model):
    """Writes the model's bytes to NAME.onnx in the folder, where one is given."""
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.onnx").write_bytes(model)

#!/usr/bin/env python3
"""Runs the suite on the vulkan driver under the Khronos validation layer, with synchronisation validation and then with
GPU-assisted checks: any message fails.

    vulkan_validation.py HAL_CTS [argument...]

Exits with 77 (skipped) where there is no Vulkan device or no layer (Debian: mesa-vulkan-drivers, vulkan-validationlayers).
"""
import os
import re
import subprocess
import sys

LAYER = "VK_LAYER_KHRONOS_validation"
PASSES = (("VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT", "--driver=vulkan*"),
          ("VK_VALIDATION_FEATURE_ENABLE_GPU_ASSISTED_EXT", "--driver=vulkan"))
SKIPPED = 77
# Messages of the layer about itself: a thread of its own did not keep up (on a loaded machine); "most likley a validation bug".
OWN_TROUBLE = "UNASSIGNED-VkFence-state-timeout"


def validate(command, feature):
    environment = dict(os.environ, VK_INSTANCE_LAYERS=LAYER, VK_LOADER_DEBUG="layer", VK_LAYER_ENABLES=feature)
    run = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace")
    text = run.stdout + run.stderr
    lines = [line for line in text.splitlines() if not re.match(r"\s*(INFO|DEBUG|LAYER|WARNING)\b.*LAYER", line)]
    messages = [line for line in lines if re.search(r"VUID-|SYNC-HAZARD|UNASSIGNED-|Validation (Error|Warning)", line)
                and OWN_TROUBLE not in line]
    if f'Insert instance layer "{LAYER}"' not in text:
        print(f"skipped: the Vulkan loader does not find {LAYER} or a driver")
        return SKIPPED
    if run.returncode == SKIPPED:
        print(lines[-1] if lines else "skipped")
        return SKIPPED
    for message in messages[:10]:
        print(message[:1000])
    summary = [line for line in lines if re.search(r"\d+ passed", line)]
    print(f"{feature}: {summary[-1] if summary else 'no summary'}; {len(messages)} validation messages")
    return 1 if messages else run.returncode


def main():
    results = [validate(sys.argv[1:] if len(sys.argv) > 2 else [sys.argv[1], drivers], feature)
               for feature, drivers in PASSES]
    return next((result for result in results if result), 0)


sys.exit(main())

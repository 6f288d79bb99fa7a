#!/usr/bin/env python3
"""libtern.so exports every function that tern.h declares, and can be loaded on its own.

    exports.py LIBRARY HEADER [NAME…]     names: of functions that this build leaves out
"""

import ctypes
import re
import sys
from pathlib import Path


def main():
    library, header, *absent = sys.argv[1:]
    loaded = ctypes.CDLL(library)
    names = set(re.findall(r"^TERN_API [^;]*?\b(tern_\w+)\(", Path(header).read_text(), re.MULTILINE)) - set(absent)
    missing = sorted(n for n in names if not hasattr(loaded, n))
    print(f"{len(names)} functions; {', '.join(missing) or 'none'} missing")
    return 1 if missing or len(names) < 30 else 0


sys.exit(main())

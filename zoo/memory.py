"""Memory that a training step has freed stays with the process, for the next step."""

import ctypes
import os
import sys

# Names and numbers of malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_LARGEST, _KEPT = 32 << 20, 1 << 30


def keep_freed_memory() -> bool:
    """Have glibc keep blocks of up to 32 MB, and up to 1 GB of them; whether it does.

    By default it gives much of what a step frees back to the system, and the next step pays for each page anew, which
    ``benchmarks/gan_step.py`` shows. What the environment sets (``MALLOC_TRIM_THRESHOLD_``) stays; other
    systems and C libraries are left alone.
    """
    if sys.platform != "linux" or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):  # another C library
        return False
    # Both or none: either of them ends the adaptation of the other.
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST)) and bool(mallopt(_TRIM_THRESHOLD, _KEPT))

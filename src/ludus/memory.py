"""Memory that a run asks for again and again."""

import contextlib
import ctypes
from collections.abc import Iterator

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # of glibc's malloc.h
USUAL_MMAP_MAX, USUAL_TRIM_THRESHOLD = 65536, 2**25


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Inside, what is freed stays with the process, since the next turn asks for as much; at the end it is given back.

    The C library of Linux returns large blocks at once, and fetches each anew, page by page: of a turn of the residual
    networks at 28×28 (batch 64, two cores) that is 0.5 of 1.1 s. Other systems are left as they are.
    """
    try:
        libc = ctypes.CDLL(None)
        mallopt, malloc_trim = libc.mallopt, libc.malloc_trim
    except (OSError, AttributeError, TypeError):  # musl and macOS have no mallopt, Windows no library of that name
        yield
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, -1)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, USUAL_MMAP_MAX)
        mallopt(M_TRIM_THRESHOLD, USUAL_TRIM_THRESHOLD)
        malloc_trim(0)

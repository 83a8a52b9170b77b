"""How a peer is timed: a process of its own that plays as many turns as it is told, and says how long they took."""

import sys
import time

import numpy as np

BATCH = 256


def endless(loader):
    """Its batches, epoch after epoch."""
    while True:
        yield from loader


def serve(begin):
    """begin(images uint8 (n, 28, 28)) -> turns(k), which plays k turns of BATCH images each.

    The images are the NPY file that is named first, then how many turns come at once. Each line of the input asks for
    them; the answer is in seconds.
    """
    turns, k = begin(np.load(sys.argv[1])), int(sys.argv[2])
    turns(k)  # what is made at the first call
    print("ready", flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        turns(k)
        print(time.perf_counter() - began, flush=True)

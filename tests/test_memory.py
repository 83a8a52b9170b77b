"""What is freed inside stays, and is given back at the end."""

import subprocess
import sys
from pathlib import Path

import pytest

TURNS = """
import resource
import torch
from games import resident
from ludus import memory

def turn():
    [torch.zeros(3_000_000 * (1 + i % 4)) for i in range(8)]  # up to 48 MB, 240 in all

def faults(turns):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(turns):
        turn()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

turn()
before = resident()
print(faults(10))
try:
    with memory.kept():
        faults(10)
        print(faults(10), resident() - before)
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="of the C library of Linux")
def test_what_is_freed_is_not_fetched_anew():
    done = subprocess.run([sys.executable, "-c", TURNS], check=True, cwd=Path(__file__).parent, text=True,
                          stdout=subprocess.PIPE)  # fmt: skip
    usual, inside, held, after = map(int, done.stdout.split())
    print(usual, inside, held, after)
    assert inside < 0.01 * usual + 50
    assert held > 200e6 and after < 20e6


@pytest.mark.skipif(sys.platform != "linux", reason="of the C library of Linux")
def test_it_is_not_slower_afterwards():
    """Whoever tells the library anything stops it from adapting itself to what is asked for."""
    found = {}
    for what in ("memory.kept()", "contextlib.nullcontext()"):
        code = f"""
import contextlib, resource
import numpy as np
from ludus import memory
with {what}:
    pass
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(50):
    np.ones(1_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
        done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
        found[what] = int(done.stdout)
    kept, usual = found.values()
    assert kept < usual + 2000, found  # one such array is 1,953 pages

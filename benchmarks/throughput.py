"""Images per second of a training turn, `ludus` beside what a user would pick instead, turn by turn in one run.

    python benchmarks/throughput.py [dcgan] [wgan_gp] [vae] [--rounds 12] [--keras PYTHON] [--pythae PYTHON]

MNIST, batch 256. dcgan: the practical's networks as a plain PyTorch loop, as the practical's Keras step, and as
`ludus train gan --network dcgan`; wgan_gp: the same networks; vae: pythae's networks as a plain loop, in pythae's
trainer and as `ludus train vae`. Each player is a process; they take turns, so that a busy machine slows all alike, and
what is compared is the median over the rounds of the ratio to the plain loop. `ludus` is timed with what watches a run
at every turn (averaging, log; in the VAE's hundreds of turns the doctor, too), and bare; pictures and checkpoints come
too seldom to be seen. keras and pythae are timed where an interpreter that has
them is named. Between the rounds the machine's rate is measured: of float32 matrices, and of a convolution, which may
use another library and be faster. The share of the larger is the plain loop's floating-point operations, counted by
PyTorch, in each one's time, whatever it did in fact; of wgan_gp it cannot count them. Writes
benchmarks/results/throughput.json.
"""

import argparse
import datetime
import importlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "peers"))
PEERS, RESULTS = Path(__file__).parent / "peers", Path(__file__).parent / "results"
BATCH = 256
DCGAN = {"generator.name": "dcgan", "discriminator.name": "dcgan", "prior.dimension": 100, "sampler.batch": BATCH}
VAE = {"encoder.name": "mlp", "decoder.name": "mlp", "encoder.width": 512, "decoder.width": 512, "encoder.depth": 1,
       "decoder.depth": 1, "prior.dimension": 16, "sampler.batch": BATCH}  # fmt: skip
GAMES = {  # turns at a time; who plays, by the file of peers/; the settings of ludus
    "dcgan": (3, {"plain": "dcgan_torch", "keras": "dcgan_keras"}, "gan", DCGAN),
    "wgan_gp": (5, {"plain": "wgan_gp_torch"}, "wgan_gp", DCGAN),
    "vae": (100, {"plain": "vae_torch", "pythae": "vae_pythae"}, "vae", VAE),
}


class Peer:
    """A process that plays turns when it is asked to."""

    def __init__(self, python: str, words: list[str]):
        self.process = subprocess.Popen(
            [python, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        while self.line() != "ready\n":
            pass

    def seconds(self) -> float:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.line())

    def line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{' '.join(self.process.args[:3])} has ended: what it said stands above")
        return line

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def rates(repeats: int = 10) -> tuple[float, float]:
    """Floating-point operations per second, in float32 on all cores: of products of matrices, and of a convolution."""
    a, b = torch.randn(2, 1024, 1024)
    x = torch.randn(256, 256, 7, 7).to(memory_format=torch.channels_last)
    w = torch.randn(128, 256, 5, 5).to(memory_format=torch.channels_last)
    found = []
    for run, operations in (
        (lambda: a @ b, 2 * 1024**3),
        (lambda: torch.conv2d(x, w, padding=2), 2 * 256 * 7 * 7 * 128 * 256 * 5 * 5),
    ):
        run()
        began = time.perf_counter()
        for _ in range(repeats):
            run()
        found.append(repeats * operations / (time.perf_counter() - began))
    return found[0], found[1]


def operations(plain: str, images: np.ndarray) -> float | None:
    """Those of a turn of a plain loop, in its matrix products and convolutions, forward and back; None for wgan_gp."""
    if plain == "wgan_gp_torch":  # the counter does not follow a derivative that is differentiated
        return None
    from torch.utils.flop_counter import FlopCounterMode

    turns = importlib.import_module(plain).begin(images)
    with FlopCounterMode(display=False) as counted:
        turns(5)
    return counted.get_total_flops() / 5


def play(name: str, rounds: int, pythons: dict[str, str]) -> dict:
    """The table of a game."""
    turns, peers, method, settings = GAMES[name]
    images = mnist()
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/x.npy", images)
        told, ours = [f"{folder}/x.npy", str(turns)], [str(PEERS / "ludus_turns.py")]
        players = {
            who: Peer(pythons.get(who, sys.executable), [str(PEERS / f"{file}.py"), *told])
            for who, file in peers.items() if who == "plain" or who in pythons
        }  # fmt: skip
        players["ludus"] = Peer(sys.executable, [*ours, *told, method, json.dumps(settings)])
        players["ludus, bare"] = Peer(sys.executable, [*ours, *told, method, json.dumps(settings), "bare"])
        times, measured = {who: [] for who in players}, []
        for _ in range(rounds):
            measured.append(rates())
            for who, player in players.items():
                times[who].append(player.seconds() / turns)
        for player in players.values():
            player.close()
    flop, plain, (matrices, convolution) = operations(peers["plain"], images), times["plain"], zip(*measured)
    return {
        "operations of a turn": flop, "operations/s of matrices": statistics.median(matrices),
        "operations/s of a convolution": statistics.median(convolution),
        "players": {
            who: {
                "seconds a turn": statistics.median(each), "images/s": BATCH / statistics.median(each),
                "times the plain loop": quantiles([a / b for a, b in zip(plain, each)]),
                "share of the rate": flop and statistics.median(flop / t / max(r) for t, r in zip(each, measured)),
            } for who, each in times.items()
        },
    }  # fmt: skip


def quantiles(ratios: list[float]) -> list[float]:
    """The median, and the quarters around it."""
    return [float(q) for q in np.quantile(ratios, [0.5, 0.25, 0.75])]


def mnist() -> np.ndarray:
    from ludus.data import mnist

    return mnist.read("", False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("games", nargs="*", default=list(GAMES))
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--keras", help="a Python that has tensorflow")
    parser.add_argument("--pythae", help="a Python that has pythae")
    given = parser.parse_args()
    if unknown := set(given.games) - set(GAMES):
        parser.error(f"no game {', '.join(unknown)}; there are {', '.join(GAMES)}")
    pythons = {who: python for who in ("keras", "pythae") if (python := getattr(given, who))}
    about = {
        "date": f"{datetime.date.today()}", "machine": platform.machine(), "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__, "rounds": given.rounds,
    }  # fmt: skip
    kept = RESULTS / "throughput.json"
    found = json.loads(kept.read_text()) if kept.exists() else {}
    for name in given.games:
        found[name] = about | {"command": f"python benchmarks/throughput.py {name}"} | play(name, given.rounds, pythons)
        for who, row in found[name]["players"].items():
            ratio, low, high = row["times the plain loop"]
            share = f"  {row['share of the rate']:.0%} of the rate" if row["share of the rate"] else ""
            print(f"{name:8s} {who:12s} {row['seconds a turn']:.4f} s  {row['images/s']:8.0f} images/s  "
                  f"{ratio:.2f} ({low:.2f} to {high:.2f}) of plain{share}")  # fmt: skip
        kept.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()

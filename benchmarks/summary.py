"""Writes the tables of benchmarks/README.md, and its figure, from benchmarks/results/.

    python benchmarks/summary.py
"""

import json
import re
import statistics
from collections.abc import Iterable
from pathlib import Path

from time_to_quality import COLUMNS, curve

from ludus import figures
from ludus.figures.save import COLOURS, blank, styled

HERE = Path(__file__).parent
PAGE, FIGURE = HERE / "README.md", HERE.parent / "docs" / "figures" / "speed.png"
GAMES = {"dcgan": "the practical's DCGAN", "wgan_gp": "WGAN-GP, same networks", "vae": "VAE, pythae's networks"}
PLAYERS = {"plain": "plain PyTorch loop", "keras": "the practical's Keras step", "pythae": "pythae's trainer",
           "ludus": "`ludus`", "ludus, bare": "`ludus`, nobody watching"}  # fmt: skip
TIMES = "times the peer's speed"


def read(name: str) -> dict:
    return json.loads((HERE / "results" / f"{name}.json").read_text(encoding="utf-8"))


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))


def throughput() -> str:
    rows = []
    for game, found in ((game, read("throughput")[game]) for game in GAMES):
        for who, row in found["players"].items():
            ratio, low, high = row["times the plain loop"]
            share = row["share of the rate"]
            rows.append([GAMES[game], PLAYERS[who], f"{1e3 * row['seconds a turn']:.3g} ms", f"{row['images/s']:,.0f}",
                         f"{ratio:.2f} ({low:.2f} to {high:.2f})", f"{share:.0%}" if share else "–"])  # fmt: skip
    matrices, convolution = (
        statistics.median(read("throughput")[game][f"operations/s of {what}"] for game in GAMES) / 1e9
        for what in ("matrices", "a convolution")
    )
    rates = f"The machine's rate: {convolution:.0f} Gflop/s of a convolution, {matrices:.0f} of products of matrices."
    head = ["game", "who", "a turn of 256", "images/s", "times the plain loop", "share of the rate"]
    return f"{table(head, rows)}\n\n{rates}"


def quality(name: str) -> str:
    rows, found = [], read(f"time-to-quality-{name}")["rows"]
    for row in found:
        if "minutes" not in row:
            rows.append([row["who"], "", *(f"{row[column]:.3g}" for column in COLUMNS)])
    for who in ("practical", "ludus"):
        by_column = [curve(found, who, column) for column in COLUMNS]
        for m, (_, _, n) in by_column[0].items():
            cells = [_mean(*each[m][:2]) for each in by_column]
            rows.append([f"{'`ludus`' if who == 'ludus' else who}, {n} seed{'s' * (n > 1)}", f"{m:g}", *cells])
    return table(["", "minutes", *COLUMNS], rows)


def _mean(mean: float, sd: float) -> str:
    """With its sd where three digits show that; a single seed has none."""
    return f"{mean:.3g}" + (f" ± {sd:.2g}" if sd > 5e-4 * mean else "")


def metrics() -> str:
    found = {name: row for name, row in read("metrics").items() if isinstance(row, dict)}
    rows = []
    for name, row in found.items():
        both = (f"{row[who]['seconds']:.3g} s, {row[who]['MB']:.0f} MB" for who in ("ludus", "peer"))
        rows.append([name, *both, f"{row[TIMES]:.1f}"])
    return table(["metric", "`ludus`", "the peer", "times its speed"], rows)


def simulators() -> str:
    found, rows = read("simulators")["cpu"], []
    for name, row in found.items():
        if isinstance(row, dict):
            speeds = [value for key, value in row.items() if key.startswith("a second")]
            rows.append([name, *(f"{speed:,.3g}" if speed < 100 else f"{speed:,.0f}" for speed in speeds)])
            rows[-1] += ["–"] * (3 - len(rows[-1]))
    return table(["world", "a second, one process", f"{found['cores']} processes"], rows)


def start() -> str:
    found = read("start")
    return table(["", "seconds"], [[what, f"{took:.2f}"] for what, took in found["seconds"].items()])


def imports() -> str:
    each = read("start")["imports"]
    return table(["command", "its dearest imports, seconds"], [
        [what, ", ".join(f"{name} {took:.2f}" for name, took in costs.items() if took >= 0.02)]
        for what, costs in each.items()
    ])  # fmt: skip


def drawn() -> bytes:
    """How many times as fast, beside what a user would pick instead."""
    bars = []
    for game, found in ((game, read("throughput")[game]) for game in GAMES):
        bars += [(f"{GAMES[game]}: {PLAYERS[who].strip('`')}", row["times the plain loop"][0], who == "ludus")
                 for who, row in found["players"].items() if who not in ("plain", "ludus, bare")]  # fmt: skip
    figure = blank(1400, 500)
    axes = figure.subplots()
    for i, (_, ratio, ours) in enumerate(reversed(bars)):
        axes.barh(i, ratio, color=COLOURS[0] if ours else COLOURS[-1], height=0.7)
        axes.annotate(f"{ratio:.2f}", (ratio, i), xytext=(3, 0), textcoords="offset points", va="center", fontsize=7)
    axes.axvline(1, color=COLOURS[1], lw=1)
    axes.set_yticks(range(len(bars)), [name for name, _, _ in reversed(bars)])
    styled(axes, "images per second of a training turn", "times a plain PyTorch loop", "")
    figure.tight_layout()
    return figures.png(figure)


BLOCKS = {"throughput": throughput, "quality mnist": lambda: quality("mnist"), "quality ins": lambda: quality("ins"),
          "metrics": metrics, "simulators": simulators, "start": start, "imports": imports}  # fmt: skip


def filled(page: str) -> str:
    """The page with each block between <!-- name --> and <!-- end --> made anew."""
    return re.sub(r"(<!-- ([\w ]+) -->\n).*?(<!-- end -->)",
                  lambda found: f"{found[1]}{BLOCKS[found[2]]()}\n{found[3]}", page, flags=re.S)  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    FIGURE.write_bytes(drawn())

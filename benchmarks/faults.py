"""Does the page of `ludus evaluate` raise what is wrong, and nothing else? Six planted faults, and honest splits.

    python benchmarks/faults.py mnist                    # about 15 minutes on a core
    python benchmarks/faults.py ins --data ins.h5        # pictures of `ludus simulate ins -n 8000 --out ins.h5`

"Generated" are real rows that nobody trained on, with a fault: noise, blur, a class that is missing, copies of 50
training rows, a shift by a pixel, a scaled intensity. 2,000 rows are compared with 2,000 held-out ones; features are
fitted to a part of the other rows. Honest splits are the same without a fault, 20 of them. A fault is raised where a
verdict is "different". The result is benchmarks/results/faults-DATA.json.
"""

import argparse
import datetime
import json
import platform
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from ludus.data.load import Data, load
from ludus.evaluation.evaluation import Evaluation, evaluation
from ludus.evaluation.sets import Rows, choose
from ludus.features.observables import Observable
from ludus.features.worlds import own

RESULTS = Path(__file__).parent / "results"
SETS = {"mnist": ("mnist", "mnist:label"), "ins": ("{}:/images", "{}:/labels")}
FAULTS = ("noise", "blur", "dropped class", "copies", "shift", "scaled")


def planted(x: np.ndarray, y: np.ndarray, train: np.ndarray, fault: str, seed: int) -> np.ndarray:
    """Rows x (n, C, H, W) in [-1, 1] with a fault; y: their classes."""
    draws = np.random.default_rng([seed, 7])
    n = len(x) // 2  # rows are twice as many as are compared, so that a class may be left out
    if fault == "noise":
        return (x + 0.1 * draws.normal(size=x.shape).astype(np.float32))[:n]  # sd .05 of the range
    if fault == "blur":
        return gaussian_filter(x, (0, 0, 0.5, 0.5))[:n]
    if fault == "dropped class":
        return x[y != np.unique(y)[-1]][:n]
    if fault == "copies":
        return train[draws.integers(50, size=n)]
    if fault == "shift":
        return np.roll(x, 1, axis=3)[:n]
    if fault == "scaled":
        return (0.9 * (x + 1) - 1)[:n]
    return x[:n]


def judged(data: Data, fault: str, seed: int, n: int, world: str = "") -> Evaluation:
    """The evaluation of n rows with a fault, "" for none, by a split of the data of its own."""
    order = np.random.default_rng([seed, 6]).permutation(len(data.x))
    held, fresh, train = np.split(order, [n, 3 * n])
    x, y = data.x[fresh], data.c[fresh].argmax(1)
    rows = planted(x, y, data.x[train], fault, seed)
    looked_at: list[Observable] = own(world, (*data.form.shape[1:], data.form.shape[0]))
    sets = choose(data.form, Rows(data.x[train]), Rows(data.x[held]), n, lambda c, n: Rows(rows[:n]), seed)
    return evaluation(sets, looked_at=looked_at, seed=seed)


def line(found: Evaluation, fault: str, seed: int) -> dict:
    """What one evaluation said."""
    verdicts = {each.question: each.word for each in found.verdicts}
    why = {each.question: each.why for each in found.verdicts if each.raised}
    return {"fault": fault or "none", "seed": seed, "raised": found.raised, "verdicts": verdicts, "why": why}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=list(SETS))
    parser.add_argument("--data", default="ins.h5")
    parser.add_argument("-n", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    source, condition = (text.format(given.data) for text in SETS[given.set])
    data, world = load(source, condition, held_out=0.0), given.set if given.set == "ins" else ""
    rows = [line(judged(data, fault, 0, given.n, world), fault, 0) for fault in FAULTS]
    for each in rows:
        print(json.dumps(each, ensure_ascii=False), flush=True)
    for seed in range(given.seeds):
        rows.append(line(judged(data, "", seed, given.n, world), "", seed))
        print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    clean = sum(not each["raised"] for each in rows[len(FAULTS) :])
    kept = {
        "date": f"{datetime.date.today()}", "command": f"python benchmarks/faults.py {given.set} -n {given.n}",
        "machine": f"{platform.machine()}, one core", "rows of each set": given.n,
        "raised": f"{sum(each['raised'] for each in rows[: len(FAULTS)])} of {len(FAULTS)}",
        "honest splits without": f"{clean} of {given.seeds}", "bar": "6 of 6, at least 19 of 20", "found": rows,
    }  # fmt: skip
    out = RESULTS / f"faults-{given.set}.json"
    out.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    print(out)


if __name__ == "__main__":
    main()

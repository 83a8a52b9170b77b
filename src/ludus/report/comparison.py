"""Several evaluated runs in one table and one figure, from what each evaluation.json says."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ludus.evaluation.questions import CONTENT
from ludus.evaluation.verdicts import QUESTIONS
from ludus.figures import evaluation as pictures
from ludus.report.page import bullets, document, part, picture, rows_table

OBSERVABLES = "observables"
SHOWN = (  # family, score
    (CONTENT, "Fréchet distance"), (CONTENT, "kernel distance"), (CONTENT, "recall"), (CONTENT, "coverage"),
    (OBSERVABLES, "Fréchet distance"), (OBSERVABLES, "sliced Wasserstein distance"),
)  # fmt: skip
READ = (
    "Each score with its floor in brackets, the same score of real images. AUC: how well the best of several "
    "classifiers tells generated from real ones; 0.5 where it cannot."
)


def table(kept: Mapping[str, dict]) -> list[list[str]]:
    """A row for each run under a row of headings: verdicts, scores with their floors, AUC."""
    asked = [q for q in QUESTIONS if any(_word(each, q) for each in kept.values())]
    head = ["run", "turn", "images", *asked, *(_short(*each) for each in SHOWN), "AUC"]
    rows = [head]
    for name, each in kept.items():
        scores = [_found(each, *which) for which in SHOWN]
        shown = ["" if s is None else f"{s['value']:.3g} ({s['floor']:.3g})" for s in scores]
        n = max((s["n"] for s in each.get("scores", [])), default=0)
        rows.append([name, f"{each.get('turn', 0):,}", f"{n:,}", *(_word(each, q) for q in asked), *shown, _auc(each)])
    return rows


def notes(kept: Mapping[str, dict]) -> list[str]:
    """What makes rows of the table hard to compare."""
    found, names = [], list(kept)
    first = kept[names[0]]
    for name in names[1:]:
        if kept[name].get("reference") != first.get("reference"):
            found.append(f"{name} was compared with other real images than {names[0]}: look at score over floor, or "
                         "evaluate both --against the same file")  # fmt: skip
        elif _shas(kept[name]) != _shas(first):
            found.append(f"the features of {name} were fitted to other rows than those of {names[0]}")
    return found


def page(kept: Mapping[str, dict]) -> str:
    """The table and its figure as a self-contained HTML page."""
    head, *rows = table(kept)
    columns = [each for each in SHOWN if all(_found(one, *each) for one in kept.values())]
    values, floors = (
        np.array([[_found(one, *each)[key] for each in columns] for one in kept.values()]) for key in ("value", "floor")
    )
    figure = pictures.table(list(kept), [_short(*each) for each in columns], values, floors)
    drawn = picture(figure, "scores and floors of " + ", ".join(kept), "Dots: runs; bars: their floors.", wide=True)
    body = part("Table", rows_table(head, rows) + f'<p class="said">{READ}</p>') + part("Scores and floors", drawn)
    return document("Which run is better?", f"<section>{body}{part('Worth knowing', bullets(notes(kept)))}</section>")


def _short(family: str, score: str) -> str:
    short = {"Fréchet distance": "FD", "kernel distance": "KD", "sliced Wasserstein distance": "sliced W"}
    where = {CONTENT: "PCA", OBSERVABLES: "observables"}
    return f"{short.get(score, score)}, {where[family]}"


def _found(each: dict, family: str, name: str) -> dict[str, Any] | None:
    return next((s for s in each.get("scores", []) if (s["family"], s["name"]) == (family, name)), None)


def _word(each: dict, question: str) -> str:
    return next((v["word"] for v in each.get("verdicts", []) if v["question"] == question), "")


def _auc(each: dict) -> str:
    """The largest AUC of its classifiers; nothing where there was none, as of a generator of one picture."""
    found = [0.5 + t["effect"] for t in each.get("tests", []) if t["name"].startswith("C2ST")]
    return f"{max(found):.3f}" if found else ""


def _shas(each: dict) -> list:
    return [family.get("sha256") for family in each.get("families", {}).values()]

"""The page that says whether generated images are any good: verdicts, tables with floors, pictures, limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from ludus.evaluation.evaluation import Evaluation
from ludus.evaluation.questions import CONTENT, Observed
from ludus.evaluation.scores import Score
from ludus.evaluation.verdicts import LEVEL, QUESTIONS, RULE
from ludus.features.extractor import digest
from ludus.metrics.multiple import holm, shown
from ludus.report.drawings import About, Drawn
from ludus.report.page import bullets, document, facts_table, findings_list, part, picture, rows_table
from ludus.runs import folder

COLOURS = ("#1a7f4b", "#b7791f", "#c0392b", "#7a828c")  # of the levels
LIMITS = (
    "Features decide what is seen: a fault that none of them shows is not found. Principal components look at what is "
    "large, untrained convolutions at texture, observables at what their names say; a classifier’s features are blind "
    "to intensity and noise.",
    "“No difference found” is said of this number of images. More of them find smaller differences.",
    "No score of memorisation tells copying from a generator whose samples are too near to the average.",
    "More generated images than training images add no information about the data.",
    "Floors are of few sets of real images: their spread is a rough one.",
)
READ_SCORES = (
    "Each score with its 95 % interval under another draw of images, and its floor: the same score of other real "
    "images against the same held-out ones, which is what a perfect generator would have."
)
READ_OBSERVABLES = (
    "Sorted by shift: the Wasserstein distance between the two distributions of an observable, in standard deviations "
    "over real images. p is for all observables together (one exchange of images for all, maxT)."
)


def page(found: Evaluation, about: About, pictures: Mapping[str, Sequence[Drawn]]) -> str:
    """A self-contained HTML page."""

    def seen(name: str) -> str:
        return "".join(picture(each.figure, each.alt, each.caption, True, each.png) for each in pictures.get(name, ()))

    head, *rows = scores_table(found.scores)
    observed_head, *observed = observed_table(found.observed)
    parts = [
        part("Verdicts", _verdicts(found)),
        part("Real and generated", seen("Real and generated")),
        part("Scores", rows_table(head, rows) + f'<p class="said">{READ_SCORES}</p>' + seen("Features")),
        part("Curves", seen("Curves")),
        part("Observables", rows_table(observed_head, observed) + f'<p class="said">{READ_OBSERVABLES}</p>'
             + seen("Observables") + _constraints(found)),
        part("Was it copied?", facts_table(copied(found)) + seen("Was it copied?")),
        part("Most and least real", seen("Most and least real")),
        part("Conditions", _conditions(found) + seen("Conditions")),
        part("What the latents hold", seen("What the latents hold")),
        part("Training", findings_list(about.findings) + seen("Training")),
        part("All tests", _tests(found)),
        part("What was compared", facts_table(about.facts)),
        part("Worth knowing", bullets(found.notes)),
        part("What this page cannot see", bullets(LIMITS)),
    ]  # fmt: skip
    body = "<section>" + "\n".join(each for each in parts if each) + "</section>"
    return document(about.title, body, summary(found))


def summary(found: Evaluation) -> str:
    """The verdicts in a sentence, and a warning where the images are few."""
    said = [f"{QUESTIONS[each.question]} {each.word[0].upper()}{each.word[1:]}." for each in found.verdicts]
    return " ".join([*said, *(f"{note[0].upper()}{note[1:]}." for note in found.sets.notes)])


def lines(found: Evaluation) -> list[str]:
    """The verdicts, and the first scores, as text."""
    kept = [each for each in found.scores if each.family in (CONTENT, "observables")]
    head, *rows = scores_table(kept)
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    table = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in (head, *rows)]
    return [*verdict_lines(found), "", *table]


def verdict_lines(found: Evaluation) -> list[str]:
    """A line for each verdict."""
    return [f"{QUESTIONS[v.question]:39} {v.word}: {v.why}" for v in found.verdicts]


def brief(kept: Mapping[str, Any]) -> str:
    """What evaluation.json says, as HTML for the page that a run ends with."""
    verdicts = [[v["asked"], v["word"], v["why"]] for v in kept.get("verdicts", [])]
    scores = [[s["family"], s["name"], f"{s['value']:.4g}", f"{s['floor']:.4g}", f"{s['n']:,}"]
              for s in kept.get("scores", [])]  # fmt: skip
    head = ["features", "score", "value", "floor: real data", "images"]
    return rows_table(["question", "answer", "why"], verdicts) + rows_table(head, scores)


def scores_table(scores: Sequence[Score]) -> list[list[str]]:
    """A row for each score, a column for each family of features, under a row of headings."""
    families, names = (list(dict.fromkeys(values)) for values in zip(*((s.family, s.name) for s in scores)))
    known = {(each.family, each.name): each for each in scores}
    rows = [["score", "images", *families]]
    for name in names:
        mine = [known.get((family, name)) for family in families]
        n = sorted({f"{each.n:,}" for each in mine if each})
        rows.append([name, " or ".join(n), *("" if each is None else _score(each) for each in mine)])
    return rows


def _score(each: Score) -> str:
    """0.53 (0.50 to 0.56), floor 0.51 ± 0.01."""
    ends = "" if each.interval is None else " ({:.3g} to {:.3g})".format(*each.interval)
    spread = "" if each.floor_sd is None else f" ± {each.floor_sd:.2g}"
    return f"{each.value:.3g}{ends}, floor {each.floor:.3g}{spread}"


def observed_table(observed: Sequence[Observed]) -> list[list[str]]:
    """A row for each observable under a row of headings, the one that is furthest off first."""
    rows = [["observable", "unit", "real", "generated", "shift (sd)", "floor", "p, all together"]]
    for each in sorted(observed, key=lambda each: -each.shift.value):
        means = [f"{mean.value:.4g} ± {mean.error:.2g}" for mean in (each.real, each.generated)]
        shift = f"{each.shift.value:.3f} ± {each.shift.error:.3f}"
        rows.append([each.name, each.unit, *means, shift, f"{each.floor:.3f}", shown(each.adjusted)])
    return rows


def copied(found: Evaluation) -> list[tuple[str, str]]:
    """The scores of memorisation, and what each would be without."""
    c = found.copies
    if c is None:
        return [("memorisation", "not measured: it takes rows that were trained on and others that were held out")]
    return [
        ("copy rate", f"{c.rate.share.value:.2%} ± {c.rate.share.error:.2%}; {c.rate.null:.2%} without copies, "
                      f"p {shown(c.rate.p)}"),
        ("AuthPct", f"{c.authentic.value:.1%} ± {c.authentic.error:.1%}; of held-out images "
                    f"{c.authentic_null.value:.1%} ± {c.authentic_null.error:.1%}"),
        ("C_T", f"{c.c_t.value:+.2f} ± {c.c_t.error:.2f}; 0 without copies, far below 0 copied with noise, far above 0 "
                "further from the training images than data are"),
        ("nearest real rows", f"{c.nearer.share:.1%} of them are training rows, {c.nearer.null:.1%} of all are, p "
                              f"{shown(c.nearer.p)}"),
    ]  # fmt: skip


def tests_table(found: Evaluation) -> list[list[str]]:
    """A row for each test of the page under a row of headings; what it found, where it is rejected."""
    adjusted = holm(np.array([test.p for test in found.tests]))
    rows = [["question", "test", "p", "corrected", "effect", "margin", "what it is about"]]
    for test, p in zip(found.tests, adjusted):
        effect = f"{test.effect:.3f}"
        said = test.finding if p <= LEVEL else ""
        rows.append([test.question, test.name, shown(test.p), shown(p), effect, f"{test.margin:g}", said])
    return rows


def _verdicts(found: Evaluation) -> str:
    row = ('<tr><th scope="row">{}</th><td style="color:{};font-weight:600;white-space:nowrap">{}'
           "</td><td>{}</td></tr>")  # fmt: skip
    rows = "".join(
        row.format(escape(QUESTIONS[v.question]), COLOURS[v.level], escape(v.word), escape(v.why))
        for v in found.verdicts
    )
    return f'<table>{rows}</table><p class="said">{escape(RULE)}</p>'


def _tests(found: Evaluation) -> str:
    head, *rows = tests_table(found)
    return rows_table(head, rows)


def _constraints(found: Evaluation) -> str:
    rows = [[name, f"{mine.exact:g} ± {mine.tolerance:g}", f"{mine.mean:+.4g}", f"{mine.worst:.4g}",
             f"{mine.violations:.1%}", f"{real.violations:.1%}"]
            for name, (mine, real) in found.constraints.items()]  # fmt: skip
    return rows_table(["constraint", "exact", "mean off", "worst off", "violated", "by real images"], rows)


def _conditions(found: Evaluation) -> str:
    answers = [[a.column, a.what, *(f"{e.value:.4g} ± {e.error:.2g}" for e in (a.real, a.generated)),
                "" if a.slope is None else f"{a.slope:.3f}"] for a in found.answer]  # fmt: skip
    said = rows_table(["read back", "as", "real", "generated", "slope over real"], answers)
    if not found.groups:
        return said
    names = [score.name for score in found.groups[0].scores]
    rows = []
    for group in found.groups:
        by = {score.name: f"{score.value:.3g} ({score.floor:.3g})" for score in group.scores}
        rows.append([group.name, f"{group.n:,}", *(by.get(name, "") for name in names),
                     f"{group.worst}, {group.shift:.2f} sd"])  # fmt: skip
    return said + rows_table(["condition", "images", *names, "observable furthest off"], rows)


def as_json(found: Evaluation, about: About) -> dict:
    """All numbers, by name; the same run, rows and seed give the same."""
    adjusted = holm(np.array([test.p for test in found.tests]))
    c = found.copies
    return folder.plain({
        "format": 1, "title": about.title, "run": about.name, "turn": about.turn, "about": dict(about.facts),
        "quick": found.quick, "rule": RULE, "reference": digest(found.sets.reference.x),
        "verdicts": [{"question": v.question, "asked": QUESTIONS[v.question], "level": v.level,
                      "word": v.word, "why": v.why}
                     for v in found.verdicts],
        "tests": [test._asdict() | {"adjusted": p} for test, p in zip(found.tests, adjusted)],
        "scores": [s._asdict() | dict(zip(("low", "high"), s.interval or (None, None)))
                   for s in found.scores],
        "families": {family.name: family.identity for family in found.families},
        "observables": [
            {"name": o.name, "unit": o.unit, "real": o.real.value, "real_error": o.real.error,
             "generated": o.generated.value, "generated_error": o.generated.error, "shift": o.shift.value,
             "shift_error": o.shift.error, "floor": o.floor, "p": o.p, "adjusted": o.adjusted} for o in found.observed],
        "constraints": {name: {"generated": mine._asdict(), "real": real._asdict()}
                        for name, (mine, real) in found.constraints.items()},
        "memorisation": None if c is None else {
            "copy_rate": c.rate.share._asdict(), "copy_rate_null": c.rate.null, "p": c.rate.p,
            "authpct": c.authentic._asdict(), "authpct_held_out": c.authentic_null._asdict(), "c_t": c.c_t._asdict(),
            "nearer": c.nearer._asdict(), "nearest": c.panel._asdict()},
        "answers": [{"column": a.column, "what": a.what, "real": a.real._asdict(), "generated": a.generated._asdict(),
                     "slope": a.slope} for a in found.answer],
        "conditions": [{"name": g.name, "n": g.n, "worst": g.worst, "shift": g.shift,
                        "scores": {s.name: {"value": s.value, "floor": s.floor, "floor_sd": s.floor_sd}
                                   for s in g.scores}} for g in found.groups],
        "findings": [{"name": f.name, "turns": f.turns, "evidence": f.evidence, "advice": f.advice}
                     for f in about.findings],
        "notes": list(found.notes), "limits": list(LIMITS),
    })  # fmt: skip


def markdown(found: Evaluation, about: About, pictures: Mapping[str, Sequence[Drawn]], where: str) -> str:
    """The main parts of the page as Markdown; pictures are files in the folder `where`."""

    def pictured(name: str) -> list[str]:
        return [f"![{_cell(d.alt)}]({where}/{d.name}.png)\n\n{d.caption}\n" for d in pictures.get(name, ())]

    verdicts = [["question", "answer", "why"], *([QUESTIONS[v.question], v.word, v.why] for v in found.verdicts)]
    parts = [f"# {about.title}\n", _table(verdicts), RULE + "\n"]
    parts += ["## Real and generated\n", *pictured("Real and generated")]
    parts += ["## Scores\n", _table(scores_table(found.scores)), READ_SCORES + "\n", *pictured("Features")]
    parts += ["## Observables\n", _table(observed_table(found.observed)), READ_OBSERVABLES + "\n"]
    parts += [*pictured("Observables"), *pictured("Curves")]
    parts += ["## Was it copied?\n", *(f"- {name}: {said}" for name, said in copied(found)), ""]
    for name in ("Was it copied?", "Most and least real", "Conditions", "What the latents hold", "Training"):
        parts += pictured(name)
    parts += ["## What was compared\n", *(f"- {name}: {value}" for name, value in about.facts), ""]
    parts += ["## What this page cannot see\n", *(f"- {each}" for each in (*found.notes, *LIMITS)), ""]
    return "\n".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> str:
    head, *rest = [[_cell(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rest)) + "\n"


def _cell(text: str) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ")

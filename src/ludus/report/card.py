"""The model card of a run: what it is, how to use it, how it was made, and how good it is where that was measured.

A README.md as the Hugging Face Hub reads it: a block of YAML, then Markdown
(https://huggingface.co/docs/hub/model-cards, https://github.com/huggingface/hub-docs/blob/main/modelcard.md).
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ludus import recipe as recipes
from ludus.data.form import Form
from ludus.terminal import duration

UNCONDITIONAL = "unconditional-image-generation"


@dataclass(frozen=True)
class Facts:
    """What the card says of a run.

    address: hf://user/name.    state: the numbers of its checkpoint.    sizes: how many numbers each network holds.
    evaluation: what `ludus evaluate` wrote as JSON; {} where it has not been asked. Any entry may be missing or None.
    """

    name: str
    address: str
    recipe: dict
    form: Form
    notes: Sequence[str]
    state: dict
    sizes: dict[str, int]
    evaluation: dict

    @property
    def method(self) -> str:
        return self.recipe["method"]["name"]

    @property
    def told(self) -> bool:
        """Whether what draws is told a condition."""
        return bool(self.form.conditions) and "generator" not in recipes.METHODS[self.method].blind


def card(facts: Facts, license: str | None = None) -> str:
    """The whole README.md. Without a licence none is stated: which one it is, is its owner's to say."""
    path = recipes.METHODS[facts.method].path
    toml = fenced(recipes.text(facts.recipe), "toml")
    parts = [
        f"---\n{yaml(metadata(facts, license))}\n---",
        f"# {plain(facts.name)}",
        f"A generative model of {plain(facts.form.name)}, made with `ludus` {plain(facts.recipe.get('ludus', ''))}: "
        f"{plain(recipes.docstring(path).splitlines()[0])} (`{facts.method}`)",
        "## What it draws",
        bullets(map(plain, [*facts.notes, *_draws(facts)])),
        "## How to use it",
        "It needs `ludus` with its extra `hub`. Nothing in these files is pickled.",
        fenced(_python(facts), "python"),
        fenced(f"ludus sample {facts.address} -n 64 --out x.h5", "sh") if not _own(facts) else "",
        "## How it was trained",
        table(["", ""], _training(facts)),
        f"<details><summary>The whole run as TOML</summary>\n\n{toml}\n\n</details>",
        "## Evaluation",
        *_evaluation(facts),
        "## Limits",
        bullets(_limits(facts, license)),
        "## Citation",
        fenced(recipes.bibtex(facts.method), "bibtex"),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


# The YAML block


def metadata(facts: Facts, license: str | None = None) -> dict:
    """The entries that the Hub knows; scores make a model-index, each named with the score of real rows."""
    images = facts.form.kind == "images"
    found = {"library_name": "ludus", "tags": ["ludus", "generative-model", facts.method.replace("_", "-")]}
    found |= {"license": license} if license else {}
    found |= {"pipeline_tag": UNCONDITIONAL} if images and not facts.told else {}
    metrics = [
        {"type": slug(each["name"]), "name": _scored(each), "value": each["value"]}
        for each in _rows(facts.evaluation, "scores")
        if each.get("name") and _finite(each.get("value"))
    ]
    if metrics:
        task = {"type": found.get("pipeline_tag", "other"), "name": f"generation of {'images' if images else 'points'}"}
        data = {"type": slug(facts.form.name), "name": facts.form.name}
        result = {"task": task, "dataset": data, "metrics": metrics}
        found["model-index"] = [{"name": facts.name, "results": [result]}]
    return found


def _scored(score: dict) -> str:
    """A score's name, with all that its value would be misread without."""
    family = f", features {score['family']}" if score.get("family") else ""
    n = f", n = {score['n']:,}" if _finite(score.get("n")) else ""
    floor = f", real rows {number(score['floor'])}" if _finite(score.get("floor")) else ""
    return f"{score['name']}{family}{n}{floor}"


def yaml(value: Any, indent: str = "") -> str:
    """Dicts, lists, texts and numbers as block YAML; a text is quoted as JSON does, which YAML reads as it stands."""
    lines = []
    for key, each in value.items() if isinstance(value, dict) else ((None, each) for each in value):
        head = "-" if key is None else f"{key}:"
        if not isinstance(each, (dict, list)):
            text = json.dumps(printable(each) if isinstance(each, str) else each, ensure_ascii=False)
            text = text if isinstance(each, str) else re.sub(r"^(-?\d+)e", r"\1.0e", text)  # 1e-5 is a text in YAML 1.1
            lines.append(f"{indent}{head} {text}")
        elif key is None:  # the first entry stands beside the dash
            lines.append(f"{indent}- {yaml(each, indent + '  ').lstrip()}")
        else:
            lines.append(f"{indent}{head}\n{yaml(each, indent + '  ')}")
    return "\n".join(lines)


def slug(text: str) -> str:
    """A text as an identifier: lower-case ASCII, words joined by dashes."""
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    return re.sub(r"\W+", "-", text).strip("-_") or "data"


# What it is, and how it was made


def _draws(facts: Facts) -> list[str]:
    shape = facts.form.to_user(np.zeros((1, *facts.form.shape), np.float32)).shape[1:]
    said = [f"samples: {' × '.join(map(str, shape)) or 'one number'}, float32, in the units of the data"]
    if facts.form.condition is not None and not facts.told:
        said.append("what draws is not told the condition")
    return said


def _own(facts: Facts) -> list[str]:
    """The networks that are not among the files."""
    return [role for role in recipes.roles(facts.method) if facts.recipe.get(role, {}).get("name") == recipes.CUSTOM]


def _python(facts: Facts) -> str:
    own = _own(facts)
    handed = "".join(f", {role}={role}" for role in own)
    lines = ["import ludus", "", f'run = ludus.load("{facts.address}"{handed})', "x = run.sample(64)"]
    if own:
        lines.insert(1, f"# {', '.join(own)}: of its author's own, and not among these files")
    if facts.told:
        asked = [c.labels[0] if c.labels else float(f"{c.offset:.4g}") for c in facts.form.condition.columns]
        lines.append(f"x = run.sample(64, c={(asked[0] if len(asked) == 1 else asked)!r})")
    return "\n".join(lines)


def _training(facts: Facts) -> list[list[str]]:
    state, recipe = facts.state, facts.recipe
    batch, seconds = recipe["sampler"]["batch"], max(state["seconds"], 1e-9)
    rate = f"{state['turn'] * batch / seconds:,.0f} rows/s"
    found = {
        "turns": f"{state['turn']:,} of {state['steps']:,}, batch {batch}",
        "time": f"{duration(state['seconds'])}, {rate}",
        "device asked for": recipe["device"],
        "seed": str(recipe["seed"]),
        "numbers in each network": ", ".join(f"{role} {n:,}" for role, n in facts.sizes.items()),
    }
    return [[name, plain(each)] for name, each in found.items()]


# How good it is


def _evaluation(facts: Facts) -> list[str]:
    found = facts.evaluation
    if not found:
        return ["Not measured: `ludus evaluate RUN` does, and `ludus card RUN` then writes what it found here."]
    turn, now = found.get("turn"), facts.state["turn"]
    other = turn is not None and turn != now
    about = {str(key): shown(value) for key, value in (found.get("about") or {}).items()}
    return [
        f"**These numbers are of turn {shown(turn)}, the weights here are of turn {now:,}.**" if other else "",
        "The quick version, with which training ends; `ludus evaluate RUN` looks closer." if found.get("quick") else "",
        bullets(map(_verdict, _rows(found, "verdicts"))),
        plain(found.get("rule")),
        *_section("Scores, each beside that of real rows", SCORES, map(_score, _rows(found, "scores"))),
        *_section("Observables", OBSERVABLES, map(_observable, _rows(found, "observables"))),
        *_section("How it was measured", ["", ""], [[plain(key), plain(value)] for key, value in about.items()]),
        bullets(map(plain, found.get("notes") or ())),
        "All of it, as numbers, is in `evaluation.json`.",
    ]


SCORES = ["features", "score", "value", "95 %", "of real rows", "better", "n"]
OBSERVABLES = ["observable", "unit", "real", "generated", "shift, in sd", "p", "adjusted"]
BETTER = {"low": "lower", "high": "higher", "1": "near 1"}


def _section(title: str, head: list[str], rows: Iterable[list[str]]) -> list[str]:
    rows = list(rows)
    return [f"### {title}", table(head, rows)] if rows else []


def _verdict(each: dict) -> str:
    return f"**{plain(each.get('asked') or each.get('question'))}** {plain(each.get('word'))}: {plain(each.get('why'))}"


def _score(each: dict) -> list[str]:
    low, high = each.get("low"), each.get("high")
    between = f"{number(low)} to {number(high)}" if _finite(low) and _finite(high) else number(None)
    floor = with_error(each.get("floor"), each.get("floor_sd"))
    best = BETTER.get(str(each.get("best")), "")
    value = with_error(each.get("value"), each.get("error"))
    return [plain(each.get("family")), plain(each.get("name")), value, between, floor, best, number(each.get("n"))]


def _observable(each: dict) -> list[str]:
    words = [plain(each.get(key)) for key in ("name", "unit")]
    pairs = [with_error(each.get(key), each.get(f"{key}_error")) for key in ("real", "generated", "shift")]
    return [*words, *pairs, *(number(each.get(key)) for key in ("p", "adjusted"))]


def _limits(facts: Facts, license: str | None) -> list[str]:
    said = ["It draws what is like the data above, and knows nothing beyond them.",
            "The files hold averaged weights: they can be drawn from, and not trained on."]  # fmt: skip
    said += [] if license else ["No licence is stated."]
    said += [plain(each) for each in facts.evaluation.get("limits") or ()]
    for each in _rows(facts.evaluation, "findings"):
        where = f" ({plain(each['turns'])})" if each.get("turns") else ""
        more = ". ".join(plain(each[key]) for key in ("evidence", "advice") if each.get(key))
        said.append(f"In training: {plain(each.get('name'))}{where}: {more}")
    return said


def _rows(found: dict, key: str) -> list[dict]:
    return [each for each in found.get(key) or () if isinstance(each, dict)]


# Words


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any) -> str:
    """Four digits, or a dash where nothing was measured."""
    if not _finite(value):
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def with_error(value: Any, error: Any) -> str:
    return f"{number(value)} ± {error:.2g}" if _finite(value) and _finite(error) else number(value)


def shown(value: Any) -> str:
    return number(value) if value is None or _finite(value) else str(value)


def printable(text: str) -> str:
    """On one line, without what cannot be seen."""
    return "".join(each if each.isprintable() else " " for each in text)


def plain(text: Any) -> str:
    """A text of somebody else's, that Markdown shows as it stands, also in a table."""
    return re.sub(r"([\\`*_\[\]<>#|~$&])", r"\\\1", printable("" if text is None else str(text)))


def fenced(text: str, language: str) -> str:
    """A block of code, in a fence longer than any within."""
    fence = "`" * max([3, *(len(run) + 1 for run in re.findall("`+", text))])
    return f"{fence}{language}\n{text.strip()}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Cells are Markdown already."""
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def bullets(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)

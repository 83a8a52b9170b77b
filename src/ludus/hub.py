"""A run on the Hugging Face Hub: what goes up of it, and getting one back.

What goes up loads and can be drawn from. It holds the averaged weights as safetensors, and neither the optimisers nor
the user's data: of these only what drawing needs (scaling, classes, rows of conditions, mask and sigma), and no path of
this machine. `docs/sharing.md` lists it. huggingface_hub, an extra, does the transfer, and keeps the token.
"""

import contextlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from ludus import recipe as recipes
from ludus import session
from ludus.data import locate
from ludus.data.form import Form
from ludus.errors import LudusError, UserError
from ludus.report.card import Facts
from ludus.report.card import card as page
from ludus.run import read_recipe
from ludus.runs import folder, store
from ludus.terminal import say

SCHEME = "hf://"
NOWHERE = f"{SCHEME}USER/NAME"  # stands in a card that was made before it was known where it goes
CARD, EVALUATION, LABELS = "README.md", "evaluation.json", "labels.json"
CHECKPOINT = f"checkpoints/{'[0-9]' * 8}"
FILES = [  # all that is ever put up or fetched; no *, which would match a / too
    CARD, "recipe.toml", "data.json", "examples.safetensors", LABELS, EVALUATION,
    *(f"{CHECKPOINT}/{name}" for name in (store.TENSORS, store.STATE, store.MANIFEST)),
]  # fmt: skip
STATE = ("turn", "steps", "seconds", "rollbacks", "game")  # the rest is for going on
_NAME = r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*"


# What may be said of a run in public


class Public(NamedTuple):
    """The texts of a run, without the folders of this machine; `name` is that of its own folder."""

    name: str
    recipe: dict
    kept: dict  # data.json
    labels: dict
    evaluation: dict


def public(run: Path) -> Public:
    """Raises UserError where a file of the run is missing or damaged."""
    recipe, kept = read_recipe(run), session.kept_data(run)
    form, evaluation = kept["form"], session.kept_evaluation(run)
    paths = sorted({*_paths([recipe, form.name, evaluation]), str(run.resolve())}, key=len, reverse=True)
    texts = _shortened({"recipe": recipe, "name": form.name, "notes": kept["notes"], "evaluation": evaluation}, paths)
    kept = {key: value for key, value in kept.items() if key != "examples"}
    kept |= {"form": replace(form, name=texts["name"]).to_json(), "notes": texts["notes"]}
    return Public(run.resolve().name, texts["recipe"], kept, session.kept_labels(run), texts["evaluation"])


def _paths(value: Any) -> Iterator[str]:
    """The texts in a structure that are absolute paths, without the part of the file that they name."""
    if isinstance(value, dict):
        yield from _paths([*value.keys(), *value.values()])
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from _paths(each)
    elif isinstance(value, str):
        path = locate.split(os.path.expanduser(value))[0]
        if (whole := _pure(path)).is_absolute() and whole.name:
            yield path


def _pure(path: str) -> PurePath:
    return PureWindowsPath(path) if PureWindowsPath(path).is_absolute() else PurePosixPath(path)


def _shortened(value: Any, paths: list[str]) -> Any:
    """A structure whose texts name files without their folders: the paths known, in whole or their ends, and others."""
    if isinstance(value, dict):
        return {_shortened(key, paths): _shortened(each, paths) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(each, paths) for each in value]
    if not isinstance(value, str):
        return value
    for path in map(_pure, paths):
        for i in range(len(path.parts) - 1):  # what was typed may be relative, and a folder's name may hold spaces
            value = value.replace(str(type(path)(*path.parts[i:])), path.name)
        value = re.sub(rf"((~|\.\.?)[/\\])+{re.escape(path.name)}", lambda _, name=path.name: name, value)
    return re.sub(r"(?:^|(?<=[\s\"'(=]))(~|\.\.|[A-Za-z]:)?[/\\]([^\s/\\]+[/\\])+", "", value)


# What goes up


def card(run: Path, license: str | None = None, address: str = NOWHERE) -> str:
    """The model card of a run, a README.md; an address is hf://user/name."""
    return _card(public(run), store.load(run), license, address)


def _card(said: Public, checkpoint: store.Checkpoint, license: str | None, address: str) -> str:
    roles = recipes.roles(said.recipe["method"]["name"])
    sizes = {role: sum(tensor.size for key, tensor in checkpoint.tensors.items() if key.startswith(f"average/{role}."))
             for role in roles}  # fmt: skip
    name = said.name if address == NOWHERE else address.rpartition("/")[2]
    facts = Facts(name, address, said.recipe, Form.from_json(said.kept["form"]), said.kept["notes"], checkpoint.state,
                  {role: n for role, n in sizes.items() if n}, said.evaluation)  # fmt: skip
    return page(facts, license)


def export(run: Path, out: Path, repo: str, examples: bool = False) -> None:
    """Writes into the folder `out`, new or empty, what `push` puts up: a run that can be loaded and drawn from.

    The card is the run's README.md, as it stands; where there is none it is made. With `examples`, the real rows that
    the run keeps for its pictures are among it.
    """
    address = f"{SCHEME}{_repo(repo)}"
    said, checkpoint = public(run), store.load(run)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise UserError(f"{out} is not empty: name a new folder")
    except OSError as error:
        raise UserError(f"cannot make the folder {out} ({error.strerror}): choose another") from None
    texts = {"recipe.toml": recipes.text(said.recipe), "data.json": _dump(said.kept)}
    texts |= {name: _dump(found) for name, found in ((LABELS, said.labels), (EVALUATION, said.evaluation)) if found}
    for name, text in texts.items():
        folder.write(out / name, text)
    folder.write(out / "examples.safetensors", safetensors.numpy.save(_examples(run, said, examples)))
    average = {key: value for key, value in checkpoint.tensors.items() if key.startswith("average/")}
    store.save(out, checkpoint.turn, average, {key: checkpoint.state[key] for key in STATE})
    folder.write(out / CARD, _own_card(run, address) or _card(said, checkpoint, None, address))


def _examples(run: Path, said: Public, real: bool) -> dict[str, np.ndarray]:
    """What the run keeps of the data that drawing needs: what is known of each pixel, and the conditions that the
    generator is told; with `real`, the real rows and their conditions too."""
    kept = session.kept_data(run)["examples"]
    blind = "generator" in recipes.METHODS[said.recipe["method"]["name"]].blind
    left = () if real else ("x", "c") if blind else ("x",)
    return {name: array for name, array in kept.items() if name not in left}


def _own_card(run: Path, address: str) -> str:
    """The README.md that lies in the run folder, which its owner may have written in."""
    path = run / CARD
    if not path.is_file():
        say(f"the card states no licence: `ludus card {run} --license NAME` writes one that does, for you to complete")
        return ""
    newer = [each.name for each in (run / EVALUATION, *(run / "checkpoints").glob("[0-9]" * 8))
             if each.exists() and each.stat().st_mtime > path.stat().st_mtime]  # fmt: skip
    if newer:
        say(f"{path} is older than {', '.join(newer)}: `ludus card {run}` writes it anew")
    return path.read_text(encoding="utf-8").replace(NOWHERE, address)


def _dump(value: dict) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def push(run: Path, repo: str, private: bool = False, examples: bool = False) -> str:
    """Puts a run up as the model user/name, and gives its address on the web. What an earlier push left there goes.

    Raises UserError where huggingface_hub is missing or refuses, and where a model that should be private is public.
    """
    repo = _repo(repo)
    with tempfile.TemporaryDirectory() as made:
        out = Path(made) / "run"
        export(run, out, repo, examples)
        for line in listing(out):
            say(line)
        with _library(f"cannot push to {SCHEME}{repo}") as library:
            api = library.HfApi()
            url = api.create_repo(repo, private=private or None, exist_ok=True)
            if private and not api.repo_info(repo).private:
                raise UserError(f"{SCHEME}{repo} is public already, --private is for new ones: nothing was pushed")
            api.upload_folder(repo_id=repo, folder_path=out, delete_patterns=FILES, commit_message="ludus push")
    return str(url)


def listing(out: Path) -> list[str]:
    """What is in a folder of `export`, a line each, and what is not."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    kept = safetensors.numpy.load_file(out / "examples.safetensors")
    rows = ", ".join(f"{name} {'×'.join(map(str, array.shape))}" for name, array in kept.items()) or "nothing"
    lines = [f"{path.stat().st_size:>12,}  {path.relative_to(out).as_posix()}" for path in files]
    stays = "" if "x" in kept else "; real rows stay here"
    return [*lines, f"of the data: scaling, classes, and of examples.safetensors {rows}{stays}"]


# What comes back


def fetch(address: str) -> Path:
    """The folder of a run that hf://user/name or hf://user/name@revision names, downloaded unless it was before.

    Only FILES are ever downloaded. Raises UserError for another address, where huggingface_hub is missing or finds
    nothing, and where it is no run.
    """
    found = re.fullmatch(rf"{SCHEME}({_NAME})(?:@([\w./-]+))?", address, re.ASCII)
    if not found or ".." in address:
        raise UserError(f"{address!r}: a run on the Hub is {SCHEME}user/name, or {SCHEME}user/name@revision")
    with _library(f"cannot fetch {address}") as library:
        path = Path(library.snapshot_download(found[1], revision=found[2], allow_patterns=FILES))
    if not (path / "recipe.toml").is_file():
        raise UserError(f"{address} is not a run of ludus: it has no recipe.toml")
    return path


def _repo(text: str) -> str:
    name = text.removeprefix(SCHEME)
    if not re.fullmatch(_NAME, name, re.ASCII) or ".." in name:
        raise UserError(f"{text!r}: a model on the Hub is user/name, of letters, digits, '-', '_' and '.'")
    return name


@contextlib.contextmanager
def _library(what: str):
    """huggingface_hub, for what is done inside; what it raises becomes one line."""
    try:
        import huggingface_hub
    except ImportError:
        raise UserError("the Hub needs huggingface_hub, which is not installed: pip install 'ludus[hub]'") from None
    try:
        yield huggingface_hub
    except LudusError:
        raise
    except Exception as error:  # its own and those of the HTTP library beneath it have no base in common
        raise UserError(f"{what}: {(str(error).strip() or type(error).__name__).splitlines()[0]}") from error

"""What a source's text means, and whether it is there. Nothing heavy is imported: the command line asks first."""

import difflib
import os
import re
from typing import NamedTuple

from ludus.data import mnist
from ludus.errors import UserError, unknown

WORLDS = ("gaussian", "grid", "ring", "spiral")
PARTS = {"mnist": ("test", "label", "test:label"), "digits": ("label",), **{world: ("label",) for world in WORLDS}}
KINDS = {"npy": "npy", "npz": "npz", "h5": "hdf5", "hdf5": "hdf5", "hdf": "hdf5", "he5": "hdf5", "nxs": "hdf5"}
PICKLES = ("pkl", "pickle", "pt", "pth", "ckpt", "joblib")
KNOWN = f"{', '.join(PARTS)}, or a file x.npy, x.npz[:key], x.h5[:/path/to/dataset]"


class Source(NamedTuple):
    """A place that arrays come from."""

    kind: str  # a file of `readers` | "mnist" | "digits" | "world" | "own"
    path: str  # of the file, or the built-in's name
    part: str  # key, dataset, the built-in's part ("", "test", "label", "test:label"), or what the data say themselves

    @property
    def text(self) -> str:
        return f"{self.path}:{self.part}" if self.part else self.path

    @property
    def is_file(self) -> bool:
        return self.path not in PARTS and self.kind != "own"

    @property
    def is_label(self) -> bool:
        return not self.is_file and self.part.endswith("label")


def check(source: str, condition: str | None = None, download: bool = False) -> tuple[Source, Source | None]:
    """What the texts of `--data` and `--condition` mean.

    Raises UserError where one means nothing, names a file that is not there (with the nearest ones that are), or
    where the labels belong to other data. Datasets inside a file are looked up later, when it is opened.
    """
    data = parse(source)
    if data.is_label:
        raise UserError(f"{data.text} are labels, not data: train with --data {data.path} --condition {data.text}")
    chosen = None if condition is None else parse(condition)
    if chosen and chosen.kind == "own" and not data.is_file:
        raise UserError(f"condition {condition} is what a file says of its rows, and the data are {data.text}")
    if chosen and not chosen.is_file and chosen.kind != "own":
        chosen = labels_of(data, chosen)
    if not download:
        for each in filter(None, (data, chosen)):
            if each.kind == "mnist":
                mnist.find(mnist.name(each.part))
    return data, chosen


def labels_of(data: Source, chosen: Source) -> Source:
    """The labels of a built-in, for the part of it (train or test) that the data are."""
    if not chosen.is_label:
        raise UserError(f"condition {chosen.text} is data, not labels: --condition {chosen.path}:label")
    if chosen.path != data.path:
        raise UserError(f"condition {chosen.text} belongs to {chosen.path}, but the data are {data.text}")
    return chosen._replace(part=f"{data.part}:label" if data.part else "label")


def parse(text: str) -> Source:
    """A source from its text: a built-in's name and part, or an existing file and what to take of it."""
    name, _, part = text.partition(":")
    if not name and part:
        return Source("own", "", part)
    if name not in PARTS:
        return parse_file(text)
    if part and part not in PARTS[name]:
        raise unknown(f"part of {name}", part, PARTS[name])
    return Source("world" if name in WORLDS else name, name, part)


def parse_file(text: str) -> Source:
    path, part = split(os.path.expanduser(text))
    if os.path.isdir(path):
        raise UserError(f"{path!r} is a folder: name one file of it. {inside(path, '')}")
    suffix = os.path.splitext(path)[1].lower().lstrip(".")
    if not os.path.isfile(path):
        raise missing(path)
    if suffix in PICKLES:
        raise UserError(f"{path!r} is a pickle, which can run any code when opened: save the array as .npy instead")
    if suffix not in KINDS:
        raise UserError(f"cannot read {path!r}: files are known by their endings {', '.join('.' + k for k in KINDS)}")
    if suffix == "npy" and part:
        raise UserError(f"{path!r} holds one array: leave out {':' + part!r}")
    return Source(KINDS[suffix], path, part)


def split(text: str) -> tuple[str, str]:
    """Path and part. A colon may belong to the path (C:\\x.npy, run:3.h5), so the longest existing path wins."""
    cuts = [len(text)] + [i for i in reversed(range(len(text))) if text[i] == ":"]
    for cut in cuts:
        if os.path.exists(text[:cut]):
            return text[:cut], text[cut + 1 :]
    match = re.fullmatch(rf"(.+?\.(?:{'|'.join(KINDS)}))(?::(.*))?", text, re.IGNORECASE | re.DOTALL)
    return (match[1], match[2] or "") if match else (text, "")


def missing(path: str) -> UserError:
    folder, name = os.path.split(path)
    if not folder and "." not in name:
        near = difflib.get_close_matches(name, PARTS, n=1)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        return UserError(f"unknown data {path!r}.{guess} Known: {KNOWN}")
    if folder and not os.path.isdir(folder):
        return UserError(f"no file {path!r}: there is no folder {folder!r}")
    return UserError(f"no file {path!r}. {inside(folder or '.', name)}")


def inside(folder: str, name: str) -> str:
    """The data files of a folder, those nearest to the name first."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        return f"The folder cannot be read ({error.strerror})"
    names = [each for each in names if os.path.splitext(each)[1].lower().lstrip(".") in KINDS]
    near = difflib.get_close_matches(name, names, n=5, cutoff=0.4) or names[:5]
    return f"In that folder: {', '.join(near)}" if near else "There are no data files in that folder"

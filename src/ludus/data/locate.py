"""What a source's text means, and whether it is there. Nothing heavy is imported: the command line asks first."""

import collections
import difflib
import fnmatch
import glob
import hashlib
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from ludus.data import mnist
from ludus.errors import UserError, unknown

WORLDS = ("gaussian", "grid", "ring", "spiral")
PARTS = {"mnist": ("test", "label", "test:label"), "digits": ("label",), **{world: ("label",) for world in WORLDS}}
KINDS = {"npy": "npy", "npz": "npz", "h5": "hdf5", "hdf5": "hdf5", "hdf": "hdf5", "he5": "hdf5", "nxs": "hdf5",
         "nc": "hdf5", "nc4": "hdf5", "tif": "tiff", "tiff": "tiff"}  # fmt: skip
PICTURES = ("png", "jpg", "jpeg", "bmp", "gif")
ALONE = {"csv": "table", "tsv": "table", "zarr": "zarr"}  # never one of a folder's files that belong together
STORE = ("zarr.json", ".zarray", ".zgroup")  # a folder that holds one of these is a Zarr store
PICKLES = ("pkl", "pickle", "pt", "pth", "ckpt", "joblib")
KNOWN = f"{', '.join(PARTS)}, a file x.npy, x.npz[:key], x.h5[:/path/to/dataset], or a folder of pictures"


class Source(NamedTuple):
    """A place that arrays come from."""

    kind: str  # a file of `readers` ("files": a folder or pattern) | "mnist" | "digits" | "world" | "own"
    path: str  # of the file, folder or pattern, or the built-in's name
    part: str  # key, dataset, the built-in's part ("", "test", "label", "test:label"), or what the data say themselves

    @property
    def text(self) -> str:
        return f"{self.path}:{self.part}" if self.part else self.path

    @property
    def is_file(self) -> bool:
        return self.path not in PARTS and self.kind != "own"

    @property
    def anchored(self) -> "Source":
        """The same from wherever it is asked for."""
        here = glob.escape(os.getcwd()) if is_pattern(self.path) else os.getcwd()
        return self._replace(path=os.path.normpath(os.path.join(here, self.path))) if self.is_file else self

    @property
    def stem(self) -> str:
        """What is made of it may be called so."""
        path = os.path.abspath(self.path)
        while is_pattern(path):
            path = os.path.dirname(path)
        return os.path.basename(path) if os.path.isdir(path) else os.path.splitext(os.path.basename(path))[0]

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
    suffix = ending(path)
    if is_store(path):
        return Source("zarr", path, part)
    if os.path.isdir(path) or is_pattern(path) or (suffix in PICTURES and os.path.isfile(path)):
        members(path)
        return Source("files", path, part)
    if not os.path.isfile(path):
        raise missing(path)
    if suffix in PICKLES:
        raise UserError(f"{path!r} is a pickle, which can run any code when opened: save the array as .npy instead")
    if suffix == "zarr":
        raise UserError(f"{path!r} is a file, and a Zarr store is a folder: unpack it")
    if suffix in ALONE:
        return Source(ALONE[suffix], path, part)
    if suffix not in KINDS:
        raise UserError(f"cannot read {path!r}: files are known by their endings {listed((*KINDS, *PICTURES, *ALONE))}")
    if suffix == "npy" and part:
        raise UserError(f"{path!r} holds one array: leave out {':' + part!r}")
    return Source(KINDS[suffix], path, part)


def split(text: str) -> tuple[str, str]:
    """Path and part. A colon may belong to the path (C:\\x.npy, run:3.h5), so the longest existing path wins."""
    cuts = [len(text)] + [i for i in reversed(range(len(text))) if text[i] == ":"]
    for cut in cuts:
        path = text[:cut]
        if os.path.exists(path) or (is_pattern(path) and any(glob.iglob(path, recursive=True))):
            return path, text[cut + 1 :]
    endings = "|".join((*KINDS, *PICTURES, *ALONE))
    match = re.fullmatch(rf"(.+?\.(?:{endings}))(?::(.*))?", text, re.IGNORECASE | re.DOTALL)
    return (match[1], match[2] or "") if match else (text, "")


def is_store(path: str) -> bool:
    """Whether it is a folder that holds a Zarr array or group, or says so by its name."""
    return os.path.isdir(path) and (
        ending(path.rstrip("/")) == "zarr" or any(os.path.exists(os.path.join(path, each)) for each in STORE)
    )


def ending(path: str) -> str:
    return os.path.splitext(path)[1].lower().lstrip(".")


def kind_of(path: str) -> str:
    """What a file is by its ending: "picture", a file of `readers`, or nothing that holds data."""
    return "picture" if ending(path) in PICTURES else KINDS.get(ending(path), "")


def listed(endings: tuple[str, ...]) -> str:
    return ", ".join(f".{each}" for each in endings)


# -- several files ---------------------------------------------------------------------------------------------------


def is_pattern(path: str) -> bool:
    """Whether it stands for files as a shell would have it, `scans/*.h5`; `**` is any folders."""
    return any(each in path for each in "*?[") and not os.path.exists(path)


def members(path: str) -> tuple[str, list[str], int]:
    """What a folder or a pattern means: the kind of its files ("picture", or a file of `readers`), their paths in
    natural order (2 before 10), and how many others there are.

    Raises UserError where there is nothing to read, or not only one kind of it.
    """
    if os.path.isfile(os.path.join(path, "recipe.toml")):
        raise UserError(f"{path!r} is a run, not data: `ludus sample` draws from it into a file")
    try:
        found = list(within(path)) if os.path.isdir(path) else [each for each in matching(path) if os.path.isfile(each)]
    except OSError as error:
        raise UserError(f"the folder {error.filename!r} cannot be read ({error.strerror})") from error
    known = [each for each in found if kind_of(each)]
    kinds = set(map(kind_of, known))
    if not kinds:
        what = "no file matches" if is_pattern(path) and not found else "there is nothing to read in"
        raise UserError(
            f"{what} {path!r}: pictures are known by their endings {listed(PICTURES)}, arrays by {listed(tuple(KINDS))}"
        )
    if len(kinds) > 1 and kinds != {"picture", "tiff"}:
        ends = collections.Counter(ending(each) for each in known).most_common()
        counts = ", ".join(f"{n:,} .{end}" for end, n in ends)
        folder = os.path.join(path, "**") if os.path.isdir(path) else os.path.dirname(path)
        one = os.path.join(folder, f"*.{ends[0][0]}")
        raise UserError(f"{path!r} has files of several kinds ({counts}): name one, by a pattern such as {one!r}")
    kind = "picture" if "picture" in kinds else kinds.pop()
    return kind, sorted(known, key=lambda each: (natural(each), each)), len(found) - len(known)


def within(folder: str) -> Iterator[str]:
    """The files of a folder and of those in it; hidden ones, links to folders, and runs are left out."""
    with os.scandir(folder) as entries:
        found = [each for each in entries if not each.name.startswith(".")]
    if any(each.name == "recipe.toml" for each in found):
        return
    for each in found:
        if each.is_dir(follow_symlinks=False):
            yield from within(each.path)
        elif each.is_file():
            yield each.path


def matching(pattern: str) -> list[str]:
    return glob.glob(of_any_case(pattern), recursive=True) if is_pattern(pattern) else [pattern]


def of_any_case(pattern: str) -> str:
    """A pattern that also matches endings in capitals, as cameras write them: `*.[pP][nN][gG]` for `*.png`."""
    rest, dot, end = pattern.rpartition(".")
    if not end.isalnum():
        return pattern
    return rest + dot + "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in end)


def fits(names: list[str], pattern: list[str]) -> bool:
    """Whether a path is one that a pattern stands for, name by name."""
    if not names or not pattern or names[0] == "..":
        return not names and not pattern
    if pattern[0] == "**":
        return fits(names, pattern[1:]) or fits(names[1:], pattern)
    return fnmatch.fnmatchcase(names[0], pattern[0]) and fits(names[1:], pattern[1:])


def natural(path: str) -> list[list[str | int]]:
    """A key to sort paths by, in which 2 comes before 10."""
    parts = (re.split("([0-9]+)", part) for part in path.split(os.sep))
    return [[int(each) if i % 2 else each for i, each in enumerate(part)] for part in parts]


def reads(source: Source, path: str | os.PathLike) -> bool:
    """Whether a file is one of those that a source reads, or would be if it were written."""
    if not source.is_file:
        return False
    if os.path.isdir(source.path):
        whole, top = os.path.realpath(path), os.path.realpath(source.path)
        return os.path.commonpath([whole, top]) == top and (source.kind == "zarr" or bool(kind_of(whole)))
    if is_pattern(source.path):
        top, pattern = os.getcwd(), of_any_case(os.path.normpath(source.path)).split(os.sep)
        while not any(each in pattern[0] for each in "*?["):
            top = os.path.join(top, pattern.pop(0) or os.sep)
        below = os.path.relpath(os.path.realpath(path), os.path.realpath(top))
        return bool(kind_of(below)) and fits(below.split(os.sep), pattern)
    return os.path.exists(path) and os.path.samefile(source.path, path)


def stamp(source: Source) -> str:
    """What tells whether a file, or one of several, has changed meanwhile; of a Zarr store, only its top folder."""
    digest = hashlib.sha256()
    for path in members(source.path)[1] if source.kind == "files" else [source.path] * source.is_file:
        found = os.stat(path)
        digest.update(f"{os.path.realpath(path)}, {found.st_size} bytes, {found.st_mtime_ns}\n".encode())
    return digest.hexdigest()


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
    """The data files of a folder, or, of these and the folders in it, those nearest to the name."""
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        return f"The folder cannot be read ({error.strerror})"
    files = [each for each in names if ending(each) in (*KINDS, *PICTURES, *ALONE)]
    folders = [each for each in names if os.path.isdir(os.path.join(folder, each))]
    near = difflib.get_close_matches(name, [*files, *folders], n=5, cutoff=0.4) or files[:5]
    return f"In that folder: {', '.join(near)}" if near else "There are no data files in that folder"

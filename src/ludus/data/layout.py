"""Which axis means what: from the user's axes to (n, C, H, W) or (n, D), and back."""

import numpy as np

from ludus.data.raw import UNNAMED, Axis
from ludus.errors import UserError, unknown

CHANNELS = ("auto", "first", "last", "none")
COLOURS = ("c", "channel", "channels", "band", "color", "colour", "rgb")  # names of axes that are of channels


def check_channels(channels: str) -> None:
    if channels not in CHANNELS:
        raise unknown("channels", str(channels), CHANNELS)


def scan(shape: tuple[int, ...], known: tuple[Axis, ...]) -> str:
    """The first two of four axes, as --panels has them, where the second one has a name and values and so is neither of
    channels nor the height of a picture: data of each point of a map. Else nothing."""
    if len(shape) != 4 or not known or not known[1].name or not known[1].values or known[1].name.lower() in COLOURS:
        return ""
    if shape[3] <= 4 and (known[2].name or not known[0].name):  # height, width, and then channels
        return ""
    return f"{known[0].name},{known[1].name}" if known[0].name else "0,1"


def axes(shape: tuple[int, ...], channels: str = "auto", name: str = "the data", known: tuple[Axis, ...] = ()) -> str:
    """The user's axes: "NCHW", "NHWC", "NHW" (one channel), "ND" (points) or "N" (points on a line).

    Four axes are told apart by their lengths: at most 4 channels, more than 4 pixels; known: what the file says of
    them. Raises UserError where both or neither end can be the channels, and for the pictures of a map.
    """
    check_channels(channels)
    if len(shape) not in (1, 2, 3, 4):
        raise UserError(f"{name} has {len(shape)} axes: pictures have 3 or 4 (rows first), points 1 or 2")
    if len(shape) < 4:
        if channels in ("first", "last"):
            raise UserError(f"{name} has {len(shape)} axes, none of them for channels: leave out --channels {channels}")
        return {1: "N", 2: "ND", 3: "NHW"}[len(shape)]
    if channels == "none":
        raise UserError(f"{name} has 4 axes, so one is the channels: say --channels first or last")
    if channels == "auto" and (along := scan(shape, known)):
        raise UserError(f"{name} has an axis {known[1].name}, whose {shape[1]:,} values are those of no channels: say "
                        f"--panels {along} for data of each point, or --channels")  # fmt: skip
    if channels == "auto":
        few_first, few_last = shape[1] <= 4, shape[3] <= 4
        if few_first == few_last:
            raise UserError(
                f"{name}: which of its axes is the channels, in rows of {shape[1]} × {shape[2]} × {shape[3]}? "
                f"Say --channels first or last"
            )
        channels = "first" if few_first else "last"
    return "NCHW" if channels == "first" else "NHWC"


def network_shape(shape: tuple[int, ...], axes: str) -> tuple[int, ...]:
    """(C, H, W) or (D,) of data of the user's shape."""
    if axes == "N":
        return (1,)
    if axes == "NHW":
        return (1, *shape[1:])
    return (shape[3], shape[1], shape[2]) if axes == "NHWC" else tuple(shape[1:])


def grid(known: tuple[Axis, ...], axes: str) -> tuple[Axis, ...]:
    """What is known of height and width, or of the columns of points."""
    if not known or axes == "N":
        return ()
    return {"NHWC": known[1:3], "NCHW": known[2:4]}.get(axes, known[1:])


def user_axes(grid: tuple[Axis, ...], axes: str) -> tuple[Axis, ...]:
    """The way back from `grid`: an axis for each of the user's, rows first; nothing where none is known."""
    if not grid:
        return ()
    return {"NHWC": (UNNAMED, *grid, UNNAMED), "NCHW": (UNNAMED, UNNAMED, *grid)}.get(axes, (UNNAMED, *grid))


def to_network(x: np.ndarray, axes: str) -> np.ndarray:
    """From the user's axes to (n, C, H, W) or (n, D)."""
    if axes == "NHWC":
        return x.transpose(0, 3, 1, 2)
    return x[:, None] if axes in ("NHW", "N") else x


def to_user(x: np.ndarray, axes: str) -> np.ndarray:
    """The way back from `to_network`."""
    if axes == "NHWC":
        return x.transpose(0, 2, 3, 1)
    return x[:, 0] if axes in ("NHW", "N") else x


def pictures(x: np.ndarray, axes: str) -> np.ndarray:
    """The user's rows for drawing: (n, H, W, 3) if there are three channels, else the first channel, (n, H, W)."""
    x = to_network(x, axes)
    return x.transpose(0, 2, 3, 1) if x.shape[1] == 3 else x[:, 0]


def words(axes: str, shape: tuple[int, ...]) -> str:
    """The axes and the network's shape as a sentence."""
    if axes in ("N", "ND"):
        return f"read as points in {shape[0]} dimension{'s' * (shape[0] > 1)}"
    c, h, w = shape
    where = {"NCHW": " first", "NHWC": " last", "NHW": ""}[axes]
    return f"read as pictures of {h} × {w} pixels, {c} channel{'s' * (c > 1)}{where}"

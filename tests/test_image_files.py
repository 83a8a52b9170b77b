"""TIFF stacks, folders of pictures and patterns of files: every value as it was written, or one line that says why."""

import contextlib
import logging
import os
import pickle
import struct
import sys
import tracemalloc
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from ludus import api
from ludus.data import inspect, locate
from ludus.data import raw as raws
from ludus.data.cuts import Cuts
from ludus.data.load import load, reading
from ludus.data.raw import Axis
from ludus.data.readers import files, tiff
from ludus.data.sources import opened
from ludus.data.write import nxdata
from ludus.errors import UserError
from ludus.prepare import Job, prepare

tifffile = pytest.importorskip("tifffile")

RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 2**16, (20, 12, 9), dtype=np.uint16)


def refused(*fragments, call=load, args=(), **options):
    """The call is refused in one line that holds every fragment."""
    with pytest.raises(UserError) as caught:
        call(*args, **options)
    text = str(caught.value)
    assert "\n" not in text
    for fragment in fragments:
        assert str(fragment) in text, f"{fragment!r} is not in: {text}"
    return text


@contextlib.contextmanager
def memory(limit):
    """No more bytes than these are taken."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty folder to be in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read(text):
    """All that a source holds, read whole and by parts, with what is known of it."""
    with opened(locate.check(text)[0]) as raw:
        whole = np.asarray(raw.rows(0, raw.shape[0]))
        assert whole.shape == raw.shape and whole.dtype == raw.dtype
        for _ in range(8):
            ends = [sorted(RNG.integers(0, n + 1, 2)) for n in raw.shape[: RNG.integers(1, len(raw.shape) + 1)]]
            region = tuple(slice(int(start), int(stop)) for start, stop in ends)
            assert np.array_equal(raw.read(region), whole[region])
    return whole, raw


def png(pixels, colour, depth, more=b""):
    """A PNG file by the letter of its specification, uncompressed filters, from big-endian bytes of rows."""
    height, width = pixels.shape[:2]

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = pixels.astype(">u2" if depth == 16 else "u1").reshape(height, -1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [chunk(b"IHDR", header), more, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


# -- TIFF --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", ">u2", "u4", "i4", "f2", "f4", ">f4", "f8"])
@pytest.mark.parametrize(
    "how",
    [{}, {"compression": "zlib"}, {"compression": "zlib", "predictor": True}, {"tile": (16, 16)}, {"metadata": None},
     {"bigtiff": True}, {"rowsperstrip": 5}, {"compression": "lzma"}],
    ids=["plain", "zlib", "predictor", "tiles", "pages", "big", "strips", "lzma"],
)  # fmt: skip
def test_a_stack_is_read_exactly(dtype, how):
    if "predictor" in how and dtype[-2] == "f":
        pytest.skip("a predictor of whole numbers")
    x = (RNG.normal(0, 100, STACK.shape) if dtype[-2] == "f" else STACK).astype(dtype)
    tifffile.imwrite("x.tif", x, byteorder=">" if dtype[0] == ">" else "<", **how)
    whole, raw = read("x.tif")
    assert np.array_equal(whole, x) and raw.dtype == np.dtype(dtype).newbyteorder("=")


def test_lzw_is_named_with_what_to_do(monkeypatch):
    if "imagecodecs" in sys.modules:
        pytest.skip("imagecodecs is here")
    first, *rest = [Image.fromarray(each) for each in STACK]
    first.save("x.tif", save_all=True, append_images=rest, compression="tiff_lzw")
    refused("x.tif", "LZW", "pip install imagecodecs", args=("x.tif",))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    refused("x.tif", "pip install 'ludus[formats]'", args=("x.tif",))


def test_axes_by_name_become_rows_and_channels():
    stack = STACK[:12].reshape(3, 2, 2, 12, 9)
    tifffile.imwrite("x.ome.tif", stack, metadata={"axes": "TCZYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 2.0,
                                               "PhysicalSizeYUnit": "nm"})  # fmt: skip
    whole, raw = read("x.ome.tif")
    assert np.array_equal(whole, stack.transpose(0, 2, 1, 3, 4).reshape(6, 2, 12, 9)) and raw.group == 2
    y, x = Axis("y", "nm", tuple(2.0 * np.arange(12) + 1)), Axis("x", "µm", tuple(0.5 * np.arange(9) + 0.25))
    assert raw.axes[2:] == (y, x)
    assert load("x.ome.tif", held_out=0).form.grid == raw.axes[2:]
    tifffile.imwrite("j.tif", stack, imagej=True, resolution=(4, 2), metadata={"axes": "TZCYX", "unit": "micron"})
    whole, raw = read("j.tif")
    assert np.array_equal(whole, stack.reshape(6, 2, 12, 9))
    assert raw.axes[3] == Axis("x", "micron", tuple(np.arange(9) / 4 + 0.125))
    tifffile.imwrite("pixel.tif", stack, imagej=True, resolution=(4, 2), metadata={"axes": "TZCYX", "unit": "pixel"})
    assert read("pixel.tif")[1].axes == ()


@pytest.mark.parametrize(
    "shape, how, expected",
    [
        ((20, 3, 12, 9), {"photometric": "minisblack"}, (20, 3, 12, 9)),  # as an array (n, 3, H, W) is
        ((4, 5, 12, 9), {"photometric": "minisblack"}, (20, 12, 9)),
        ((20, 12, 9, 3), {"photometric": "rgb"}, (20, 12, 9, 3)),
        ((20, 12, 9, 3), {"photometric": "rgb", "compression": "zlib"}, (20, 12, 9, 3)),
        ((20, 3, 12, 9), {"photometric": "rgb", "planarconfig": "separate"}, (20, 3, 12, 9)),
        ((20, 12, 9, 1), {}, (20, 12, 9, 1)),
        ((20, 12, 9), {"imagej": True}, (20, 12, 9)),  # ImageJ takes a stack for 20 channels
        ((12, 9), {}, (1, 12, 9)),
        ((12, 9, 3), {"photometric": "rgb"}, (1, 12, 9, 3)),
    ],
)
def test_arrays_keep_their_shape(shape, how, expected):
    x = RNG.integers(0, 256, shape, dtype=np.uint8)
    tifffile.imwrite("x.tif", x, **how)
    assert np.array_equal(read("x.tif")[0], x.reshape(expected))


def test_frames_written_one_by_one_are_one_stack():
    with tifffile.TiffWriter("x.tif") as file:
        for frame in STACK:
            file.write(frame)
    assert len(tifffile.TiffFile("x.tif").series) == 20
    whole, raw = read("x.tif")
    assert np.array_equal(whole, STACK) and "20 pages" in raw.storage and inspect.describe("x.tif").rows is not None


def test_several_series_are_listed():
    with tifffile.TiffWriter("x.tif") as file:
        file.write(STACK)
        file.write(STACK[0, :8, :8])
    refused("x.tif:0", "0 (20 × 12 × 9 uint16), 1 (8 × 8 uint16)", args=("x.tif",))
    assert inspect.describe("x.tif").lines[1:] == ["x.tif:0 (20 × 12 × 9 uint16)", "x.tif:1 (8 × 8 uint16)"]
    assert np.array_equal(read("x.tif:0")[0], STACK) and np.array_equal(read("x.tif:1")[0], STACK[:1, :8, :8])
    refused("series of x.tif: '7'", args=("x.tif:7",))


def test_values_that_are_no_brightness_are_refused():
    Image.fromarray(STACK[0].astype(np.uint8)).convert("P").save("x.tif")
    refused("x.tif", "palette", args=("x.tif",))
    tifffile.imwrite("x.tif", np.zeros((5, 12), np.uint8))
    refused("1 row", args=("x.tif",))
    tifffile.imwrite("x.tif", np.zeros((5, 12, 4), np.uint8), photometric="separated")
    refused("x.tif", "separated", args=("x.tif",))
    Path("x.tif").write_bytes(b"II*\0 nothing")
    refused("x.tif", "damaged", args=("x.tif",))
    Path("x.tif").write_text("<svg/>")
    refused("x.tif", "not a TIFF file", args=("x.tif",))


@pytest.mark.parametrize("how", ["plain", "zlib", "imagej", "pages", "one by one", "pillow"])
def test_a_truncated_stack_is_never_a_shorter_one(how):
    if how == "pillow":
        first, *rest = [Image.fromarray(each) for each in STACK]
        first.save("x.tif", save_all=True, append_images=rest)
    elif how == "one by one":
        with tifffile.TiffWriter("x.tif") as file:
            for frame in STACK:
                file.write(frame)
    else:
        options = {"zlib": {"compression": "zlib"}, "imagej": {"imagej": True}, "pages": {"metadata": None}}
        tifffile.imwrite("x.tif", STACK, **options.get(how, {}))
    assert np.array_equal(read("x.tif")[0], STACK)
    content = Path("x.tif").read_bytes()
    for share in np.linspace(0.02, 0.98, 25):
        Path("x.tif").write_bytes(content[: int(share * len(content))])
        try:
            assert np.array_equal(read("x.tif")[0], STACK)  # what was cut off was not the picture
        except UserError as error:
            assert "\n" not in str(error) and "x.tif" in str(error)


def test_a_tiff_leads_to_no_other_file():
    secret = np.full((5, 12, 9), 777, np.uint16)
    tifffile.imwrite("secret.ome.tif", secret, metadata={"axes": "TYX", "UUID": "urn:uuid:b"})
    tifffile.imwrite("a.ome.tif", STACK[:5], metadata=None, description=(
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:a">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="9" SizeY="12" SizeZ="1" '
        'SizeC="1" SizeT="5"><Channel ID="C:0" SamplesPerPixel="1"/><TiffData FirstT="0" IFD="0" PlaneCount="5">'
        '<UUID FileName="secret.ome.tif">urn:uuid:b</UUID></TiffData></Pixels></Image></OME>'))  # fmt: skip
    assert tifffile.TiffFile("a.ome.tif").series[0][0].parent.filename == "secret.ome.tif"  # tifffile opens it
    assert np.array_equal(read("a.ome.tif")[0], STACK[:5])


def test_tiff_bombs_take_no_memory(monkeypatch):
    tifffile.imwrite("x.tif", np.zeros((64, 64), np.uint8), compression="zlib", metadata=None)
    tags = tifffile.TiffFile("x.tif").pages[0].tags
    content = bytearray(Path("x.tif").read_bytes())
    bomb = zlib.compress(bytes(200 << 20), 9)  # 200 MB of zeros in 200 kB
    for code, value in ((273, len(content)), (279, len(bomb))):
        struct.pack_into("<I", content, tags[code].offset + 8, value)
    Path("bomb.tif").write_bytes(content + bomb)
    content = bytearray(Path("x.tif").read_bytes())
    for code in (256, 257, 278):  # 4 TB are declared
        struct.pack_into("<HII", content, tags[code].offset + 2, 4, 1, 2_000_000)
    Path("claims.tif").write_bytes(content)
    tifffile.imwrite("rows.tif", STACK, metadata={"room": "xxxxxxx"})
    said = Path("rows.tif").read_bytes().replace(b'"xxxxxxx"', b'""').replace(b"[20, ", b"[990000000, ")
    Path("rows.tif").write_bytes(said)  # of the same length
    monkeypatch.setattr(raws, "budget", lambda: 10 << 20)
    with memory(30 << 20):
        refused("rows.tif is truncated: 990,000,000 × 12 × 9", call=read, args=("rows.tif",))
        refused("bomb.tif, page 0", "unpacks to more than the budget of 10.5 MB", call=read, args=("bomb.tif",))
        refused("claims.tif (one page) declares 2,000,000 × 2,000,000", "budget", call=read, args=("claims.tif",))


def test_damaged_tiffs_raise_nothing_else():
    tifffile.imwrite("plain.tif", STACK[:5], metadata=None)
    tifffile.imwrite("zlib.tif", STACK[:5], compression="zlib", tile=(16, 16))
    logger = logging.getLogger("tifffile").handlers[:]
    for name in ("plain.tif", "zlib.tif"):
        content = Path(name).read_bytes()
        marks = [i for i in range(len(content)) if i < 8 or i >= len(content) - 600 or i % 7 == 0]
        for _ in range(150):
            broken = bytearray(content)
            for i in RNG.choice(marks, 3):
                broken[i] = RNG.integers(256)
            Path("x.tif").write_bytes(broken)
            try:
                with tiff.opened("x.tif") as raw:
                    if np.prod(raw.shape) < 1e6:
                        raw.rows(0, raw.shape[0])
            except UserError as error:
                assert "\n" not in str(error)
    assert logging.getLogger("tifffile").handlers == logger


# -- folders of pictures -----------------------------------------------------------------------------------------------


def save(x, *paths):
    for each, path in zip(x, paths, strict=True):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(each).save(path)


@pytest.mark.parametrize("end", ["png", "tif", "bmp", "gif"])
def test_grey_pictures_are_rows_in_natural_order(end):
    x = STACK.astype(np.uint8)
    save(x, *[f"p/a{i}.{end}" for i in range(20)])
    x = np.stack([x] * 3, -1) if end == "gif" else x  # it has palettes
    whole, raw = read("p")
    assert np.array_equal(whole, x) and raw.dtype == np.uint8 and f"20 {end.upper()[:3]}" in raw.storage
    assert raw.own["file"].tolist() == [f"a{i}.{end}" for i in range(20)] and "folder" not in raw.own
    assert np.array_equal(read(f"p/a1*.{end}")[0], x[[1, *range(10, 20)]])
    assert np.array_equal(read(f"p/a7.{end}")[0], x[7:8])


@pytest.mark.parametrize("end", ["png", "tif"])
def test_sixteen_bits_stay_exact(end):
    save(STACK, *[f"p/{i}.{end}" for i in range(20)])
    assert np.array_equal(read("p")[0], STACK)
    if end == "png":
        for i, each in enumerate(STACK):
            Path(f"p/{i}.png").write_bytes(png(each, 0, 16))
        assert np.array_equal(read("p/")[0], STACK)


@pytest.mark.parametrize("end", ["png", "tif", "bmp"])
def test_colours_come_last(end):
    x = RNG.integers(0, 256, (5, 12, 9, 3), dtype=np.uint8)
    save(x, *[f"p/{i}.{end}" for i in range(5)])
    assert np.array_equal(read("p")[0], x)


def test_jpeg_and_its_orientation():
    x = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)
    for turn, seen in ((1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)):
        exif = Image.Exif()
        exif[274] = turn
        Image.fromarray(x).save("x.jpg", exif=exif, quality=95)
        stored = np.asarray(Image.open("x.jpg"))
        assert np.abs(stored.astype(int) - x).mean() < 60
        whole, raw = read("x.jpg")
        assert np.array_equal(whole[0], seen(stored)) and (raw.notes == ()) == (turn == 1)


def test_sixteen_bit_colours_are_not_made_eight():
    x = RNG.integers(0, 2**16, (3, 12, 9, 3), dtype=np.uint16)
    for i, each in enumerate(x):
        Path(f"{i}.png").write_bytes(png(each, 2, 16))
        tifffile.imwrite(f"{i}.tif", each, photometric="rgb")
    assert np.asarray(Image.open("0.png")).dtype == np.uint8  # what Pillow does
    refused("0.png", "16 bits", "save it as TIFF or NPY", args=("*.png",))
    assert np.array_equal(read("*.tif")[0], x)
    Path("0.png").write_bytes(png(np.dstack([x[0], x[0][..., 0]]), 6, 16))
    refused("0.png", "16 bits", args=("0.png",))


@pytest.mark.parametrize("dtype", ["f4", "f8", "i2", "u4"])
def test_a_folder_of_tiff_of_any_type(dtype):
    Path("p").mkdir()
    x = RNG.normal(0, 1000, (6, 12, 9)).astype(dtype)
    for i, each in enumerate(x):
        tifffile.imwrite(f"p/{i}.tif", each)
    whole, raw = read("p")
    assert np.array_equal(whole, x) and raw.dtype == dtype
    tifffile.imwrite("p/5.tif", x[:5])  # several pages
    assert np.array_equal(read("p")[0], np.concatenate([x[:5], x[:5]]))


def test_alpha_is_left_out_where_it_says_nothing():
    x = RNG.integers(0, 256, (5, 12, 9, 4), dtype=np.uint8)
    x[..., 3] = 255
    save([x[0], *x[1:, ..., :3]], *[f"p/{i}.png" for i in range(5)])
    whole, raw = read("p")
    assert np.array_equal(whole, x[..., :3]) and raw.notes == ("opaque alpha channel left out: 1 of 5 pictures",)
    assert raw.notes[0] in load("p", held_out=0).notes
    x[1, 5, 5, 3] = 254
    save(x[:2], "p/0.png", "p/1.png")
    refused("p/1.png", "transparent", args=("p",))
    x[0, 0, 0, 0] = 7  # the value that is transparent
    key = png(x[0, ..., 0], 0, 8, more=struct.pack(">I", 2) + b"tRNS\0\7" + struct.pack(">I", zlib.crc32(b"tRNS\0\7")))
    Path("key.png").write_bytes(key)
    refused("key.png", "transparent", call=read, args=("key.png",))


def test_palettes_are_looked_up():
    x = RNG.integers(0, 256, (12, 9, 3), dtype=np.uint8)
    x[4:] = x[0, 0]
    for end in ("png", "gif"):
        Image.fromarray(x).quantize(64).save(f"x.{end}")
        whole, raw = read(f"x.{end}")
        assert np.array_equal(whole[0], x) and raw.notes == ("colours of its palette looked up: 1 of 1 pictures",)


def test_films_and_inks_are_refused():
    frames = [Image.fromarray(each.astype(np.uint8)) for each in STACK]
    for end in ("gif", "png"):
        frames[0].save(f"x.{end}", save_all=True, append_images=frames[1:])
        refused(f"x.{end}", "film of 20 pictures", args=(f"x.{end}",))
    Image.fromarray(RNG.integers(0, 256, (12, 9, 4), dtype=np.uint8), "CMYK").save("x.jpg")
    refused("x.jpg", "CMYK", args=("x.jpg",))


def test_the_first_odd_picture_is_named():
    x = RNG.integers(0, 256, (20, 64, 64), dtype=np.uint8)
    save(x, *[f"p/{i}.png" for i in range(20)])
    save([x[0]], "p/100.jpg")
    assert read("p")[1].shape == (21, 64, 64)
    save([np.zeros((64, 65), np.uint8)], "p/7.png")
    refused("p/7.png is 64 × 65 uint8, the others are 64 × 64 uint8", args=("p",))
    save([np.zeros((64, 64, 3), np.uint8)], "p/7.png")
    refused("p/7.png is 64 × 64 × 3 uint8, the others are 64 × 64 uint8", args=("p",))
    save([np.zeros((64, 64), np.uint16)], "p/7.png")
    refused("p/7.png is 64 × 64 uint16, the others", args=("p",))
    save([np.zeros((64, 64), np.uint16)], "p/3.png")
    refused("p/3.png is 64 × 64 uint16, 19 of 21 are 64 × 64 uint8", args=("p",))


class Canary:
    def __reduce__(self):
        return Path.touch, (Path("canary"),)


@pytest.mark.parametrize("content", [b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"<html><script>", b"\x93NUMPY", b"",
                                     b"%!PS-Adobe-3.0 EPSF", pickle.dumps(Canary())])  # fmt: skip
def test_what_only_says_that_it_is_a_picture(content):
    save(STACK[:4], *[f"p/{i}.png" for i in range(4)])
    Path("p/2.png").write_bytes(content)
    refused("p/2.png", "no picture", args=("p",))
    assert not Path("canary").exists()


def test_a_name_may_lie_of_the_format():
    save([STACK[0].astype(np.uint8)], "x.png")
    os.rename("x.png", "x.jpg")
    assert np.array_equal(read("x.jpg")[0][0], STACK[0].astype(np.uint8))


def test_picture_bombs_take_no_memory():
    small = png(np.zeros((4, 4), np.uint8), 0, 8)
    header = b"IHDR" + struct.pack(">II", 50_000, 50_000) + small[24:29]
    Path("x.png").write_bytes(small[:12] + header + struct.pack(">I", zlib.crc32(header)) + small[33:])
    text = b"zTXt" + b"k\0\0" + zlib.compress(bytes(200 << 20), 9)
    bomb = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    Path("text.png").write_bytes(png(np.zeros((4, 4), np.uint8), 0, 8, more=bomb))
    with memory(20 << 20):
        refused("x.png", "2500000000 pixels", "NPY", args=("x.png",))
        refused("text.png", "cannot be read", args=("text.png",))


@pytest.mark.parametrize("end", ["png", "jpg", "bmp", "tif", "gif"])
def test_a_truncated_picture_is_named(end):
    save(RNG.integers(0, 256, (4, 64, 64), dtype=np.uint8), *[f"p/{i}.{end}" for i in range(4)])
    content = Path(f"p/2.{end}").read_bytes()
    for share in (0.05, 0.5, 0.9):
        Path(f"p/2.{end}").write_bytes(content[: int(share * len(content))])
        refused(f"p/2.{end}", args=("p",))


@pytest.mark.parametrize("end", ["png", "jpg", "bmp", "gif"])
def test_damaged_pictures_raise_nothing_else(end):
    save([STACK[0].astype(np.uint8)], f"x.{end}")
    content = Path(f"x.{end}").read_bytes()
    for _ in range(100):
        broken = bytearray(content)
        for i in RNG.integers(0, len(content), 3):
            broken[i] = RNG.integers(256)
        Path(f"x.{end}").write_bytes(broken)
        try:
            with opened(locate.check(f"x.{end}")[0]) as raw:
                if np.prod(raw.shape) < 1e6:
                    raw.rows(0, 1)
        except UserError as error:
            assert "\n" not in str(error)


# -- what a folder means -----------------------------------------------------------------------------------------------


def test_sub_folders_are_classes():
    save(STACK, *[f"p/{'cat' if i % 2 else 'dog'}/{i}.png" for i in range(20)])
    whole, raw = read("p")
    assert np.array_equal(whole, STACK[[*range(1, 20, 2), *range(0, 20, 2)]])
    assert raw.own["folder"].tolist() == ["cat"] * 10 + ["dog"] * 10 and raw.own["file"][-1] == "dog/18.png"
    data = load("p", ":folder", held_out=0)
    assert data.form.condition.columns[0].labels == ("cat", "dog") and data.c[:10, 0].all() and data.c[10:, 1].all()
    save([STACK[0]], "p/what.png")  # in no sub-folder: of an unknown class
    assert np.isnan(load("p", ":folder", held_out=0).c).all(1).tolist() == [False] * 20 + [True]
    refused(":folder", ":breed", args=("p", ":breed"))
    for i in range(20):  # classes may be numbers: they are names all the same
        save([STACK[i]], f"classes/{i % 10}/{i}.png")
    assert load("classes", ":folder").form.condition.columns[0].labels == tuple("0123456789")


def test_natural_order():
    names = ["a10", "a2", "b/1", "a 1", "10", "9", "a02", "a2b", "a/3", "0x1", "99999999999999999999", "ä1"]
    ordered = ["0x1", "9", "10", "99999999999999999999", "a/3", "a02", "a2", "a2b", "a10", "a 1", "b/1", "ä1"]
    assert sorted(names, key=lambda each: (locate.natural(each), each)) == ordered


def test_other_files_are_counted_and_hidden_ones_are_not():
    save(STACK[:4], *[f"p/{i}.png" for i in range(3)], "p/.hidden.png")
    for each in ("p/notes.txt", "p/labels.csv", "p/.DS_Store"):
        Path(each).touch()
    Path("p/.git").mkdir()
    save(STACK[:1], "p/.git/x.png")
    os.symlink(Path("p/0.png").absolute(), "p/4.png")
    os.symlink(Path("p").absolute(), "p/loop")
    os.symlink("nowhere.png", "p/5.png")
    os.mkfifo("p/6.png")
    whole, raw = read("p")
    assert np.array_equal(whole, STACK[[0, 1, 2, 0]]) and raw.notes == ("2 other files beside them: not read",)
    assert "2 other files beside them: not read" in load("p", held_out=0).notes


def test_folders_that_mean_nothing():
    Path("p/q").mkdir(parents=True)
    refused("'p'", ".png", ".npy", args=("p",))
    Path("p/model.pt").write_bytes(pickle.dumps(Canary()))
    refused("'p'", "nothing to read", args=("p",))
    assert not Path("canary").exists()
    save(STACK[:2], "p/0.png", "p/q/1.png")
    np.save("p/x.npy", STACK)
    text = refused("'p' has files of several kinds (2 .png, 1 .npy)", "'p/**/*.png'", args=("p",))
    assert read(text.rpartition(" ")[2].strip("'"))[1].shape == (2, 12, 9)
    refused("no file matches '*.jpg'", args=("*.jpg",))
    Path("spectra").mkdir()
    refused("no file './spektra'", "In that folder: spectra", call=locate.parse, args=("./spektra",))
    refused("pictures", "no parts", args=("p/q:x",))
    Path("p/recipe.toml").touch()
    refused("'p' is a run", "ludus sample", args=("p",))
    if os.getuid():
        Path("r").mkdir(mode=0)
        refused("'r'", "Permission", args=("r",))


def test_a_file_with_marks_of_a_pattern_is_that_file():
    save(STACK[:2], "x[1].png", "x1.png")
    assert np.array_equal(read("x[1].png")[0], STACK[:1])


# -- patterns ----------------------------------------------------------------------------------------------------------


def scans(n, rows=5):
    """Files of HDF5 with a few rows each, and what they say of themselves."""
    Path("s").mkdir()
    x = RNG.normal(0, 1, (n * rows, 4, 6)).astype(np.float32)
    for i in range(n):
        with h5py.File(f"s/{i}.nxs", "w") as file:
            file["entry/data"] = x[i * rows : (i + 1) * rows]
            file["entry/temperature"] = 10.0 * i
            file["entry/step"] = np.arange(rows)
            file["entry"].create_group("sample").attrs["name"] = f"sample {i % 2}"
    return x


def test_rows_of_all_files_end_to_end():
    x = scans(12)
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for text in ("s/*.nxs:/entry/data", "s/*.nxs", "s", "s:/entry/data"):
        whole, raw = read(text)
        assert np.array_equal(whole, x) and raw.own["file"][::5].tolist() == [f"{i}.nxs" for i in range(12)]
    with opened(locate.check("s")[0]) as raw:
        for _ in range(20):
            start = int(RNG.integers(0, 50))
            assert np.array_equal(raw.rows(start, start + 10), x[start : start + 10])
        if before:
            assert len(os.listdir("/proc/self/fd")) - before <= files.OPEN
    assert not before or len(os.listdir("/proc/self/fd")) == before
    assert inspect.describe("s/*.nxs").lines[-1] == "to train: ludus train r3gan --data 's/*.nxs'"


def test_files_say_what_their_rows_are():
    scans(6)
    raw = read("s")[1]
    assert set(raw.own) == {"file", "/entry/temperature", "/entry/step"} and "/entry/sample@name" in raw.own
    assert raw.own["/entry/temperature"].tolist() == np.repeat(10.0 * np.arange(6), 5).tolist()
    assert raw.own["/entry/sample@name"].tolist() == np.repeat([f"sample {i % 2}" for i in range(6)], 5).tolist()
    assert raw.own["/entry/step"].tolist() == [*range(5)] * 6
    data = load("s", ":/entry/sample@name", held_out=0)
    assert data.form.condition.columns[0].labels == ("sample 0", "sample 1") and data.c[:5, 0].all()
    assert read("s/*.nxs:/entry/temperature")[0].tolist() == (10.0 * np.arange(6)).tolist()
    with h5py.File("s/4.nxs", "a") as file:
        del file["entry/temperature"], file["entry/step"]
        file["entry/step"] = np.arange(4)
    refused("s/4.nxs", "/entry/temperature", args=("s", ":/entry/temperature"))
    refused("s/4.nxs:/entry/step is 4", args=("s", ":/entry/step"))
    refused(":nonsense", ":file", args=("s", ":nonsense"))


def test_the_first_odd_file_is_named():
    for i in range(6):
        np.save(f"{i}.npy", STACK[i : i + 3])
    np.save("1.npy", STACK[1:4].astype(">u2"))  # the same numbers
    assert np.array_equal(read("*.npy")[0][3:6], STACK[1:4])
    np.save("4.npy", STACK[:3, :, :8])
    refused("4.npy has rows of 12 × 8 uint16, the others are 12 × 9 uint16", args=("*.npy",))
    np.save("4.npy", STACK[:3].astype(np.float32))
    refused("4.npy has rows of 12 × 9 float32", args=("*.npy",))
    np.savez("4.npz", a=STACK, b=STACK)
    refused("*.npz:a (20 × 12 × 9 uint16), *.npz:b", args=("*.npz",))
    assert inspect.describe("*.npz").lines[1:] == ["*.npz:a (20 × 12 × 9 uint16)", "*.npz:b (20 × 12 × 9 uint16)"]
    assert np.array_equal(read("*.npz:a")[0], STACK)


def test_a_file_of_two_axes_is_a_row():
    for i, each in enumerate(STACK):
        np.save(f"{i}.npy", each)
    whole, raw = read("*.npy")
    assert np.array_equal(whole, STACK) and raw.own["file"][2] == "2.npy"
    np.save("7.npy", STACK[0, :, :8])
    refused("7.npy is 12 × 8 uint16, the others are 12 × 9 uint16", args=("*.npy",))
    np.save("7.npy", STACK)
    refused("7.npy", args=("*.npy",))


@pytest.mark.parametrize("change, words", [
    ({"units": "Å"}, "axis 'E (Å)' where 0.nxs has 'E (meV)'"),
    ({"shift": 0.2}, "different values on the axis 'E (meV)'"),
    ({"signal": "mbarn"}, "'mbarn', 0.nxs in 'counts'"),
])  # fmt: skip
def test_axes_and_units_agree(change, words):
    for i in range(3):
        odd = change if i == 2 else {}
        with h5py.File(f"{i}.nxs", "w") as file:
            data = file.create_group("entry")
            data.attrs.update(NX_class="NXdata", signal="data", axes=["t", "E", "."])
            data["data"] = RNG.normal(size=(5, 4, 6))
            data["data"].attrs["units"] = odd.get("signal", "counts")
            data["t"] = np.arange(5.0) + 5 * i
            data["E"] = (np.arange(4.0) + odd.get("shift", 0)) * (1 + 1e-9 * i)
            data["t"].attrs["units"], data["E"].attrs["units"] = "s", odd.get("units", "meV")
    refused("2.nxs", words, args=("*.nxs",))
    os.remove("2.nxs")
    raw = read("*.nxs")[1]
    assert raw.axes[:2] == (Axis("t", "s", tuple(np.arange(10.0))), Axis("E", "meV", (0.0, 1.0, 2.0, 3.0)))
    assert raw.signal.unit == "counts" and raw.own["t"].tolist() == np.arange(10.0).tolist()


def spectra(n, axis="E", shift=lambda i: 0.0):
    """Files of one spectrum each."""
    x = RNG.normal(size=(n, 20))
    for i, each in enumerate(x):
        with h5py.File(f"{i}.nxs", "w") as file:
            values = tuple(np.arange(20.0) + shift(i))
            nxdata(file, "counts", (20,), "f8", (Axis(axis, "meV", values),))[...] = each
            file["entry/T"] = 10.0 * i
    return x


def test_a_file_of_one_axis_is_a_row():
    x = spectra(12)
    whole, raw = read("*.nxs")
    assert np.array_equal(whole, x) and raw.axes == (Axis(), Axis("E", "meV", tuple(np.arange(20.0))))
    assert raw.own["/entry/T"].tolist() == (10.0 * np.arange(12)).tolist() and raw.group == 1
    assert load("*.nxs", ":/entry/T", held_out=0).form.shape == (20,)
    for i, each in enumerate(x):
        np.save(f"{i}.npy", each)
    assert np.array_equal(read("*.npy")[0], x)
    np.save("7.npy", x[7, :19])
    whole, raw = read("*.npy")
    assert np.array_equal(whole, np.delete(x.ravel(), 7 * 20 + 19))
    assert any("7.npy" in note and "single numbers" in note for note in raw.notes)
    spectra(12, shift=float)  # each on an axis of its own
    whole, raw = read("*.nxs")
    assert whole.shape == (240,) and any("1.nxs" in note for note in raw.notes)


def test_labels_of_several_files_are_end_to_end():
    x = scans(12)
    for i in range(12):
        np.save(f"{i}.npy", np.arange(5) % 2 + 2 * (i % 2))
    data = load("s", "*.npy", held_out=0)
    assert data.c.argmax(1).tolist() == [0, 1, 0, 1, 0, 2, 3, 2, 3, 2] * 6 and len(data.x) == len(x)


@pytest.mark.parametrize("shift, said", [(0.0, ""), (1e-9, ""), (1e-3, "0.001 of a step"), (0.09, "0.09 of a step")])
def test_axes_may_differ_by_less_than_a_tenth_of_their_step(shift, said):
    for i in range(3):
        with h5py.File(f"{i}.nxs", "w") as file:
            axes = (Axis("y", "mm", tuple(0.5 * (np.arange(4.0) + shift * (i == 2)))), Axis("x", "mm", (1, 2, 4, 8)))
            nxdata(file, "counts", (4, 4), "f4", axes)[...] = i
    raw = read("*.nxs")[1]
    assert raw.axes[1].values == (0, 0.5, 1, 1.5)
    assert said in str(raw.notes) and bool(said) == bool(raw.notes)


# -- what is cut from each file ----------------------------------------------------------------------------------------


def volumes(n, steps=lambda i: 5):
    """Files of a volume each, H × K × energy."""
    Path("vol").mkdir()
    x = [RNG.random((6, 7, steps(i))) for i in range(n)]
    for i, each in enumerate(x):
        axes = [Axis(name, "u", tuple(np.linspace(0, 1, n))) for name, n in zip(("H", "K", "energy"), each.shape)]
        with h5py.File(f"vol/run_{i}.nxs", "w") as file:
            nxdata(file, "counts", each.shape, "f8", axes)[...] = each
            file["entry/sample/temperature"] = 10.0 * i
            file["entry/H_of_scan"] = np.arange(6.0)
        np.save(f"vol/{i}.npy", each)
    return x


def opened_as(text, **cuts):
    return reading(locate.check(text)[0], None, "", None, 0, False, Cuts(**cuts))


def test_each_file_is_a_volume():
    x = volumes(12)
    whole = np.concatenate([np.moveaxis(each, 2, 0) for each in x])
    for text, panels in (("vol/run_*.nxs:/entry/data", "energy"), ("vol/*.npy", "2")):
        with opened_as(text, panels=panels) as raw:
            assert raw.shape == (60, 6, 7) and raw.group == 5 and np.array_equal(raw.rows(0, 60), whole)
            assert np.array_equal(raw.read((slice(3, 17), slice(2, 4))), whole[3:17, 2:4])
    with opened_as("vol/run_*.nxs", panels="energy") as raw:
        assert [each.name for each in raw.axes] == ["energy", "H", "K"]
        assert raw.own["energy"].tolist() == np.linspace(0, 1, 5).tolist() * 12
        assert raw.own["file"].tolist() == np.repeat([f"run_{i}.nxs" for i in range(12)], 5).tolist()
        assert raw.own["/entry/sample/temperature"].tolist() == np.repeat(10.0 * np.arange(12), 5).tolist()
        names = set(raw.own)
        assert {"energy", "file", "/entry/sample/temperature"} <= names and "/entry/H_of_scan" not in names
    lines = inspect.describe("vol/run_*.nxs:/entry/data", panels="energy").lines
    assert lines[0] == "vol/run_*.nxs:/entry/data: 60 × 6 × 7 float64"
    assert "each file: cut into panels along energy: 5 pictures of 6 × 7" in lines
    data = load("vol/run_*.nxs", ":/entry/sample/temperature,energy", panels="energy", held_out=0.2)
    assert not set(data.rows // 5) & set(np.setdiff1d(np.arange(60), data.rows) // 5) and len(data.held_out_x) == 10
    assert any("one of 12 frames or volumes together" in note for note in data.notes)
    Path("c.csv").write_text("file,T\n" + "".join(f"run_{i}.nxs,{i}.5\n" for i in range(12)))
    Path("d.csv").write_text("T\n" + "".join(f"{i}.5\n" for i in range(12)))
    for table in ("c.csv", "d.csv"):
        c = load("vol/run_*.nxs", f"{table}:T", panels="energy", held_out=0)
        assert c.form.condition.decode(c.c) == pytest.approx(np.repeat(np.arange(12) + 0.5, 5), abs=1e-4)
    refused("vol/run_0.nxs", "no axis 'energi'", args=("vol/run_*.nxs",), panels="energi")


def test_volumes_may_have_different_numbers_of_panels():
    x = volumes(12, lambda i: 5 + i % 2)
    with opened_as("vol/*.npy", panels="2", tiles="3x7") as raw:
        assert raw.shape == (132, 3, 7) and raw.alike.tolist() == np.repeat(range(12), [10, 12] * 6).tolist()
        whole = np.concatenate([np.moveaxis(each, 2, 0).reshape(-1, 3, 7) for each in x])
        assert np.array_equal(raw.rows(0, 132), whole)
        assert "6 of 12 files: cut into panels along axis 2: 6 pictures of 6 × 7" in raw.notes
    data = load("vol/*.npy", np.arange(12), panels="2", held_out=0.2)
    assert data.form.condition.width == 12 and not set(data.c.argmax(1)) & set(data.held_out_c.argmax(1))
    lines = prepare("vol/*.nxs", Path("small.h5"), Job("energy", bin="2x1"), ":energy")
    assert lines[-2].startswith("small.h5: 66 × 3 × 7 float64")
    with h5py.File("small.h5") as file:
        whole = np.concatenate([np.moveaxis(each, 2, 0) for each in x])
        assert np.allclose(file["images"][:], whole.reshape(66, 3, 2, 7).mean(2))
        assert file["entry/data/frame"][:].tolist() == np.repeat(range(12), [5, 6] * 6).tolist()


def test_tiles_of_frames_in_files_of_their_own():
    x = RNG.random((12, 8, 12))
    Path("p").mkdir()
    for i, each in enumerate(x):
        np.save(f"p/{i}.npy", each)
    whole = x.reshape(12, 2, 4, 3, 4).swapaxes(2, 3).reshape(72, 4, 4)
    with opened_as("p", tiles="4") as raw:
        assert np.array_equal(raw.rows(0, 72), whole) and raw.group == 6
        assert raw.own["file"][::6].tolist() == [f"{i}.npy" for i in range(12)]
        assert raw.own["column"].tolist() == [1.5, 5.5, 9.5] * 24
    data = load("p", ":column", tiles="4", held_out=0.2)
    assert not set(data.rows // 6) & set(np.setdiff1d(np.arange(72), data.rows) // 6)
    for i in range(12):
        np.save(f"p/{i}.npy", np.stack([x[i]] * 3, -1))  # colours
    with opened_as("p", tiles="4", channels="last") as raw:
        assert np.array_equal(raw.rows(0, 72), np.stack([whole] * 3, -1)) and raw.group == 6


def test_tiles_of_prepared_files_stay_with_their_frames():
    for k in range(2):
        np.save("x.npy", RNG.random((12, 8, 8)).astype(np.float32))
        prepare("x.npy", Path(f"prq{k}.h5"), Job(tiles="4x4", weakest=0.9 if k else None))
    data = load("prq[01].h5", held_out=0.3)
    frames = []
    for k in range(2):
        with h5py.File(f"prq{k}.h5") as file:
            frames += [12 * k + each for each in file["entry/data/frame"][:].tolist()]
    frames = np.array(frames)
    held = np.setdiff1d(np.arange(len(frames)), data.rows)
    assert len(held) and not set(frames[held]) & set(frames[data.rows])
    assert any(f"one of {len(set(frames))} frames" in note for note in data.notes)
    # beside the files of a pattern there is room for others
    prepare("prq[01].h5", Path("prall.h5"), Job())
    again = load("prall.h5", held_out=0.3)
    assert np.array_equal(again.rows, data.rows)
    refused("prq0.h5", call=prepare, args=("prq?.h5", Path("prq0.h5")))
    refused("prq3.h5", "would be one of", call=prepare, args=("prq?.h5", Path("prq3.h5")))


def test_a_file_that_changes_is_said():
    for i in range(20):
        np.save(f"{i}.npy", STACK[:3])
    save(STACK[:3], *[f"p/{i}.png" for i in range(3)])
    with opened(locate.check("*.npy")[0]) as raw:
        np.save("3.npy", STACK[:2])
        refused("3.npy is 2 × 12 × 9 uint16 now", call=raw.rows, args=(0, 60))
    with opened(locate.check("p")[0]) as raw:
        save([STACK[0, :5]], "p/1.png")
        refused("p/1.png is 5 × 9 now", call=raw.rows, args=(0, 3))


def test_endings_in_capitals_match():
    save(STACK[:4].astype(np.uint8), "p/a/1.png", "p/a/2.PNG", "p/b/3.Png", "p/b/4.png")
    for text in ("p/*/*.png", "p/**/*.PNG", "p/?/[1-4].pNg"):
        assert np.array_equal(read(text)[0], STACK[:4].astype(np.uint8))
        assert locate.reads(locate.parse(text), "p/b/5.PNG" if "?" not in text else "p/b/4.PNG")
    assert read("p/b/*.png")[1].own["file"].tolist() == ["3.Png", "4.png"]


def test_what_a_pattern_would_match():
    save(STACK[:4], "p/a/1.png", "p/a/2.png", "p/b/3.png", "p/x.png")
    os.symlink("p", "q")
    for text, inside, outside in (
        ("p/a/*.png", "p/a/9.png", "p/b/9.png"), ("p/*/[1-3].png", "p/c/2.png", "p/a/4.png"),
        ("p/**/*.png", "p/a/b/c.png", "c.png"), ("p/**/*.png", "p/c.png", "p/c.h5"),
        ("q/a/*.png", "p/a/9.png", "9.png"), ("p/a/?.png", "q/a/9.png", "p/a/10.png"),
        ("**/*.png", "9.png", "../9.png"), ("[p-q]/x.png", "p/x.png", "p/y.png"),
    ):  # fmt: skip
        source = locate.parse(text)
        assert locate.reads(source, inside) and not locate.reads(source, outside), text
        assert locate.reads(source, os.path.abspath(inside)) and locate.reads(source.anchored, inside)


@pytest.mark.parametrize("text", ["p", "p/*.png", "p/1.png"])
def test_sources_are_found_from_anywhere(here, monkeypatch, text):
    (here / "a[1]").mkdir()  # no pattern, for all its marks
    monkeypatch.chdir(here / "a[1]")
    save(STACK[:4], *[f"p/{i}.png" for i in range(4)])
    source = locate.parse(text)
    assert locate.reads(source, Path("p/1.png")) and not locate.reads(source, Path("9.png"))
    whole = source.anchored.text
    monkeypatch.chdir(here)
    assert np.array_equal(read(whole)[0], STACK[1:2] if text == "p/1.png" else STACK[:4])


def test_what_is_drawn_never_becomes_data(here):
    save(STACK[:4], *[f"p/q/{i}.png" for i in range(4)])
    for text in ("p", "p/*/*.png", "p/**/*.png", "p/q"):
        source = locate.parse(text)
        assert locate.reads(source, "p/q/new.png") and locate.reads(source, here / "p" / "q" / "0.png")
        assert not locate.reads(source, "new.png") and not locate.reads(source, "p/q/new.txt")
    assert locate.reads(locate.parse("p"), "p/new.png") and not locate.reads(locate.parse("p/q/1.png"), "p/q/2.png")
    np.save("p/x.npy", STACK)
    assert locate.reads(locate.parse("p/*.npy"), "p/y.npy") and not locate.reads(locate.parse("p/*.npy"), "p/y.png")
    os.remove("p/x.npy")
    assert [locate.parse(text).stem for text in ("p", "p/*/*.png", "p/q/1.png")] == ["p", "p", "1"]
    Path("p/run").mkdir()
    Path("p/run/recipe.toml").touch()
    save(STACK[:1], "p/run/figure.png")  # of a run that lies among the data
    assert read("p")[1].shape == (4, 12, 9)


@pytest.mark.slow
def test_a_run_on_a_folder_goes_on_from_elsewhere(here, monkeypatch):
    save(STACK, *[f"p/{'cat' if i % 2 else 'dog'}/{i}.png" for i in range(20)])
    run = api.train("gan", "p", condition=":folder", network="mlp", steps=2, batch=8, run="run", device="cpu")
    Path("else").mkdir()
    monkeypatch.chdir("else")
    again = api.resume(run.folder if run.folder.is_absolute() else here / run.folder, steps=4)
    assert again.sample(3, "cat").shape == (3, 12, 9)

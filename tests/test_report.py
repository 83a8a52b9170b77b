"""Pictures show the right numbers at the right place, and the page says all that it was told, and nothing else."""

import io
import re
import subprocess
import sys
from html import unescape

import numpy as np
import pytest
from PIL import Image

from ludus import figures
from ludus.errors import UserError
from ludus.figures.curves import robust_range, running_median, series
from ludus.report import Section, page

HOSTILE = "<script>alert(\"1\" & '2')</script> $x$ ${title} {0}"


def rows(n=50):
    return [
        {
            "turn": 10 * i,
            "seconds": 0.1 * i,
            "losses": {"discriminator": {"real": 0.6, "fake": 0.7 + 0.01 * i}, "generator": {"adversarial": 1.0 + i}},
            "seen": {"discriminator": {"accuracy": 0.8}},
        }
        for i in range(1, n + 1)
    ]


def images(n, *shape, seed=0):
    return np.random.default_rng(seed).uniform(-3, 7, (n, *shape))


def tiles(figure, panel=0):
    return figure.axes[panel].images


def pixels(figure):
    return np.asarray(Image.open(io.BytesIO(figures.png(figure))).convert("RGB")).astype(int)


# ------------------------------------------------------------------------------------------------------------- grids


def test_a_grid_shows_each_image_once_in_reading_order():
    x = images(7, 8, 8)
    shown = tiles(figures.grid(x, columns=3))
    assert len(shown) == 7
    for i, tile in enumerate(shown):
        np.testing.assert_array_equal(tile.get_array(), x[i])
    places = [(t.get_extent()[3], t.get_extent()[0]) for t in shown]  # top, left
    assert places == sorted(places)  # row by row, left to right
    assert [sum(top == p[0] for p in places) for top in sorted({p[0] for p in places})] == [3, 3, 1]
    left, right, bottom, top = shown[0].get_extent()
    assert right - left == bottom - top > 0  # square pixels, the first row of an image at its top


def test_the_pixels_of_the_file_are_the_pixels_of_the_data():
    x = np.zeros((4, 5, 5))
    x[0, 0, 0], x[1, 0, 4], x[2, 4, 0], x[3, 4, 4] = 51, 102, 153, 204
    figure = figures.grid(x, limits=(0, 255), columns=2)
    axes, picture = figure.axes[0], pixels(figure)
    dots = np.array(axes.transData.transform((0, 0)))  # the upper left corner of the first image
    x0, y0 = round(dots[0]), round(picture.shape[0] - dots[1])
    zoom = round((axes.images[0].get_extent()[1]) / 5)
    for i, image in enumerate(x):
        left, _, _, top = (round(v) for v in axes.images[i].get_extent())
        part = picture[y0 + top : y0 + top + 5 * zoom, x0 + left : x0 + left + 5 * zoom]
        assert part.shape[:2] == (5 * zoom, 5 * zoom)
        expected = np.kron(image, np.ones((zoom, zoom)))[..., None].repeat(3, -1)
        assert np.abs(part - expected).max() <= 1  # not one interpolated dot


@pytest.mark.parametrize(
    "name, array", [("uint8", np.arange(256).reshape(4, 8, 8).astype(np.uint8)), ("float", images(4, 8, 8))]
)
def test_one_grid_has_one_scale(name, array):
    low, high = figures.limits_of(array)
    np.testing.assert_allclose((low, high), np.percentile(array.astype(float), [0.1, 99.9]))
    assert {t.get_clim() for t in tiles(figures.grid(array))} == {(low, high)}
    assert {t.get_clim() for t in tiles(figures.grid(array, limits=(-1, 2)))} == {(-1, 2)}


def test_side_by_side_takes_the_scale_of_the_first_for_both():
    real, generated = images(5, 6, 9), 100 + images(8, 6, 9, seed=1)
    figure = figures.side_by_side({"real": real, "generated": generated})
    assert {t.get_clim() for panel in (0, 1) for t in tiles(figure, panel)} == {figures.limits_of(real)}
    assert [len(tiles(figure, panel)) for panel in (0, 1)] == [5, 8]
    assert tiles(figure, 0)[4].get_extent() == tiles(figure, 1)[4].get_extent()
    assert [axes.texts[0].get_text() for axes in figure.axes[:2]] == ["real", "generated"]
    bar = figure.axes[2]
    assert (bar.get_ylim()[0], bar.get_ylim()[1]) == figures.limits_of(real)  # the bar is in the data's units


@pytest.mark.parametrize(
    "shape, columns",
    [((64, 28, 28), 8), ((16, 20, 200), 1), ((16, 200, 20), 13), ((1, 240, 400), 1), ((1, 2400, 2400), 1)],
)
def test_elongated_images_get_fewer_columns(shape, columns):
    figure = figures.grid(np.zeros(shape))
    assert len({t.get_extent()[0] for t in tiles(figure)}) == columns
    assert max(figure.bbox.size) < 5000


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_channels(channels):
    x = images(4, 6, 7, channels)
    figure = figures.grid(x, limits=(-3.0, 7.0))
    text = " ".join(t.get_text() for t in figure.texts)
    shown = np.asarray(tiles(figure)[2].get_array())
    if channels == 3:
        np.testing.assert_allclose(shown, (x[2] + 3) / 10)
        assert "red, green, blue" in text and len(figure.axes) == 1
    else:
        np.testing.assert_array_equal(shown, x[2, ..., 0])
        assert (f"channel 1 of {channels}" in text) == (channels > 1)


def test_missing_values_are_no_grey_and_do_not_set_the_scale():
    x = images(4, 6, 6)
    x[0, :2] = np.nan
    figure = figures.grid(x)
    assert np.isfinite(tiles(figure)[0].get_clim()).all()
    assert "missing" in figure.texts[0].get_text()
    shown = pixels(figure)
    tinted = (np.ptp(shown, axis=-1) > 20).mean()  # grey dots have three equal values
    assert 0.02 < tinted < 12 / 144 * 1.2
    assert figures.limits_of(np.full((2, 3, 3), np.nan)) == (0.0, 1.0)


def test_limits_of_flat_and_of_nearly_flat_images():
    assert figures.limits_of(np.full((3, 4, 4), 7)) == (6.5, 7.5)
    hot = np.zeros((10, 40, 40))
    hot[0, 0, 0] = 9
    assert figures.limits_of(hot) == (0.0, 9.0)  # percentiles alone would show nothing at all


def test_titles_stand_above_their_images():
    figure = figures.grid(images(3, 5, 5), titles=["a", "b", "$c$"])
    texts = figure.axes[0].texts
    assert [t.get_text() for t in texts] == ["a", "b", r"\$c\$"]
    assert all(t.get_position()[1] < i.get_extent()[3] for t, i in zip(texts, tiles(figure)))
    figures.png(figure)


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: figures.grid(np.zeros((4, 4))), r"\(4, 4\)"),
        (lambda: figures.grid(np.zeros((0, 4, 4))), r"\(0, 4, 4\)"),
        (lambda: figures.grid(np.full((2, 4, 4), "a")), "<U1"),
        (lambda: figures.grid(np.zeros((2, 4, 4)), titles=["one"]), "1 titles for 2 images"),
        (lambda: figures.grid(np.zeros((2, 4, 4)), limits=(1, 1)), "limits 1, 1"),
        (lambda: figures.side_by_side({"a": np.zeros((1, 4, 4)), "b": np.zeros((1, 4, 5))}), "one shape"),
        (lambda: figures.points({"real": np.zeros((4, 2, 2))}), "'real'"),
    ],
)
def test_what_is_no_picture_is_refused_in_one_line(call, says):
    with pytest.raises(UserError, match=says) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_the_same_input_gives_the_same_bytes():
    def draw():
        yield figures.side_by_side({"real": images(5, 6, 6), "generated": images(5, 6, 6, seed=1)})
        yield figures.points({"real": images(50, 2)})
        yield figures.curves(rows())

    first, second = ([figures.png(f) for f in draw()] for _ in range(2))
    assert first == second
    assert all(b.startswith(b"\x89PNG") and b"Software" not in b for b in first)


# ---------------------------------------------------------------------------------------------------- points, curves


def test_points_share_axes_and_count_those_outside():
    real = images(100, 2)
    generated = real.copy()
    generated[:3] = 1e6
    figure = figures.points({"real": real, "generated": generated})
    left, right = figure.axes
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()
    assert np.ptp(left.get_xlim()) == pytest.approx(np.ptp(left.get_ylim())) and left.get_aspect() == 1
    np.testing.assert_array_equal(left.collections[0].get_offsets(), real)
    np.testing.assert_array_equal(right.collections[0].get_offsets(), real)  # in grey, below
    np.testing.assert_array_equal(right.collections[1].get_offsets(), generated)
    assert right.get_title("right") == "3 of 100 outside" and left.get_title("right") == ""


def test_points_of_other_dimensions():
    x = images(30, 5)
    figure = figures.points({"real": x})
    assert "of 5" in figure.axes[0].get_xlabel() and "of 5" in figure.axes[0].get_ylabel()
    np.testing.assert_array_equal(figure.axes[0].collections[0].get_offsets(), x[:, :2])
    figures.png(figures.points({"real": np.zeros((4, 1)), "generated": np.full((4, 1), np.nan)}))


def test_points_on_a_line_need_no_second_axis():
    real, generated = images(300), images(200, seed=1)
    flat = figures.points({"real": real, "generated": generated})
    assert figures.png(flat) == figures.png(figures.points({"real": real[:, None], "generated": generated[:, None]}))
    stairs = flat.axes[0].patches[0].get_data()
    assert (stairs.values * np.diff(stairs.edges)).sum() == pytest.approx(1)


def test_curves_have_a_panel_for_each_player_and_one_for_what_was_seen():
    figure = figures.curves(rows())
    assert [axes.get_title("left") for axes in figure.axes] == ["discriminator", "generator", "seen"]
    names = [[t.get_text() for t in axes.get_legend().get_texts()] for axes in figure.axes]
    assert names == [["real", "fake"], ["adversarial"], ["discriminator accuracy"]]
    raw = figure.axes[1].lines[0]
    np.testing.assert_array_equal(raw.get_xdata(), 10 * np.arange(1, 51))
    np.testing.assert_array_equal(raw.get_ydata(), 1.0 + np.arange(1, 51))
    assert figure.axes[-1].get_xlabel().startswith("turns  (500 in all; 5 s")


def test_one_spike_is_clipped_and_said_so():
    spiked = rows(200)
    spiked[20]["losses"]["generator"]["adversarial"] = 1e9
    spiked[21]["losses"]["generator"]["adversarial"] = float("nan")
    spiked[22]["losses"]["generator"]["adversarial"] = None
    spiked[23]["losses"]["generator"]["adversarial"] = float("inf")
    axes = figures.curves(spiked).axes[1]
    assert axes.get_ylim()[1] < 500
    assert axes.get_title("right") == "1 clipped, 3 NaN or infinite"
    assert np.nanmax(axes.lines[1].get_ydata()) <= 201  # nor does the spike move the smoothed line


@pytest.mark.parametrize("n", [0, 1, 2])
def test_curves_of_hardly_any_rows(n):
    figures.png(figures.curves(rows(n)))
    assert (n == 0) == ("No losses were logged" in page("t", [Section("run", rows=rows(n))]))


def test_curves_of_nothing_but_nan_and_of_rows_without_a_player():
    assert not series([{"turn": 1, "losses": {}}])
    late = [
        {"turn": 1, "losses": {"d": {"a": None}}},
        {"turn": 2, "losses": {"d": {"a": float("nan")}, "$g$": {"$b$": 2.0}}},
    ]
    figures.png(figures.curves(late))
    np.testing.assert_array_equal(series(late)["$g$"]["$b$"], [[2.0], [2.0]])  # a turn without a move is no gap


def test_rows_whose_losses_are_no_names_are_left_out():
    odd = rows(6)
    odd[1]["losses"], odd[2]["losses"], odd[3]["losses"] = 3.5, ["adversarial"], {"generator": 0.5}
    odd[4]["seen"] = "nothing"
    found = series(odd)
    np.testing.assert_array_equal(found["generator"]["adversarial"], [[10, 50, 60], [2, 6, 7]])
    np.testing.assert_array_equal(found["seen"]["discriminator accuracy"][0], [10, 20, 30, 40, 60])
    assert "generator: adversarial" in page("t", [Section("run", rows=odd)])
    assert "No losses were logged" in page("t", [Section("run", rows=[{"turn": 1, "losses": "none"}])])


def test_running_median_and_robust_range():
    values = np.array([1.0, 2, np.nan, 4, 100, 6, 7])
    np.testing.assert_array_equal(running_median(values, 3), [1.5, 1.5, 3, 52, 6, 7, 6.5])
    np.testing.assert_array_equal(running_median(values, 1), values)
    low, high = robust_range([np.full(9, 3.0)])
    assert low < 3 < high
    low, high = robust_range([np.array([0.0, 0, 0, 0, 0, 5])])  # mostly constant: its one change is seen
    assert low < 0 and high > 5
    assert robust_range([np.array([np.nan])])[0] < 0.5


# -------------------------------------------------------------------------------------------------------------- page


def section(**changes):
    given = {
        "name": "r3gan on digits",
        "facts": [("Method", "r3gan"), ("Time", "1 min 32 s"), ("Parameters", 1234567)],
        "recipe_toml": '[method]\nname = "r3gan"\n',
        "rows": rows(),
        "real": images(70, 8, 8),
        "generated": images(70, 8, 8, seed=1),
        "notes": ["scaled from [0, 16] to [-1, 1]"],
        "commands": [("Train on", "ludus resume runs/a --steps 4000")],
    }
    return Section(**(given | changes))


def test_the_page_says_all_that_it_was_told_and_fetches_nothing():
    html = page("Two games", [section(), section(name="gan")], "Trained on real digits.")
    text = unescape(html)
    for said in ["Two games", "Trained on real digits.", "r3gan on digits", "gan", "Method", "1 min 32 s", "1234567",
                 'name = "r3gan"', "scaled from [0, 16] to [-1, 1]", "ludus resume runs/a --steps 4000",
                 "discriminator: real, fake", "generator: adversarial", "no measure of quality",
                 "64 real images"]:  # fmt: skip
        assert said in text, said
    assert not re.search(r"https?:|<script|<link|@import|url\(", html)
    sources = re.findall(r'src="([^"]{0,30})', html)
    assert len(sources) == 6 and all(s.startswith("data:image/png;base64,") for s in sources)
    assert len(re.findall(r'<img [^>]*alt="[^"]+"', html)) == 6
    for anchor in re.findall(r'href="#([^"]+)"', html):
        assert f'id="{anchor}"' in html
    assert page("t", [section(rows=rows(2))]) == page("t", [section(rows=rows(2))])


def test_hostile_words_are_escaped():
    bad = rows(3)
    for row in bad:
        row["losses"][HOSTILE] = {HOSTILE: 1.0}
        row["seen"][HOSTILE] = {HOSTILE: 1.0}
    html = page(
        HOSTILE,
        [section(name=HOSTILE, facts=[(HOSTILE, HOSTILE)], recipe_toml=HOSTILE, notes=[HOSTILE], rows=bad,
                 commands=[(HOSTILE, HOSTILE)]), section(name=HOSTILE)],
        HOSTILE,
    )  # fmt: skip
    assert "<script" not in html and 'alert("' not in html
    assert (
        unescape(html).count(HOSTILE) == 15
    )  # title twice, summary, two links and headings, the rest, the alt text twice


def test_the_page_shows_points_colour_and_what_little_there_is():
    assert "100 real points and 50 generated points" in page(
        "t", [section(real=images(100, 2), generated=images(50, 2))]
    )
    assert "16 generated images of 20 × 200" in page(
        "t", [section(real=images(20, 20, 200), generated=images(20, 20, 200))]
    )
    assert "2 real images of 33 × 50" in page("t", [section(real=images(2, 33, 50, 3), generated=None)])
    with pytest.raises(UserError, match=r"\(7, 2, 2, 2, 2\)"):
        page("t", [section(real=np.zeros((7, 2, 2, 2, 2)), generated=None)])
    assert "70 real points and 50 generated points" in page("t", [section(real=images(70), generated=images(50))])
    empty = page("t", [Section("nothing yet")])
    assert "No losses were logged" in empty and "Real and generated" not in empty and "How to go on" not in empty
    alone = [{"turn": 1, "losses": {"model": {"reconstruction": 1.0}}}]
    assert "no measure" not in page("t", [Section("vae", rows=alone)])


def test_matplotlib_is_imported_late_and_pyplot_never():
    code = """
import sys
from ludus import figures
from ludus.report import Section, page
assert not {"matplotlib", "torch"} & set(sys.modules), "imported early"
import numpy as np
x = np.random.default_rng(0).random((4, 5, 5))
row = {"turn": 1, "losses": {"g": {"a": 1.0}}}
page("t", [Section("a", rows=[row], real=x, generated=x), Section("b", real=x[:, 0, :2], generated=x[:, 0, :2])])
figures.png(figures.side_by_side({"real": x, "generated": x}))
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules, "pyplot"
assert "torch" not in sys.modules, "torch"
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

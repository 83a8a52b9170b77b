"""Sharing: what goes up of a run and what does not, what comes back, and the card. The Hub is a folder here."""

import inspect
import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import safetensors.numpy
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.utils import filter_repo_objects

import games
import ludus
from ludus import hub
from ludus import recipe as recipes
from ludus.errors import UserError
from ludus.networks.mlp import MlpGenerator
from ludus.report import card as cards
from ludus.runs import disk, folder, store

QUICK = {"snapshot.count": 0, "evaluation.mode": "off"}  # tests write evaluations of their own
SMALL = QUICK | {"generator.width": 8, "discriminator.width": 8}
ADDRESS = "hf://jane/spectra"


class Hub:
    """The parts of huggingface_hub that are used, with the real ones' arguments, over a folder."""

    def __init__(self, root: Path):
        self.root, self.public, self.fetched = root, {}, 0
        self.api, self.download = huggingface_hub.HfApi, huggingface_hub.snapshot_download

    def create_repo(self, repo_id, **options):
        inspect.signature(self.api.create_repo).bind(None, repo_id, **options)
        if repo_id in self.public and not options["exist_ok"]:
            raise ValueError("it is there")
        self.public.setdefault(repo_id, not options["private"])  # of one that is there, nothing changes
        (self.root / repo_id).mkdir(parents=True, exist_ok=True)
        return f"https://huggingface.co/{repo_id}"

    def repo_info(self, repo_id):
        return SimpleNamespace(private=not self.public[repo_id])

    def upload_folder(self, **options):
        inspect.signature(self.api.upload_folder).bind(None, **options)
        repo = self.root / options["repo_id"]
        for name in filter_repo_objects(self.files(options["repo_id"]), allow_patterns=options["delete_patterns"]):
            (repo / name).unlink()
        for parent in filter(Path.is_dir, repo.glob("checkpoints/*")):  # git knows no empty folders
            parent.rmdir()
        shutil.copytree(options["folder_path"], repo, dirs_exist_ok=True)

    def snapshot_download(self, repo_id, **options):
        inspect.signature(self.download).bind(repo_id, **options)
        self.fetched += 1
        if repo_id not in self.public:
            raise huggingface_hub.errors.LocalEntryNotFoundError(f"no {repo_id}\nand more")
        target = self.root / "cache" / f"{repo_id.replace('/', '--')}-{options['revision']}"
        for name in filter_repo_objects(self.files(repo_id), allow_patterns=options["allow_patterns"]):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.root / repo_id / name, target / name)
        return str(target)

    def files(self, repo: str) -> list[str]:
        path = self.root / repo
        return sorted(each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file())


@pytest.fixture
def there(tmp_path, monkeypatch):
    """An empty folder to be in, and the Hub."""
    made = Hub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: made)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", made.snapshot_download)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return made


@pytest.fixture
def command(there, capsys, monkeypatch):
    return partial(games.command, monkeypatch, capsys)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Runs that tests copy: a GAN on points with classes, one on images alone, a VAE on images with texts and values.

    Their data lie in a folder whose name must not get out, and which holds a space.
    """
    home = tmp_path_factory.mktemp("home") / "jane doe"
    home.mkdir()
    draws = np.random.default_rng(0)
    np.save(home / "x.npy", draws.random((60, 6, 5)))
    np.save(home / "y.npy", draws.integers(3, size=60))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home.parent)
        shape = {"steps": 3, "settings": SMALL}
        ludus.train("gan", "ring", condition="ring:label", run=home / "points", **shape)
        ludus.train("gan", str(home / "x.npy"), run=home / "images", **shape)
        vae = QUICK | {"encoder.width": 8, "decoder.width": 8}
        y = f"../{home.parent.name}/jane doe/y.npy"
        ludus.train("vae", "jane doe/x.npy", condition=y, run=home / "vae", steps=3, settings=vae)
    return home


@pytest.fixture
def run(trained, tmp_path):
    """(name) -> a copy of one of these runs."""

    def copied(name: str) -> Path:
        return Path(shutil.copytree(trained / name, tmp_path / "runs" / name))

    return copied


def evaluation(**more) -> dict:
    """What `ludus evaluate` writes, in its schema."""
    score = {"family": "pca", "name": "Fréchet distance", "n": 1000, "value": 1.5, "error": 0.25, "low": 1.0,
             "high": 2.0, "floor": 0.00005, "floor_sd": 0.00001, "best": "low"}  # fmt: skip
    verdict = {"question": "fidelity", "asked": "Does it look like the data?", "word": "different", "why": "p = 0"}
    return {
        "format": 1, "title": "t", "run": "runs/r", "turn": 3, "about": {"n": 1000, "against": "held.h5:/x"},
        "rule": "All tests together.",
        "verdicts": [verdict], "tests": [], "scores": [score], "families": {"pca": {"d": 64}},
        "observables": [{"name": "mean", "unit": "counts", "real": 1.0, "real_error": 0.1, "generated": 2.0,
                         "generated_error": 0.2, "shift": 0.5, "shift_error": 0.01, "p": 0.001, "adjusted": 0.004}],
        "memorisation": None, "conditions": [], "notes": ["few images"], "limits": ["not seen: time"],
        "findings": [{"name": "collapse", "turns": "turns 1 to 3", "evidence": "all alike", "advice": "pack"}], **more,
    }  # fmt: skip


def metadata(text: str) -> dict:
    """The YAML of a card, which PyYAML and the Hub's own reader must agree on."""
    found = yaml.safe_load(text.split("---\n")[1])
    assert ModelCard(text).data.to_dict() == found
    return found


# There and back


@pytest.mark.parametrize("name, c", [("points", 3), ("images", None), ("vae", 2)])
def test_a_run_comes_back_as_it_was(there, run, name, c):
    mine = run(name)
    before = ludus.load(mine)
    assert hub.push(mine, "jane/spectra") == "https://huggingface.co/jane/spectra"
    again = ludus.load(ADDRESS)
    assert again.turn == 3 and again.recipe["method"] == before.recipe["method"]
    assert np.array_equal(again.sample(50, seed=1), before.sample(50, seed=1))
    if c is not None:
        assert np.array_equal(again.sample(5, c), before.sample(5, c))
    if name == "vae":
        x = np.random.default_rng(1).random((4, 6, 5))
        assert np.array_equal(again.reconstruct(x, [0, 1, 2, 0]), before.reconstruct(x, [0, 1, 2, 0]))


def test_only_weights_go_up(there, run):
    hub.push(run("points"), "jane/spectra")
    kept = store.load(there.root / "jane/spectra")
    assert kept.tensors and all(name.startswith("average/") for name in kept.tensors)
    assert set(kept.state) == {"turn", "steps", "seconds", "rollbacks", "game"}
    with pytest.raises(UserError, match=r"was shared.*not trained on.*ludus train --recipe") as error:
        ludus.resume(there.root / "jane/spectra", steps=9)
    assert "\n" not in str(error.value)


def test_a_revision_is_asked_for(there, run):
    hub.push(run("images"), "jane/spectra")
    assert ludus.load(f"{ADDRESS}@v1.0").folder.name == "jane--spectra-v1.0"
    assert ludus.load(f"{ADDRESS}@refs/pr/1").turn == 3


def test_what_was_pushed_before_goes(there, run):
    mine = run("images")
    checkpoint = store.load(mine)
    store.save(mine, 9, checkpoint.tensors, checkpoint.state | {"turn": 9})
    folder.write(mine / "evaluation.json", json.dumps(evaluation()))
    hub.push(mine, "jane/spectra")
    (there.root / "jane/spectra/notes.txt").write_text("the owner's")
    hub.push(run("vae"), "jane/spectra")
    assert store.turns(there.root / "jane/spectra") == [3]
    assert "evaluation.json" not in there.files("jane/spectra") and "notes.txt" in there.files("jane/spectra")


def test_only_our_files_are_fetched(there, run):
    hub.push(run("images"), "jane/spectra")
    expected = {name for name in there.files("jane/spectra")}
    evil = ["pytorch_model.bin", "model.pt", "x.pkl", "checkpoints/00000009/tensors.bin", "checkpoints/evil/state.json",
            "checkpoints/00000009/more/state.json", "checkpoints/0000000a/state.json", "more/recipe.toml"]  # fmt: skip
    for name in evil:
        folder_of = (there.root / "jane/spectra" / name).parent
        folder_of.mkdir(parents=True, exist_ok=True)
        (there.root / "jane/spectra" / name).write_bytes(b"\x80\x04.")
    path = hub.fetch(ADDRESS)
    assert {each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()} == expected
    outside = ["checkpoints/../../recipe.toml", "/recipe.toml", "checkpoints/00000003/../../state.json"]
    assert list(filter_repo_objects(outside, allow_patterns=hub.FILES)) == []


@pytest.mark.parametrize("name", ["tensors.safetensors", "state.json"])
def test_hashes_are_verified(there, run, name):
    hub.push(run("images"), "jane/spectra")
    path = there.root / "jane/spectra/checkpoints/00000003" / name
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="does not match its SHA-256"):
        ludus.load(ADDRESS)


# What must not get out


def test_neither_data_nor_folders_get_out(there, run, trained, monkeypatch):
    monkeypatch.setattr(disk, "HOST", "jane-s-laptop")
    mine, weights = run("vae"), trained / "w" / "net.safetensors"
    about = {"against": str(trained / "held out.h5") + ":/entry/data", "weights": str(weights)}
    said = [f"features from {weights} (cached)", "and /somewhere/else/z.npy too",
            "~/secret/z.npy", "C:\\Users\\jane\\z.npy"]  # fmt: skip
    more = {"about": about, "run": str(mine), "notes": said, "families": {f"{trained / 'my.py'}:net": {"d": 3}}}
    folder.write(mine / "evaluation.json", json.dumps(evaluation(**more)))
    examples = safetensors.numpy.load_file(mine / "examples.safetensors")
    inside = (str(trained), trained.parent.name, str(mine.parent), mine.parents[1].name)
    hub.push(mine, "jane/spectra")
    up = {name: (there.root / "jane/spectra" / name).read_bytes() for name in there.files("jane/spectra")}
    for name, data in up.items():
        for word in (*inside, "jane doe", "somewhere", "secret", "Users", "jane-s-laptop"):
            assert word.encode() not in data, f"{word} in {name}"
        assert not any(row.tobytes() in data for row in examples["x"]), name
    kept = safetensors.numpy.load(up["examples.safetensors"])
    assert set(kept) == {"c"} and np.array_equal(kept["c"], examples["c"])
    recipe = recipes.read(there.root / "jane/spectra/recipe.toml")
    assert recipe["data"]["source"] == "x.npy" and recipe["data"]["condition"] == "y.npy"
    notes = json.loads(up["data.json"])["notes"]
    assert notes[0].startswith("x.npy: 60 × 6 × 5 float64") and "condition y.npy: 3 classes: 0, 1, 2" in notes
    found = json.loads(up["evaluation.json"])
    assert found["about"] == {"against": "held out.h5:/entry/data", "weights": "net.safetensors"}
    assert found["notes"] == ["features from net.safetensors (cached)", "and z.npy too", "z.npy", "z.npy"]
    assert found["scores"] == evaluation()["scores"] and found["families"] == {"my.py:net": {"d": 3}}


def test_classes_are_no_paths(there, run):
    mine = run("points")
    kept = json.loads((mine / "data.json").read_text())
    labels = ["/a/b", "/a/c", "../d", "~/e/f", *"ghij"]
    kept["form"]["condition"]["columns"][0]["labels"] = labels
    folder.write(mine / "data.json", json.dumps(kept))
    hub.push(mine, "jane/spectra")
    assert list(ludus.load(ADDRESS).form.condition.columns[0].labels) == labels


def test_examples_go_up_when_asked(there, run):
    mine = run("points")
    hub.push(mine, "jane/spectra", examples=True)
    before, after = ludus.load(mine), ludus.load(ADDRESS)
    assert len(after.examples["x"]) == 64 and np.array_equal(before.real, after.real)


def test_conditions_that_nobody_is_told_stay(there, tmp_path):
    """ssgan's generator is not told the class."""
    mine = ludus.train("ssgan", "ring", condition="ring:label", steps=2, run="r", settings=QUICK).folder
    hub.export(mine, tmp_path / "out", "jane/spectra")
    hub.export(mine, tmp_path / "all", "jane/spectra", examples=True)
    assert safetensors.numpy.load_file(tmp_path / "out/examples.safetensors") == {}
    assert set(safetensors.numpy.load_file(tmp_path / "all/examples.safetensors")) == {"x", "c"}
    assert np.array_equal(ludus.load(tmp_path / "out").sample(9), ludus.load(mine).sample(9))
    assert "is not told the condition" in (tmp_path / "out/README.md").read_text()


def test_a_public_model_does_not_become_private(there, run):
    mine = run("images")
    hub.push(mine, "jane/new", private=True)
    assert there.repo_info("jane/new").private
    there.create_repo("jane/old", private=None, exist_ok=True)
    with pytest.raises(UserError, match="public already"):
        hub.push(mine, "jane/old", private=True)
    assert there.files("jane/old") == []


# What a shared run can do


def test_pictures_without_examples(there, command, run):
    hub.push(run("vae"), "jane/spectra")
    hub.push(run("points"), "jane/ring")
    assert command("sample", ADDRESS, "-n", 4, "-c", 1, "--out", "s.png")[0] == 0
    assert command("sample", "hf://jane/ring", "-n", 4, "--out", "p.png")[0] == 0
    assert command("sample", "hf://jane/ring", "-n", 4, "--out", "p.npy")[0] == 0 and np.load("p.npy").shape == (4, 2)
    assert command("traverse", ADDRESS, "-c", 1, "--steps", 2, "--out", "t.png")[0] == 0
    assert command("report", ADDRESS)[0] == 0
    assert "pca is of codes of real rows" in command("traverse", ADDRESS, "--along", "pca", "--out", "t.png")[2]
    said = "ludus: cannot fetch hf://jane/none: no jane/none\n"
    assert command("sample", "hf://jane/none", "--out", "p.npy") == (2, "", said)


def test_the_command_line(there, command, run):
    mine = run("points")
    code, out, err = command("push", mine, "jane/spectra", "--dry-run", "look")
    assert code == 0 and there.public == {} and "real rows stay here" in out and "states no licence" in err
    assert out.splitlines()[-1] == "look" and "c 4096×8" in out and "tensors.safetensors" in out
    assert np.array_equal(ludus.load("look").sample(5), ludus.load(mine).sample(5))
    assert "look is not empty: name a new folder" in command("push", mine, "jane/spectra", "--dry-run", "look")[2]
    code, out, err = command("push", mine, "jane/spectra", "--private", "--with-examples")
    assert (code, out) == (0, "https://huggingface.co/jane/spectra\n")
    assert "x 64×2" in err and not there.public["jane/spectra"]
    assert command("card", mine, "--license", "mit", "--out", "card.txt")[0] == 2
    assert command("card", mine, "--license", "mit") == (0, f"{mine / 'README.md'}\n", "")


@pytest.mark.parametrize(
    "address", ["hf://jane", "hf://jane/x/y", "hf://jane/..", "hf://../x", "hf://jane/x@../../main", "hf://j ne/x", "hf://"]
)
def test_addresses_that_are_none(there, address):
    with pytest.raises(UserError, match="hf://user/name"):
        ludus.load(address)
    with pytest.raises(UserError, match=r"user/name, of letters|is not a run"):
        hub.push(Path("nowhere"), address)
    assert there.fetched == 0


def test_a_model_of_others_is_no_run(there):
    there.create_repo("jane/bert", private=None, exist_ok=True)
    (there.root / "jane/bert/pytorch_model.bin").write_bytes(b"")
    (there.root / "cache/jane--bert-None").mkdir(parents=True)
    with pytest.raises(UserError, match="hf://jane/bert is not a run of ludus"):
        ludus.load("hf://jane/bert")


def test_without_the_library(there, monkeypatch, run):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for go in (partial(ludus.load, ADDRESS), partial(hub.push, run("images"), "jane/spectra")):
        with pytest.raises(UserError, match=r"^the Hub needs huggingface_hub, .*: pip install 'ludus\[hub\]'$"):
            go()


# The card


@pytest.mark.parametrize("name", ["points", "images", "vae"])
def test_the_lines_of_a_card_run(there, run, name):
    hub.push(run(name), "jane/spectra")
    text = (there.root / "jane/spectra/README.md").read_text()
    assert text.startswith("---\n") and "# spectra\n" in text and "USER" not in text
    said = {}
    exec(text.split("```python\n")[1].split("```")[0], said)
    assert len(said["x"]) == 64
    found = metadata(text)
    assert found["library_name"] == "ludus" and "license" not in found and "model-index" not in found
    assert found.get("pipeline_tag") == ("unconditional-image-generation" if name == "images" else None)
    assert "Not measured: `ludus evaluate RUN`" in text and "@" in text.split("```bibtex")[1]
    assert "3 of 3" in text and ("x.npy: 60 × 6 × 5" in text or name == "points")


def test_a_card_says_what_was_measured(run):
    mine = run("images")
    folder.write(mine / "evaluation.json", json.dumps(evaluation()))
    text = hub.card(mine, "cc-by-4.0")
    found = metadata(text)
    assert found["license"] == "cc-by-4.0" and "No licence" not in text
    (index,) = found["model-index"]
    (result,) = index["results"]
    assert result["task"]["type"] == "unconditional-image-generation"
    assert result["dataset"] == {"type": "x-npy", "name": "x.npy"}
    name = "Fréchet distance, features pca, n = 1,000, real rows 5e-05"
    assert result["metrics"] == [{"type": "frechet-distance", "name": name, "value": 1.5}]
    (read,) = ModelCard(text).data.eval_results
    assert (read.metric_value, read.metric_name, read.task_type) == (1.5, name, result["task"]["type"])
    for line in ("- **Does it look like the data?** different: p = 0", "All tests together.", "- few images",
                 "| pca | Fréchet distance | 1.5 ± 0.25 | 1 to 2 | 5e-05 ± 1e-05 | lower | 1,000 |",
                 "| mean | counts | 1 ± 0.1 | 2 ± 0.2 | 0.5 ± 0.01 | 0.001 | 0.004 |", "| against | held.h5:/x |",
                 "- not seen: time", "- In training: collapse (turns 1 to 3): all alike. pack"):  # fmt: skip
        assert f"\n{line}\n" in text, line
    assert "These numbers are of turn" not in text and "quick" not in text
    folder.write(mine / "evaluation.json", json.dumps(evaluation(quick=True)))
    assert "\nThe quick version, with which training ends" in hub.card(mine)
    folder.write(mine / "evaluation.json", json.dumps(evaluation(turn=1)))
    assert "**These numbers are of turn 1, the weights here are of turn 3.**" in hub.card(mine)


@pytest.mark.parametrize("value", [None, [], [{}], [None], "left out"])
def test_entries_may_be_missing(run, value):
    mine, whole = run("images"), evaluation()
    for key in whole.keys() - {"format"}:
        if isinstance(whole[key], list) or value is None:
            cut = {k: v for k, v in whole.items() if k != key} if value == "left out" else whole | {key: value}
            folder.write(mine / "evaluation.json", json.dumps(cut))
            metadata(hub.card(mine))


def test_numbers_that_are_none_are_not_said(run):
    mine = run("images")
    score = {"family": None, "name": "recall", "value": float("nan"), "error": None, "floor": 0.5}
    more = {"family": "pca", "name": "kernel distance", "value": 2e-05, "error": None, "floor": None, "n": None}
    folder.write(mine / "evaluation.json", json.dumps(evaluation(scores=[score, more])))
    text = hub.card(mine)
    assert "|  | recall | – | – | 0.5 |  | – |" in text and "nan" not in text.lower()
    assert metadata(text)["model-index"][0]["results"][0]["metrics"] == [
        {"type": "kernel-distance", "name": "kernel distance, features pca", "value": 2e-05}
    ]


@pytest.mark.parametrize("content", ["{", "[]", '{"format": 2}'])
def test_an_evaluation_that_cannot_be_read(run, content):
    mine = run("images")
    folder.write(mine / "evaluation.json", content)
    with pytest.raises(UserError, match=r"evaluation\.json .*(is damaged|of a format)"):
        hub.card(mine)


NASTY = ['a: "b" \'c\'', "x\n---\n# y", "`code` | *bold* [l](http://x) <b>", "é😀\u2028\x07\x85\ufeff\\",
         "- # !t &a *b %c", "yes", "1e-5"]  # fmt: skip


@pytest.mark.parametrize("text", NASTY)
def test_texts_of_others_stay_texts(run, text):
    mine = run("images")
    kept = json.loads((mine / "data.json").read_text())
    kept["form"]["name"], kept["notes"] = text, [text]
    folder.write(mine / "data.json", json.dumps(kept))
    score = evaluation()["scores"][0] | {"name": text, "family": text}
    folder.write(mine / "evaluation.json", json.dumps(evaluation(scores=[score], notes=[text], rule=text)))
    card = hub.card(mine, license=text)
    found, line = metadata(card), cards.printable(text)
    assert found["license"] == line and found["model-index"][0]["results"][0]["dataset"]["name"] == line
    body = card.split("\n---\n", 1)[1]
    assert "\n---\n" not in body and "\n# y" not in body and "<b>" not in body
    (row,) = [each for each in body.splitlines() if each.startswith("| ") and "1.5 ± 0.25" in each]
    assert row.replace(r"\|", "").count("|") == 8  # seven cells


def test_code_cannot_leave_its_fence():
    for inner in ("```", "````\nx", "`"):
        fence = cards.fenced(inner, "toml").split("toml\n")[0]
        assert set(fence) == {"`"} and fence not in inner and len(fence) >= 3


def test_a_network_of_ones_own_is_named(there, tmp_path):
    mine, settings = MlpGenerator((2,), 4, 0, width=8), QUICK | {"prior.dimension": 4}
    made = ludus.train("gan", "ring", steps=2, run="r", generator=mine, settings=settings)
    hub.push(made.folder, "jane/spectra")
    text = (there.root / "jane/spectra/README.md").read_text()
    assert f'ludus.load("{ADDRESS}", generator=generator)' in text and "```sh" not in text
    assert np.array_equal(ludus.load(ADDRESS, generator=mine).sample(3), made.sample(3))


def test_an_edited_card_is_kept(there, command, run):
    mine = run("images")
    assert command("card", mine)[0] == 0
    path = mine / "README.md"
    path.write_text(path.read_text().replace("## Limits", "## Limits\n\n- Mine: see hf://USER/NAME."))
    hub.push(mine, "jane/spectra")
    up = (there.root / "jane/spectra/README.md").read_text()
    assert "- Mine: see hf://jane/spectra." in up and f'ludus.load("{ADDRESS}")' in up and "USER/NAME" not in up
    folder.write(mine / "evaluation.json", json.dumps(evaluation()))
    os.utime(mine / "evaluation.json", (2e9, 2e9))
    assert "README.md is older than evaluation.json" in command("push", mine, "jane/spectra")[2]

"""The order of the rooms: a file imports what stands above it, and methods do not know each other."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "ludus"
ROOMS = [
    "errors", "ranges", "terminal", "memory", "game", "seeds", "play", "losses", "networks", "worlds", "data",
    "features", "metrics", "methods", "runs", "trainer", "callbacks", "inference", "doctor", "recipe", "evaluation",
    "figures", "report", "session", "calibrate", "simulate", "prepare", "evaluate", "run", "hub", "api", "cli",
    "__main__", "__init__",
]  # fmt: skip


def imports(path: Path):
    """The rooms that a file imports, outside `if TYPE_CHECKING`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = [node for node in tree.body if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)]
    tree.body = [node for node in tree.body if node not in typing]
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "ludus":
            inner = node.module.split(".")[1:]
            yield from [inner[0]] if inner else [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("ludus."))


def test_imports_go_up():
    wrong = []
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        for other in imports(path):
            above = ROOMS.index(other) < ROOMS.index(room) or (other == room and room != "methods")
            wrong += [] if above else [f"{path.relative_to(SOURCE)} imports {other}"]
    assert wrong == []


def test_every_room_has_its_place():
    found = {path.name.removesuffix(".py") for path in SOURCE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert found - {"__pycache__"} == set(ROOMS)


def test_nothing_is_pickled():
    words = ("pickle.load", "pickle.dump", "torch.load", "torch.save", "allow_pickle=True")
    assert [p for p in SOURCE.rglob("*.py") if any(word in p.read_text(encoding="utf-8") for word in words)] == []

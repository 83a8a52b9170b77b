"""Turns of `ludus`, with all that watches a run of `ludus train`, or of the bare trainer (`bare` as the last word)."""

import json
import sys
import tempfile
from pathlib import Path

from protocol import serve

from ludus import memory, session
from ludus import recipe as recipes


def begin(images):
    method, settings, bare = sys.argv[3], json.loads(sys.argv[4]), "bare" in sys.argv
    draft = recipes.draft(method, "mnist", steps=1_000_000, settings={"data.held_out": 0.0, **settings})
    data = session.read_data(draft)
    recipe = recipes.complete(draft, data.form.kind, len(data.x))
    path = Path(tempfile.mkdtemp())
    session.prepare(path, recipe, data)
    trainer = session.trainer_of(path, recipe, data, None)
    trainer._tell("start")

    def turns(k):
        for _ in range(k):
            if bare:
                trainer.step()
                continue
            trainer._tell("before")
            trainer.step()
            trainer._tell("after")

    return turns


if __name__ == "__main__":
    with memory.kept():
        serve(begin)

"""The practical's DCGAN as it is, played for minutes: its samples after each of them, in both modes of its batch norm.

    python practical.py IMAGES.npy FOLDER SEED ROWS MINUTES...

The clock stands while samples are drawn, and runs while turns are played.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from dcgan_keras import BATCH, LATENT, game

TURNS = 10  # between two looks at the clock


def drawn(G, rows: int, training: bool) -> np.ndarray:
    """Samples (rows, H, W) in [0, 255], batch by batch."""
    parts = [G(tf.random.normal([BATCH, LATENT]), training=training).numpy() for _ in range(-(-rows // BATCH))]
    return (np.concatenate(parts)[:rows, ..., 0] + 1) * 127.5


def main(images: str, folder: str, seed: str, rows: str, *minutes: str) -> None:
    tf.keras.utils.set_random_seed(int(seed))
    turns, G = game(np.load(images))
    turns(1)  # what is traced at the first call
    clock, done = 0.0, 1
    for until in sorted(map(float, minutes)):
        while clock < 60 * until:
            began = time.perf_counter()
            turns(TURNS)
            clock += time.perf_counter() - began
            done += TURNS
        kept = [layer.get_weights() for layer in G.layers]
        for mode, training in (("of the batch", True), ("running", False)):
            np.save(Path(folder) / f"practical, {mode}-{seed}-{until:g}.npy", drawn(G, int(rows), training))
            for layer, weights in zip(G.layers, kept):  # drawing in training mode moves the running moments
                layer.set_weights(weights)
            about = {"minutes": clock / 60, "turns": done}
            (Path(folder) / f"practical, {mode}-{seed}-{until:g}.json").write_text(json.dumps(about))
        print(f"{until:g} minutes, {done} turns", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])

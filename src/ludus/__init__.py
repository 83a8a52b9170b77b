"""ludus: generative models of your own images.

    run = ludus.train("r3gan", data=array, steps=2000)
    run.sample(64)
    ludus.load(run.folder)
"""

__all__ = ["Run", "load", "resume", "train"]


def __getattr__(name: str):
    """The interface, imported when asked for: torch takes seconds to load, and the command line answers without."""
    if name in __all__:
        from ludus import api

        return getattr(api, name)
    raise AttributeError(f"module 'ludus' has no attribute {name!r}")

"""What benchmarks/README.md says is what was measured."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))


def test_the_tables_are_those_of_the_results():
    import summary

    page = summary.PAGE.read_text(encoding="utf-8")
    assert summary.filled(page) == page

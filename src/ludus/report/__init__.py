"""The page that a run ends with."""

from ludus.report.page import Section, page

__all__ = ["Section", "page"]

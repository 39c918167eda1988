"""The report: from a summary and pictures to files that a reader opens; no model, no data, no table.

What is said stands once: `content.py` makes a document of blocks in the words of `words.yaml`, and two templates write
it down.
"""

from cmrgz.evaluation.report.files import write
from cmrgz.evaluation.report.pictures import Pictures

__all__ = ["Pictures", "write"]

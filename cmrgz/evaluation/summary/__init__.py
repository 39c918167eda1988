"""The summary: from a table of cells to the numbers of a report, plain data that JSON can write."""

"""Names and errors as parts of other texts: nothing in them is taken for markup, a formula or a control character."""

from __future__ import annotations

import html

from benchmark.common.errors import printable

FORMULA = ("=", "+", "-", "@")
"""A cell that begins with one of these is run by a spreadsheet."""


def markdown(text: str) -> str:
    """For Markdown, also in a cell of a table: no HTML, emphasis, code or links."""
    plain = html.escape(printable(text.replace("\n", " ")), quote=False)
    for sign in "\\|*`":
        plain = plain.replace(sign, f"\\{sign}")
    return plain.replace("](", "]\\(")


def spreadsheet(text: str) -> str:
    """For a cell of a CSV file: a text that a spreadsheet would run gets an apostrophe first; numbers stay numbers."""
    plain = printable(text)
    if not plain.startswith(FORMULA):
        return plain
    try:
        float(plain.replace(",", ""))
    except ValueError:
        return f"'{plain}"
    return plain

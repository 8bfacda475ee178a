"""Weights as HTML for a notebook."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from steelyard.views.table import table

if TYPE_CHECKING:
    from steelyard.core.weights import Weights


def html(weights: Weights) -> str:
    """Return the table as HTML; everything that comes from a file is escaped."""
    return f"<pre>{escape(table(weights))}</pre>"

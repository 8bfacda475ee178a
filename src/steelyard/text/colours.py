"""The colours of numbers by their sign, the same in every view: blue is negative, orange positive, and zero is the page.

People with any kind of colour vision can distinguish blue and orange. `theme.js` has the same colours for the page of a report,
and R's package has the light ones.
"""

from __future__ import annotations

LIGHT = ("#0b2f63", "#2b6cb0", "#9cc3e4", "#f6f4ef", "#f0b27a", "#c2571a", "#6b2503")
"""On a light page, from the most negative to the most positive; zero is in the middle."""
DARK = ("#d3e8ff", "#6fb1ee", "#2a5f96", "#1c2024", "#95501d", "#ea8f4b", "#ffe1c7")
"""The same on a dark page."""
NEGATIVE, POSITIVE = LIGHT[1], LIGHT[-2]
"""The colours of signs where only one of each is used."""


def rgb(colour: str) -> tuple[int, int, int]:
    """Return red, green and blue of a colour, from 0 to 255.

    >>> rgb("#2b6cb0")
    (43, 108, 176)
    """
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def between(stops: tuple[str, ...], share: float) -> tuple[int, int, int]:
    """Return the colour at a share from 0 to 1 of a scale.

    >>> between(LIGHT, 0.5) == rgb(LIGHT[3]), between(LIGHT, 1.0) == rgb(LIGHT[-1])
    (True, True)
    """
    place = share * (len(stops) - 1)
    first = min(int(place), len(stops) - 2)
    part = place - first
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(rgb(stops[first]), rgb(stops[first + 1]), strict=True))
    return red, green, blue

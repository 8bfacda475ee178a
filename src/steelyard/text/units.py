"""Numbers with their units and nouns, the same in every output."""

from __future__ import annotations

UNITS = ("kB", "MB", "GB", "TB", "PB")


def counted(count: int, what: str) -> str:
    """Format a count with its noun.

    >>> counted(1, "weight"), counted(1200, "weight")
    ('1 weight', '1,200 weights')
    """
    return f"{count:,} {what}{'s' * (count != 1)}"


def with_article(noun: str) -> str:
    """Put the indefinite article before a noun.

    >>> with_article("scale"), with_article("offset")
    ('a scale', 'an offset')
    """
    return f"{'an' if noun[:1].lower() in tuple('aeiou') else 'a'} {noun}"


def in_units(count: int) -> str:
    """Format a number of bytes with a decimal unit, as memory cards and files are sold, with three digits.

    >>> in_units(512), in_units(12_582_912), in_units(2_147_483_648), in_units(999_999)
    ('512 bytes', '12.6 MB', '2.15 GB', '1.00 MB')
    """
    if count < 1000:
        return f"{count} byte{'s' * (count != 1)}"
    number, unit = count / 1000, UNITS[0]
    for larger in UNITS[1:]:
        if number < 999.5:
            break
        number, unit = number / 1000, larger
    digits = 2 if number < 9.995 else 1 if number < 99.95 else 0
    return f"{number:.{digits}f} {unit}"

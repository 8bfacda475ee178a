"""All sizes of `steelyard.sizes` set to a few elements, so that a small test runs what otherwise starts above a million.

`pytest -p small_sizes` does so for a whole run; the fixture `small_sizes` in conftest.py for one test.
"""

from steelyard import sizes

SMALL = {name: 64 if name.endswith("_BYTES") else 7 for name in vars(sizes) if name.isupper()}


def pytest_configure(config):
    for name, size in SMALL.items():
        setattr(sizes, name, size)

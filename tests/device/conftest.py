"""What the tests of devices share."""

import pytest
import random_programs

START = random_programs.rng.bit_generator.state


@pytest.fixture(autouse=True)
def same_draws():
    """Draw the same numbers in a test, whichever tests ran before it."""
    random_programs.rng.bit_generator.state = START

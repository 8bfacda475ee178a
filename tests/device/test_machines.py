"""The emulated microcontrollers compute, print and exit as a program says, so that what runs there is seen."""

import pytest
from machines import MACHINES, built, emulated

PROGRAM = """
#include <math.h>
#include <stdio.h>
static volatile float x = 0.5f;
static volatile int table[3] = {1, 2, 3};
int main(void)
{
    printf("%.9g %.17g %d\\n", (double)sqrtf(x), (double)x / 3, table[2]);
    return table[1] + 40;
}
"""
FAULTY = "int main(void) { return *(volatile int *)0xF0000001u; }\n"


@pytest.mark.parametrize("name", MACHINES)
def test_a_program_prints_and_exits(name, tmp_path):
    (tmp_path / "main.c").write_text(PROGRAM)
    assert emulated(name, built(name, ["main.c"], tmp_path)) == (42, "0.707106769 0.16666666666666666 3\n")


def test_a_fault_is_a_status_of_its_own(tmp_path):
    (tmp_path / "main.c").write_text(FAULTY)
    assert emulated("M4", built("M4", ["main.c"], tmp_path)) == (99, "")

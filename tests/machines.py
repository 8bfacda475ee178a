"""Microcontrollers that qemu emulates: what `built` compiles runs there without an operating system, and prints and exits."""

import subprocess
from pathlib import Path
from typing import NamedTuple

from toolchains import STRICT, run, tool

EXAMPLE = Path(__file__).parents[1] / "examples" / "cortex-m"
ARM = ("-mthumb", "-nostartfiles", "-T", EXAMPLE / "cortex_m.ld", EXAMPLE / "start.c")
RISCV = (
    *("--crt0=semihost", "--oslib=semihost"),
    *("-Wl,--defsym=__flash=0x80000000,--defsym=__flash_size=0x400000",),
    *("-Wl,--defsym=__ram=0x80400000,--defsym=__ram_size=0x400000",),
)
SECONDS = 60  # an emulated run takes a tenth of a second; one that hangs must not hang the tests


class Machine(NamedTuple):
    """A compiler with what it needs to link for a core, and the emulated board that has it."""

    compiler: str
    core: tuple[str, ...]
    link: tuple[object, ...]
    emulator: str
    board: tuple[str, ...]


MACHINES = {
    "M3": Machine("arm-none-eabi-gcc", ("-mcpu=cortex-m3",), ARM, "qemu-system-arm", ("mps2-an385",)),
    "M4": Machine("arm-none-eabi-gcc", ("-mcpu=cortex-m4", "-mfloat-abi=hard"), ARM, "qemu-system-arm", ("mps2-an386",)),
    "M55": Machine("arm-none-eabi-gcc", ("-mcpu=cortex-m55", "-mfloat-abi=hard"), ARM, "qemu-system-arm", ("mps3-an547",)),
    "RV32": Machine(
        *("riscv64-unknown-elf-gcc", ("--specs=picolibc.specs", "-march=rv32imac", "-mabi=ilp32"), RISCV),
        *("qemu-system-riscv32", ("virt", "-bios", "none")),
    ),
}
"""Cortex-M3 and RV32 have no floating point unit, M4 has one of single precision, M55 one of double precision."""


def built(name, sources, cwd, *, flags=()):
    """Compile sources for a machine with all warnings, and return the program."""
    machine = MACHINES[name]
    program = Path(cwd) / f"{name}.elf"
    flags = ("-std=c99", *STRICT, "-O2", "-ffp-contract=off", *flags)
    objects = []
    for source in sources:
        objects.append(f"{Path(source).stem}.{name}.o")
        run(tool(machine.compiler), *flags, *machine.core, "-c", source, "-o", objects[-1], cwd=cwd)
    run(tool(machine.compiler), "-O2", *machine.core, *machine.link, *objects, "-lm", "-o", program, cwd=cwd)
    return program


def emulated(name, program):
    """Run a program on the emulated board, and return its exit status and what it printed."""
    machine = MACHINES[name]
    command = [tool(machine.emulator), "-M", *machine.board, "-kernel", program]
    command += ["-nographic", "-monitor", "none", "-serial", "none", "-semihosting-config", "enable=on,target=native"]
    done = subprocess.run([*map(str, command)], capture_output=True, check=False, text=True, timeout=SECONDS)
    return done.returncode, done.stdout + done.stderr  # qemu 7 prints on stderr what a program prints

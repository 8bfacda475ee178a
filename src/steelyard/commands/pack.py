"""`steelyard pack`: pack a recorded run into a small archive, without a loss."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from steelyard.commands import print_json
from steelyard.errors import printable

if TYPE_CHECKING:
    import argparse

SUFFIX = ".zip"


def run(args: argparse.Namespace) -> None:
    """Pack a recorded run into one archive, in which snapshots take about half the bytes, and unpack it bit for bit.

    RUN is a folder that steelyard.record wrote. Each snapshot is stored as what changed since the two before it. The archive is
    a ZIP next to the folder, or OUT, which is replaced only when it is complete; the folder stays. With --back RUN is an archive,
    and OUT a new folder, by default the archive's name without its suffix, in which every file is as it was.

    steelyard pack runs/a
    """
    from steelyard.runs.archives import pack_run, unpack_run
    from steelyard.text.units import counted, in_units

    path = args.path.rstrip(os.sep) or args.path
    if args.back:
        done = unpack_run(path, args.out or (path.removesuffix(SUFFIX) if path.endswith(SUFFIX) else f"{path}.run"))
    else:
        done = pack_run(path, args.out or f"{path}{SUFFIX}")
    if args.json:
        print_json(done._asdict())
        return
    sizes = f"{in_units(done.run_bytes)} in {in_units(done.archive_bytes)}"
    if args.back:
        print(f"{printable(done.out)}: {counted(done.snapshots, 'snapshot')}, {sizes}")
    elif done.snapshots:
        ratio = f"{done.run_bytes / done.archive_bytes:.2f} times smaller"
        print(f"{printable(done.out)}: {counted(done.snapshots, 'snapshot')}, {sizes}, {ratio}")
    else:
        print(f"{printable(done.out)}: the run has no snapshots to pack; its records are stored as they are, {sizes}")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the run, the archive and the direction."""
    parser.add_argument("path", metavar="RUN", help="the folder of a run, or with --back an archive")
    parser.add_argument("-o", "--out", metavar="OUT", help="the archive to write, or with --back the new folder")
    parser.add_argument("--back", action="store_true", help="unpack an archive")

"""The thread that measures and writes what a recorder has copied; at most `DEPTH` copies wait for it."""

from __future__ import annotations

import os
import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakSet

from steelyard.io import write
from steelyard.runs.copying import Copy

if TYPE_CHECKING:
    from steelyard.runs.appending import Appender
    from steelyard.runs.copying import Copier
    from steelyard.runs.measuring import Measurer
    from steelyard.runs.store import Row

DEPTH = 2


class Job(NamedTuple):
    """A copy to record; `replaces` is a snapshot that is removed when this is committed."""

    copy: Copy
    row: Row
    copier: Copier
    replaces: str | None


class Worker:
    """Records copies one after another, until `stop`. Its `failure` is that of the first record that could not be written.

    There are four copies at most: the last that was recorded, the one in work, and two that wait. `take` waits for a free one.
    """

    __slots__ = ("__weakref__", "_appender", "_dtype", "_free", "_jobs", "_made", "_thread", "failure", "forked", "measurer")

    def __init__(self, appender: Appender, dtype: str | None) -> None:
        self._appender, self._dtype = appender, dtype
        self._free: SimpleQueue[Copy] = SimpleQueue()
        self._jobs: SimpleQueue[Job | threading.Event | None] = SimpleQueue()
        self._made = 0
        self._thread: threading.Thread | None = None
        self.measurer: Measurer | None = None
        self.failure: BaseException | None = None
        self.forked = False
        _WORKERS.add(self)

    def take(self, copier: Copier) -> Copy:
        """Return a copy that is free; wait if all are in use."""
        if self._free.empty() and self._made < DEPTH + 2:
            self._made += 1
            return Copy(copier.weights, copier.spans())
        return self._free.get()

    def give_back(self, copy: Copy) -> None:
        """Return a copy that was not put."""
        self._free.put(copy)

    def put(self, job: Job) -> None:
        """Leave a copy to the thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="steelyard record", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def flush(self) -> None:
        """Wait until all that was put is written."""
        if self._thread is None or self.forked:
            return
        written = threading.Event()
        self._jobs.put(written)
        written.wait()

    def stop(self) -> None:
        """Wait until all is written, and let others record into the folder."""
        if self.forked:
            return
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()
            self._thread = None
        self._appender.close()

    def leave(self) -> None:
        """Forget the run in a fork, which has no thread, so that it does not hold the lock."""
        self.forked = True
        self._appender.close()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            if isinstance(job, threading.Event):
                job.set()
                continue
            free: Copy | None = job.copy
            try:
                if self.failure is None:
                    free = self._record(job)
            except BaseException as error:  # noqa: BLE001 - it is raised in the caller
                self.failure = error
            if free is not None:
                self._free.put(free)

    def _record(self, job: Job) -> Copy | None:
        """Write the snapshot, the record and the line in the journal, and return a copy that is free now."""
        assert self.measurer is not None
        if job.row.snapshot:
            self._write_snapshot(job, job.row.snapshot)
        record = self.measurer.measure(job.copy, len(self._appender.rows))
        self._appender.append(record, job.row)
        if job.replaces:
            self._appender.remove(job.replaces)
        return self.measurer.keep(job.copy)

    def _write_snapshot(self, job: Job, name: str) -> None:
        copied = {weight.name: weight.read for weight in job.copy.weights}
        listed = job.copier.listed
        made = listed.with_weights((w.replace(read=copied[w.tied or w.name]) for w in listed.values()), detached=True)
        write(made.astype(self._dtype) if self._dtype else made, os.path.join(self._appender.path, name))


_WORKERS: WeakSet[Worker] = WeakSet()


def _leave_all() -> None:
    for worker in list(_WORKERS):
        worker.leave()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_all)

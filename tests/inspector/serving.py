"""Servers as processes, and requests to them."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest
from inspector.packs import unpacked

ROOT = Path(__file__).parents[2]
START = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from steelyard.cli import main; sys.exit(main(sys.argv[1:]))"
"""Restores SIGINT, which a shell makes its background programs ignore."""
SIDES = ("top", "left", "bottom", "right")


class Served:
    """A server in a process of its own."""

    def __init__(self, *arguments, code=START, **env):
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "serve", *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **env},
        )
        self.url = self.process.stdout.readline().strip()
        if not self.url:
            pytest.fail(self.process.stderr.read())
        self.token = self.url.rstrip("/").rpartition("/")[2]
        self.port = int(self.url.split(":")[2].split("/")[0])

    def get(self, path, method="GET", **headers):
        """Request a path below the token, and return the status, the headers and the body."""
        return self.raw(f"/{self.token}{path}", method, **headers)

    def raw(self, path, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.putrequest(method, path, skip_host="Host" in headers)
            for name, value in headers.items():
                for each in value if isinstance(value, list) else [value]:
                    connection.putheader(name.replace("_", "-"), each)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def ask(self, word, **query):
        """Request a path below api/, and return the unpacked answer."""
        status, _, body = self.get(f"/api/{word}?{urlencode(query)}")
        assert status == 200, body
        return unpacked(body)

    def refused(self, word, **query):
        """Make a request that must be refused, and return the status and the message."""
        status, headers, body = self.get(f"/api/{word}?{urlencode(query)}")
        return status, told(headers, body)

    def stop(self, number=signal.SIGINT):
        """Send Ctrl-C, and return the exit status and the output."""
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def told(headers, body):
    """Return the message of a refusal."""
    assert headers["Content-Type"] == "application/json"
    (key, text), *rest = json.loads(body).items()
    assert (key, rest) == ("error", [])
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def sparse(path, size):
    """Write a sparse file of one matrix of `size` bytes of zeros with one number in the middle."""
    columns = 1 << 14
    shape = [size // 4 // columns, columns]
    if path.suffix == ".npy":
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({shape[0]}, {shape[1]}), }}".ljust(117) + "\n"
        head = b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text.encode()
    else:
        text = json.dumps({"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
        head = len(text).to_bytes(8, "little") + text
    with path.open("wb") as file:
        file.write(head)
        file.seek(len(head) + size // 2)
        file.write(np.float32(7.25).tobytes())
        file.truncate(len(head) + size)
    return path

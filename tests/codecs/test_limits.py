"""The limits on hostile files: which sizes they allow, and how to raise them."""

import gzip
import re
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

import steelyard
from steelyard import limits, weights
from steelyard.codecs.compression import plain
from steelyard.codecs.zip import directory, member_source
from steelyard.errors import FormatError
from steelyard.storage.source import from_bytes


def npz_of_zeros(path, nbytes):
    np.savez_compressed(path, w=np.zeros(nbytes, np.uint8))
    return path


def test_a_member_that_inflates_too_far_is_read_inside_a_block_that_allows_it(tmp_path):
    path = npz_of_zeros(tmp_path / "zeros.npz", (1 << 26) + 1)
    with pytest.raises(FormatError, match="would inflate from"):
        weights(path)["w"].numpy()
    with limits.allow(INFLATED_RATIO=2000):
        assert not weights(path)["w"].numpy().any()
    with pytest.raises(FormatError, match="would inflate from"):
        weights(path)["w"].numpy()


def test_a_limit_can_be_lowered_for_untrusted_files():
    packed = zlib.compress(bytes(1 << 20))
    with limits.allow(INFLATED_FLOOR=1000), pytest.raises(FormatError, match="to more than"):
        plain(from_bytes(packed, "zeros"))
    assert plain(from_bytes(packed, "zeros")).size == 1 << 20


def test_a_limit_called_as_a_function_stays_and_the_latest_value_is_seen_in_the_public_module():
    before = steelyard.limits.SHARDS
    change = limits.allow(SHARDS=7)
    assert steelyard.limits.SHARDS == 7
    with change:
        pass
    assert before == steelyard.limits.SHARDS


@pytest.mark.parametrize("name", ["INFLATE", "allow", "prod", "__name__"])
def test_an_unknown_limit_is_refused_and_changes_nothing(name):
    with pytest.raises(ValueError, match="unknown limit"):
        limits.allow(SHARDS=1, **{name: 5})
    assert limits.SHARDS > 1


@pytest.mark.parametrize("method", ["gzip", "zip"])
def test_streams_that_pack_worse_than_4_to_1_inflate_to_any_size(method):
    content = np.random.default_rng(0).integers(0, 64, 10_000, np.uint8).tobytes()
    packed = BytesIO()
    if method == "gzip":
        packed.write(gzip.compress(content))
    else:
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("w", content)
    source = from_bytes(packed.getvalue(), "noise")
    with limits.allow(INFLATED=5000, INFLATED_FLOOR=100):
        inner = plain(source) if method == "gzip" else member_source(source, directory(source)["w"])
        assert inner.read(0, inner.size) == content


def test_limits_of_one_file_hold_when_it_is_listed_and_whenever_its_numbers_are_read(tmp_path):
    path = npz_of_zeros(tmp_path / "a.npz", (1 << 26) + 1)
    for raised in ({"INFLATED_RATIO": 2000}, "none"):
        trusted = weights(path, limits=raised)
        assert not trusted["w"].numpy().any()
        assert steelyard.limits.INFLATED_RATIO == 200
    with pytest.raises(FormatError, match="would inflate from"):
        weights(path)["w"].numpy()
    few = {"MEMORY": 10, "MEMORY_PER_BYTE": 0}
    with pytest.raises(FormatError, match="takes more than 10 bytes of memory"):
        weights(path, limits=few)
    with pytest.raises(ValueError, match="unknown limit 'SPEED'"):
        weights(path, limits={"SPEED": 1})


def test_threads_that_read_trusted_files_leave_the_limits_as_they_were(tmp_path):
    path = npz_of_zeros(tmp_path / "a.npz", (1 << 26) + 1)
    files = [weights(path, limits={"INFLATED_RATIO": ratio}) for ratio in (2000, 3000, 4000)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda each: each["w"].read(0, 10), files))
    assert steelyard.limits.INFLATED_RATIO == 200


def test_each_limit_is_compared_somewhere_and_explained():
    code = "".join(path.read_text() for path in Path(steelyard.__file__).parent.rglob("*.py") if path.name != "limits.py")
    own = Path(limits.__file__).read_text()
    for name in filter(str.isupper, vars(limits)):
        assert re.search(rf"\blimits\.{name}\b", code) or len(re.findall(rf"\b{name}\b", own)) > 1, name
        assert re.search(rf'^{name} = .*\n"""[^"]+"""$', own, re.MULTILINE), name

"""What of a URL is shown, and where the files of its folder are."""

import json
import sys

import numpy as np
import pytest
from serving import Server, direct, says  # noqa: F401 - a fixture

import steelyard
from steelyard.cli import main
from steelyard.errors import FormatError, SteelyardError, UnsafeFileError
from steelyard.storage.remote.addresses import concealed, real, scrubbed, shown

SECRET = "5eCr3tT0kEn"


@pytest.fixture
def content(tmp_path):
    steelyard.save({"fc.weight": np.arange(100_000.0).reshape(500, 200), "fc.bias": np.ones(500)}, tmp_path / "net.safetensors")
    return (tmp_path / "net.safetensors").read_bytes()


@pytest.mark.parametrize(
    "url",
    [
        f"https://{SECRET}@example.org/net.pt",
        f"https://me:{SECRET}@example.org/net.pt",
        f"s3://me:{SECRET}@bucket/net.pt",
        f"https://example.org/net.pt?X-Amz-Signature={SECRET}&X-Amz-Expires=60",
        f"https://example.org/get?id=3&sig={SECRET}",
        f"https://example.org?{SECRET}={SECRET}",
        f"https://example.org/net.pt#{SECRET}",
        f"simplecache::https://me:{SECRET}@example.org/net.pt?sig={SECRET}",
    ],
)
def test_no_secret_of_a_url_is_shown(url):
    assert shown(url).count(SECRET) == url.count(f"?{SECRET}=")  # the name of a parameter is none
    assert f"={SECRET}" not in shown(url)
    assert real(concealed(url)) == url
    said = scrubbed(f"cannot open {url}: {SECRET} is wrong", url)
    assert said.count(SECRET) <= url.count("?5") + url.count("#")


def test_two_urls_that_differ_in_a_secret_stay_two():
    one, two = concealed("https://a.org/x.pt?t=1234567"), concealed("https://a.org/x.pt?t=7654321")
    assert one != two
    assert (real(one), real(two)) == ("https://a.org/x.pt?t=1234567", "https://a.org/x.pt?t=7654321")
    assert concealed("https://a.org/x.pt?t=1234567") == one


COMMANDS = [
    ["ls", "URL"],
    ["ls", "URL", "URL"],
    ["URL"],
    ["show", "URL", "fc.weight"],
    ["show", "URL", "no.such"],
    ["stats", "URL"],
    ["digest", "URL"],
    ["check", "URL", "--sarif", "OUT.sarif", "--bom", "OUT.bom"],
    ["check", "URL", "--audit-only"],
    ["diff", "URL", "FILE"],
    ["layers", "URL"],
    ["size", "URL"],
    ["convert", "URL", "OUT.npz"],
    ["report", "URL", "-o", "OUT.html"],
    ["report", "URL", "--before=URL", "-o", "OUT.html"],
    ["vector", "URL", "-o", "OUT.npy"],
    ["transfer", "URL", "--into", "FILE", "-o", "OUT.safetensors"],
    ["ls", "URL.gone"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("options", [[], ["--json"]], ids=["text", "JSON"])
def test_a_command_reads_a_url_and_shows_none_of_its_secrets(content, words, options, tmp_path, capsys):
    with Server({"/net.safetensors": content}) as server:
        url = f"{server.address.replace('//', f'//me:{SECRET}@')}/net.safetensors?sig={SECRET}"
        gone = url.replace("net.safetensors", "gone.safetensors")
        names = {"URL.gone": gone, "FILE": tmp_path / "net.safetensors"}
        argv = [str(names.get(word, word.replace("URL", url).replace("OUT", f"{tmp_path}/out"))) for word in words]
        status = main([*argv, *options])
        assert status == 2 * bool({"URL.gone", "no.such"} & set(words))
        assert len(server.asked) > 0
        assert server.headers[0]["Authorization"].startswith("Basic ")
    out, err = capsys.readouterr()
    written = "".join(path.read_text("latin-1") for path in tmp_path.iterdir())
    assert SECRET not in out + err + written
    if status:
        assert len(err.splitlines()) == 1
    elif "--json" in options and out:
        json.loads(out)


def test_an_error_of_weights_and_their_text_show_no_secret(content):
    with Server({"/net.safetensors": content}) as server:
        url = f"{server.address}/net.safetensors?sig={SECRET}"
        weights = steelyard.weights(url)
        assert SECRET not in repr(weights) + str(weights.meta) + repr(weights["fc.bias"])
        server.faults = [says(403)]
        with pytest.raises(SteelyardError) as caught:
            weights["fc.weight"].numpy()
        assert SECRET not in str(caught.value)
    for wrong in (
        f"https://me:{SECRET}@127.0.0.1:9/x.pt?sig={SECRET}",
        f"http://127.0.0.1:notaport/?{SECRET}={SECRET}",
        f"ftp://me:{SECRET}@127.0.0.1:9/x.pt",
    ):
        with pytest.raises(SteelyardError) as caught:
            steelyard.weights(wrong)
        assert f"={SECRET}" not in str(caught.value)
        assert f":{SECRET}" not in str(caught.value)


def test_what_is_named_by_its_source_shows_no_secret(content, tmp_path):
    with Server({"/net.safetensors": content}) as server:
        url = f"{server.address}/net.safetensors?sig={SECRET}"
        steelyard.report(url, tmp_path / "report.html")
        said = str(steelyard.lineage([url, tmp_path / "net.safetensors"])) + (tmp_path / "report.html").read_text()
    assert "net.safetensors" in said
    assert SECRET not in said


@pytest.mark.parametrize("target", ["s3://me:5eCr3tT0kEn@bucket/x", "https://5eCr3tT0kEn@example.org/x"])
def test_nothing_is_written_to_a_url(target, content, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(FormatError, match="is a URL, and files are written on this machine only"):
        steelyard.save("net.safetensors", f"{target}.npz")
    for argv in (
        ["convert", "net.safetensors", f"{target}.npz"],
        ["report", "net.safetensors", "-o", target],
        ["vector", "net.safetensors", "-o", f"{target}.npy"],
    ):
        assert main(argv) == 2
        err = capsys.readouterr().err
        assert len(err.splitlines()) == 1
        assert "is a URL" in err
        assert SECRET not in err
    with pytest.raises(FormatError, match="is a URL"):
        steelyard.record(f"{target}/run")
    assert sorted(tmp_path.iterdir()) == before


LEADING_OUT = {
    "encoded": "%2e%2e/x.safetensors",
    "a slash": "..%2Fx.safetensors",
    "encoded twice": "%252e%252e/x.safetensors",
    "encoded again and again": f"%{'25' * 100_000}2e%{'25' * 100_000}2e/x.safetensors",
    "a query": "x.safetensors?y",
    "a parameter": "..;/x.safetensors",
    "plain": "../x.safetensors",
    "another URL": "https://example.org/x.safetensors",
}


@pytest.mark.parametrize("name", LEADING_OUT.values(), ids=LEADING_OUT.keys())
def test_an_index_at_a_url_leads_nowhere_outside_its_folder(content, name):
    index = json.dumps({"weight_map": {"w": name}}).encode()
    with Server({"/deep/m.safetensors.index.json": index, "/x.safetensors": content, "/deep/x.safetensors": content}) as server:
        with pytest.raises(UnsafeFileError, match=r"out of the folder|not a name in a URL"):
            steelyard.weights(f"{server.address}/deep/m.safetensors.index.json")
        assert {path.rpartition("/")[2] for path, _, _ in server.asked} == {"m.safetensors.index.json"}


def test_a_local_file_imports_nothing_of_this(tmp_path):
    import subprocess

    steelyard.save({"w": np.ones(3)}, tmp_path / "net.safetensors")
    code = f"import sys\nfrom steelyard.cli import main\nmain(['ls', {str(tmp_path / 'net.safetensors')!r}])\nprint([m for m in sys.modules if 'remote' in m or m in ('fsspec', 'asyncio', 'aiohttp')])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"

"""The audit of folders of the Hub: code that comes with a model, and names that a loader imports."""

import json

import pytest

from steelyard.auditing import audit
from steelyard.storage.source import from_bytes


def found(config, name="config.json"):
    content = json.dumps(config) if not isinstance(config, str) else config
    return [(finding.severity, finding.rule) for finding in audit(from_bytes(content.encode(), name)).findings]


@pytest.mark.parametrize(
    ("config", "name", "expected"),
    [
        ({"auto_map": {"AutoModel": "modeling_x.Net"}}, "config.json", ("warning", "hub-own-code")),
        ({"auto_map": {"AutoTokenizer": ["tok.Slow", None]}}, "tokenizer_config.json", ("warning", "hub-own-code")),
        ({"auto_map": {"AutoModel": "owner/name--modeling_x.Net"}}, "config.json", ("error", "hub-remote-code")),
        ({"auto_map": {"AutoTokenizer": [None, "a/b--tok.Fast"]}}, "tokenizer_config.json", ("error", "hub-remote-code")),
        ({"auto_map": {"AutoModel": "../../x.Net"}}, "adapter_config.json", ("error", "hub-remote-code")),
        ({"text_config": {"auto_map": {"AutoConfig": "a/b--c.D"}}}, "config.json", ("error", "hub-remote-code")),
        ({"trust_remote_code": True}, "config.json", ("error", "hub-trusts-code")),
        ({"custom_pipelines": {"t": {"impl": "pipe.Pipe", "pt": ["AutoModel"]}}}, "config.json", ("warning", "hub-own-code")),
        ({"custom_pipelines": {"t": {"impl": "a/b--pipe.Pipe"}}}, "config.json", ("error", "hub-remote-code")),
        ({"_class_name": ["pipeline", "MyPipe"]}, "model_index.json", ("warning", "hub-own-code")),
        ({"unet": ["my_unet", "UNet"]}, "model_index.json", ("warning", "hub-own-code")),
        ({"unet": ["os", "system"]}, "model_index.json", ("error", "hub-function")),
        ({"unet": ["subprocess", "Popen"]}, "model_index.json", ("error", "hub-function")),
        ([{"idx": 0, "type": "evil.models.Pooling"}], "modules.json", ("warning", "hub-unknown-class")),
        ([{"idx": 0, "type": "os.system"}], "modules.json", ("error", "hub-function")),
        ({"model": {"_target_": "subprocess.Popen", "args": ["ls"]}}, "model_config.json", ("error", "hub-function")),
        ({"model": {"_target_": "builtins.eval"}}, "a.json", ("error", "hub-function")),
        (
            {"auto_mapping": {"parent_library": "os", "base_model_class": "system"}},
            "adapter_config.json",
            ("error", "hub-function"),
        ),
        ({"_attn_implementation": "owner/kernel"}, "config.json", ("error", "hub-remote-code")),
        ({"filters": [{"id": "pickle", "protocol": 5}]}, ".zarray", ("error", "hub-function")),
        ({"weight_map": {"a": "../../b.bin"}}, "pytorch_model.bin.index.json", ("error", "hub-outside")),
        ({"weightsManifest": [{"paths": ["/etc/passwd"]}]}, "model.json", ("error", "hub-outside")),
        ({"base_model_name_or_path": "../../x"}, "adapter_config.json", ("error", "hub-outside")),
    ],
)
def test_code_that_comes_with_a_model_is_named(config, name, expected):
    assert expected in found(config, name)


@pytest.mark.parametrize(
    ("config", "name"),
    [
        ({"model_type": "bert", "architectures": ["BertModel"], "_name_or_path": "bert-base"}, "config.json"),
        ({"trust_remote_code": False, "auto_map": {}}, "config.json"),
        ({"_class_name": "StableDiffusionPipeline", "unet": ["diffusers", "UNet2DConditionModel"]}, "model_index.json"),
        ({"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"], "x": [None, None]}, "model_index.json"),
        ([{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"}], "modules.json"),
        ({"_target_": "torch.optim.AdamW"}, "a.json"),
        ({"_target_": "nemo.collections.asr.modules.ConvASREncoder"}, "a.json"),
        (
            {"auto_mapping": {"parent_library": "transformers.models.bert.modeling_bert", "base_model_class": "BertModel"}},
            "adapter_config.json",
        ),
        ({"_attn_implementation": "flash_attention_2"}, "config.json"),
        ({"filters": [{"id": "zstd"}]}, ".zarray"),
        ({"weightsManifest": [{"paths": ["group1-shard1of1.bin"]}]}, "model.json"),
        ({"a": ["os", "system"], "type": "os.system"}, "vocab_words.json"),
        ({"weight_map": {"a": "model.safetensors"}}, "model.safetensors.index.json"),
    ],
)
def test_the_configs_of_ordinary_models_have_no_finding(config, name):
    assert not [rule for severity, rule in found(config, name) if rule != "not-looked-into"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ('a: !!python/object/apply:os.system ["ls"]', "yaml-object"),
        ("a: !!python/object/new:os.system [ls]", "yaml-object"),
        ("a: !!python/name:os.system", "yaml-object"),
        ("a: !!python/module:os", "yaml-object"),
        ("a: !<tag:yaml.org,2002:python/object/apply:os.system> [ls]", "yaml-object"),
        ("%TAG ! tag:yaml.org,2002:python/\n---\na: !object/apply:os.system [ls]", "yaml-object"),
        ("net: !new:os.system\n  command: ls", "yaml-object"),
        ("net: !apply:subprocess.check_output [[ls]]", "yaml-object"),
        ("net:\n  _target_: os.system\n  command: ls", "yaml-object"),
        ("- {_target_: builtins.exec}", "yaml-object"),
        ("net: !new:my.nets.Net", "hub-unknown-class"),
    ],
)
def test_objects_in_yaml_are_named(text, rule):
    assert rule in [named for _, named in found(text, "model_config.yaml")]


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/tuple [1, 2]\nb: 'os.system'",
        "model:\n  _target_: torch.nn.Linear\n  in_features: 2",
        "net: !new:speechbrain.nnet.RNN.LSTM\n  size: 2",
        "x: !ref <y>\nurl: https://example.org",
    ],
)
def test_ordinary_yaml_has_no_finding(text):
    assert not found(text, "hyperparams.yaml")


@pytest.mark.parametrize(
    ("module", "expected"), [("os", ["yaml-object"]), ("my_code", ["hub-unknown-class"]), ("mlflow.sklearn", [])]
)
def test_the_loader_of_mlflow_is_named(module, expected):
    listed = found(f"flavors:\n  python_function:\n    loader_module: {module}\n", "MLmodel")
    assert [rule for _, rule in listed] == expected


def test_python_source_beside_a_model_is_named(tmp_path):
    (tmp_path / "modeling_x.py").write_text("import os\n\nos.system('true')\n")
    (tmp_path / "configuration_x.py").write_text("class Config: pass\n")
    (tmp_path / "notes.py").write_text("x = 1\n")
    assert not audit(tmp_path).findings  # no model is here
    (tmp_path / "config.json").write_text("{}")
    assert [(each.severity, each.place.split(" in ")[0]) for each in audit(tmp_path).findings] == [
        ("warning", "configuration_x.py"),
        ("error", "modeling_x.py"),
    ]
    assert "os.system(' in line 3" in audit(tmp_path).findings[1].what


@pytest.mark.parametrize(
    "line",
    [
        "subprocess.run(['ls'])",
        "eval(x)",
        "exec(base64.b64decode(x))",
        "__import__('os')",
        "requests.get('http://a')",
        "urllib.request.urlopen(u)",
        "pickle.loads(b)",
        "socket.socket()",
        "getattr(os, 'sys' + 'tem')('x')",
        "importlib.import_module(n)",
    ],
)
def test_source_that_runs_code_or_reaches_out_is_an_error(line, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "modeling_x.py").write_text(f"class Net:\n    def f(self, x):\n        {line}\n")
    assert [finding.rule for finding in audit(tmp_path).findings] == ["python-code-runs"]


def test_source_of_a_network_alone_is_a_warning(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    text = "import os\nimport torch\npath = os.path.join('a', 'b')\nnet = net.eval()\nself.evaluate(1)\n"
    (tmp_path / "modeling_x.py").write_text(text)
    assert [finding.rule for finding in audit(tmp_path).findings] == ["python-code"]

"""Recorders as callbacks of the trainers of Lightning and of transformers, which train as they do without them."""

import importlib
import logging
import warnings

import pytest
import torch
from torch.nn.functional import cross_entropy

import steelyard
from steelyard.errors import ShapeError
from steelyard.runs.store import open_run

X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()
LIGHTNINGS = ("lightning.pytorch", "pytorch_lightning")


def same(one, other):
    one, other = ({name: weight.numpy().tobytes() for name, weight in steelyard.weights(net).items()} for net in (one, other))
    assert one == other


def fit(package, callbacks, kept=None, fails_at=None, start=None, **options):
    """Fit a small module with Lightning, and return it; `kept` takes the weights and the loss after each step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lightning = importlib.import_module(package)
        for name in (package, package.split(".")[0]):
            logging.getLogger(name).setLevel(logging.ERROR)

        class Net(lightning.LightningModule):
            def __init__(self):
                super().__init__()
                self.layer = torch.nn.Linear(4, 2)

            def training_step(self, batch, number):
                if self.global_step == fails_at:
                    raise RuntimeError("the data ended")
                loss = cross_entropy(self.layer(batch[0]), batch[1])
                self.log("even", float(number % 2 == 0))
                return loss

            def validation_step(self, batch, _number):
                self.log("val_loss", cross_entropy(self.layer(batch[0]), batch[1]))

            def on_train_batch_end(self, outputs, *_):
                if kept is not None:
                    kept.append((self.layer.weight.detach().clone(), float(outputs["loss"])))

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), 0.5)

        torch.manual_seed(0)
        net = Net()
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=8)
        options = {"max_epochs": 2, "logger": False, "enable_progress_bar": False, "enable_model_summary": False} | options
        options = {"enable_checkpointing": False, "accelerator": "cpu", "callbacks": callbacks} | options
        lightning.Trainer(**options).fit(net, loader, loader, ckpt_path=start)
    return net


def loss_of(path):
    """Return the loss of a snapshot on all of the data."""
    weight, bias = (torch.from_numpy(steelyard.weights(path)[name].numpy().copy()) for name in ("layer.weight", "layer.bias"))
    return float(cross_entropy(X @ weight.T + bias, Y))


@pytest.mark.parametrize("package", LIGHTNINGS)
def test_lightning_is_recorded_after_each_step_and_trains_as_without(tmp_path, package):
    kept = []
    with steelyard.record(tmp_path, snapshot=1) as rec:
        net = fit(package, [rec.lightning()], kept)
    run = open_run(tmp_path)
    assert run.steps == [1, 2, 3, 4, 5, 6]
    assert [row.epoch for row in run.rows] == [0, 0, 0, 1, 1, 1]
    for row, path, (weight, loss) in zip(run.rows, run.snapshots().values(), kept, strict=True):
        assert steelyard.weights(path)["layer.weight"].numpy().tobytes() == weight.numpy().tobytes()
        assert row.metrics["loss"] == loss
    assert run.metric("even").tolist() == [1, 0, 1, 1, 0, 1]
    same(net, fit(package, []))


def test_a_validation_of_lightning_is_in_the_record_of_the_weights_that_it_had(tmp_path):
    with steelyard.record(tmp_path / "steps", snapshot=1) as rec, steelyard.record(tmp_path / "epochs", snapshot=1) as other:
        fit(LIGHTNINGS[0], [rec.lightning(), other.lightning(each="epoch")])
    steps, epochs = open_run(tmp_path / "steps"), open_run(tmp_path / "epochs")
    assert [row.step for row in steps.rows if "val_loss" in row.metrics] == epochs.steps == [3, 6]
    for run in (steps, epochs):
        for step, path in run.snapshots().items():
            if step in epochs.steps:
                value = run.metric("val_loss")[run.steps.index(step)]
                assert value == pytest.approx(loss_of(path), abs=1e-6)


def test_steps_of_lightning_are_those_of_the_optimizer(tmp_path):
    with steelyard.record(tmp_path, every=2) as rec:
        fit(LIGHTNINGS[0], [rec.lightning()], accumulate_grad_batches=2, max_epochs=3)
    assert open_run(tmp_path).steps == [2, 4, 6]


def test_the_last_step_before_lightning_fails_is_recorded(tmp_path):
    with steelyard.record(tmp_path) as rec, pytest.raises(RuntimeError, match="the data ended"):
        fit(LIGHTNINGS[0], [rec.lightning()], fails_at=4)
    assert open_run(tmp_path).steps == [1, 2, 3, 4]


def test_a_fit_of_lightning_goes_on_from_its_checkpoint_in_the_same_run(tmp_path):
    options = {"enable_checkpointing": True, "default_root_dir": tmp_path}
    with steelyard.record(tmp_path / "run", snapshot=1) as rec:
        fit(LIGHTNINGS[0], [rec.lightning()], **options, max_epochs=1)
    (checkpoint,) = tmp_path.glob("checkpoints/*.ckpt")
    assert not torch.load(checkpoint, weights_only=True)["callbacks"].keys() & {rec.lightning().state_key}
    with steelyard.record(tmp_path / "run", snapshot=1) as rec:
        fit(LIGHTNINGS[0], [rec.lightning()], start=checkpoint)
    run = open_run(tmp_path / "run")
    assert run.steps == [1, 2, 3, 4, 5, 6]
    same(run.snapshots()[6], fit(LIGHTNINGS[0], []))


def train(folder, callbacks=(), model=None, **options):
    """Train a tiny BERT with the trainer of transformers, and return the trainer."""
    import transformers

    torch.manual_seed(0)
    settings = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 16}
    model = model or transformers.BertForSequenceClassification(transformers.BertConfig(**settings, max_position_embeddings=8))
    rows = [{"input_ids": [n % 16, 3, 5], "labels": n % 2} for n in range(12)]
    options = {
        "num_train_epochs": 2,
        "per_device_train_batch_size": 4,
        "report_to": [],
        "logging_steps": 2,
        "eval_strategy": "epoch",
    } | options
    options = {"save_strategy": "no", "disable_tqdm": True, "use_cpu": True, "dataloader_pin_memory": False} | options
    arguments = transformers.TrainingArguments(str(folder), **options)
    trainer = transformers.Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, callbacks=list(callbacks))
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return trainer


def test_transformers_is_recorded_after_each_step_and_trains_as_without(tmp_path):
    with steelyard.record(tmp_path / "run", snapshot=1) as rec:
        trainer = train(tmp_path / "out", [rec.transformers()])
    run = open_run(tmp_path / "run")
    assert run.steps == [1, 2, 3, 4, 5, 6]
    assert run.rows[-1].epoch == 2
    logged = {entry["step"]: entry["loss"] for entry in trainer.state.log_history if "loss" in entry}
    assert {row.step: row.metrics["loss"] for row in run.rows if "loss" in row.metrics} == logged
    evaluated = {entry["step"]: entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry}
    assert {row.step: row.metrics["eval_loss"] for row in run.rows if "eval_loss" in row.metrics} == evaluated
    assert list(evaluated) == [3, 6]
    assert not [name for row in run.rows for name in row.metrics if name.endswith(("runtime", "second", "epoch"))]
    same(run.snapshots()[6], trainer.model)
    same(trainer.model, train(tmp_path / "out").model)


def test_transformers_is_recorded_after_each_epoch_before_it_loads_the_best_weights(tmp_path):
    options = {"save_strategy": "epoch", "load_best_model_at_end": True, "learning_rate": 5.0}
    with (
        steelyard.record(tmp_path / "run", snapshot="best:eval_loss") as rec,
        steelyard.record(tmp_path / "all", snapshot=1) as all_,
    ):
        trainer = train(tmp_path / "out", [rec.transformers(each="epoch"), all_.transformers()], **options)
    run = open_run(tmp_path / "run")
    assert run.steps == [3, 6]
    (best,) = run.snapshots()
    assert str(best) == trainer.state.best_model_checkpoint.rpartition("-")[2]
    same(run.snapshots()[best], trainer.model)
    for step, path in open_run(tmp_path / "all").snapshots().items():
        if step in (3, 6):
            same(path, tmp_path / "out" / f"checkpoint-{step}")


@pytest.mark.parametrize("name", ["lightning", "transformers"])
def test_an_unknown_pace_of_a_trainer_is_refused(tmp_path, name):
    with steelyard.record(tmp_path) as rec, pytest.raises(ShapeError, match='must be "step" or "epoch"'):
        getattr(rec, name)(each="batch")

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate.state import PartialState
from safetensors.torch import load_file, save
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import v2

import virolbi
from virolbi import smooth
from virolbi._engine.threads import parallel
from virolbi.cli import app
from virolbi.data import load
from virolbi.recipes import Recipe, load_recipe
from virolbi.training import (
    ResNet,
    build_classifier,
    learning_rate,
    load_run,
    plan_training,
    read_checkpoint,
    train,
    use_one_thread,
    validation_mask,
)
from virolbi.training.batches import Batches
from virolbi.training.devices import check_batch_norm, create_accelerator
from virolbi.training.loop import _log_smoothing
from virolbi.training.trainer import Trainer

SMALL = Recipe(epochs=2, batch_size=16, crop=2)
PROCEDURES = ("plain", "fixed", "iterative", "mixed")


@pytest.fixture
def images(folder_of_images):
    return load(str(folder_of_images), "train")


def same_weights(one, other):
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=0, atol=0)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("procedure", PROCEDURES)
def test_every_procedure_learns_to_tell_bright_from_dark(images, procedure):
    run = train(SMALL.replace(procedure=procedure, epochs=12, learning_rate=0.02), images)
    pixels = torch.from_numpy(images.pixels).float() / 255
    with torch.no_grad():
        assert (
            run.model(pixels).argmax(dim=1) == torch.from_numpy(images.labels)
        ).float().mean() == 1
    assert [entry["epoch"] for entry in run.history] == list(range(1, 13))
    assert not run.model.training


DRAWN = []  # by the networks of a test


class Drawing(nn.Module):
    """A network that draws a random number in each forward pass of its training."""

    def __init__(self, channels, classes):
        super().__init__()
        self.last = nn.Linear(channels, classes)

    def forward(self, images):
        if self.training:
            DRAWN.append(float(torch.rand(1)))
        return self.last(images.mean((2, 3)))


def test_each_seed_and_each_step_has_its_own_dropout(images):
    """A network on a CPU has the lower 32 bits of a seed alone."""
    DRAWN.clear()
    for seed in (0, 1):
        recipe = SMALL.replace(procedure="plain", seed=seed)
        train(recipe, images, network=Drawing(images.pixels.shape[1], len(images.classes)))
    assert len(set(DRAWN)) == len(DRAWN) > 4


def test_training_is_decided_by_the_recipe(images):
    first, again, other = (
        train(SMALL.replace(procedure="mixed", noise=0.1, seed=seed), images) for seed in (0, 0, 1)
    )
    assert same_weights(first.model, again.model)
    assert first.history == again.history != other.history


# more workers than this machine has cores
@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_workers_prepare_the_same_batches(images):
    recipe = SMALL.replace(procedure="mixed", noise=0.1)
    assert same_weights(train(recipe, images, workers=2).model, train(recipe, images).model)


class Threads(torch.utils.data.Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        names = set()
        parallel(lambda _: names.add((time.sleep(0.05), threading.get_ident())), range(8))
        return len(names)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_each_worker_smooths_on_one_thread(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 2}, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert Threads()[0] == 3
    loader = torch.utils.data.DataLoader(
        Threads(), batch_size=None, num_workers=2, worker_init_fn=use_one_thread
    )
    assert list(loader) == [1, 1]


def test_a_finished_run_is_returned_as_it_is(images, tmp_path):
    run = train(SMALL.replace(filter="median"), images, tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "history.json",
        "recipe.json",
        "weights.safetensors",
    ]
    loaded = load_run(tmp_path / "run")
    assert (loaded.recipe, loaded.classes, loaded.data, loaded.history) == (
        run.recipe,
        run.classes,
        run.data,
        run.history,
    )
    pixels = torch.rand(5, 1, 12, 12)
    torch.testing.assert_close(loaded.model(pixels), run.model(pixels))
    again = train(
        SMALL.replace(filter="median"),
        images,
        tmp_path / "run",
        progress=lambda step: pytest.fail("trained again"),
    )
    assert same_weights(again.model, run.model)
    assert (again.history, again.model.training) == (run.history, False)
    with pytest.raises(ValueError, match="run must be .* differs in filter"):
        train(SMALL, images, tmp_path / "run")
    (tmp_path / "run" / "weights.safetensors").write_bytes(b"")
    for folder in ("run", "nowhere"):
        with pytest.raises(ValueError, match=f"{folder} must be .* finished"):
            load_run(tmp_path / folder)
    path = tmp_path / "run" / "recipe.json"
    description = json.loads(path.read_text())
    path.write_text(json.dumps({key: description[key] for key in description if key != "classes"}))
    with pytest.raises(ValueError, match=r"run must be .*recipe\.json has no entry 'classes'"):
        load_run(path.parent)


class Stop(Exception):
    pass


def stop_at(step):
    def progress(p):
        if p.step == step:
            raise Stop

    return progress


DAMAGES = {
    "truncated": lambda content: content[:-30],
    "garbage": lambda content: b"garbage " * 100,
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "of something else": lambda content: save({"a": torch.zeros(2)}),
}


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_named_with_the_way_out(images, tmp_path, damage):
    folder = tmp_path / "run"
    with pytest.raises(Stop):
        train(SMALL, images, folder, checkpoint_every=0, progress=stop_at(3))
    path = folder / "checkpoint.safetensors"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(ValueError, match=r"run/checkpoint\.safetensors must .*delete it to start"):
        train(SMALL, images, folder)
    path.unlink()
    assert same_weights(train(SMALL, images, folder).model, train(SMALL, images).model)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [damage for damage in DAMAGES if damage != "of something else"])
def test_damaged_weights_are_named_with_the_way_out(images, tmp_path, damage):
    folder = tmp_path / "run"
    run = train(SMALL, images, folder)
    path = folder / "weights.safetensors"
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    for read in (load_run, lambda folder: train(SMALL, images, folder)):
        with pytest.raises(ValueError, match=r"run/weights\.safetensors is damaged; delete it"):
            read(folder)
    path.unlink()
    assert same_weights(train(SMALL, images, folder).model, run.model)


@pytest.mark.parametrize(
    ("command", "file"), [("train", "checkpoint"), ("evaluate", "weights"), ("export", "weights")]
)
def test_the_commands_name_a_damaged_file_in_one_line(folder_of_images, tmp_path, command, file):
    folder, data = tmp_path / "run", str(folder_of_images)
    recipe = load_recipe("images-resnet8-plain").replace(
        data=data, epochs=1, batch_size=16, size=12
    )
    progress = stop_at(2) if command == "train" else None
    with pytest.raises(Stop) if command == "train" else nullcontext():
        train(recipe, None, folder, checkpoint_every=0, progress=progress)
    path = folder / f"{file}.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    changes = ["--set", "epochs=1", "--set", "batch_size=16", "--set", "size=12"]
    arguments = {
        "train": ["images-resnet8-plain", str(folder), "--data", data, *changes],
        "evaluate": [str(folder), str(tmp_path / "out")],
        "export": [str(folder), str(tmp_path / "out.safetensors")],
    }
    with pytest.raises(SystemExit) as stopped:
        app([command, *arguments[command]], standalone_mode=False)
    assert str(path) in stopped.value.code
    assert "delete it" in stopped.value.code
    assert "\n" not in stopped.value.code


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(images, tmp_path, optimizer):
    recipe = SMALL.replace(
        procedure="mixed",
        noise=0.1,
        optimizer=optimizer,
        learning_rate=0.01,
        validation=0.2,
        patience=5,
        epochs=4,
    )
    whole = train(recipe, images)
    for step in (3, 7):  # in the middle of an epoch, twice
        with pytest.raises(Stop):
            train(recipe, images, tmp_path / "run", checkpoint_every=0, progress=stop_at(step))
        state, _ = read_checkpoint(tmp_path / "run")
        assert state.step == step - 1
    run = train(recipe, images, tmp_path / "run")
    assert run.history == whole.history
    assert same_weights(run.model, whole.model)
    assert same_weights(load_run(tmp_path / "run").model, whole.model)


@pytest.fixture
def ctrl_c():
    """Let Ctrl-C raise an error, as in a program of its own; workers of pytest ignore it."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


def interrupt_after(step, monkeypatch, times=1):
    """Press Ctrl-C when the weights of a step are new, and it is not counted yet."""
    take_step = Trainer.step

    def interrupted(trainer, *args):
        loss = take_step(trainer, *args)
        if trainer.state.step == step:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return loss

    monkeypatch.setattr(Trainer, "step", interrupted)


@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("workers", [0, 1])
def test_interrupted_training_saves_its_step(images, tmp_path, monkeypatch, caplog, workers):
    folder, whole = tmp_path / "run", train(SMALL, images)
    with monkeypatch.context() as patch:
        interrupt_after(2, patch)
        with pytest.raises(KeyboardInterrupt):
            train(SMALL, images, folder, workers=workers)
    assert read_checkpoint(folder)[0].step == 3
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with caplog.at_level("INFO", "virolbi"):
        run = train(SMALL, images, folder, workers=workers)
        assert re.search(r"training resumes after 3 of \d+ steps", caplog.text)
        train(SMALL, images, folder)
    assert "finished; nothing is trained" in caplog.text
    assert run.history == whole.history
    assert same_weights(run.model, whole.model)


@pytest.mark.usefixtures("ctrl_c")
def test_an_interruption_of_the_last_step_is_too_late(images, tmp_path, monkeypatch):
    whole = train(SMALL, images)
    interrupt_after(len(Batches(SMALL, images)) - 1, monkeypatch)
    train(SMALL, images, tmp_path / "run")
    assert same_weights(load_run(tmp_path / "run").model, whole.model)


@pytest.mark.usefixtures("ctrl_c")
def test_a_second_interruption_stops_at_once(images, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    interrupt_after(2, monkeypatch, times=2)
    with pytest.raises(KeyboardInterrupt):
        train(SMALL, images, folder)
    assert read_checkpoint(folder) is None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.slow
def test_training_resumes_after_a_kill_at_any_moment(folder_of_images, tmp_path):
    code = (
        "from pathlib import Path; from virolbi.recipes import Recipe; "
        "from virolbi.training import train; "
        f"train(Recipe(data={str(folder_of_images)!r}, epochs=6, batch_size=8, noise=0.1), None, "
        f"Path({str(tmp_path / 'run')!r}), checkpoint_every=0, "
        "progress=lambda p: print(p.step, flush=True))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    seed = np.random.SeedSequence().entropy
    print("seed of the moment:", seed)  # pytest shows it where the test fails
    rng = np.random.default_rng(seed)
    last = rng.integers(2, 20)
    for line in process.stdout:
        if int(line) == last:
            break
    time.sleep(rng.uniform(0, 0.02))  # anywhere in a step, or while a checkpoint is written
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    recipe = Recipe(data=str(folder_of_images), epochs=6, batch_size=8, noise=0.1)
    run, whole = train(recipe, None, tmp_path / "run"), train(recipe)
    assert run.history == whole.history
    assert same_weights(run.model, whole.model)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "history.json",
        "recipe.json",
        "weights.safetensors",
    ]


def test_a_folder_with_anything_else_is_refused(images, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "thesis.txt").write_text("years of work")
    for path in ("results", "results/thesis.txt"):
        with pytest.raises(ValueError, match=f"{path} must be"):
            train(SMALL, images, tmp_path / path)
    with pytest.raises(Stop):
        train(SMALL, images, tmp_path / "run", progress=stop_at(1))
    with pytest.raises(ValueError, match="run must be .* differs in epochs, seed"):
        train(SMALL.replace(epochs=3, seed=1), images, tmp_path / "run")
    with pytest.raises(ValueError, match="run must be .* differs in data"):
        train(SMALL, images.subset(np.s_[:40]), tmp_path / "run")


def rewrite_environment(folder, **changes):
    path = folder / "recipe.json"
    description = json.loads(path.read_text())
    description["environment"] |= changes
    path.write_text(json.dumps(description))


def test_an_unfinished_run_of_another_version_is_refused(images, tmp_path):
    folder = tmp_path / "run"
    with pytest.raises(Stop):
        train(SMALL, images, folder, checkpoint_every=0, progress=stop_at(3))
    rewrite_environment(folder, virolbi="0.2.0")
    with pytest.raises(ValueError, match=r"run must be .* this version, .* unfinished .* 0\.2\.0"):
        train(SMALL, images, folder)
    rewrite_environment(folder, virolbi=virolbi.__version__, smoother="another")
    train(SMALL, images, folder)  # without smoothing its sources do not count
    rewrite_environment(folder, virolbi="0.2.0")
    assert train(SMALL, images, folder).history  # finished


def test_an_unfinished_run_with_another_smoother_is_warned_about(images, tmp_path):
    recipe, folder = SMALL.replace(procedure="fixed"), tmp_path / "run"
    with pytest.raises(Stop):
        train(recipe, images, folder, checkpoint_every=0, progress=stop_at(3))
    rewrite_environment(folder, smoother="another")
    with pytest.warns(UserWarning, match="run should be resumed with the sources .* another"):
        train(recipe, images, folder)


def test_a_run_resumes_when_its_images_were_moved(folder_of_images, tmp_path):
    recipe, folder = SMALL.replace(data=str(folder_of_images), validation=0.2), tmp_path / "run"
    whole = train(recipe)
    with pytest.raises(Stop):
        train(recipe, None, folder, checkpoint_every=0, progress=stop_at(3))
    moved = folder_of_images.rename(tmp_path / "renamed")
    with pytest.raises(ValueError, match="run must be .* differs in seed"):
        train(recipe.replace(data=str(moved), seed=1), None, folder)
    steps = []
    run = train(
        recipe.replace(data=str(moved)), None, folder, progress=lambda p: steps.append(p.step)
    )
    assert steps[0] == 3
    assert run.history == whole.history
    assert same_weights(run.model, whole.model)
    again = moved.rename(tmp_path / "again")
    assert same_weights(train(recipe.replace(data=str(again)), None, folder).model, whole.model)


def test_networks_see_smoothed_images(images, monkeypatch):
    """Without augmentation, the first step of a fixed run sees the smoothed training set.

    The images come in any order.
    """
    seen = []
    monkeypatch.setattr(
        ResNet,
        "forward",
        lambda self, x: (
            (self.training and seen.append(x.detach().clone()))
            or self.head(torch.zeros(len(x), 64) + x.mean())
        ),
    )
    run = train(
        SMALL.replace(procedure="fixed", epochs=1, batch_size=48, crop=0, flip=False), images
    )
    shown = (seen[0] * run.model.std + run.model.mean).numpy()
    expected = smooth(images.pixels, 0.8, channel_axis=1) / np.float32(255)
    np.testing.assert_allclose(
        np.sort(shown.mean(axis=(1, 2, 3))), np.sort(expected.mean(axis=(1, 2, 3))), atol=1e-5
    )
    np.testing.assert_allclose(
        np.sort(shown.std(axis=(1, 2, 3))), np.sort(expected.std(axis=(1, 2, 3))), atol=1e-5
    )


class Tiny(torch.nn.Module):
    """A network of a user, without statistics over the batch."""

    def __init__(self, classes=2):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Conv2d(1, 8, 3, padding=1), torch.nn.ReLU())
        self.head = torch.nn.Linear(8, classes)

    def forward(self, images):
        return self.head(self.body(images).mean(dim=(2, 3)))


def seeded(network, *arguments):
    torch.manual_seed(0)
    return network(*arguments)


def test_a_network_of_the_user_and_batches_in_parts(images, tmp_path):
    recipe = SMALL.replace(epochs=3, learning_rate=0.01)
    run = train(recipe, images, tmp_path / "run", network=seeded(Tiny))
    parts = train(recipe.replace(accumulate=3), images, network=seeded(Tiny))
    for (name, one), other in zip(
        run.model.state_dict().items(), parts.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6, msg=name)
    assert same_weights(load_run(str(tmp_path / "run"), network=Tiny()).model, run.model)
    untouched, before = Tiny(), seeded(Tiny)
    untouched.load_state_dict(before.state_dict())
    load_run(tmp_path / "run", network=untouched)
    assert same_weights(untouched, before)
    with pytest.raises(ValueError, match=r"network must .*(?s:.)*head.weight"):
        load_run(tmp_path / "run", network=Tiny(classes=3))
    with pytest.raises(ValueError, match=r"run must be .* load_run\(folder, network="):
        load_run(tmp_path / "run")
    with pytest.raises(ValueError, match="run must be .* differs in network"):
        train(
            recipe, images, tmp_path / "run", network=torch.nn.Sequential(Tiny(), torch.nn.Tanh())
        )


@pytest.mark.parametrize(
    ("network", "error", "message"),
    [
        (
            lambda images: images,
            TypeError,
            "network must be .* got function",
        ),
        (
            torch.nn.Flatten(),
            TypeError,
            "network must be .* got Flatten",
        ),
        (
            torch.nn.Linear(12, 2).requires_grad_(False),
            TypeError,
            "network must be .* got Linear whose parameters all have requires_grad=False",
        ),
        (
            torch.nn.Conv2d(1, 2, 3),
            ValueError,
            r"network must .* \(2, 2\) .* got \(2, 2, 10, 10\)",
        ),
        (
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 5)),
            ValueError,
            r"network must .* \(2, 2\) .* got \(2, 5\)",
        ),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(images, tmp_path, network, error, message):
    with pytest.raises(error, match=message):
        train(SMALL, images, tmp_path / "run", network=network)
    assert not (tmp_path / "run").exists()


class Tied(Tiny):
    """Two names for one convolution."""

    def __init__(self):
        super().__init__()
        self.again = self.body[0]


def test_tied_weights_are_saved_and_resumed(images, tmp_path):
    whole = train(SMALL, images, network=seeded(Tied))
    with pytest.raises(Stop):
        train(
            SMALL,
            images,
            tmp_path / "run",
            network=seeded(Tied),
            checkpoint_every=0,
            progress=stop_at(3),
        )
    run = train(SMALL, images, tmp_path / "run", network=seeded(Tied))
    assert same_weights(run.model, whole.model)
    assert same_weights(load_run(tmp_path / "run", network=Tied()).model, whole.model)


def test_weights_that_cannot_be_saved_are_refused_before_training(images, tmp_path):
    network = seeded(Tiny)
    network.register_buffer("graph", torch.eye(3).to_sparse())
    with pytest.raises(ValueError, match=r"network must .* network\.graph is not"):
        train(SMALL, images, tmp_path / "run", network=network, progress=lambda p: 1 / 0)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_adamw_decays_neither_norms_nor_biases_nor_positions(images):
    recipe = SMALL.replace(
        model="vit_tiny_cifar", optimizer="adamw", learning_rate=1e-6, weight_decay=1e5, epochs=1
    )
    trained = dict(train(recipe, images).model.named_parameters())
    for name, before in build_classifier(recipe, images).named_parameters():
        if before.ndim > 1 and not name.endswith(("pos_embed", "cls_token")):
            assert trained[name].norm() < 0.9 * before.norm()
        else:
            torch.testing.assert_close(trained[name], before, rtol=0, atol=1e-5)


def test_training_starts_from_weights(images, tmp_path):
    first = train(SMALL, images, tmp_path / "first")
    slow = SMALL.replace(
        epochs=1, learning_rate=1e-12, weight_decay=0, weights=str(tmp_path / "first")
    )
    second = train(slow, images)
    torch.testing.assert_close(
        second.model.network.stem[0].weight, first.model.network.stem[0].weight
    )
    torch.testing.assert_close(second.model.network.head.weight, first.model.network.head.weight)
    three = images.subset(np.s_[:])
    object.__setattr__(three, "classes", ("bright", "dark", "neither"))
    third = train(slow, three)
    torch.testing.assert_close(
        third.model.network.stem[0].weight, first.model.network.stem[0].weight
    )
    assert third.model.network.head.weight.shape == (3, 64)
    with pytest.raises(ValueError, match=r"weights must .* differs in network\."):
        train(slow.replace(model="resnet14"), images)
    (tmp_path / "first" / "recipe.json").write_text("{")
    with pytest.raises(ValueError, match=r"weights must .* classes, got .*first/recipe\.json"):
        train(slow, images)
    with pytest.raises(ValueError, match="weights must .* nowhere"):
        train(slow.replace(weights="nowhere"), images)
    torch.save({"weight": torch.zeros(1000)}, tmp_path / "net.pt")
    with pytest.raises(ValueError, match=r"weights must .* safetensors.*, but .*net.pt is none"):
        train(slow.replace(weights=str(tmp_path / "net.pt")), images)
    with pytest.raises(ValueError, match="weights='pretrained' .* got model='resnet8'"):
        train(slow.replace(weights="pretrained"), images)


@pytest.mark.parametrize(
    ("classes", "source", "takes_head", "line"),
    [
        (("bright", "dark"), "run", True, "took network.head, the last layer, too (of the same"),
        (("ant", "bee"), "run", False, "left out network.head, .* other classes: bright, dark"),
        (("dark", "bright"), "run", False, "left out network.head, .* other classes: bright, dark"),
        (("a", "b", "c"), "run", False, "left out network.head, .* other classes: bright, dark"),
        (("ant", "bee"), "file", True, "took network.head, .* a file names no classes"),
        (("a", "b", "c"), "file", False, "left out network.head, .* shape is that of other"),
    ],
)
def test_the_last_layer_of_other_classes_is_left_out(
    images, tmp_path, caplog, classes, source, takes_head, line
):
    trained = train(SMALL.replace(epochs=1), images, tmp_path / "run").model.network
    path = tmp_path / "run"
    recipe = SMALL.replace(weights=str(path if source == "run" else path / "weights.safetensors"))
    caplog.clear()
    with caplog.at_level("INFO", "virolbi"):
        network = build_classifier(recipe, replace(images, classes=classes)).network
    assert torch.equal(network.stem[0].weight, trained.stem[0].weight)
    assert torch.equal(network.head.weight[:2], trained.head.weight) == takes_head
    assert torch.equal(network.head.bias[:2], trained.head.bias) == takes_head
    (message,) = caplog.messages
    assert re.search(line.replace("(", r"\("), message)
    assert str(path) in message


def test_training_stops_when_the_accuracy_stalls_and_keeps_the_best_epoch(images, monkeypatch):
    accuracies = iter([0.5, 0.9, 0.7, 0.9, 0.8])
    kept = []

    def judge(trainer, watched):
        assert len(watched) == 10
        kept.append({name: tensor.clone() for name, tensor in trainer._model.state_dict().items()})
        return next(accuracies)

    monkeypatch.setattr("virolbi.training.trainer.Trainer._accuracy", judge)
    run = train(SMALL.replace(epochs=9, validation=0.2, patience=3, batch_size=8), images)
    assert [entry["accuracy"] for entry in run.history] == [0.5, 0.9, 0.7, 0.9, 0.8]
    assert (run.kept_epoch["epoch"], run.kept_epoch["accuracy"]) == (2, 0.9)
    for name, tensor in run.model.state_dict().items():
        torch.testing.assert_close(tensor, kept[1][name], rtol=0, atol=0)


def test_validation_leaves_images_of_each_class_to_train_on(images):
    rare = images.subset(np.r_[np.flatnonzero(images.labels == 0), np.argmax(images.labels)])
    with pytest.raises(
        ValueError, match=r"^validation must .* got 0\.6, .* all 1 of class 'dark'$"
    ):
        train(SMALL.replace(validation=0.6), rare)
    message = r"^validation must .* got 0\.99, .* all 24 of class 'bright' and of 1 more"
    with pytest.raises(ValueError, match=message):
        train(SMALL.replace(validation=0.99), images)
    with pytest.raises(ValueError, match=r"^validation must hold out an image .* 48, got 0\.01"):
        train(SMALL.replace(validation=0.01), images)
    recipe, absent = SMALL.replace(validation=0.4), (*images.classes, "none")
    assert validation_mask(recipe, images.labels, absent).sum() == 20  # a class without images
    assert not validation_mask(SMALL, images.labels, images.classes).any()


def test_without_patience_the_last_epoch_is_kept(images, monkeypatch):
    accuracies = iter([0.9, 0.5])
    accuracy = "virolbi.training.trainer.Trainer._accuracy"
    monkeypatch.setattr(accuracy, lambda trainer, watched: next(accuracies))
    run = train(SMALL.replace(validation=0.2), images)
    assert run.kept_epoch == run.history[-1]
    assert run.kept_epoch["accuracy"] == 0.5


def test_training_that_leaves_the_sparsity_to_the_noise_resumes_without_a_mean(images, tmp_path):
    recipe = SMALL.replace(procedure="fixed", sparsity="auto")
    with pytest.raises(Stop):
        train(recipe, images, tmp_path / "run", checkpoint_every=0, progress=stop_at(3))
    state, _ = read_checkpoint(tmp_path / "run")
    assert state.sparsity is None
    run = train(recipe, images, tmp_path / "run")
    assert [sorted(entry) for entry in run.history] == [["epoch", "loss", "passes"]] * 2


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
def test_the_learning_rate_rises_to_its_peak_and_falls_to_zero(schedule):
    recipe = Recipe(schedule=schedule, learning_rate=0.3)
    rates = np.array([learning_rate(recipe, done) for done in np.linspace(0, 1, 1001)])
    top = rates.argmax()
    assert rates[top] == pytest.approx(0.3)
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top:]) < 0).all()
    assert rates[-1] == pytest.approx(0, abs=1e-12)
    if schedule == "one-cycle":  # that of torch, with these numbers
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3, momentum=0.9)
        theirs = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            0.3,
            total_steps=1001,
            div_factor=2,
            final_div_factor=1e9,
            pct_start=0.3 + 0.7 / 1001,
        )
        for step in range(1000):
            assert theirs.get_last_lr()[0] == pytest.approx(rates[step], abs=1e-3)
            optimizer.step()
            theirs.step()


def test_a_diverging_loss_is_reported(images):
    with pytest.raises(RuntimeError, match=r"loss .* learning_rate=1000000\.0"):
        train(SMALL.replace(learning_rate=1e6), images)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"workers": -1}, ValueError, "workers must be >= 0, got -1"),
        ({"workers": 1.5}, TypeError, "workers must be a whole number, got 1.5"),
        ({"checkpoint_every": math.nan}, ValueError, "checkpoint_every must be >= 0, got nan"),
        ({"checkpoint_every": -1}, ValueError, "checkpoint_every must be >= 0, got -1"),
        ({"checkpoint_every": "5"}, TypeError, "checkpoint_every must be a number, got '5'"),
        ({"progress": 3}, TypeError, "progress must be callable, got int"),
        ({"recipe": {"epochs": 1}}, TypeError, "recipe must be a .*Recipe, got dict"),
    ],
)
def test_settings_are_checked_before_images_are_loaded(tmp_path, settings, error, message):
    with pytest.raises(error, match=f"^{message}$"):
        train(**({"recipe": SMALL.replace(data="./none"), "folder": tmp_path / "run"} | settings))
    assert not (tmp_path / "run").exists()


def test_adversarial_training_trains_on_attacked_images(images, monkeypatch):
    attacked = []

    def attack(model, inputs, labels, *, epsilon, steps, generator):
        assert not model.training
        attacked.append((epsilon, steps))
        return inputs.new_full(inputs.shape, 0.25)

    seen = []
    monkeypatch.setattr("virolbi.training.trainer.pgd", attack)
    monkeypatch.setattr(
        ResNet,
        "forward",
        lambda self, x: (
            (self.training and seen.append(x.detach().clone()))
            or self.head(torch.zeros(len(x), 64) + x.mean())
        ),
    )
    run = train(SMALL.replace(epochs=1, adversarial=0.1, adversarial_steps=3), images)
    assert attacked == [(0.1, 3)] * 3
    torch.testing.assert_close(
        seen[0] * run.model.std + run.model.mean, torch.full_like(seen[0], 0.25)
    )


CONSISTENT = SMALL.replace(
    views=("clean", "equalise | augmix", "noise smooth"),
    consistency=6,
    procedure="mixed",
    noise=0.1,
    padding="reflect",
    standardise=True,
    learning_rate=0.02,
)


def test_views_are_shown_together_and_counted(images):
    sizes, network = [], seeded(Tiny)
    network.body.register_forward_hook(
        lambda module, inputs, output: sizes.append(len(output)) if module.training else None
    )
    run = train(CONSISTENT, images, network=network)
    assert set(sizes) == {3 * 16}
    assert CONSISTENT.passes == 3
    assert [entry["passes"] for entry in run.history] == [3, 6]
    assert run.passes == 6
    attacked = CONSISTENT.replace(adversarial=0.1, adversarial_steps=2)
    assert attacked.passes == 5
    assert SMALL.passes == 1


def test_consistent_training_learns_and_resumes_like_any_other(images, tmp_path):
    recipe = CONSISTENT.replace(epochs=12, standardise=False)
    whole = train(recipe, images)
    pixels = torch.from_numpy(images.pixels).float() / 255
    with torch.no_grad():
        right = whole.model(pixels).argmax(dim=1) == torch.from_numpy(images.labels)
    assert right.float().mean() > 0.9
    with pytest.raises(Stop):
        train(recipe, images, tmp_path / "run", checkpoint_every=0, progress=stop_at(7))
    run = train(recipe, images, tmp_path / "run")
    assert run.history == whole.history
    assert same_weights(run.model, whole.model)
    assert same_weights(load_run(tmp_path / "run").model, whole.model)


def test_views_are_processed_in_parts_like_at_once(images):
    recipe = CONSISTENT.replace(epochs=1)
    run, parts = (
        train(recipe.replace(accumulate=count), images, network=seeded(Tiny)) for count in (1, 3)
    )
    for name, one in run.model.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], one, rtol=1e-4, atol=1e-6)


def test_the_last_view_is_attacked(images, monkeypatch):
    seen, monkey = [], "virolbi.training.trainer.pgd"
    monkeypatch.setattr(monkey, lambda model, inputs, *a, **k: torch.full_like(inputs, 0.25))
    network = seeded(Tiny)
    network.body.register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0].detach()) if module.training else None
    )
    recipe = SMALL.replace(epochs=1, views=("clean", "noise"), noise=0.1, adversarial=0.1)
    run = train(recipe, images, network=network)
    for shown in seen:
        intensities = shown * run.model.std + run.model.mean
        torch.testing.assert_close(intensities[16:], torch.full_like(shown[16:], 0.25))
        assert intensities[:16].std() > 0.1


def test_every_part_of_a_batch_is_attacked_from_a_different_start(images, monkeypatch):
    starts = []

    def attack(model, inputs, labels, *, epsilon, steps, generator):
        starts.append(tuple(torch.rand(3, generator=generator).tolist()))
        return inputs

    monkeypatch.setattr("virolbi.training.trainer.pgd", attack)
    recipe = SMALL.replace(epochs=1, adversarial=0.1, accumulate=2)
    for again in range(2):
        train(recipe, images)
        assert len(set(starts)) == 6
        assert len(starts) == 6 * (again + 1)


def test_mixed_precision_returns_the_network_that_it_saves(images, tmp_path):
    run = train(SMALL.replace(precision="bf16"), images, tmp_path / "run")
    pixels = torch.rand(5, 1, 12, 12)
    with torch.no_grad():
        torch.testing.assert_close(
            run.model(pixels), load_run(tmp_path / "run").model(pixels), rtol=0, atol=0
        )


def test_each_training_chooses_its_device(monkeypatch):
    assert create_accelerator(SMALL, cpu=True).device.type == "cpu"
    monkeypatch.setattr(PartialState, "default_device", torch.device("meta"))
    assert create_accelerator(SMALL, cpu=False).device.type == "meta"
    assert create_accelerator(SMALL, cpu=True).device.type == "cpu"


def test_mixed_precision_is_a_setting(images):
    dtypes = set()
    network = seeded(Tiny)
    network.body.register_forward_hook(
        lambda module, inputs, output: dtypes.add(output.dtype) if module.training else None
    )
    run = train(SMALL.replace(precision="bf16"), images, network=network)
    assert dtypes == {torch.bfloat16}
    assert {tensor.dtype for tensor in run.model.parameters()} == {torch.float32}
    again = train(SMALL, images, network=seeded(Tiny))  # without it
    assert np.isfinite(again.history[-1]["loss"])


def test_the_plan_counts_the_steps_and_the_memory_of_training(images):
    plan = plan_training(SMALL.replace(epochs=5), images.subset(np.s_[:2]), 48)
    assert (plan.steps, plan.batch_size) == (15, 16)
    assert plan.parameters == sum(
        tensor.numel() for tensor in train(SMALL.replace(epochs=1), images).model.parameters()
    )
    more = plan_training(SMALL.replace(batch_size=32), images.subset(np.s_[:2]), 48)
    fixed = 3 * 4 * plan.parameters
    assert more.memory - fixed == pytest.approx(2 * (plan.memory - fixed), rel=0.05)
    with pytest.raises(ValueError, match="a batch must hold an image or more for each .* got 2"):
        plan_training(SMALL.replace(accumulate=4), images.subset(np.s_[:2]), 2)


LAUNCHED = """
import json, os, sys, torch
from pathlib import Path
from virolbi.cli import app
from virolbi.data import load
from virolbi.recipes import Recipe, load_recipe
from virolbi.training import train
sys.path.insert(0, {tests!r})
from test_loop import Tiny, seeded
torch.set_num_threads(1)
recipe = Recipe(**json.loads({recipe!r}))
losses = []
train(
    recipe, load({data!r}, "train"), Path({out!r}), network=seeded(Tiny), cpu=True,
    progress=lambda p: losses.append(p.loss),
)
Path({out!r}, "losses.json").write_text(json.dumps(losses))
backend = torch.distributed.group.WORLD._get_backend(torch.device("cpu"))
facts = [torch.initial_seed(), backend.options._timeout.total_seconds()]
Path({out!r}, "facts" + os.environ["RANK"]).write_text(json.dumps(facts))
"""


@pytest.mark.slow
def test_two_processes_take_the_steps_of_one(folder_of_images, tmp_path):
    recipe = Recipe(
        epochs=3,
        batch_size=15,
        learning_rate=0.05,
        procedure="mixed",
        noise=0.1,
        crop=2,
        validation=0.2,
    )
    for processes in (1, 2):
        script = tmp_path / f"{processes}.py"
        paths = {
            "tests": str(Path(__file__).parent),
            "data": str(folder_of_images),
            "out": str(tmp_path / f"run{processes}"),
        }
        script.write_text(LAUNCHED.format(recipe=recipe.model_dump_json(), **paths))
        launch = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc-per-node={processes}",
            str(script),
        ]
        done = subprocess.run(launch, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (
        np.array(json.loads((tmp_path / f"run{n}" / "losses.json").read_text())) for n in (1, 2)
    )
    np.testing.assert_allclose(one, two, rtol=1e-4)
    weights = [load_file(tmp_path / f"run{n}" / "weights.safetensors") for n in (1, 2)]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], rtol=1e-3, atol=1e-5)
    facts = [
        json.loads((tmp_path / path).read_text())
        for path in ("run1/facts0", "run2/facts0", "run2/facts1")
    ]
    # the seed of the last step, and how many seconds processes wait for each other
    assert facts[0] == facts[1]
    assert facts[0][1] == 12 * 3600
    assert facts[2][0] != facts[0][0]  # each process draws its own dropout


UNSHARED = """
import os, sys
sys.path.insert(0, {tests!r})
from test_loop import SMALL, Tiny, seeded
import torch
import virolbi.training.devices
from virolbi.data import load
from virolbi.training import train

class Unused(Tiny):
    def __init__(self):
        super().__init__()
        self.more = torch.nn.Linear(2, 2)

virolbi.training.devices.LATE = 1
train(
    SMALL.replace(epochs=1), load({data!r}, "train"), {out!r} + os.environ["RANK"] * {unshared},
    network=seeded(Unused), cpu=True,
)
"""


@pytest.mark.slow
@pytest.mark.parametrize("unshared", [False, True])
def test_processes_need_one_folder_but_not_every_parameter(folder_of_images, tmp_path, unshared):
    paths = {"tests": str(Path(__file__).parent), "data": str(folder_of_images)}
    script, out = tmp_path / "run.py", tmp_path / "run"
    (tmp_path / "run1").mkdir()
    script.write_text(UNSHARED.format(out=str(out), unshared=unshared, **paths))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [sys.executable, *launch, str(script)], capture_output=True, text=True, timeout=300
    )
    if not unshared:
        assert done.returncode == 0, done.stderr[-3000:]
        return
    assert done.returncode
    assert "folder must be one that all processes and machines share" in done.stderr
    assert "sees [], the first one ['recipe.json']" in done.stderr
    assert not list(tmp_path.rglob("*.safetensors"))


def test_the_configuration_of_accelerate_divides_no_gradients(images, monkeypatch):
    expected = train(SMALL, images, cpu=True)
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert create_accelerator(SMALL, cpu=True).gradient_accumulation_steps == 1
    assert same_weights(train(SMALL, images, cpu=True).model, expected.model)


@pytest.mark.slow
def test_the_configuration_of_accelerate_changes_no_names(images, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "EAGER")
    run = train(SMALL, images, tmp_path / "run", cpu=True)
    assert same_weights(load_run(tmp_path / "run").model, run.model)
    monkeypatch.setattr(
        "accelerate.Accelerator.distributed_type", SimpleNamespace(value="FSDP"), raising=False
    )
    with pytest.raises(ValueError, match="accelerate must leave the whole network .* got FSDP"):
        create_accelerator(SMALL, cpu=True)


def test_a_network_of_the_user_stays_as_it_is(images, tmp_path):
    network = Tiny()
    before = deepcopy(network)
    for module in network.modules():
        module.training = False
    for _ in range(2):  # trained, and finished
        run = train(SMALL, images, tmp_path / "run", network=network)
        assert same_weights(network, before)
        assert not torch.equal(network.head.weight, run.model.network.head.weight)
        assert not any(module.training for module in network.modules())


class Auxiliary(torch.nn.Module):
    """A network that returns a pair in training mode, as some of torchvision do."""

    def __init__(self):
        super().__init__()
        self.tiny = Tiny()

    def forward(self, images):
        logits = self.tiny(images)
        return (logits, logits) if self.training else logits


def test_a_network_that_returns_more_in_training_is_refused(images):
    with pytest.raises(ValueError, match="network must return logits .* in training mode.*tuple"):
        train(SMALL, images, network=Auxiliary())


class Cube(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.head = torch.nn.Conv3d(1, 2, (1, 3, 3)), torch.nn.Linear(2, 2)

    def forward(self, images):
        return self.head(self.layer(images[:, None]).mean((2, 3, 4)))


def test_a_network_with_3d_convolutions_is_trained_and_read(images, tmp_path):
    run = train(SMALL, images, tmp_path / "run", network=Cube())
    assert same_weights(load_run(tmp_path / "run", network=Cube()).model, run.model)


def test_batch_norm_is_refused_if_processes_cannot_share_its_statistics(images):
    two = SimpleNamespace(num_processes=2, device=torch.device("cpu"))
    with pytest.raises(ValueError, match="network .* batch normalisation .* 2 processes"):
        check_batch_norm(ResNet(1, channels=1, classes=2), two)
    check_batch_norm(Tiny(), two)
    one = SimpleNamespace(num_processes=1, device=torch.device("cpu"))
    check_batch_norm(ResNet(1, channels=1, classes=2), one)


def test_a_batch_norm_that_gets_one_number_is_named_before_the_training(images, tmp_path):
    layers = [nn.Flatten(), nn.Linear(144, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)]
    for sizes in ({"batch_size": 1}, {"batch_size": 7, "accumulate": 4}):
        recipe = SMALL.replace(epochs=1, **sizes)
        with pytest.raises(ValueError, match="batch_size must leave two images .* got one: Exp"):
            train(recipe, images, tmp_path / "run", network=nn.Sequential(*layers))
        assert not (tmp_path / "run").exists()
        train(recipe, images.subset(np.s_[:8]), network=Normed())  # of many pixels
        frozen = recipe.replace(frozen=("2",))  # it keeps its statistics, and takes one number
        train(frozen, images.subset(np.s_[:8]), network=nn.Sequential(*layers))


@pytest.mark.slow
def test_an_empty_training_set_is_refused():
    none = load("digits", "train", limit=4).subset(slice(0, 0))
    with pytest.raises(ValueError, match="batch must .* got 0"):
        train(Recipe(data="digits", epochs=1), none)


def test_class_weights_make_classes_count_alike(folder_of_images):
    images = load(str(folder_of_images), "train")
    rare = images.labels == 1
    rows = np.r_[np.flatnonzero(~rare), np.flatnonzero(rare)[:4]]  # 24 and 4
    images = images.subset(rows)
    recipe = Recipe(epochs=1, batch_size=28, crop=0, flip=False, class_weights="balanced")
    model = build_classifier(recipe, images).train()
    logits = model(torch.from_numpy(images.pixels).float() / 255).detach()
    losses = torch.nn.functional.cross_entropy(
        logits, torch.from_numpy(images.labels), reduction="none"
    )
    means = [float(losses[torch.from_numpy(images.labels == label)].mean()) for label in (0, 1)]
    assert train(recipe, images).history[0]["loss"] == pytest.approx(sum(means) / 2, rel=1e-4)
    plain = train(recipe.replace(class_weights="none"), images).history[0]["loss"]
    assert plain == pytest.approx(float(losses.mean()), rel=1e-4)


LAST = {"procedure": "mixed", "order": "last"}


@pytest.mark.parametrize(
    ("settings", "cache", "workers", "device", "expected"),
    [
        ({"procedure": "plain"}, None, 0, "cuda", None),
        ({"procedure": "fixed"}, Path("cache"), 2, "cuda", "into the cache, because other steps"),
        ({"procedure": "fixed"}, None, 2, "cuda", "by 2 workers, because other steps"),
        (LAST, Path("cache"), 0, "cpu", "between the steps"),
        (LAST, None, 2, "cpu", "by 2 workers, because the network trains there"),
        (LAST, None, 2, "mps", "by 2 workers, because mps has no kernels"),
        ({"procedure": "mixed", "views": ("clean", "smooth")}, Path("cache"), 2, "cpu", "workers"),
    ],
)
def test_the_log_says_where_training_images_are_smoothed(
    caplog, settings, cache, workers, device, expected
):
    recipe = SMALL.model_copy(update=settings)
    with caplog.at_level("INFO", "virolbi"):
        _log_smoothing(recipe, cache, workers, torch.device(device))
    assert len(caplog.messages) == (expected is not None)
    assert (expected or "") in caplog.text


UNCHANGED = SMALL.replace(crop=0, flip=False)


def test_a_loss_and_a_transform_of_the_user_resume_like_any_other(images, tmp_path):
    code = {
        "loss": torch.nn.MultiMarginLoss(),
        "transform": v2.Compose([v2.RandomCrop(12, padding=2), v2.RandomHorizontalFlip()]),
    }
    whole = train(UNCHANGED, images, **code)
    assert not torch.equal(
        whole.model.network.stem[0].weight,
        train(UNCHANGED, images, transform=code["transform"]).model.network.stem[0].weight,
    )
    folder = tmp_path / "run"
    with pytest.raises(Stop):
        train(UNCHANGED, images, folder, checkpoint_every=0, progress=stop_at(3), **code)
    for name, other in (
        ("loss", {"loss": torch.nn.MultiMarginLoss(margin=2.0)}),
        ("loss", {"loss": F.multi_margin_loss}),
        ("loss", {"loss": None}),
        ("transform", {"transform": v2.Compose([v2.RandomHorizontalFlip()])}),
        ("transform", {"transform": None}),
    ):
        with pytest.raises(ValueError, match=f"run must be .* differs in {name}"):
            train(UNCHANGED, images, folder, **(code | other))
    run = train(UNCHANGED, images, folder, **code)
    assert same_weights(run.model, whole.model)
    assert run.history == whole.history
    assert same_weights(load_run(folder).model, whole.model)


class Remembering(torch.nn.Module):
    """Cross entropy in units of its mean over the batches so far."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.ones(()))

    def forward(self, logits, labels):
        loss = F.cross_entropy(logits, labels)
        self.mean = self.mean.lerp(loss.detach(), 0.5)
        return loss / self.mean


def test_a_loss_that_remembers_is_resumed_and_stays_as_it_is(images, tmp_path):
    loss = Remembering()
    whole = train(UNCHANGED, images, loss=loss)
    assert loss.mean == 1
    assert same_weights(train(UNCHANGED, images, loss=loss).model, whole.model)
    with pytest.raises(Stop):
        train(
            *(UNCHANGED, images, tmp_path / "run"),
            checkpoint_every=0,
            progress=stop_at(3),
            loss=loss,
        )
    assert same_weights(train(UNCHANGED, images, tmp_path / "run", loss=loss).model, whole.model)


def test_losses_with_other_weights_of_classes_are_told_apart(images, tmp_path):
    first, second = (torch.nn.CrossEntropyLoss(torch.tensor([1.0, w])) for w in (2.0, 3.0))
    run = train(UNCHANGED, images, tmp_path / "run", loss=first)
    again = train(UNCHANGED, images, tmp_path / "run", loss=deepcopy(first))
    assert same_weights(run.model, again.model)
    with pytest.raises(ValueError, match="run must be .* differs in loss"):
        train(UNCHANGED, images, tmp_path / "run", loss=second)


class Darker:
    """Transform with a setting that is no number, and does not print."""

    def __init__(self, setting):
        self.setting = setting

    def __call__(self, image):
        return image // int(self.setting[0])


@pytest.mark.parametrize("kind", [tuple, list, np.array, torch.tensor])
def test_transforms_with_other_settings_are_told_apart(images, tmp_path, kind):
    recipe = UNCHANGED.replace(epochs=1)
    train(recipe, images, tmp_path / "run", transform=Darker(kind([1, 2])))
    train(recipe, images, tmp_path / "run", transform=Darker(kind([1, 2])))
    with pytest.raises(ValueError, match="run must be .* differs in transform"):
        train(recipe, images, tmp_path / "run", transform=Darker(kind([9, 2])))


class Label:
    """Object that prints with its address."""


@pytest.mark.parametrize(
    "settings",
    [
        lambda last: np.array([Label(), last], dtype=object),  # holds addresses
        lambda last: torch.tensor([1, last], dtype=torch.complex128),  # safetensors has none
        lambda last: torch.tensor([1, last]).to_sparse(),
        lambda last: [np.r_[:5000, last, :5000]],  # prints without its middle
    ],
)
def test_settings_of_any_kind_are_told_apart_and_known_again(images, tmp_path, settings):
    recipe = UNCHANGED.replace(epochs=1)
    for last in (5, 5):
        transform = v2.Identity()
        transform.settings = settings(last)
        train(recipe, images, tmp_path / "run", transform=transform)
    transform.settings = settings(6)
    with pytest.raises(ValueError, match="run must be .* differs in transform"):
        train(recipe, images, tmp_path / "run", transform=transform)


def test_functions_are_told_apart_by_their_names_in_every_process(images, tmp_path):
    train(SMALL, images, tmp_path / "run", loss=F.multi_margin_loss)
    description = json.loads((tmp_path / "run" / "recipe.json").read_text())
    assert description["loss"] == "<function multi_margin_loss>"
    assert description["transform"] is None


def test_images_that_are_none_are_refused_with_the_way_to_make_them(images):
    pairs = list(zip(images.pixels, images.labels.tolist(), strict=True))
    with pytest.raises(TypeError, match=r"images must .*from_dataset .* got list"):
        train(SMALL, pairs)


def test_the_size_and_the_limit_of_a_recipe_hold_for_given_images_too(images):
    assert train(SMALL.replace(epochs=1, limit=20), images).data["count"] == 20
    with pytest.raises(ValueError, match="images must have the size .* 16 pixels .* got 12x12"):
        train(SMALL.replace(size=16), images)
    assert train(SMALL.replace(epochs=1, size=12), images).data["count"] == len(images)


def test_a_model_that_does_not_take_the_images_is_named_before_the_training(images, tmp_path):
    wide = replace(images, pixels=np.repeat(images.pixels, 2, axis=3))
    with pytest.raises(
        ValueError, match=r"network must take images of shape \(1, 12, 24\), got an"
    ):
        train(SMALL.replace(model="vit_tiny_cifar"), wide, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_images_of_one_class_are_refused(images):
    one = replace(images, labels=np.zeros_like(images.labels), classes=("bright",))
    with pytest.raises(
        ValueError, match=r"images must have two classes or more, got \('bright',\)"
    ):
        train(SMALL, one)


class Normed(Tiny):
    """A network whose body has statistics over the batch."""

    def __init__(self):
        super().__init__()
        self.body.append(torch.nn.BatchNorm2d(8))


def test_frozen_parts_keep_their_weights_and_statistics(images, tmp_path):
    recipe = SMALL.replace(frozen=("body*",), adversarial=0.01, adversarial_steps=1)
    before = seeded(Normed).state_dict()
    whole = train(recipe, images, network=seeded(Normed))
    for name, tensor in whole.model.network.state_dict().items():
        assert torch.equal(tensor, before[name]) == name.startswith("body"), name
    with pytest.raises(Stop):
        train(
            recipe,
            images,
            tmp_path / "run",
            network=seeded(Normed),
            checkpoint_every=0,
            progress=stop_at(3),
        )
    run = train(recipe, images, tmp_path / "run", network=seeded(Normed))
    assert same_weights(run.model, whole.model)
    with pytest.raises(ValueError, match="differs in frozen"):
        train(recipe.replace(frozen=()), images, tmp_path / "run", network=seeded(Normed))


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        (("stem",), r"frozen must fit .* such as body, body\.0, .* got 'stem'"),
        (("head", "body*"), r"frozen must leave .* \('head', 'body\*'\)"),
        (("",), "frozen must fit .* got ''"),
    ],
)
def test_frozen_parts_must_exist_and_leave_some_to_train(images, tmp_path, frozen, message):
    with pytest.raises(ValueError, match=message):
        train(SMALL.replace(frozen=frozen), images, tmp_path / "run", network=seeded(Tiny))
    assert not (tmp_path / "run").exists()


def test_the_network_of_the_user_stays_as_it_is(images):
    network = seeded(Tiny)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = (train(SMALL, images, network=network) for _ in range(2))
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert same_weights(first.model, second.model)
    assert not torch.equal(next(first.model.parameters()), next(network.parameters()))


def test_a_single_step_that_would_train_nothing_is_refused(images):
    recipe = SMALL.replace(schedule="cosine", epochs=1, batch_size=len(images))
    with pytest.raises(ValueError, match="schedule must be 'one-cycle' for a run of a single step"):
        train(recipe, images)
    train(recipe.replace(schedule="one-cycle"), images)

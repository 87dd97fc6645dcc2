import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import Rough
from virolbi import smooth
from virolbi.corruptions import corrupt
from virolbi.data import Images, load
from virolbi.evaluation import (
    Attacks,
    Conditions,
    Subject,
    View,
    compare,
    evaluate,
    subject_from_network,
)
from virolbi.evaluation.independence import check_batch_independence
from virolbi.evaluation.judging import judge_view
from virolbi.nn import Smooth
from virolbi.results import (
    add_detail,
    collapse_warnings,
    read_details,
    read_labels,
    read_lines,
    read_rows,
    row_key,
)
from virolbi.robustness import Budget
from virolbi.scale_space import Online

NO_ATTACKS = Attacks(attacked=0)


@pytest.mark.slow
def test_every_condition_gets_a_row_in_both_views(trained, tmp_path):
    subject, images = trained
    rows = evaluate(subject, images, tmp_path / "rows.jsonl", attacks=Attacks(attacked=5))
    conditions = {(row["view"], row["condition"], row["severity"]) for row in rows}
    expected = {("clean", 0), ("low_resolution", 1), ("low_resolution", 2)}
    expected |= {
        (f"{name}_noise", severity)
        for name in ("gaussian", "shot", "impulse")
        for severity in range(1, 6)
    }
    attacks = {
        "raw": ("fgsm", "pgd", "square"),
        "smoothed": ("fgsm", "exact", "identity", "transfer", "square"),
    }
    unattacked = {(view, *condition) for view in ("raw", "smoothed") for condition in expected}
    assert conditions == unattacked | {
        (view, name, 1) for view in attacks for name in (*attacks[view], "attacks")
    }
    assert read_rows(tmp_path / "rows.jsonl") == rows
    for row in rows:
        assert row["count"] == (5 if "budget" in row else len(images))
        assert row["low"] <= round(row["accuracy"], 4) <= row["high"]
        assert row["seed"] == 0
    for view in attacks:
        accuracies = {
            row["condition"]: row["accuracy"]
            for row in rows
            if row["view"] == view and "budget" in row
        }
        assert accuracies["attacks"] <= min(accuracies.values())
    checks = read_lines(tmp_path / "checks.jsonl")
    assert {check["view"] for check in checks} == {"raw", "smoothed"}
    assert len({check["name"] for check in checks}) >= 7


def test_the_accuracy_is_that_of_the_model_on_those_images(trained, tmp_path):
    subject, images = trained
    subject = subject_from_network(Rough(0.06), "ours", [0.8])
    images = replace(images, labels=np.zeros_like(images.labels))
    rows = evaluate(subject, images, tmp_path / "rows.jsonl", attacks=NO_ATTACKS)
    noisy = torch.from_numpy(corrupt(images.pixels / np.float32(255), "gaussian_noise", 5))
    accuracies = {}
    for view, shown in (("raw", noisy), ("smoothed 0.8", smooth(noisy, 0.8, channel_axis=1))):
        accuracy = (subject.views[0].model(shown).argmax(dim=1).numpy() == images.labels).mean()
        (row,) = [
            row
            for row in rows
            if (row["view"], row["condition"], row["severity"]) == (view, "gaussian_noise", 5)
        ]
        assert row["accuracy"] == accuracy
        accuracies[view] = accuracy
    assert accuracies["raw"] > accuracies["smoothed 0.8"]


@pytest.mark.slow
def test_an_interrupted_evaluation_resumes_where_it_stopped(trained, tmp_path, monkeypatch):
    subject, images = trained
    path, complete = tmp_path / "rows.jsonl", tmp_path / "complete.jsonl"
    evaluate(subject, images, complete, attacks=Attacks(attacked=4))

    def stop(row):
        if row["condition"] == "shot_noise":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate(subject, images, path, attacks=Attacks(attacked=4), progress=stop)
    done = len(read_rows(path))
    assert 0 < done < len(read_rows(complete))
    judged = []

    def judge_and_count(view, *arguments, **settings):
        judged.append(view)
        return judge_view(view, *arguments, **settings)

    monkeypatch.setattr(sys.modules["virolbi.evaluation.evaluate"], "judge_view", judge_and_count)
    evaluate(subject, images, path, attacks=Attacks(attacked=4))
    assert len(judged) == sum("budget" not in row for row in read_rows(complete)) - done
    assert path.read_bytes() == complete.read_bytes()


def test_results_of_other_images_or_weights_are_not_mixed_into_a_file(trained, tmp_path):
    subject, images = trained
    path = tmp_path / "rows.jsonl"
    first = evaluate(subject, images, path, attacks=NO_ATTACKS)
    with pytest.raises(ValueError, match="path must .*other images, 12 of pictures"):
        evaluate(
            replace(subject, name="inverted"),
            replace(images, pixels=255 - images.pixels),
            path,
            attacks=NO_ATTACKS,
        )
    with torch.no_grad():
        next(subject.views[0].network.parameters()).add_(1.0)
    subject = subject_from_network(subject.views[0].network, "ours", [0.8])
    with pytest.raises(ValueError, match="path must .*weights for 'ours', seed 0"):
        evaluate(subject, images, path, attacks=NO_ATTACKS)
    assert read_rows(path) == first
    evaluate(replace(subject, name="changed"), images, path, attacks=NO_ATTACKS)
    assert len(read_rows(path)) == 2 * len(first)


@pytest.mark.slow
def test_attacks_of_another_budget_are_not_mixed_into_a_file(trained, tmp_path):
    subject, images = trained
    path = tmp_path / "rows.jsonl"
    first = evaluate(subject, images, path, attacks=Attacks(Budget(0.01, steps=2, queries=3), 2))
    with pytest.raises(ValueError, match="path must .*budget linf, 2 steps.* not linf, 3 steps"):
        evaluate(subject, images, path, attacks=Attacks(Budget(0.01, steps=3, queries=3), 2))
    with pytest.raises(ValueError, match="path must .*attacks 1 with level 0.01, not 0.02"):
        evaluate(subject, images, path, attacks=Attacks(Budget(0.02, steps=2, queries=3), 2))
    with pytest.raises(ValueError, match="path must .*attacks 1 with noise_seed 0, not 1"):
        evaluate(
            subject, images, path, attacks=Attacks(Budget(0.01, steps=2, queries=3, seed=1), 2)
        )
    with pytest.raises(ValueError, match="path must .*clean 0 with noise_seed 0, not 1"):
        evaluate(subject, images, path, attacks=NO_ATTACKS, conditions=Conditions(noise_seed=1))
    assert read_rows(path) == first


@pytest.mark.parametrize(
    ("choice", "settings", "error", "message"),
    [
        (Conditions, {"corruptions": ("rain",)}, ValueError, "corruptions must .*'rain'"),
        (Conditions, {"corruptions": ("fog", "fog")}, ValueError, "each once, got .'fog', 'fog'"),
        (Conditions, {"official": Path("nowhere")}, ValueError, "official must .*nowhere"),
        (Conditions, {"official": "nowhere"}, TypeError, "official must be a Path .*nowhere"),
        (Conditions, {"resolution": 100}, ValueError, "resolution must .*100"),
        (Conditions, {"noise_seed": 0.5}, TypeError, "noise_seed must .*0.5"),
        (Attacks, {"budget": 0.1}, TypeError, "budget must .*0.1"),
        (Attacks, {"attacked": -1}, ValueError, "attacked must .*-1"),
        (Attacks, {"attacked": 1.5}, TypeError, "attacked must .*1.5"),
        (Attacks, {"autoattack": 1}, TypeError, "autoattack must .*1"),
        (Budget, {"epsilon": 0.1, "seed": 0.5}, TypeError, "seed must .*0.5"),
    ],
)
def test_choices_that_are_impossible_are_named(choice, settings, error, message):
    with pytest.raises(error, match=message):
        choice(**settings)


@pytest.mark.slow
def test_images_that_do_not_fit_the_run_are_named(trained, tmp_path):
    subject, _ = trained
    with pytest.raises(ValueError, match=r"images must .*\['bright', 'dark'\], got '0'"):
        evaluate(subject, load("digits", "test", limit=4, size=12), tmp_path / "rows.jsonl")
    small = replace(trained[1], pixels=trained[1].pixels[:, :, :8])
    with pytest.raises(ValueError, match=r"images must .*\(1, 12, 12\), got \(1, 8, 12\)"):
        evaluate(subject, small, tmp_path / "rows.jsonl")
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.slow
def test_published_arrays_are_judged_with_the_images_they_were_made_from(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "CIFAR-10-C"
    folder.mkdir()
    labels = rng.integers(0, 10, 10_000)
    np.save(folder / "labels.npy", np.tile(labels, 5))
    for name in ("gaussian_noise", "fog"):
        np.save(folder / f"{name}.npy", rng.integers(0, 256, (50_000, 32, 32, 3), np.uint8))
    pixels, classes = np.zeros((20, 3, 32, 32), np.uint8), tuple("abcdefghij")
    images = Images("cifar10", pixels, labels[:20], classes)
    network = subject_from_network(
        lambda x: 2.0 * torch.nn.functional.one_hot(torch.zeros(len(x), dtype=torch.long), 10),
        "always a",
    )
    conditions = Conditions(("gaussian_noise",), official=folder, resolution=224)
    settings = {"conditions": conditions, "attacks": NO_ATTACKS}
    rows = evaluate(network, images, tmp_path / "rows.jsonl", **settings)
    (strongest,) = [
        row for row in rows if (row["condition"], row["severity"]) == ("gaussian_noise", 5)
    ]
    assert (strongest["count"], strongest["level"], strongest["noise_seed"]) == (10_000, 0.1, None)
    assert strongest["accuracy"] == np.mean(labels == 0)
    for other in (replace(images, labels=labels[1:21]), replace(images, pixels=pixels[:, :, :16])):
        with pytest.raises(ValueError, match="images must .*CIFAR-10-C"):
            evaluate(network, other, tmp_path / "other.jsonl", **settings)


@pytest.mark.parametrize(("side", "corruptions", "least"), [(7, ("fog",), 8), (3, (), 4)])
def test_images_that_are_too_small_are_refused_before_any_row(tmp_path, side, corruptions, least):
    images = Images("images", np.zeros((4, 3, 9, side), np.uint8), np.arange(4) % 2, ("a", "b"))
    network = subject_from_network(lambda shown: shown.mean((2, 3))[:, :2], "small")
    path = tmp_path / "rows.jsonl"
    with pytest.raises(ValueError, match=f"images must have {least} pixels .*got {side}x9"):
        evaluate(network, images, path, conditions=Conditions(corruptions))
    assert not path.exists()
    with pytest.raises(ValueError, match=f"images must have {least} pixels .*got {side}x9"):
        compare(images, images, tmp_path / "out", recipes={}, conditions=Conditions(corruptions))
    assert not (tmp_path / "out").exists()


def test_a_network_that_is_random_or_not_a_number_is_named_before_it_counts(trained, tmp_path):
    _, images = trained

    def random(shown):
        return torch.rand(len(shown), 2)

    with pytest.raises(ValueError, match="samples must .*dice.*got 1"):
        evaluate(
            subject_from_network(random, "dice"),
            images,
            tmp_path / "rows.jsonl",
            attacks=Attacks(attacked=4),
        )
    for factor, got in ((torch.nan, "NaN"), (torch.inf, "inf")):
        network = subject_from_network(lambda shown, by=factor: (1 + random(shown)) * by, "lost")
        with pytest.raises(ValueError, match=f"view 'raw', for images from 0 on, must .*got {got}"):
            evaluate(network, images, tmp_path / "rows.jsonl", attacks=NO_ATTACKS)
    assert not (tmp_path / "rows.jsonl").exists()
    hidden = torch.nn.Sequential(
        torch.nn.Identity(), Smooth(), torch.nn.Flatten(), torch.nn.Linear(144, 2)
    )
    with pytest.raises(ValueError, match="model must .*got Sequential"):
        evaluate(
            subject_from_network(hidden, "hidden"),
            images,
            tmp_path / "rows.jsonl",
            attacks=Attacks(attacked=4),
        )
    assert not list(tmp_path.glob("*.json*"))


@pytest.mark.parametrize(
    "network",
    [
        lambda shown: torch.from_numpy(shown.numpy().mean((2, 3))).repeat(1, 2),
        lambda shown: shown.detach().mean((2, 3)).repeat(1, 2),
        lambda shown: torch.ones(len(shown), 2),
        lambda shown: (shown.mean((2, 3)).repeat(1, 2) > 0.5).float(),
    ],
    ids=["numpy", "detached", "constant", "steps"],
)
def test_a_network_without_a_gradient_is_named_before_any_work(trained, tmp_path, network):
    _, images = trained
    subject = subject_from_network(network, "own", [0.8])
    with pytest.raises(ValueError, match="attacked must be 0 .* own, whose view 'raw' .* got 4"):
        evaluate(subject, images, tmp_path / "out" / "rows.jsonl", attacks=Attacks(attacked=4))
    assert not (tmp_path / "out").exists()


def test_autoattack_knows_that_a_network_is_random(trained, tmp_path, monkeypatch):
    _, images = trained
    versions = []

    def record(model, shown, labels, *, version, **settings):
        versions.append(version)
        return shown

    monkeypatch.setattr("virolbi.evaluation.attacking.autoattack", record)
    for spread, name, version in ((0.1, "autoattack-rand", "rand"), (0, "autoattack", "standard")):

        def network(shown, spread=spread):
            score = shown.mean((2, 3)) - 0.5
            return torch.cat([score, -score], dim=1) + spread * torch.rand(len(shown), 2)

        rows = evaluate(
            subject_from_network(network, name),
            images,
            tmp_path / f"{name}.jsonl",
            conditions=Conditions(()),
            attacks=Attacks(Budget(0.01, steps=1, queries=2, samples=2), 4, autoattack=True),
        )
        assert name in {row["condition"] for row in rows}
        assert set(versions) == {version}
        versions.clear()


def test_a_network_that_fails_leaves_nothing_behind(trained, tmp_path):
    class Failing(torch.nn.Linear):
        def forward(self, images):
            if len(images) > 2:  # the output shape is checked on two images
                raise RuntimeError("out of memory")
            return torch.zeros(2, 2)

    with pytest.raises(RuntimeError, match="out of memory"):
        evaluate(
            subject_from_network(Failing(1, 1), "failing"),
            trained[1],
            tmp_path / "out" / "rows.jsonl",
        )
    assert not list(tmp_path.rglob("out/*"))


@pytest.mark.slow
def test_a_row_that_a_kill_has_cut_short_is_measured_again(trained, tmp_path):
    subject, images = trained
    path = tmp_path / "rows.jsonl"
    rows = evaluate(subject, images, path, attacks=NO_ATTACKS)
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    assert read_rows(path) == rows[:-1]
    assert evaluate(subject, images, path, attacks=NO_ATTACKS) == rows
    assert path.read_bytes() == content
    path.write_bytes(content[:-1])  # complete except for the end of the line
    assert read_rows(path) == rows
    evaluate(replace(subject, name="another"), images, path, attacks=NO_ATTACKS)
    assert len(read_rows(path)) == 2 * len(rows)


@pytest.mark.slow
def test_two_evaluations_at_once_keep_each_other_s_rows(trained, tmp_path):
    subject, images = trained
    path = tmp_path / "rows.jsonl"

    def meanwhile(row):
        if row["condition"] == "clean" and len(read_rows(path)) < 5:
            evaluate(replace(subject, name="second"), images, path, attacks=NO_ATTACKS)

    first = evaluate(subject, images, path, attacks=NO_ATTACKS, progress=meanwhile)
    rows = read_rows(path)
    assert len(rows) == 2 * len(first)
    assert {row["arm"] for row in rows} == {"ours", "second"}


@pytest.mark.slow
def test_one_evaluation_started_twice_leaves_each_row_once(trained, tmp_path):
    subject, images = trained
    path, second = tmp_path / "rows.jsonl", []

    def meanwhile(row):
        if not second:
            second.append(row)
            second.extend(evaluate(subject, images, path, attacks=NO_ATTACKS))

    first = evaluate(subject, images, path, attacks=NO_ATTACKS, progress=meanwhile)
    assert first == second[1:]
    assert sorted(map(str, read_rows(path))) == sorted(map(str, first))
    assert len(read_details(tmp_path)) == len(first)


@pytest.mark.slow
def test_details_say_which_images_were_right(trained, tmp_path):
    subject, images = trained
    path = tmp_path / "rows.jsonl"
    rows = evaluate(subject, images, path, attacks=Attacks(attacked=3))
    with (tmp_path / "details.jsonl").open("a") as file:
        file.write('{"arm": "cut sh')
    added = rows[-1] | {"severity": 9, "count": 3}
    add_detail(tmp_path, added, np.array([True, False, True]), 0.5)
    details = read_details(tmp_path)
    np.testing.assert_array_equal(details.pop(row_key(added))[0], [True, False, True])
    assert len(details) == len(rows)
    for row in rows:
        correct, seconds, predicted, confidence = details[row_key(row)]
        if "budget" in row:
            assert predicted is None
            assert confidence is None
        else:
            np.testing.assert_array_equal(predicted == images.labels, correct)
            assert len(confidence) == row["count"]
        assert correct.sum() == round(row["accuracy"] * row["count"])
        assert len(correct) == row["count"]
        assert seconds > 0 or "budget" in row
    (clean,) = [row for row in rows if (row["view"], row["condition"]) == ("raw", "clean")]
    logits = subject.views[0].model(torch.from_numpy(images.pixels / np.float32(255)))
    np.testing.assert_array_equal(
        details[row_key(clean)][0], logits.argmax(dim=1).numpy() == images.labels
    )


@pytest.mark.slow
def test_rows_do_not_depend_on_the_batch_size(trained, tmp_path):
    subject, images = trained
    budget = Budget(0.05, steps=3, restarts=2, queries=20)
    expected = None
    for size in (None, 1, 5):
        path = tmp_path / str(size) / "rows.jsonl"
        evaluate(subject, images, path, attacks=Attacks(budget, 8), batch_size=size)
        expected = expected or path.read_bytes()
        assert path.read_bytes() == expected
    with pytest.raises(ValueError, match="batch_size must"):
        evaluate(subject, images, tmp_path / "rows.jsonl", batch_size=0)


def test_rows_are_written_one_by_one_and_the_work_is_counted(trained, tmp_path):
    subject, images = trained
    path, steps, log = tmp_path / "rows.jsonl", [], []

    def follow(row):
        log.append(row)
        if "budget" not in row:
            assert read_rows(path) == log

    def announce(seconds):
        assert seconds > 0
        assert "attacks" not in {row["condition"] for row in log}
        steps.append("announced")

    settings = {"attacks": Attacks(Budget(0.01, steps=2, queries=3), 3), "batch_size": 5}
    rows = evaluate(
        subject,
        images,
        path,
        progress=follow,
        stepped=lambda *done: steps.append(done),
        announced=announce,
        **settings,
    )
    first = steps[: steps.index("announced")]
    unattacked = [row for row in rows if "budget" not in row]
    assert first[-1] == (len(images) * len(unattacked),) * 2
    assert [done for done, _ in first] == sorted({done for done, _ in first})
    second = steps[len(first) + 1 :]
    assert all(0 < done <= total == second[0][1] for done, total in second)
    steps.clear()
    evaluate(subject, images, path, stepped=lambda *done: steps.append(done), **settings)
    assert steps == []


def test_unbalanced_classes_are_reported(trained, tmp_path):
    _, images = trained
    images = images.subset(np.r_[np.flatnonzero(images.labels == 0), images.labels.argmax()])
    dull = subject_from_network(lambda x: torch.tensor([[2.0, 0.0]]).repeat(len(x), 1), "dull")
    rows = evaluate(dull, images, tmp_path / "rows.jsonl", attacks=NO_ATTACKS)
    assert {(row["balanced"], row["auc"]) for row in rows} == {(0.5, 0.5)}
    assert rows[0]["accuracy"] > 0.8
    (warning,) = collapse_warnings(rows)
    assert "dull (raw, seed 0) hardly tells the classes apart" in warning
    labels, classes, _ = read_labels(tmp_path)
    np.testing.assert_array_equal(labels, images.labels)
    assert classes == images.classes


def test_files_beside_the_rows_are_of_the_images_judged(trained, tmp_path):
    subject, images = trained
    first, second = images.subset(np.s_[:6]), images.subset(np.s_[6:])
    folder, settings = tmp_path / "out", {"conditions": Conditions(()), "attacks": NO_ATTACKS}
    path = folder / "rows.jsonl"
    evaluate(subject, first, path, **settings)
    evaluate(subject, first, path, **settings)
    beside = {file: file.read_bytes() for file in folder.iterdir() if file != path}
    path.unlink()  # the others stay
    for other in (path, folder / "others.jsonl"):
        with pytest.raises(ValueError, match=f"^path must .* same images; {folder} holds labels"):
            evaluate(subject, second, other, **settings)
        assert not other.exists()
    assert beside == {file: file.read_bytes() for file in beside}
    evaluate(subject, first, path, **settings)
    content = json.loads((folder / "labels.json").read_text())
    del content["images"]  # as older versions
    (folder / "labels.json").write_text(json.dumps(content))
    evaluate(subject, first, path, **settings)
    path.unlink()
    with pytest.raises(ValueError, match="^path must"):
        evaluate(subject, second, path, **settings)


def batch_network(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten()
    ).append(torch.nn.Linear(400, 2))


def test_a_network_whose_answers_depend_on_the_batch_is_refused_before_any_work(trained, tmp_path):
    _, images = trained
    network = batch_network().train()
    path = tmp_path / "out" / "rows.jsonl"
    subject = subject_from_network(lambda shown: network(shown), "own", [0.8])
    for attacked in (0, 4):
        with pytest.raises(ValueError, match="model own must answer for each image by itself"):
            evaluate(subject, images, path, attacks=Attacks(attacked=attacked))
    centred = subject_from_network(
        lambda shown: (shown - shown.mean()).mean((2, 3)).repeat(1, 2), "own"
    )
    with pytest.raises(ValueError, match="model own must answer for each image by itself"):
        evaluate(centred, images, path, attacks=NO_ATTACKS)
    pooled = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(144)).append(
        torch.nn.Linear(144, 2)
    )
    alone = subject_from_network(lambda shown: pooled.train()(shown), "alone")
    with pytest.raises(ValueError, match="model alone must answer for each image by itself.* one"):
        evaluate(alone, images, path, attacks=NO_ATTACKS)
    assert not path.parent.exists()
    network.eval()
    assert evaluate(subject, images, path, attacks=NO_ATTACKS)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_rounding_is_no_dependence_on_the_batch(trained, precision):
    _, images = trained
    for seed in range(3):
        network = batch_network(seed).eval().to(precision)
        subject = subject_from_network(lambda shown, n=network: n(shown.to(precision)), "own")
        check_batch_independence("own", subject.views, images)


def test_smoothers_that_remember_earlier_images_are_refused(trained, tmp_path):
    _, images = trained
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(144, 2))
    inside = torch.nn.Sequential(Smooth(Online()), network)
    for view in (View("online", network, Smooth(Online())), View("online", inside)):
        subject = Subject("own", (view,), "0")
        with pytest.raises(ValueError, match=r"'online' of model own .* Online\(\) remembers"):
            evaluate(subject, images, tmp_path / "rows.jsonl", attacks=NO_ATTACKS)


def test_random_networks_are_not_checked_and_their_generator_is_left_alone(trained):
    _, images = trained
    subject = subject_from_network(lambda shown: torch.rand(len(shown), 2), "dice")
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    check_batch_independence("own", subject.views, images)
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)


def test_a_network_that_changes_its_images_in_place_is_judged_like_any_other(trained, tmp_path):
    _, images = trained

    def answer(shown):
        return torch.stack([shown.mean((1, 2, 3)), -shown.mean((1, 2, 3))], dim=1)

    accuracies = []
    for name, normalise in (("copy", lambda x: x - 0.5), ("in place", lambda x: x.sub_(0.5))):
        network = torch.nn.Sequential(torch.nn.Identity())
        network.forward = lambda shown, change=normalise: answer(change(shown))
        subject = subject_from_network(network, name, [0.8])
        rows = evaluate(subject, images, tmp_path / name / "rows.jsonl", attacks=NO_ATTACKS)
        accuracies.append(
            {(row["view"], row["condition"], row["severity"]): row["accuracy"] for row in rows}
        )
    assert accuracies[0] == accuracies[1]
    assert min(accuracies[0].values()) == 1

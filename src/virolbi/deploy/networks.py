"""Take a trained network elsewhere: ONNX or safetensors, described by what must happen to an image before it, and checked."""

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from virolbi._storage import write_atomic
from virolbi.training import Run, saveable

TOLERANCE = 1e-3  # of logits, between two runtimes that add in different orders
HOST_FILTERS = ("tv", "bilateral")
CHECKED = 8  # images


def export(run: Run, path: Path) -> dict[str, Any]:
    """Write the network of a run as .onnx or .safetensors, and return what the file says of itself under the key "virolbi".

    ONNX: one input "images", float32 (N, C, H, W) with any N, and one output "logits", (N, classes); normalisation and filters
    are inside, smoothing is not: the description says how to do it. safetensors: the weights as `load_run` has them.

    The file is written after what was read back from it has given the logits of the network on random images, bit for bit for
    safetensors, to 1e-3 for ONNX. Raises ValueError for another suffix and for a filter that is not a network's, and
    RuntimeError where logits differ.
    """
    writers = {".onnx": _onnx, ".safetensors": _safetensors}
    if path.suffix not in writers:
        raise ValueError(f"path must end in one of {tuple(writers)}, got {path}")
    about = describe(run)
    shape = run.data["shape"]
    images = torch.from_numpy(np.random.default_rng(0).random((CHECKED, *shape), np.float32))
    run = replace(
        run, model=copy.deepcopy(run.model).cpu().eval()
    )  # the caller's stays where it is
    with torch.no_grad():
        expected = run.model(images)
    content, found = writers[path.suffix](run, images, json.dumps(about))
    worst = float((found - expected).abs().max())
    if worst > (TOLERANCE if path.suffix == ".onnx" else 0):
        raise RuntimeError(
            f"the exported network must give the same logits, they differ by {worst:.2g}; nothing was written"
        )
    write_atomic(path, content)
    return about


def describe(run: Run) -> dict[str, Any]:
    """Classes, and what an image is to be before it is shown to the network."""
    channels, height, width = run.data["shape"]
    smoothing = {"sparsity": run.recipe.sparsity, **_form(run), "channel_axis": -3}
    return {
        "classes": list(run.classes),
        "input": f"{'RGB' if channels == 3 else 'grey'} intensities in [0, 1], float32, (N, {channels}, {height}, {width})",
        "size": run.recipe.size,
        "smoothing": None
        if run.recipe.procedure == "plain"
        else {key: _finite(value) for key, value in smoothing.items()},
        "recipe": run.recipe.model_dump(mode="json"),
    }


def _form(run: Run) -> dict[str, Any]:
    """Return the form of the smoother without `min_area`, which recipes leave at 1."""
    return {name: value for name, value in run.recipe.form.keywords().items() if name != "min_area"}


def _finite(value: Any) -> Any:
    return "inf" if value == float("inf") else value


def _onnx(run: Run, images: Tensor, about: str) -> tuple[bytes, Tensor]:
    import onnx
    import onnxruntime

    if run.recipe.filter in HOST_FILTERS:
        raise ValueError(
            f"filter must be part of the network for ONNX, got {run.recipe.filter!r}, which is not"
        )
    batch = {"images": {0: torch.export.Dim("batch")}}
    program = torch.onnx.export(
        run.model,
        (images,),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=batch,
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {"virolbi": about})
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    parts = [
        session.run(["logits"], {"images": some.numpy()})[0] for some in (images[:3], images[3:])
    ]
    return content, torch.from_numpy(np.concatenate(parts))


def _safetensors(run: Run, images: Tensor, about: str) -> tuple[bytes, Tensor]:
    content = save(saveable(run.model.state_dict()), {"virolbi": about})
    again = copy.deepcopy(run.model)
    for tensor in again.state_dict().values():
        tensor.zero_()
    again.load_state_dict(load(content))
    with torch.no_grad():
        return content, again(images)

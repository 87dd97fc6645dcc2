"""Export of trained networks as ONNX or safetensors, with a description of their input."""

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
from virolbi.training import HOST_FILTERS, Run, saveable

TOLERANCE = 1e-3  # of logits, between two runtimes that add in different orders
CHECKED_IMAGES = 8
RESIZING = (
    "the shorter side becomes the size, by bicubic interpolation with antialiasing, and the centre "
    "is cropped to a square: PIL.ImageOps.fit(image, (size, size), PIL.Image.Resampling.BICUBIC); "
    "other than 8 bits channel by channel in float32, clipped to the values that the image has"
)
READING = (
    "virolbi.data.decode_image(file, {size}, {data_range}) / 255: upright by EXIF; palettes and "
    "CMYK become RGB, colour profiles are ignored; transparency is shown on white; then, after any "
    "resizing, {white} becomes 255, rounded to 8 bits, which are divided by 255; {channels}"
)


def export(run: Run, path: Path) -> dict[str, Any]:
    """Write the network of a run as ONNX or safetensors, with a description of its input.

    An ONNX file has one input "images", float32, shape (N, C, H, W) with any N, and one output
    "logits", shape (N, classes). Normalisation and filters are part of its graph; smoothing is
    not, but the description says how to do it. A safetensors file holds the weights as
    `virolbi.training.load_run` returns them.

    The exported network is read back and compared with the original on random images before the
    file is written. Logits must agree bit for bit for safetensors, and to 1e-3 for ONNX.

    Parameters
    ----------
    run : Run
        The training run. Its network stays unchanged, in its mode and on its device.
    path : Path
        File to write. The suffix, .onnx or .safetensors, sets the format.

    Returns
    -------
    dict
        The description, which the file holds as JSON in its metadata under the key "virolbi".
        See `describe`.

    Raises
    ------
    ValueError
        If the suffix is another one, or if the filter of the run cannot be part of an ONNX graph.
    RuntimeError
        If the exported network gives other logits, or does not take any number of images. Nothing
        is written then.
    """
    writers = {".onnx": _to_onnx, ".safetensors": _to_safetensors}
    if path.suffix not in writers:
        raise ValueError(f"path must end in one of {tuple(writers)}, got {path}")
    description = describe(run)
    shape = run.data["shape"]
    random = np.random.default_rng(0).random((CHECKED_IMAGES, *shape), np.float32)
    images = torch.from_numpy(random)
    # A copy, so that the network of the caller keeps its device and mode.
    run = replace(run, model=copy.deepcopy(run.model).cpu().eval())
    with torch.no_grad():
        expected = run.model(images)
    content, logits = writers[path.suffix](run, images, json.dumps(description))
    tolerance = TOLERANCE if path.suffix == ".onnx" else 0
    if not torch.isclose(logits, expected, rtol=0, atol=tolerance).all():  # NaN is close to nothing
        difference = float((logits - expected).abs().max())
        raise RuntimeError(
            "the exported network must give the same logits, but they differ by "
            f"{difference:.2g}; nothing was written"
        )
    write_atomic(path, content)
    return description


def describe(run: Run) -> dict[str, Any]:
    """Return the classes of a run, and what must happen to an image before its network.

    Parameters
    ----------
    run : Run
        The training run.

    Returns
    -------
    dict
        Values that JSON can hold, by these keys: "classes", their names in the order of the
        logits; "input", the colours, range, dtype and shape of the input in words; "reading", how
        `virolbi classify` makes it from a file, in words; "size", the side in pixels that images
        are resized and cropped to, or None for images that are not square, which must have the
        shape of the input; "resizing", how, in words, or None; "smoothing", keywords of
        `virolbi.smooth` with infinity as "inf", or None for a network trained on images as they
        are; "recipe", all settings of the run.
    """
    channels, height, width = run.data["shape"]
    colours = "RGB" if channels == 3 else "grey"
    size = run.recipe.size or (height if height == width else None)
    smoothing = None
    if run.recipe.procedure != "plain":
        keywords = {"sparsity": run.recipe.sparsity, **_form_keywords(run), "channel_axis": -3}
        smoothing = {name: _json_value(value) for name, value in keywords.items()}
    return {
        "classes": list(run.classes),
        "input": f"{colours} intensities in [0, 1], float32, (N, {channels}, {height}, {width})",
        "reading": _reading(channels, size, run.recipe.data_range),
        "size": size,
        "resizing": None if size is None else RESIZING,
        "smoothing": smoothing,
        "recipe": run.recipe.model_dump(mode="json"),
    }


def _reading(channels: int, size: int | None, data_range: float | None) -> str:
    """Return how an image file becomes the input, in words."""
    return READING.format(
        size=size,
        data_range=data_range,
        white="the largest value of its integers, or 1.0 of floats,"
        if data_range is None
        else f"{data_range:.15g}",
        channels="grey is repeated in three channels"
        if channels == 3
        else "colours are refused, unless all channels are alike",
    )


def _form_keywords(run: Run) -> dict[str, Any]:
    """Return the form of the smoother without `min_area`, which recipes leave at 1."""
    keywords = run.recipe.form.keywords()
    del keywords["min_area"]
    return keywords


def _json_value(value: Any) -> Any:
    """Return a value that JSON can hold: "inf" for infinity, everything else unchanged."""
    return "inf" if value == float("inf") else value


def _to_onnx(run: Run, images: Tensor, description: str) -> tuple[bytes, Tensor]:
    """Return the network as an ONNX file, and the logits that ONNX Runtime gives with it."""
    import onnx
    import onnxruntime

    if run.recipe.filter in HOST_FILTERS:
        raise ValueError(
            f"filter must be part of the network for ONNX, got {run.recipe.filter!r}, which is not"
        )
    program = torch.onnx.export(
        run.model,
        (images,),
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    onnx.helper.set_model_props(model, {"virolbi": description})
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    # Two batches of other sizes than that of the export, because any number of images must be
    # accepted; a network can treat one image in another way.
    try:
        logits = [
            session.run(["logits"], {"images": batch.numpy()})[0]
            for batch in (images[:1], images[1:])
        ]
    except Exception as error:  # classes of ONNX Runtime
        raise RuntimeError(
            "the exported network must take any number of images, but it does not; nothing was "
            f"written: {error}"
        ) from error
    return content, torch.from_numpy(np.concatenate(logits))


def _to_safetensors(run: Run, images: Tensor, description: str) -> tuple[bytes, Tensor]:
    """Return the weights as a safetensors file, and the logits of a network that loads them."""
    content = save(saveable(run.model.state_dict()), {"virolbi": description})
    restored = copy.deepcopy(run.model)
    for tensor in restored.state_dict().values():
        tensor.zero_()
    restored.load_state_dict(load(content))
    with torch.no_grad():
        return content, restored(images)

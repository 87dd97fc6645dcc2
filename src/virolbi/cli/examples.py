"""Examples for the help text of every command, and the rules of errors and exit codes."""

EXIT_CODES = (
    "Exit codes: 0 all is done; 1 an error, or images that were left out, each named on standard "
    "error; 2 a command line that cannot be parsed; 130 interrupted; 141 nobody reads the output. "
    "An error is one line; with VIROLBI_TRACEBACK=1 in the environment, it is a Python traceback."
)
EXAMPLES = {
    "smooth": (
        "virolbi smooth photo.jpg smooth.jpg --sparsity auto",
        "virolbi smooth photos/ smoothed/ --recursive --noise 0.1",
        "virolbi smooth scan12bit.png smooth.png --data-range 4095",
        "virolbi smooth cells.tif smooth.tif",
        "virolbi smooth cube.npy smooth.npy --channel-axis 0 --nodata -9999",
        "virolbi smooth photo.png regions.png --labels --output regions --sparsity .6",
    ),
    "denoise": (
        "virolbi denoise photo.jpg clean.jpg",
        "virolbi denoise night/ clean/ --recursive --noise 1.5x",
        "virolbi denoise cells.tif clean.tif --data-range 4095",
    ),
    "path": (
        "virolbi path photo.jpg strip.png",
        "virolbi path photo.jpg strip.png --at auto,.9,.8 --crop 100,200,256,256",
        "virolbi path photo.jpg strip.png --plot path.svg",
    ),
    "corrupt": ("virolbi corrupt photo.jpg sheet.png --size 224",),
    "app": (
        "virolbi app",
        "virolbi app runs/digits --port 8000",
    ),
    "recipes": ("virolbi recipes cifar10",),
    "train": (
        "virolbi train digits-resnet8-recommended runs/digits",
        "virolbi train images-resnet18-recommended runs/birds --data birds/ --set epochs=30",
    ),
    "classify": ("virolbi classify runs/birds photo.jpg more/*.jpg",),
    "evaluate": (
        "virolbi evaluate runs/digits results/digits",
        "virolbi evaluate timm:resnet50 results/r50 --data photos/ --smooth auto,.9",
    ),
    "certify": ("virolbi certify runs/digits results/digits --sigma 0.25 --smooth 0.9",),
    "select": ("virolbi select runs/digits",),
    "calibrate": ("virolbi calibrate timm:resnet50 models/r50 --data photos/ --limit 64",),
    "adapt": ("virolbi adapt runs/digits results/digits --smooth auto --method source,bn,tent",),
    "versus": ("virolbi versus results/digits digits/auto digits/raw",),
    "report": ("virolbi report results/digits",),
    "export": ("virolbi export runs/digits digits.onnx",),
    "smooth-dataset": ("virolbi smooth-dataset photos/ smoothed/ --sparsity 0.9 --size 256",),
    "compare": ("virolbi compare digits-resnet8 runs/all --seeds 2",),
    "study": (
        "virolbi study sparsities runs/sparsities --seeds 2",
        "virolbi study procedures runs/procedures",
        "virolbi study domains runs/domains --family eurosat-resnet8 --data eurosat/",
    ),
    "demo": ("virolbi demo demo/",),
}


def format_examples(name: str) -> str:
    """Return the examples of a command as the end of its help text.

    Parameters
    ----------
    name : str
        Name of the command.

    Returns
    -------
    str
        One line for each example. The first character tells click to keep the lines.
    """
    return "\b\n" + "\n".join(["Examples:", *(f"  {example}" for example in EXAMPLES[name])])

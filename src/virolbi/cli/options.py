"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

from virolbi.cli.moments import SPARSITY
from virolbi.cli.parsing import parse_fraction
from virolbi.scale_space import Form

SPARSITY_HELP = (
    "Fraction of edges left out, in [0, 1]; a larger one is smoother. "
    "'auto' chooses it from the noise of each image."
)

# The smoother.
SparsityOption = Annotated[str, typer.Option(help=SPARSITY_HELP)]
MomentSparsityOption = Annotated[
    str | None, typer.Option("--sparsity", help=f"{SPARSITY_HELP} Default: {SPARSITY}.")
]
NoiseOption = Annotated[
    str | None,
    typer.Option(
        help="Instead of a sparsity: standard deviation of the noise, in intensity, over 0 up to "
        "1; or '2x' for twice the noise that is seen in each image. A larger one smooths more."
    ),
]
TimeOption = Annotated[
    float | None,
    typer.Option(
        help="Instead of a sparsity: time on the path in 1 / intensity, 0 or more, or inf; a "
        "smaller one smooths more."
    ),
]
NuOption = Annotated[
    float,
    typer.Option(
        help="Coupling of the image and its variations, .001 to 1000; a smaller one smooths more "
        "between the contours and takes longer."
    ),
]
PresetOption = Annotated[
    str,
    typer.Option(
        help="'robust', or 'paper' for the published form (delta inf, one support for each "
        "channel, regions)."
    ),
]
DeltaOption = Annotated[
    float | None,
    typer.Option(
        help="Intensity beyond which a pixel counts as an outlier, .001 or more, or inf. "
        "Default: the preset's."
    ),
]
JointOption = Annotated[
    bool | None,
    typer.Option(
        "--joint/--per-channel",
        help="One support for all channels, or one for each channel. Default: the preset's.",
    ),
]
OutputOption = Annotated[
    str | None,
    typer.Option(help="'beta' (smooth) or 'regions' (piecewise constant). Default: the preset's."),
]

# Image files.
MinAreaOption = Annotated[
    int | None, typer.Option(help="Merge regions of fewer pixels; for --output regions.")
]
StepOption = Annotated[
    float | None,
    typer.Option(
        help="Length of a time step, as a fraction of the time, .001 to .5. A larger one is "
        f"faster and less exact. Default: {Form.step:g}."
    ),
]
DataRangeOption = Annotated[
    float | None,
    typer.Option(
        help="Pixel value that is white: 4095 for 12 bits in 16; of negative numbers, their span. "
        "Default: 255 or 65535 for integers, 1 for floats."
    ),
]
NodataOption = Annotated[
    float | None,
    typer.Option(
        help="Pixel value without data, in all bands, kept as it is and out of the smoothing, as "
        "NaN (in any band) and transparent pixels are. Default: the one that the file states."
    ),
]
ChannelAxisOption = Annotated[
    str,
    typer.Option(
        help="Axis of the channels in a .npy or TIFF array, smoothed together, or 'none': each "
        "slice by itself. 'auto': the samples of a TIFF, the last axis of a .npy if it is 3 or 4; "
        "a .npy whose height or width would be its shortest axis is refused."
    ),
]
MegapixelsOption = Annotated[
    float,
    typer.Option(
        "--max-megapixels",
        help="Refuse larger pictures: damaged files can claim any size. A picture of N megapixels "
        "in colour takes about N / 12 GB of memory.",
    ),
]
CropOption = Annotated[
    str | None,
    typer.Option(help="Cut out a part of the image first: X,Y,WIDTH,HEIGHT in pixels."),
]
ImageSizeOption = Annotated[
    int | None, typer.Option(help="Resize and crop the image to this many pixels first.")
]
ForceOption = Annotated[
    bool, typer.Option("--force", "-f", help="Replace a file that exists already.")
]

# Recipes and data.
RecipeArgument = Annotated[
    str, typer.Argument(help="A name that `virolbi recipes` lists, or a .toml file of settings.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Change a setting of `virolbi.recipes.Recipe`: name=value. Can be used many times.",
    ),
]
DataOption = Annotated[
    str | None,
    typer.Option(
        help="'digits', a data set or image folder, or a name on the Hugging Face hub. "
        "Default: the recipe's."
    ),
]
ImagesRangeOption = Annotated[
    float | None,
    typer.Option(
        "--data-range",
        help="Pixel value of the images that is white: 4095 for 12 bits in 16. "
        "Default: the recipe's, or by the type of the pixels.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that keeps decoded and smoothed images. "
        "Default: keep them in memory and smooth them on the fly."
    ),
]
CpuOption = Annotated[
    bool, typer.Option("--cpu", help="Use the CPU, even where there is an accelerator.")
]

# The classifier and its test images.
ModelArgument = Annotated[
    str,
    typer.Argument(
        help="Folder of a training run or of a calibration, timm:NAME, or module:function that "
        "returns a network."
    ),
]
NameOption = Annotated[
    str | None, typer.Option(help="Name of the model in the rows. Default: that of the model.")
]
SmoothingOption = Annotated[
    str | None,
    typer.Option(
        help="Sparsity of the smoothing in front of the network, or 'auto'; several with commas "
        "between them. Default: the run's, or none."
    ),
]
SizeOption = Annotated[
    int | None,
    typer.Option(help="Resize and crop images to this many pixels. Default: the model's."),
]
SplitOption = Annotated[
    str,
    typer.Option(
        help="Split of the data to use: 'test', 'train', or the name of another one that is "
        "stored, such as 'validation'."
    ),
]
SkipOption = Annotated[
    int, typer.Option(help="Leave out this many images, from the front of the split.")
]
BatchSizeOption = Annotated[
    int | None,
    typer.Option(
        help="Images that the network sees at once; fewer take less memory, and the results are "
        "the same. Default: by the size of the images."
    ),
]
TestLimitOption = Annotated[
    int | None, typer.Option(help="Use only this many test images, from the front.")
]

# The evaluation.
CORRUPTIONS_HELP = "Names with commas between them, or 'common', 'held-out' or 'all'."
CorruptionsOption = Annotated[
    str | None, typer.Option(help=f"{CORRUPTIONS_HELP} Default: the three noises.")
]
ResolutionOption = Annotated[
    int | None,
    typer.Option(
        help="Resolution whose noise constants are used: 32, 64 or 224 pixels. "
        "Default: the nearest."
    ),
]
AttackedOption = Annotated[
    int, typer.Option(help="Number of test images that are attacked; 0 for none.")
]
EpsilonOption = Annotated[
    float,
    typer.Option(
        parser=parse_fraction,
        metavar="FLOAT",
        show_default="2/255",
        help="Largest change under attack, in intensity; can be a fraction.",
    ),
]

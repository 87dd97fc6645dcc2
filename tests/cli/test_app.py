import os
import re
import shlex
import subprocess
import sys
from inspect import signature

import numpy as np
import pytest
import tifffile
import typer
from PIL import Image

import virolbi
from virolbi import explorer
from virolbi.cli import app
from virolbi.cli.examples import EXAMPLES

COMMANDS = (
    "smooth",
    "denoise",
    "path",
    "corrupt",
    "app",
    "recipes",
    "train",
    "classify",
    "evaluate",
    "certify",
    "select",
    "calibrate",
    "adapt",
    "versus",
    "report",
    "export",
    "smooth-dataset",
    "compare",
    "study",
    "demo",
)


def test_the_commands_are_listed_in_the_order_of_their_use():
    assert tuple(typer.main.get_command(app).commands) == COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_lists_every_option_with_a_sentence(run, name):
    text = run(name, "--help")
    parameters = typer.main.get_command(app).commands[name].params
    assert parameters
    for parameter in parameters:
        assert parameter.name == "help" or (
            parameter.help and any(option in text for option in [*parameter.opts, parameter.name])
        )
    assert name in run("--help")


@pytest.mark.slow
def test_the_package_runs_as_a_module():
    program = [sys.executable, "-m", "virolbi", "--version"]
    result = subprocess.run(program, capture_output=True, text=True, check=True)
    assert result.stdout == f"virolbi {virolbi.__version__}\n"


# The name in the last column is that of the argument, option or file that is wrong.
@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ("smooth {}/none.png {}/out.png", "{}/none.png"),
        ("smooth {}/text.png {}/out.png", "{}/text.png"),
        ("smooth {}/cut.png {}/out.png", "{}/cut.png"),
        ("smooth {}/in.png {}/out", "{}/out"),
        ("smooth {}/in.png {}/out.png --sparsity 1.5", "--sparsity must be"),
        ("smooth {}/in.png {}/out.png --time 9 --noise .1", "--noise .1 and --time 9"),
        ("smooth {}/in.png {}/out.png --sparsity .8 --time 9", "--sparsity .8 and --time 9"),
        ("smooth {}/in.png {}/out.png --noise 0", "--noise must be"),
        ("smooth {}/in.png {}/out.png --noise 25", "--noise must be"),
        ("smooth {}/in.png {}/out.png --noise nan", "--noise must be"),
        ("smooth {}/in.png {}/out.png --noise .1 --output regions", "--noise needs"),
        ("smooth {}/in.png {}/out.png --time nan", "--time must be"),
        ("smooth {}/in.png {}/out.png --time -1", "--time must be"),
        ("smooth {}/in.png {}/out.png --nu 0", "nu must be"),
        ("smooth {}/in.png {}/out.png --preset best", "preset must be"),
        ("smooth {}/alpha.png {}/out.jpg", "{}/out.jpg"),
        ("path {}/in.png {}/out.png --at 1,x", "--at must be"),
        ("path {}/in.png {}/out.png --plot {}/path.png", "--plot must end in .svg"),
        ("path {}/in.png {}/out.png --columns 0", "--columns must be"),
        ("corrupt {}/in.png {}/out.png --severities 1,6", "--severities must be"),
        ("train best {}/out", "recipe must be"),
        ("train digits-resnet8-plain {}/out --data {}/nowhere", "data must be"),
        ("train digits-resnet8-plain {}/out --set epochs", "--set must be"),
        ("train digits-resnet8-plain {}/out --set epochs=many", "epochs must be"),
        ("train digits-resnet8-plain {}/out --set speed=9", "speed"),
        ("train digits-resnet8-plain {}", "{} must be"),
        ("train digits-resnet8-plain {}/out --set model=vgg99", "model must be"),
        ("compare digits-vgg {}/out", "recipe must be"),
        ("train images-resnet8-plain {}/out", "data must"),
        ("compare digits-resnet8 {}/out --resolution 100", "resolution must be"),
        ("compare digits-resnet8 {}", "{} must be"),
        ("compare digits-resnet8 {}/out --epsilon 16/2", "epsilon must be"),
        ("evaluate {} {}/out", "{} must be"),
        ("report {}", "{} must hold"),
        ("compare digits-resnet8 {}/out --arms best", "arms must be"),
        ("compare digits-resnet8 {}/out --set procedure=fixed", "procedure for plain"),
        ("compare digits-resnet8 {}/out --set mix=[0.5] --arms plain,recommended", "mix for"),
        ("recipes vgg", "match must be"),
    ],
)
def test_errors_are_one_line_and_leave_nothing_behind(run, picture, tmp_path, arguments, name):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(picture.read_bytes()[:500])
    Image.new("RGBA", (8, 8), (1, 2, 3, 128)).save(tmp_path / "alpha.png")
    before = sorted(tmp_path.rglob("*"))
    output = run(*(part.replace("{}", str(tmp_path)) for part in arguments.split()), code=1)
    loaded = r"data\s'digits'\s\(\w+\):\stook\s[\d,]+\simages\sof\s10\sclasses,\sleft\sout\snothing"
    (line,) = re.sub(loaded, "", output).strip().splitlines()
    assert line.startswith("virolbi: ")
    assert name.replace("{}", str(tmp_path)) in line
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("denoise", "Missing argument 'images'"),
        ("denoise photo.jpg", "Missing argument 'out'"),
        ("smooth --sparsity .8 photo.jpg -q", "Missing argument 'out'"),
        ("path photo.jpg", "Missing argument 'out'"),
        ("denoise --sparsity .8 in.png out.png", "No such option: --sparsity.*'virolbi smooth'"),
        ("denoise --colour in.png out.png", "No such option: --colour$"),
        ("auto in.png out.png", "No such command 'auto'.*'denoise'"),
        ("denois in.png out.png", "No such command 'denois'.*'denoise'"),
    ],
)
def test_wrong_usage_names_what_is_missing_or_meant(run, arguments, message):
    assert re.search(message, run(*arguments.split(), code=2).strip())


def run_program(*arguments, environment=None, **settings):
    program = [sys.executable, "-m", "virolbi", *arguments]
    environment = {**os.environ, **(environment or {})}
    return subprocess.run(program, env=environment, check=False, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("arguments", ["--version", "smooth --help", "recipes", "smooth"])
def test_the_program_ends_quietly_if_nobody_reads_its_output(
    picture, tmp_path, arguments, unbuffered
):
    if arguments == "smooth":
        arguments = f"smooth {picture} {tmp_path}/out.png --sparsity auto"  # prints by rich
    reader, writer = os.pipe()
    os.close(reader)
    environment = {"PYTHONUNBUFFERED": unbuffered}
    result = run_program(
        *arguments.split(), environment=environment, stdout=writer, stderr=subprocess.PIPE
    )
    os.close(writer)
    assert result.returncode == 141
    assert b"roken" not in result.stderr
    assert b"Traceback" not in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"PYTHONUTF8": "1", "LC_ALL": "C.UTF-8"}, ["\\udcff.png", "é.png"]),
        (
            {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"},
            ["\\udcff.png", "\\udcc3\\udca9.png"],
        ),
    ],
)
def test_names_that_cannot_be_printed_are_escaped(picture, tmp_path, environment, shown):
    names = [b"\xff.png", "é.png".encode(), b"last.png"]
    for name in names:
        (tmp_path / os.fsdecode(name)).write_bytes(picture.read_bytes())
    result = run_program(
        "smooth",
        *names,
        "out/",
        "--sparsity",
        "auto",
        environment={**environment, "PYTHONIOENCODING": ""},
        cwd=tmp_path,
        capture_output=True,
    )
    assert (result.returncode, len(list((tmp_path / "out").iterdir()))) == (0, 3)
    lines = result.stdout.decode().splitlines()
    assert [line.partition(": ")[0] for line in lines] == [*shown, "last.png", "3 unchanged"]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_a_short_option(run, name):
    assert run(name, "-h") == run(name, "--help")


def test_the_help_of_certify_says_what_is_certified(run):
    text = " ".join(run("certify", "--help").split())
    for words in ("randomised classifier", "2-norm", "99.9 %"):
        assert words in text


@pytest.mark.parametrize("name", COMMANDS)
def test_help_ends_with_examples_that_can_be_parsed(run, name):
    text = run(name, "--help")
    command = typer.main.get_command(app).commands[name]
    for example in EXAMPLES[name]:
        assert f"\n    {example}\n" in text
        program, first, *arguments = shlex.split(example)
        assert (program, first) == ("virolbi", name)
        command.make_context(name, arguments)  # raises an error for unknown options


def test_help_states_the_exit_codes(run, picture, tmp_path):
    text = " ".join(run("--help").split())
    assert "0 all is done; 1 an error" in text
    run("smooth", picture, tmp_path / "out.png", "--no-such-option", code=2)


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_and_options(shell):
    program = [sys.executable, "-c", "from virolbi.cli import app; app(prog_name='virolbi')"]

    def complete(**variables):
        environment = {**os.environ, **variables}
        result = subprocess.run(program, env=environment, capture_output=True, text=True)
        return result.stdout

    assert f"_VIROLBI_COMPLETE=complete_{shell}" in complete(_VIROLBI_COMPLETE=f"source_{shell}")
    words = {"COMP_WORDS": "virolbi smooth --spars", "COMP_CWORD": "2"}
    assert complete(_VIROLBI_COMPLETE="complete_bash", **words).split() == ["--sparsity"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--sparsity", "auto")])
def test_a_warning_is_one_line(tmp_path, options):
    dark = np.arange(256, dtype=np.uint16).reshape(16, 16)
    Image.fromarray(dark).save(tmp_path / "dark.png")
    arguments = ("smooth", str(tmp_path / "dark.png"), str(tmp_path / "out.png"), *options)
    result = run_program(*arguments, capture_output=True, text=True)
    (line,) = (line for line in result.stderr.splitlines() if "compiling" not in line)
    assert line.startswith(f"virolbi: warning: {tmp_path}/dark.png: uint16 images use 0.39% of")


def test_other_libraries_print_nothing(tmp_path):
    bands = np.full((16, 16, 12), 7, np.uint8)
    tifffile.imwrite(tmp_path / "in.tif", bands, photometric="minisblack", planarconfig="contig")
    arguments = ("smooth", str(tmp_path / "in.tif"), str(tmp_path / "out.tif"))
    result = run_program(*arguments, capture_output=True, text=True)
    assert [line for line in result.stderr.splitlines() if "compiling" not in line] == []


def test_the_limits_of_the_command_are_those_of_the_explorer():
    (command,) = (entry.callback for entry in app.registered_commands if entry.name == "app")
    defaults = {name: value.default for name, value in signature(command).parameters.items()}
    assert defaults["max_megapixels"] == explorer.MEGAPIXELS
    assert defaults["max_megabytes"] == explorer.MEGABYTES


def test_no_command_waits_for_the_explorer():
    code = "import sys, virolbi.cli; sys.exit('virolbi.explorer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0

"""Layout of the page in Gradio, and which control asks for what."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from virolbi.explorer.explorer import Explorer
from virolbi.explorer.markup import (
    STYLE,
    answers_html,
    difference_html,
    downloads_html,
    facts_html,
    input_html,
    other_html,
    result_html,
    strip_html,
)
from virolbi.explorer.samples import PHOTOGRAPHS, SAMPLES, Source
from virolbi.explorer.settings import CHOICES, CORRUPTIONS, Settings

if TYPE_CHECKING:
    from virolbi.explorer.classifier import Classifier

FONT = ("system-ui", "sans-serif")  # of the reader's system: nothing is loaded from elsewhere
# darker greys than those of Gradio, whose contrast is too weak for small text
THEME = gr.themes.Base(font=FONT, font_mono=("ui-monospace", "monospace"), primary_hue="blue").set(
    body_text_color_subdued="*neutral_600",
    body_text_color_subdued_dark="*neutral_300",
    block_label_text_color="*neutral_700",
    block_title_text_color="*neutral_700",
    input_placeholder_color="*neutral_600",
    input_placeholder_color_dark="*neutral_300",
)
CSS = STYLE
DELETED = (600, 3600)  # seconds between two looks at the uploads, and their age when they go
QUEUE = "explorer"  # all requests share it: one is computed at a time
START = Settings()
CONTROLS = 13  # values that `parse` takes
INTRODUCTION = """# virolbi explorer
Smooth a picture along its scale path: pick a sample or drop a file, add noise, move the sliders.
"""


class Controls:
    """Controls of the page, in the order of the arguments of `parse`."""

    def __init__(self) -> None:
        self.sample = gr.Dropdown(SAMPLES, value=PHOTOGRAPHS[0], label="Picture")
        self.upload = gr.File(
            label="Or drop a file here", file_types=["image"], height=120, elem_id="upload"
        )
        with gr.Group():
            self.corruption = gr.Dropdown(CORRUPTIONS, value=START.corruption, label="Add noise")
            self.severity = gr.Slider(1, 5, value=START.severity, step=1, label="Severity")
        self.choice = gr.Radio(
            CHOICES, value=START.choice, label="How much to smooth", info="auto: by the noise seen"
        )
        self.sparsity = gr.Slider(
            0, 1, value=START.sparsity, step=0.005, label="Sparsity", visible=False
        )
        self.noise = gr.Slider(
            0.005, 0.5, value=START.noise, step=0.005, label="Noise", visible=False
        )
        self.time = gr.Slider(0, 60, value=START.time, step=0.25, label="Time", visible=False)
        self.preset = gr.Radio(("robust", "paper"), value=START.preset, label="Form")
        self.nu = gr.Slider(0.05, 2, value=START.nu, step=0.05, label="nu: coupling")
        self.delta = gr.Slider(0.02, 1, value=START.delta, step=0.01, label="delta: outliers")
        self.output = gr.Radio(("beta", "regions"), value=START.output, label="Result")
        self.min_area = gr.Slider(
            1, 200, value=START.min_area, step=1, label="min_area of regions, in pixels"
        )

    @property
    def inputs(self) -> list[Any]:
        """Return the controls as Gradio passes their values to a handler."""
        return list(vars(self).values())


def parse(sample: str, upload: str | None, *values: Any) -> tuple[Source, Settings]:
    """Return the picture and the settings that the controls state.

    Parameters
    ----------
    sample : str
        Name of a sample.
    upload : str or None
        Path of an uploaded file, which comes before the sample.
    *values : Any
        Values of the other controls.

    Returns
    -------
    source : Source
        Picture.
    settings : Settings
        Settings.
    """
    corruption, severity, choice, sparsity, noise, time, preset, nu, delta, output, area = values
    settings = Settings(
        choice=choice,
        sparsity=float(sparsity),
        noise=float(noise),
        time=float(time),
        preset=preset,
        nu=float(nu),
        delta=float(delta),
        output=output,
        min_area=int(area),
        corruption=corruption,
        severity=int(severity),
    )
    if upload is None:
        return Source(sample), settings
    path = Path(upload)
    return Source(path.name, path), settings


class Page:
    """Page with its controls and what it shows.

    Parameters
    ----------
    explorer : Explorer
        Logic that answers.
    classifier : Classifier, optional
        Classifier that is asked as well.
    """

    def __init__(self, explorer: Explorer, classifier: "Classifier | None" = None) -> None:
        self._explorer, self._classifier = explorer, classifier
        with gr.Blocks(
            title="virolbi explorer",
            analytics_enabled=False,
            delete_cache=DELETED,
            fill_width=True,
        ) as self.blocks:
            gr.Markdown(INTRODUCTION)
            with gr.Row(elem_id="main"):
                with gr.Column(elem_id="top"):
                    self._facts = gr.HTML(elem_id="facts")
                    with gr.Row():
                        self._input = _picture("input")
                        self._result = _picture("result")
                with gr.Column(elem_id="controls"):
                    self._controls = Controls()
                with gr.Column(elem_id="rest"):
                    self._lay_out_rest()
            self._connect()

    def _lay_out_rest(self) -> None:
        """Make the parts of the page below the result."""
        with gr.Row():
            self._other = _picture("other")
            self._difference = _picture("difference")
        gr.Markdown("## The path, from smooth to detailed, by sparsity")
        self._strip = gr.HTML(elem_id="strip")
        if self._classifier is not None:
            gr.Markdown(f"## Answers of {self._classifier.name}")
            self._answers = gr.HTML(elem_id="answers")
            self._epsilon = gr.Slider(
                1, 16, value=2, step=1, label="Largest change under attack, in 255ths"
            )
            self._attack = gr.Button("Attack", elem_id="attack")
        gr.Markdown("## The lines that make it")
        self._python = _code("Python", "python")
        self._shell = _code("Shell, from the input.png below", "shell")
        self._prepare = gr.Button("Prepare files to download", elem_id="prepare")
        self._links = gr.HTML(elem_id="links")

    def _connect(self) -> None:
        """Connect the controls: some change the moment, the others the picture or its path."""
        controls = self._controls
        moments = [
            control.input
            for control in (
                controls.choice,
                controls.sparsity,
                controls.noise,
                controls.time,
                controls.min_area,
            )
        ]
        paths = [
            control.input
            for control in (
                controls.corruption,
                controls.severity,
                controls.preset,
                controls.nu,
                controls.delta,
                controls.output,
            )
        ] + [controls.upload.upload, controls.upload.clear, self.blocks.load]
        self._moment = [
            *(self._facts, self._result, self._other, self._difference),
            *(self._python, self._shell, self._links),
        ]
        everything = [*self._moment, self._input, self._strip]
        self._on(moments, self._show_moment, self._moment, "moment")
        self._on(paths, self._show_path, everything, "path")
        self._on([self._prepare.click], self._show_links, [self._links], "files")
        if self._classifier is not None:
            self._on([*moments, *paths], self._show_answers, [self._answers], "answers")
            self._on([self._attack.click], self._show_attack, [self._answers], "attack")
        controls.choice.input(
            lambda choice: [gr.update(visible=name == choice) for name in CHOICES[1:]],
            controls.choice,
            [controls.sparsity, controls.noise, controls.time],
            show_progress="hidden",
            api_visibility="private",
        )
        controls.sample.input(  # a file that was dropped would hide the sample
            lambda: None, None, controls.upload, show_progress="hidden", api_visibility="private"
        ).then(
            self._answering(self._show_path),
            controls.inputs,
            everything,
            show_progress="hidden",
            api_visibility="private",
            concurrency_id=QUEUE,
        )

    def _on(
        self, triggers: list[Any], function: Callable[..., Any], outputs: list[Any], name: str
    ) -> None:
        """Connect events to a method; of many events in a row, the last one is answered."""
        gr.on(
            triggers,
            self._answering(function),
            self._controls.inputs + ([self._epsilon] if name == "attack" else []),
            outputs,
            api_name=name,
            show_progress="hidden",
            trigger_mode="always_last",
            concurrency_id=QUEUE,
        )

    def _answering(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a method as a handler of values of controls, whose errors the page shows."""

        def handle(*values: Any) -> Any:
            try:
                source, settings = parse(*values[:CONTROLS])
                return function(source, settings, *values[CONTROLS:])
            except (ValueError, TypeError) as error:
                raise gr.Error(str(error), print_exception=False) from error

        return handle

    def _show_moment(self, source: Source, settings: Settings) -> list[str]:
        """Return what changes with the moment, without the files of an earlier one."""
        answer = self._explorer.answer(source, settings)
        pictures = [part(answer) for part in (result_html, other_html, difference_html)]
        return [facts_html(answer.facts), *pictures, answer.python, answer.shell, ""]

    def _show_path(self, source: Source, settings: Settings) -> list[str]:
        """Return everything that is shown of a picture."""
        strip = strip_html(self._explorer.strip(source, settings))
        answer = self._explorer.answer(source, settings)
        return [*self._show_moment(source, settings), input_html(answer), strip]

    def _show_links(self, source: Source, settings: Settings) -> str:
        """Return links to the files of a moment."""
        return downloads_html(self._explorer.answer(source, settings).files())

    def _show_answers(self, source: Source, settings: Settings) -> str:
        """Return the answers of the classifier."""
        return self._show_attack(source, settings, 0)

    def _show_attack(self, source: Source, settings: Settings, change: float) -> str:
        """Return the answers of the classifier, without and with an attack."""
        assert self._classifier is not None
        image = self._explorer.image(source, settings)
        return answers_html(self._classifier.answers(image, settings, epsilon=change / 255))


def _picture(name: str) -> gr.HTML:
    """Return the place of a picture."""
    return gr.HTML(elem_id=name, elem_classes="picture", min_width=140)


def _code(label: str, name: str) -> gr.Textbox:
    """Return the place of a program."""
    return gr.Textbox(
        label=label, buttons=["copy"], interactive=False, elem_id=name, elem_classes="code"
    )

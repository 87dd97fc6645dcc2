"""Layout of the page in Gradio, and which control asks for what."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from virolbi.explorer.explorer import Answer, Explorer
from virolbi.explorer.markup import (
    HEAD,
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
from virolbi.explorer.settings import CHOICES, CORRUPTIONS, RESULTS, Settings
from virolbi.scale_space import PRESETS

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
LOOK = {"theme": THEME, "css": STYLE, "head": HEAD}  # keywords of `launch`
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
        self.sample = gr.Dropdown(SAMPLES, value=PHOTOGRAPHS[0], label="Picture", elem_id="sample")
        self.upload = gr.File(
            label="Or drop a file here", file_types=["image"], height=120, elem_id="upload"
        )
        with gr.Group():
            self.corruption = gr.Dropdown(
                CORRUPTIONS, value=START.corruption, label="Add noise", elem_id="corruption"
            )
            self.severity = _slider("severity", "Severity", 1, 5, 1)
        self.choice = gr.Radio(
            CHOICES,
            value=START.choice,
            label="How much to smooth",
            info="auto: by the noise seen",
            elem_id="choice",
        )
        self.sparsity = _slider("sparsity", "Sparsity", 0, 1, 0.005, visible=False)
        self.noise = _slider("noise", "Noise", 0.005, 0.5, 0.005, visible=False)
        self.time = _slider("time", "Time", 0, 60, 0.25, visible=False)
        self.preset = gr.Radio(tuple(PRESETS), value=START.preset, label="Form", elem_id="preset")
        self.nu = _slider("nu", "nu: coupling", 0.05, 2, 0.05)
        self.delta = _slider("delta", "delta: outliers", 0.02, 1, 0.01)
        self.output = gr.Radio(
            RESULTS,
            value=START.output,
            label="Result",
            info="denoised: to look at; by auto or noise, in the default form",
            elem_id="output",
        )
        self.min_area = _slider("min_area", "min_area of regions, in pixels", 1, 200, 1)

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
        picked = controls.sample.input(  # a file that was dropped would hide the sample
            lambda: None, None, controls.upload, show_progress="hidden", api_visibility="private"
        )
        self._on(partial(gr.on, moments), self._show_moment, self._moment, "moment")
        self._on(partial(gr.on, paths), self._show_path, everything, "path")
        self._on(picked.then, self._show_path, everything, "sample")
        self._on(self._prepare.click, self._show_links, [self._links], "files")
        if self._classifier is not None:
            self._on(self._attack.click, self._show_attack, [self._answers], "attack")
        controls.choice.input(
            lambda choice: [gr.update(visible=name == choice) for name in CHOICES[1:]],
            controls.choice,
            [controls.sparsity, controls.noise, controls.time],
            show_progress="hidden",
            api_visibility="private",
        )

    def _on(
        self, start: Callable[..., Any], function: Callable[..., Any], outputs: list[Any], name: str
    ) -> None:
        """Connect events to a method; of many events in a row, the last one is answered."""
        event = start(
            self._answering(function),
            self._controls.inputs + ([self._epsilon] if name == "attack" else []),
            outputs,
            api_name=name,
            show_progress="hidden",
            trigger_mode="always_last",
            concurrency_id=QUEUE,
        )
        if self._classifier is not None and name in ("moment", "path", "sample"):
            # not by the same triggers: two listeners that answer the last of many events would
            # start each other for ever
            event.then(
                self._answering(self._show_answers),
                self._controls.inputs,
                self._answers,
                show_progress="hidden",
                api_visibility="private",
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
        return _moment_parts(self._explorer.answer(source, settings))

    def _show_path(self, source: Source, settings: Settings) -> list[str]:
        """Return everything that is shown of a picture."""
        strip = strip_html(self._explorer.strip(source, settings))
        answer = self._explorer.answer(source, settings)
        return [*_moment_parts(answer), input_html(answer), strip]

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


def _moment_parts(answer: Answer) -> list[str]:
    """Return what is shown of an answer, without links to its files."""
    pictures = [part(answer) for part in (result_html, other_html, difference_html)]
    return [facts_html(answer.facts), *pictures, answer.python, answer.shell, ""]


def _slider(
    name: str, label: str, low: float, high: float, step: float, *, visible: bool = True
) -> gr.Slider:
    """Return the slider of a setting."""
    value = getattr(START, name)
    return gr.Slider(
        low, high, value=value, step=step, label=label, elem_id=name, visible=visible, buttons=[]
    )


def _picture(name: str) -> gr.HTML:
    """Return the place of a picture."""
    return gr.HTML(elem_id=name, elem_classes="picture", min_width=140)


def _code(label: str, name: str) -> gr.Textbox:
    """Return the place of a program."""
    return gr.Textbox(
        label=label, buttons=["copy"], interactive=False, elem_id=name, elem_classes="code"
    )

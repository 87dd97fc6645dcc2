"""Parts of the page as HTML. All pictures are in the page itself: nothing is read from a path."""

import base64
import html
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from virolbi.explorer.explorer import Answer, Frame
from virolbi.explorer.settings import NO_CORRUPTION

if TYPE_CHECKING:
    from virolbi.evaluation import Answers

SHOWN = {"quality": 92, "subsampling": 0}  # JPEG; downloads are exact
TYPES = {"png": "image/png", "npy": "application/octet-stream", "py": "text/x-python"}

STYLE = """
figure { margin: 0 }
figcaption, .facts, .answers { font-size: .9rem; color: var(--body-text-color) }
.picture img { width: 100%; height: auto; display: block; border-radius: 4px }
.strip { display: flex; gap: .5rem; overflow-x: auto; padding-bottom: .4rem }
.strip figure { flex: 0 0 auto }
.strip img { height: 7rem; width: auto; display: block; border-radius: 4px }
.facts { display: flex; flex-wrap: wrap; gap: .1rem 1.4rem; margin: 0 }
.facts div { display: flex; gap: .4rem }
.facts dt { font-weight: 600 }
.facts dd { margin: 0; font-variant-numeric: tabular-nums }
.answers { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)) }
.answers table { width: 100%; border-collapse: collapse }
.answers caption { text-align: left; font-weight: 600; padding-bottom: .2rem }
.answers td { padding: .15rem .3rem }
.answers td:first-child { background: linear-gradient(var(--color-accent-soft) 0 0) left /
    calc(100% * var(--share)) 100% no-repeat }
.answers td + td { text-align: right; font-variant-numeric: tabular-nums }
.downloads { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem }
.downloads a { color: var(--body-text-color); text-decoration: underline }
.code textarea { font-family: ui-monospace, monospace; font-size: .85rem; white-space: pre;
    overflow-x: auto }
footer { display: none !important }
#main { display: grid; align-items: start; grid-template-columns: 20rem minmax(0, 1fr);
    grid-template-rows: auto 1fr }
#controls { grid-row: 1 / span 2 }
@media (max-width: 45rem) {
    #main { grid-template-columns: minmax(0, 1fr) }
    #controls { grid-row: auto }
    #top { position: sticky; top: 0; z-index: 5; background: var(--body-background-fill) }
}
"""

# Gradio hides what overflows its container, which would undo "sticky"; it confines STYLE to it
HEAD = "<style>.gradio-container { overflow: clip !important }</style>"


def input_html(answer: Answer) -> str:
    """Return the picture before smoothing.

    Parameters
    ----------
    answer : Answer
        Moment.

    Returns
    -------
    str
        HTML.
    """
    settings, caption = answer.settings, "Input"
    if settings.corruption != NO_CORRUPTION:
        caption += f", {settings.corruption.replace('_', ' ')} {settings.severity}"
    return _figure(answer.image, caption)


def result_html(answer: Answer) -> str:
    """Return the smoothed or denoised picture.

    Parameters
    ----------
    answer : Answer
        Moment.

    Returns
    -------
    str
        HTML.
    """
    return _figure(answer.result, f"Result ({answer.settings.output})")


def other_html(answer: Answer) -> str:
    """Return the output that is not the result, or what smoothing makes of the same noise.

    Parameters
    ----------
    answer : Answer
        Moment.

    Returns
    -------
    str
        HTML.
    """
    if answer.settings.output == "beta":
        return _figure(answer.scale.regions, "Regions, each at its mean")
    if answer.settings.output == "denoised":
        return _figure(answer.scale.beta, "Smoothed by the same noise, beta")
    return _figure(answer.scale.beta, "The same moment, beta")


def difference_html(answer: Answer) -> str:
    """Return what smoothing took away.

    Parameters
    ----------
    answer : Answer
        Moment.

    Returns
    -------
    str
        HTML.
    """
    return _figure(answer.difference, "Input less result, doubled, on grey")


def strip_html(frames: Iterable[Frame]) -> str:
    """Return the film strip.

    Parameters
    ----------
    frames : iterable of Frame
        Its pictures.

    Returns
    -------
    str
        HTML; the strip scrolls, with the keyboard too.
    """
    title = "Path from smooth to detailed, by sparsity"
    figures = "".join(_figure(frame.picture, f"{frame.sparsity:.2f}") for frame in frames)
    return f'<div class="strip" tabindex="0" role="region" aria-label="{title}">{figures}</div>'


def facts_html(facts: Mapping[str, str]) -> str:
    """Return facts in a row.

    Parameters
    ----------
    facts : mapping
        Texts by their titles.

    Returns
    -------
    str
        HTML.
    """
    entries = (
        f"<div><dt>{html.escape(title)}</dt><dd>{html.escape(text)}</dd></div>"
        for title, text in facts.items()
    )
    return f'<dl class="facts">{"".join(entries)}</dl>'


def answers_html(answers: Sequence["Answers"]) -> str:
    """Return the answers of a classifier beside each other.

    Parameters
    ----------
    answers : sequence of Answers
        Tables to show.

    Returns
    -------
    str
        HTML.
    """
    tables = []
    for column in answers:
        rows = "".join(
            f'<tr><td style="--share:{share:.3f}">{html.escape(name)}</td>'
            f"<td>{100 * share:.1f} %</td></tr>"
            for name, share in zip(column.classes, column.probabilities, strict=True)
        )
        tables.append(f"<table><caption>{html.escape(column.title)}</caption>{rows}</table>")
    return f'<div class="answers">{"".join(tables)}</div>'


def downloads_html(files: Mapping[str, bytes]) -> str:
    """Return links to files that the page itself holds.

    Parameters
    ----------
    files : mapping
        Contents by their names.

    Returns
    -------
    str
        HTML.
    """
    links = []
    for name, content in files.items():
        kind = TYPES.get(name.rpartition(".")[2], "text/plain")
        url = f"data:{kind};base64,{base64.b64encode(content).decode()}"
        links.append(f'<a download="{html.escape(name)}" href="{url}">{html.escape(name)}</a>')
    return f'<div class="downloads">{"".join(links)}</div>'


def _figure(pixels: np.ndarray, caption: str) -> str:
    """Return a picture with its caption."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="JPEG", **SHOWN)
    url = f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    text = html.escape(caption)
    return (
        f'<figure><img alt="{text}" src="{url}" decoding="sync">'
        f"<figcaption>{text}</figcaption></figure>"
    )

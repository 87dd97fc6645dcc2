"""Equations of the site as MathML, which browsers draw without a script."""

from docutils.nodes import SkipNode, math, math_block
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator


def write_inline(translator: HTML5Translator, node: math) -> None:
    """Write an equation in a line of text.

    Parameters
    ----------
    translator : HTML5Translator
        Writer of the page.
    node : math
        Equation.
    """
    translator.body.append(convert(node.astext()))
    raise SkipNode


def write_block(translator: HTML5Translator, node: math_block) -> None:
    """Write an equation that stands by itself.

    Parameters
    ----------
    translator : HTML5Translator
        Writer of the page.
    node : math_block
        Equation.
    """
    equation = convert(node.astext(), display="block")
    translator.body.append(f'<div class="equation">{equation}</div>')
    raise SkipNode


def setup(app: Sphinx) -> None:
    """Register the writers.

    Parameters
    ----------
    app : Sphinx
        Application.
    """
    app.add_html_math_renderer("mathml", (write_inline, None), (write_block, None))

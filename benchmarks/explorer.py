"""Measure how long the explorer takes for an answer, and for the pictures that it shows of it.

Usage: OMP_NUM_THREADS=1 taskset -c 0 python benchmarks/explorer.py

Rows go to results/explorer/answers.jsonl: one for each form, over 62 moments of a photograph of
512 x 512 pixels in colour with Gaussian noise. Run it on a quiet machine.
"""

import json
import statistics
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from virolbi._storage import write_atomic
from virolbi.explorer import Explorer, Settings, Source
from virolbi.explorer.markup import difference_html, facts_html, other_html, result_html

OUT = Path(__file__).parent.parent / "results" / "explorer" / "answers.jsonl"
FORMS = {
    "robust": Settings(),
    "robust, min_area = 20": Settings(min_area=20),
    "robust, nu = .1": Settings(nu=0.1),
    "paper": Settings(preset="paper"),
}
PARTS = (result_html, other_html, difference_html)


def moments(settings: Settings) -> list[Settings]:
    """Return settings of one form whose moments cover the sliders."""
    chosen = [("sparsity", value) for value in np.linspace(1, 0, 41)]
    chosen += [("noise", value) for value in np.linspace(0.02, 0.4, 10)]
    chosen += [("time", value) for value in np.linspace(0, 60, 10)]
    stated = [replace(settings, choice=name, **{name: float(value)}) for name, value in chosen]
    return [settings, *stated]


def measure(name: str, settings: Settings) -> dict[str, object]:
    """Return the row of a form, in milliseconds."""
    explorer, source = Explorer(), Source("astronaut")
    start = time.perf_counter()
    explorer.strip(source, settings)
    first = time.perf_counter() - start
    answers, pages = [], []
    for moment in moments(settings):
        start = time.perf_counter()
        answer = explorer.answer(source, moment)
        answers.append(1000 * (time.perf_counter() - start))
        _ = [part(answer) for part in PARTS], facts_html(answer.facts), answer.shell
        pages.append(1000 * (time.perf_counter() - start))
    return {
        "form": name,
        "first": round(1000 * first),
        "answer": round(statistics.median(answers)),
        "answer_most": round(max(answers)),
        "page": round(statistics.median(pages)),
        "page_most": round(max(pages)),
    }


if __name__ == "__main__":
    measure("warm up", Settings())
    rows = [measure(name, settings) for name, settings in FORMS.items()]
    OUT.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(OUT, "".join(json.dumps(row) + "\n" for row in rows).encode())
    print(OUT.read_text())

"""The documentation: length of the README, its picture, links between pages, and the test command.

Examples are doctests, and `make check` compares the tables with their rows.
"""

import re
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "benchmarks").glob("*.md")]) + sorted(
    page
    for page in (ROOT / "docs").rglob("*.md")
    if page.relative_to(ROOT / "docs").parts[0] not in ("gallery", "reference")
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
MADE = ("docs/gallery/", "docs/reference/")  # by `make docs`


def test_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) < 6_000


def test_readme_states_the_test_command_of_ci():
    command = (ROOT / ".ci" / "run").read_text().splitlines()[-1]
    assert f"`{command}`" in (ROOT / "README.md").read_text()


def test_picture_of_the_readme_is_small_and_wide():
    path = ROOT / "docs" / "pictures" / "overview.jpg"
    assert path.stat().st_size < 300_000
    with Image.open(path) as picture:
        assert picture.width >= 1000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_to_files(page):
    missing = []
    for link in LINK.findall(page.read_text()):
        path = (page.parent / link.partition("#")[0]).resolve()
        made = path.is_relative_to(ROOT) and str(path.relative_to(ROOT)).startswith(MADE)
        if not link.startswith(("http", "#")) and not made and not path.exists():
            missing.append(link)
    assert missing == []


def test_every_page_of_the_site_is_in_a_table_of_contents():
    docs = ROOT / "docs"
    listed = {"index"}
    for page in docs.rglob("*.md"):
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(), re.DOTALL):
            entries = [line for line in block.split("\n") if line and not line.startswith(":")]
            folder = page.parent
            listed |= {
                str((folder / entry).resolve().relative_to(docs.resolve())) for entry in entries
            }
    pages = {
        str(page.relative_to(docs).with_suffix("")) for page in PAGES if page.is_relative_to(docs)
    }
    assert pages - listed == set()


def test_gallery_examples_have_a_title_and_a_picture():
    examples = sorted((ROOT / "docs" / "examples").glob("*.py"))
    assert len(examples) >= 10
    for example in examples:
        text = example.read_text()
        assert re.match(r'"""\n.+\n=+\n\n[A-Z`]', text), example.name
        assert "plt.subplots(" in text or "plt.figure(" in text, example.name

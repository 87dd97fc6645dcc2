"""Write the tables of results between their markers in README.md; with --check, only say whether they are up to date."""

import re
import sys
from pathlib import Path

from virolbi.report import markdown, read_folder, summarise

ROOT = Path(__file__).parent.parent
MARKED = re.compile(r"(<!-- table: (?P<folder>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def updated(text: str) -> str:
    """The text with every marked table made anew from the rows of its folder."""
    return MARKED.sub(lambda match: match[1] + markdown(summarise(read_folder(ROOT / match["folder"]))) + match[3], text)


if __name__ == "__main__":
    readme = ROOT / "README.md"
    before = readme.read_text()
    after = updated(before)
    if "--check" not in sys.argv:
        readme.write_text(after)
    elif before != after:
        raise SystemExit("the tables of README.md are not those of results/: run make readme")

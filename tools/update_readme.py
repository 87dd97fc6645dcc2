"""Write the tables between their markers in the pages, from rows; with --check, only say whether they are up to date."""

import json
import re
import sys
from pathlib import Path

from virolbi.report import markdown, read_folder, summarise

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "benchmarks" / "README.md"]
MARKED = re.compile(r"(<!-- table: (?P<source>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(source: Path) -> str:
    """The table of a folder of results, or of a file of rows, which has a column for every name in them."""
    if source.is_dir():
        return markdown(summarise(read_folder(source)))
    rows = [json.loads(line) for line in source.read_text().splitlines()] if source.exists() else []
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [[name.replace("_", " ") for name in names], ["---"] * len(names)]
    lines += [["" if row.get(name) is None else f"{row[name]}" for name in names] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    for page in PAGES:
        before = page.read_text()
        after = MARKED.sub(lambda match: match[1] + table(ROOT / match["source"]) + match[3], before)
        if "--check" not in sys.argv:
            page.write_text(after)
        elif before != after:
            raise SystemExit(f"the tables of {page.relative_to(ROOT)} are not those of results/: run make readme")

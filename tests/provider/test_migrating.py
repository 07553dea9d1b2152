"""The page for those who come from the replaced package: every defect is listed with files that have a test of it."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| D(\d+) \| .+ \| (.+) \|$", re.M)


def test_every_defect_has_a_test_where_the_page_says_and_nowhere_else() -> None:
    rows = {int(number): set(re.findall(r"`(\S+)`", files)) for number, files in ROW.findall(page())}
    assert sorted(rows) == list(range(1, 31))
    for number, files in rows.items():
        name = re.compile(rf"def test_(d\d+_)*d{number}_")
        having = {
            path.name for path in (ROOT / "tests/defects").glob("test_*.py") if name.search(path.read_text("utf-8"))
        }
        assert files == having, f"D{number}"


def test_every_path_and_name_the_page_speaks_of_is_there() -> None:
    for path in re.findall(r"`(tests/\S+?)`", page()):
        assert (ROOT / path).exists(), path


def page() -> str:
    return (ROOT / "docs/MIGRATING.md").read_text("utf-8")

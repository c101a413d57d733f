"""The README, the Dockerfile and the notebook install by the same lines, of extras that there are."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
PROJECT = re.compile(r"pip install (['\"]?)(\.(?:\[[^]]*\])?)\1(?=\s|`|$)")


def installs(text: str) -> list[str]:
    """What pip is asked to install of the project, in order: `.` or `.[extras]`."""
    return [found[2] for found in PROJECT.finditer(text)]


def dockerfile() -> str:
    """The Dockerfile with the defaults of its arguments in their place."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    defaults = dict(re.findall(r"^ARG (\w+)=(\S*)$", text, flags=re.MULTILINE))
    return re.sub(r"\$\{(\w+)\}", lambda found: defaults.get(found[1], found[0]).strip('"'), text)


def test_readme_dockerfile_and_notebook_install_by_the_same_line() -> None:
    block = re.search(r"^```\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert block is not None
    (wanted,) = installs(block[1])
    notebook = json.loads((ROOT / "examples" / "first_steps.ipynb").read_text(encoding="utf-8"))
    cells = "\n".join("".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code")
    assert installs(cells) == installs(dockerfile()) == [wanted]


def test_every_extra_that_a_page_installs_is_one() -> None:
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.py"), ROOT / "Dockerfile"]
    named = {name for page in pages for text in installs(page.read_text(encoding="utf-8")) for name in listed(text)}
    assert {"demo", "train", "report"} <= named <= EXTRAS.keys() | {"${EXTRAS}"}


def listed(text: str) -> list[str]:
    return text[2:-1].split(",") if "[" in text else []


def test_what_the_image_copies_is_let_through_to_the_build() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    passed = {line[1:] for line in ignore if line.startswith("!")}
    copied = re.findall(r"^COPY (.*) \S+$", dockerfile(), flags=re.MULTILINE)
    sources = {source for line in copied for source in line.split()}
    assert sources == passed
    assert all((ROOT / source).exists() for source in sources)
    assert "*" in ignore


def test_the_container_runs_as_a_user_without_rights() -> None:
    lines = dockerfile().splitlines()
    (user,) = (line.split()[1] for line in lines if line.startswith("USER"))
    assert int(user) > 1000
    assert 'ENTRYPOINT ["mer-r1"]' in lines
    assert lines.index(f"USER {user}") < lines.index('ENTRYPOINT ["mer-r1"]')

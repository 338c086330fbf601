"""What a release repeats: one version everywhere, a citation file that parses, and issue forms that do."""

import re
import tomllib
from importlib import metadata

import pytest
import yaml

from tests.promises.house import ROOT

FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


def version() -> str:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return str(tomllib.load(file)["project"]["version"])


def test_one_version() -> None:
    heading = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert heading is not None
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {version(), heading[1], citation["version"]} == {metadata.version("koclip-consistency")}
    written = [
        path.relative_to(ROOT).as_posix()
        for package in ("consistency", "embedcache", "heads", "finetune", "koclip_consistency")
        for path in (ROOT / package).rglob("*.py")
        if f'"{version()}"' in path.read_text(encoding="utf-8")
    ]
    assert written == []


def test_the_citation_file_has_what_its_schema_requires() -> None:
    """cffconvert checks all of it: see docs/releasing.md."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["cff-version"], citation["license"]) == ("1.2.0", "MIT")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", citation["date-released"])
    assert all(author.get("name") or author.get("family-names") for author in citation["authors"])


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_forms(path) -> None:  # type: ignore[no-untyped-def]
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.name == "config.yml":
        assert form["blank_issues_enabled"] is True
        return
    assert {"name", "description", "body"} <= set(form)
    fields = [part for part in form["body"] if part["type"] != "markdown"]
    assert {part["type"] for part in form["body"]} <= KINDS
    assert len({part["id"] for part in fields}) == len(fields) > 1
    assert all(part["attributes"]["label"] for part in fields)


def test_there_is_a_form_for_bugs_features_and_data() -> None:
    assert {path.stem for path in FORMS} == {"bug", "feature", "data", "config"}

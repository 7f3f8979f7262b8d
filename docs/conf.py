"""How Sphinx makes the documentation's site: `nox -s docs`.

The source is the whole repository, so that links from one Markdown file to another lead somewhere
here as they do on a code host.
"""

from __future__ import annotations

import re
from pathlib import Path

from sphinx.application import Sphinx

from riboswitch import __version__

PAGE = re.compile(r"\]\(((?!\.\./)[\w/.-]+\.(?:md|rst))\)")

project = "Riboswitch"
author = "the authors of Riboswitch"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinxcontrib.mermaid"]
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "docs/**.rst"]
exclude_patterns = ["**/.*", ".*", "build", "dist", "core", "plugins", "adapters", "tests"]

myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]

html_theme = "furo"
html_title = "Riboswitch"
html_show_copyright = False
html_copy_source = False

default_role = "code"
autodoc_default_options = {"members": True, "exclude-members": "pytest_generate_tests"}
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
ALIASES = {
    "~numpy.ndarray[tuple[~typing.Any, ...], ~numpy.dtype[~typing.Any]]": "Array",
    "~collections.abc.Mapping[str, ~riboswitch.interfaces.Array]": "Weights",
}
nitpicky = True
nitpick_ignore_regex = [
    # Of others: no inventory is fetched, so that the build needs no network.
    (
        r"py:.*",
        r"(NDArray|_pytest|collections|contextlib|np|numpy|os|paddle|pathlib|pytest|re|torch|typing)\b.*",
    ),
    # Of ours: what a test or a constructor needs, and who reads the reference does not.
    (r"py:class", r"riboswitch\.(conversion\.plan\.WritePlan|opening\.Opened|store\._Source)"),
    (r"py:class", r"riboswitch\.testing\.contract\.F|AnyTensor"),
]


def table_of_contents(app: Sphinx, docname: str, source: list[str]) -> None:
    """What the index links to is what the menu shows: a code host has no use for a toctree."""
    if docname != app.config.root_doc:
        return
    pages = [*PAGE.findall(source[0]), "../README.md", "../CHANGELOG.md", "../CONTRIBUTING.md"]
    names = [*dict.fromkeys(page.rpartition(".")[0] for page in pages), "examples/*/README"]
    source[0] += "\n```{toctree}\n:hidden:\n:glob:\n\n" + "\n".join(names) + "\n```\n"


def plain_signature(
    app: Sphinx,
    what: str,
    name: str,
    thing: object,
    options: object,
    said: str | None,
    returns: str | None,
) -> tuple[str | None, str | None]:
    """Arrays by our name for them, and no arguments for a protocol, which nobody constructs."""
    del app, what, name, thing, options
    said = said and re.sub(r"= (<[^>]+>|NOTHING)", "= ...", said)  # a default without a text
    for long, short in ALIASES.items():
        new = f"~riboswitch.interfaces.{short}"
        said, returns = said and said.replace(long, new), returns and returns.replace(long, new)
    return "" if said == "(*args, **kwargs)" else said, returns


def examples(
    app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]
) -> None:
    """An indented block after a blank line is code, in a docstring as in Markdown."""
    del app, what, name, thing, options
    for i in range(len(lines) - 1, 1, -1):
        before = next((line for line in reversed(lines[:i]) if line), "")
        if lines[i].startswith("    ") and not lines[i - 1] and not before.startswith(" "):
            lines[i:i] = [".. code-block:: python", ""]


def front_door(app: Sphinx, error: Exception | None) -> None:
    """The site begins at its root, the documentation in `docs`."""
    page = '<!doctype html><meta http-equiv="refresh" content="0; url=docs/index.html">\n'
    if error is None:
        (Path(app.outdir) / "index.html").write_text(page, "utf-8")


def setup(app: Sphinx) -> None:
    """Register what is above."""
    app.connect("autodoc-process-signature", plain_signature)
    app.connect("source-read", table_of_contents)
    app.connect("autodoc-process-docstring", examples, priority=400)  # before napoleon
    app.connect("build-finished", front_door)

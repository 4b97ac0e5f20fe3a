"""Links between the pages: each leads to an existing file and heading, and the README leads to every page."""

import re

LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.M | re.S)


def slug(heading):
    """Returns the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(path):
    text = CODE.sub(lambda code: code.group(0).strip("`") if "\n" not in code.group(0) else "", path.read_text())
    return {slug(heading) for heading in re.findall(r"^#+ (.*)$", text, re.M)}


def broken(root, name):
    """Yields each link of a page that leads nowhere."""
    page = root / name
    for path, anchor in LINK.findall(CODE.sub("", page.read_text())):
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            yield f"{name}: no file {path}"
        elif anchor and anchor not in anchors(target):
            yield f"{name}: no heading {path}#{anchor}"


def orphans(root):
    """Yields each page that the README does not lead to."""
    readme = (root / "README.md").read_text()
    for page in sorted(root.glob("docs/*.md")):
        if f"](docs/{page.name})" not in readme:
            yield f"README.md: no link to docs/{page.name}"

"""The code blocks of a Markdown page, with the instructions in its invisible comments."""

import re
from dataclasses import dataclass

FENCE = re.compile(r"^( {0,3})```(.*)$")
COMMENT = re.compile(r"^ *<!-- docs: (.*) -->$")
FROM = re.compile(r'from "([^"]+)"')
UNTIL = re.compile(r'until "([^"]+)"')


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Its comment, in the line before the fence, is one of

        <!-- docs: skip, REASON -->            it is not run
        <!-- docs: file NAME -->               it is the text of a file that later blocks use
        <!-- docs: until "TEXT" -->            it goes on for ever: it is ended when it has said TEXT
        <!-- docs: beside, from "BEGUN" until "TEXT" -->
            it goes on beside the blocks that follow, which wait until it has said BEGUN; at the end it must have said TEXT
        <!-- docs: guarded -->                 it is run on a database that asks for a password
    """

    page: str
    line: int
    language: str
    text: str
    comment: str

    @property
    def where(self):
        return f"{self.page}:{self.line}"

    @property
    def skipped(self):
        return self.comment.removeprefix("skip, ") if self.comment.startswith("skip, ") else None

    @property
    def file(self):
        return self.comment.removeprefix("file ") if self.comment.startswith("file ") else None

    @property
    def beside(self):
        return self.comment.startswith("beside")

    @property
    def guarded(self):
        return self.comment.startswith("guarded")

    @property
    def begun(self):
        return FROM.search(self.comment).group(1)

    @property
    def until(self):
        found = UNTIL.search(self.comment)
        if found:
            return found.group(1)
        return "the service is up" if self.language == "toml" else None


def blocks(page, text):
    """Returns the blocks of a page in order. Code outside a fence with a language is an error."""
    lines = text.split("\n")
    found, at = [], 0
    while at < len(lines):
        fence = FENCE.match(lines[at])
        if not fence:
            if lines[at].startswith("    ") and not lines[at - 1].strip():
                raise ValueError(f"{page}:{at + 1}: indented code: give it a fence with a language")
            at += 1
            continue
        indent, language = fence.groups()
        end = lines.index(indent + "```", at + 1)
        comment = COMMENT.match(lines[at - 1])
        if not language:
            raise ValueError(f"{page}:{at + 1}: a fence without a language")
        body = "".join(line.removeprefix(indent) + "\n" for line in lines[at + 1 : end])
        found.append(Block(page, at + 1, language, body, comment.group(1) if comment else ""))
        at = end + 1
    return found

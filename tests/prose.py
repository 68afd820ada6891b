"""Checks the prose of the project. `make prose` runs it over all files that Git knows.

It reads Markdown and the comments of Lua and JavaScript. In Python it reads
docstrings, comments, and the messages of logs and exceptions. It leaves out code,
inline code and tables. The rules come from:

- proselint, a prose linter with the advice of style guides;
- `RULES`, for our own bad habits.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import textwrap
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from markdown_it import MarkdownIt
from markdown_it.token import Token
from proselint.checks import __register__ as proselint_checks
from proselint.config import DEFAULT
from proselint.registry import CheckRegistry
from proselint.tools import LintFile

from config import PROJECT_ROOT

CODE = "Code"
"""The word that stands for inline code, a value or a name."""
MAX_WORDS = 30
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}
NOT_OF_PROSELINT = ("typography", "uncomparables", "weasel_words.very")
"""Checks of proselint that were wrong here more often than right."""

CheckRegistry().register_many(proselint_checks)


@dataclass(frozen=True)
class Block:
    """A paragraph, a heading or a message: `lines` are (line number, text)."""

    lines: tuple[tuple[int, str], ...]
    is_heading: bool = False


class Finding(NamedTuple):
    """One sentence to mend."""

    line: int
    rule: str
    text: str


class Sentence(NamedTuple):
    """A sentence of a block, and the line where it begins."""

    line: int
    text: str
    is_heading: bool


# Prose in Markdown


def markdown_blocks(text: str) -> Iterator[Block]:
    """The paragraphs, list items and headings of a Markdown text."""
    inside: list[str] = []
    for token in MarkdownIt("commonmark").enable("table").parse(text):
        if token.nesting == 1:
            inside.append(token.type)
        elif token.nesting == -1:
            inside.pop()
        elif token.type == "inline" and "table_open" not in inside:
            first = token.map[0] + 1 if token.map else 1
            lines = _inline_text(token.children or []).split("\n")
            yield Block(
                tuple(enumerate(lines, first)), is_heading="heading_open" in inside
            )


def _inline_text(tokens: list[Token]) -> str:
    """The text without markup; images and HTML are left out."""
    parts = []
    for token in tokens:
        if token.type == "text":
            parts.append(token.content)
        elif token.type == "code_inline":
            parts.append(CODE)
        elif token.type in {"softbreak", "hardbreak"}:
            parts.append("\n")
    return "".join(parts)


# Prose in Python


def python_blocks(text: str) -> Iterator[Block]:
    """The docstrings, comments and messages of a Python module."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and _is_text(node.value):
            yield from _docstring_blocks(node.value)
        for message in _messages(node):
            yield Block(((message.lineno, _message_text(message)),))
    yield from _comment_blocks(text)


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _docstring_blocks(node: ast.expr) -> Iterator[Block]:
    text = ast.literal_eval(node)
    first, _, rest = text.partition("\n")
    lines = [first, *textwrap.dedent(rest).split("\n")]
    yield from _plain_blocks(enumerate(lines, node.lineno))


SECTION = re.compile(r"(Args|Attributes|Example|Examples|Raises|Returns|Yields):$")
ITEM = re.compile(r"\s*([-*]|\d+\.|Returns:|@\w+( \{.*\})?( \[?\w+\]?)?)\s+")
ARGUMENTS = re.compile(r"(KEYS|ARGV):")
"""What a Lua script takes: a list, not a sentence."""
INDENTED = re.compile(r"\s{4}|\t")


def _plain_blocks(lines: Iterable[tuple[int, str]]) -> Iterator[Block]:
    """Paragraphs and list items of a docstring or comment. Indented lines are code,
    but for those of Google's sections, where each is an item."""
    block: list[tuple[int, str]] = []
    in_section = in_item = False

    def ended() -> Iterator[Block]:
        if block:
            yield Block(tuple(block))
        block.clear()

    for number, line in lines:
        is_indented = bool(INDENTED.match(line))
        if SECTION.match(line):
            yield from ended()
            in_section = True
            continue
        if not line.strip() or ARGUMENTS.match(line):
            yield from ended()
            in_item = False
            continue
        if not is_indented:
            in_section = False
        if ITEM.match(line) or (in_section and line[4:5].strip()):
            yield from ended()
            in_item = True
        elif is_indented and not in_section and not in_item:
            yield from ended()
            continue
        elif in_item and not line[0].isspace():
            yield from ended()
            in_item = False
        block.append((number, _without_code(ITEM.sub("", line, count=1).strip())))
    yield from ended()


def _without_code(line: str) -> str:
    return re.sub(r"`[^`]*`|\b\w+_\w+\b|\b[A-Z]{4,}\b", CODE, line)


def _messages(node: ast.AST) -> Iterator[ast.expr]:
    """The texts that a node logs, raises, or names `message`."""
    texts: list[ast.expr] = []
    match node:
        case ast.Call(func=ast.Attribute(attr=name), args=args) if name in LOG_METHODS:
            texts = args
        case ast.Raise(exc=ast.Call(args=args)):
            texts = args
        case ast.Assign(targets=[ast.Name(id="message")], value=value):
            texts = [value]
    for text in texts:
        if _is_text(text) or isinstance(text, ast.JoinedStr):
            yield text


def _message_text(node: ast.expr) -> str:
    parts = node.values if isinstance(node, ast.JoinedStr) else [node]
    text = "".join(
        str(part.value) if isinstance(part, ast.Constant) else CODE for part in parts
    )
    return re.sub(r"%[-0-9.]*[sdrf]", CODE, " ".join(text.split()))


def _comment_blocks(text: str) -> Iterator[Block]:
    """Each run of lines that are nothing but comments."""
    block: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type != tokenize.COMMENT or token.line.strip() != token.string:
            continue
        number = token.start[0]
        if block and number != block[-1][0] + 1:
            yield from _plain_blocks(block)
            block = []
        block.append((number, re.sub(r"^#!?:? ?", "", token.string)))
    yield from _plain_blocks(block)


# Prose in Lua and JavaScript

COMMENT = re.compile(r"\s*(--|//|/\*\*?|\*)( |$)")


def commented_blocks(text: str) -> Iterator[Block]:
    """Each run of lines that are nothing but comments."""
    block: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if mark := COMMENT.match(line):
            block.append((number, line[mark.end() :].removesuffix("*/")))
        else:
            yield from _plain_blocks(block)
            block = []
    yield from _plain_blocks(block)


# Sentences

SENTENCE_END = re.compile(
    r"""(?<![\s.])(?<!e\.g)(?<!i\.e)(?<!\betc)(?<!\bvs)[.!?]+["')\]]*\s+"""
)
LIST_OF_CODE = re.compile(rf"\b{CODE}((,| or| and|, or|, and) {CODE}\b)+")
WORD = re.compile(r"[A-Za-z][\w'-]*")
"""Figures do not count."""


def sentences(block: Block) -> Iterator[Sentence]:
    """The sentences of a block, in order."""
    text = ""
    starts: list[tuple[int, int]] = []
    for number, line in block.lines:
        starts.append((len(text), number))
        text += line + " "
    begin = 0
    for end in [*(match.end() for match in SENTENCE_END.finditer(text)), len(text)]:
        first = max(number for start, number in starts if start <= begin)
        if sentence := text[begin:end].strip():
            yield Sentence(first, sentence, block.is_heading)
        begin = end


# Our own rules

VERB = (
    r"is|are|was|were|has|have|had|does|do|did|can|may|must|need|will|would|should|asks"
    r"|begins|belongs|comes|costs|counts|ends|gets|goes|hears|keeps|knows|learns"
    r"|leaves|looks|makes|misses|needs|pays|puts|sees|sends|sets|shares|shows|starts"
    r"|stays|takes|tries|waits|wants|writes"
)
AND_QUESTION = r", and (how|what|when|where|who|whose|which)\b"
NOUN_WHO = re.compile(
    # `Who asks on is served`, but not the question `Who may see a friend`.
    rf"(^|[;:] )who(ever)? (\w+ly )?+\w+\b((?!{AND_QUESTION})[^;:.?])*?\b({VERB})\b"
    r"|\b(for|from|with|than|as|if|when|while|because|since|until|unless) who\b"
    r"|\b(by|to) who \w+"
    r"|\bthose (\w+ )?whom?\b"
    # `It tells whom it holds`, but not `who sees whom` and `the user whom it holds`.
    r"|^((?!\b(who|which)\b).)*(?<!,)(?<!\buser)(?<!\busers)(?<!\bfriend)(?<!\bfriends)"
    r" whom\b|^whom\b",
    re.IGNORECASE,
)
NOT_NEGATIVE = r"der\w*|do|documented|i[cfqtvx]\w*|less|like|likely|til|x"
NEW_CLAUSE = (
    r"that|which|who|whose|while|where|when|if|until|unless|because|since|but|than|and"
    r"|or|nor"
)
DOUBLE_NEGATIVE = re.compile(
    rf"\bnot un(?!({NOT_NEGATIVE})\b)\w+"
    r"|\bnot (impossible|incorrect|infrequent|invisible|insignificant|irrelevant)\b"
    r"|(?<!\bor )\b(no|never|nothing|nobody|neither|no one)"
    rf"( (?!({NEW_CLAUSE})\b)[\w'-]+){{1,6}}? (not|without|nobody|nothing)\b"
    r"|\b(nobody|nothing|no one|never) (not|\w+n't)\b",
    re.IGNORECASE,
)


def has_noun_who(sentence: Sentence) -> bool:
    """`Who asks` or `whom it holds` in the place of a noun: say a client, a user."""
    return not sentence.is_heading and bool(NOUN_WHO.search(sentence.text))


def is_too_long(sentence: Sentence) -> bool:
    """Whether it has more than `MAX_WORDS` words. Split it."""
    return len(WORD.findall(LIST_OF_CODE.sub(CODE, sentence.text))) > MAX_WORDS


def has_double_negative(sentence: Sentence) -> bool:
    """As in `no ... without` and `not uncommon`: say what is the case."""
    return bool(DOUBLE_NEGATIVE.search(sentence.text))


RULES: dict[str, Callable[[Sentence], bool]] = {
    '"who" as a noun': has_noun_who,
    f"more than {MAX_WORDS} words": is_too_long,
    "double negative": has_double_negative,
}


def own_findings(blocks: Iterable[Block]) -> Iterator[Finding]:
    """What `RULES` find."""
    for block in blocks:
        for sentence in sentences(block):
            for rule, applies in RULES.items():
                if applies(sentence):
                    yield Finding(sentence.line, rule, sentence.text)


def proselint_findings(blocks: Iterable[Block]) -> Iterator[Finding]:
    """What proselint finds. It reads one text, in which each line has its old place."""
    lines = {
        number: (block, text)
        for block, each in enumerate(blocks)
        for number, text in each.lines
    }
    if not lines:
        return
    nothing = (-1, "")
    numbers = range(1, max(lines) + 1)
    text = "\n".join(lines.get(number, nothing)[1] for number in numbers)
    for result in LintFile("prose", text).lint(DEFAULT):
        check, number = result.check_result, result.pos[0]
        block, line = lines.get(number, nothing)
        last = number + check.message.count("\n")
        # A word repeated in the next paragraph, or two names in code side by side.
        is_apart = lines.get(last, nothing)[0] != block or CODE in check.message
        if not is_apart and not check.check_path.startswith(NOT_OF_PROSELINT):
            message = " ".join(check.message.split())
            yield Finding(number, f"proselint: {message}", line)


# The command


BLOCKS: dict[str, Callable[[str], Iterator[Block]]] = {
    ".md": markdown_blocks,
    ".py": python_blocks,
    ".lua": commented_blocks,
    ".js": commented_blocks,
}


def findings(path: Path) -> list[Finding]:
    """All findings in one file, in the order of its lines."""
    text = path.read_text(encoding="utf-8")
    blocks = list(BLOCKS[path.suffix](text))
    return sorted([*own_findings(blocks), *proselint_findings(blocks)])


def known_files() -> list[Path]:
    """The files with prose that Git knows, or would know after `git add`."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=PROJECT_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [PROJECT_ROOT / line for line in listed.stdout.splitlines()]
    return sorted(path for path in paths if path.suffix in BLOCKS and path.exists())


def main() -> int:
    """Print the findings; 1 if there are any."""
    parser = argparse.ArgumentParser(prog="python -m tests.prose")
    parser.add_argument(
        "files", nargs="*", type=Path, help="default: all that Git knows"
    )
    found = 0
    for path in parser.parse_args().files or known_files():
        name = path.resolve().relative_to(PROJECT_ROOT)
        for finding in findings(path):
            found += 1
            print(f"{name}:{finding.line}: {finding.rule}: {finding.text}")
    print(f"{found} sentences to mend" if found else "The prose is plain")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

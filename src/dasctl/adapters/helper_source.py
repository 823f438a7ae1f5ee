"""A module of the helper as it travels: without docstrings, comments and annotations, each line where it was.

What lives here: making sources and code small, and which modules one imports. What must not: which modules are sent when.
"""

from __future__ import annotations

import ast
import io
import tokenize
from bisect import bisect_right
from collections.abc import Iterator
from types import CodeType

_Span = tuple[tuple[int, int], tuple[int, int]]
_Unneeded = tuple[tuple[int, int], tuple[int, int], str]  # from, to, what stands there instead
_WORDS = (tokenize.NAME, tokenize.NUMBER, tokenize.STRING)
_LAYOUT = (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT, tokenize.ENDMARKER, tokenize.ENCODING)


def small_source(source: str) -> str:
    """`source` without what only people read; its lines keep their numbers, so that tracebacks are true."""
    spans = _outermost(_unneeded(source))
    starts = [start for start, _, _ in spans]
    out: list[str] = []
    row, last, depth, fresh = 1, 0, 0, True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.INDENT:
            depth += 1
        elif token.type == tokenize.DEDENT:
            depth -= 1
        if token.type in (tokenize.INDENT, tokenize.DEDENT, *_LAYOUT):
            continue
        place = bisect_right(starts, token.start) - 1
        word = _replaced(token, spans[place]) if place >= 0 else token.string
        if not word:
            continue
        if token.start[0] > row:
            out.append("\n" * (token.start[0] - row))
            row, fresh = token.start[0], True
        if fresh:
            out.append(" " * depth)
        elif last in _WORDS and token.type in _WORDS:
            out.append(" ")
        out.append(word)
        row, last, fresh = row + word.count("\n"), token.type, False
    return "".join(out) + "\n"


def _replaced(token: tokenize.TokenInfo, before: _Unneeded) -> str:
    """What stands in the token's place; empty: nothing. `before` is the last that begins not after it."""
    start, end, instead = before
    if token.start < end:
        return instead if token.start == start else ""
    return "" if token.string == "->" else token.string


def _outermost(spans: dict[_Span, str]) -> list[_Unneeded]:
    """In their order, without those that lie in others."""
    found: list[_Unneeded] = []
    for (start, end), instead in sorted(spans.items()):
        if not found or start >= found[-1][1]:
            found.append((start, end, instead))
    return found


def _unneeded(source: str) -> dict[_Span, str]:
    """What can go, and what has to stand in its place."""
    spans: dict[_Span, str] = {}
    lines = source.splitlines()
    nodes = list(ast.walk(ast.parse(source)))
    bare = all(_is_on_one_line(node) for node in nodes)
    for node in nodes:
        match node:
            case ast.Module() | ast.ClassDef() | ast.FunctionDef():
                if ast.get_docstring(node, clean=False) is not None:
                    spans[_span(node.body[0], lines)] = "" if isinstance(node, ast.Module) else "0"
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                start, end = _span(node.body[0], lines)[0], _span(node.body[-1], lines)[1]
                spans[start, end] = "0"
            case ast.ImportFrom(module="__future__") | ast.AnnAssign(value=None) if bare:
                spans[_span(node, lines)] = "0"  # the one is about annotations, the other is one
            case ast.AnnAssign(target=target, annotation=annotation) if bare:
                spans[_span(target, lines)[1], _span(annotation, lines)[1]] = ""
            case ast.arg(annotation=ast.expr() as annotation):
                start, end = _span(node, lines)
                spans[(start[0], start[1] + len(node.arg)), _span(annotation, lines)[1]] = ""
        if isinstance(node, ast.FunctionDef) and node.returns is not None:
            spans[_span(node.returns, lines)] = ""
    return spans


def _is_on_one_line(node: ast.AST) -> bool:
    """Whether nothing but the annotation would go, and no line with it."""
    return not isinstance(node, ast.AnnAssign) or node.target.lineno == (node.value or node).lineno


def _span(node: ast.stmt | ast.expr | ast.arg, lines: list[str]) -> _Span:
    assert node.end_lineno is not None and node.end_col_offset is not None
    return (
        (node.lineno, _column(lines[node.lineno - 1], node.col_offset)),
        (node.end_lineno, _column(lines[node.end_lineno - 1], node.end_col_offset)),
    )


def _column(line: str, offset: int) -> int:
    """`ast` counts bytes of UTF-8, `tokenize` characters."""
    return len(line.encode("utf-8")[:offset].decode("utf-8"))


def small_code(source: str, origin: str) -> CodeType:
    """The code of a small source. Its tables of lines, half of it, say of each instruction where its function begins."""
    return _stripped(compile(source, origin, "exec", dont_inherit=True))


def _stripped(code: CodeType) -> CodeType:
    constants = tuple(_stripped(c) if isinstance(c, CodeType) else c for c in code.co_consts)
    return code.replace(co_linetable=_one_line(len(code.co_code) // 2), co_consts=constants)


def _one_line(units: int) -> bytes:
    """A table in which so many units of two bytes lie on the first line; an empty one breaks `traceback`.

    Entries of at most 8 units, without columns (kind 13), each 0 lines on: Objects/locations.md of CPython.
    """
    whole, rest = divmod(units, 8)
    return b"\xef\x00" * whole + (bytes((0xE8 | (rest - 1), 0)) if rest else b"")


def imported(source: str, package: str) -> frozenset[str]:
    """The modules of `package` that a module imports, at once or late; those for type checkers alone are none."""
    return frozenset(_imports(ast.parse(source), package))


def _imports(node: ast.AST, package: str) -> Iterator[str]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.If(test=ast.Name(id="TYPE_CHECKING"), orelse=otherwise):
                yield from _imports(ast.Module(body=otherwise, type_ignores=[]), package)
            case ast.ImportFrom(module=module, names=names) if module == package:
                yield from (f"{package}.{name.name}" for name in names)
            case ast.ImportFrom(module=str() as module) if module.startswith(f"{package}."):
                yield module
            case _:
                yield from _imports(child, package)

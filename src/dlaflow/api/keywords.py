"""Functions whose arguments are the fields of a record, so that an option is written down once.

    @dataclass(frozen=True, kw_only=True)
    class CheckArguments(TargetOptions):
        model: File = field(kw_only=False)

    @keywords(CheckArguments)
    def check(given: CheckArguments) -> ShownPlacement: ...

    check("model.onnx", board="orin-nx-16gb")

Type checkers see the record's own signature. `documented` makes it visible to `help()` too, with what each field says.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import os
import textwrap
import typing
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeAlias, TypeVar

from dlaflow.api.claims import claims_of, refuse_overwriting
from dlaflow.errors import unknown_name

File: TypeAlias = str | os.PathLike[str]
"""The path of a file."""

_P = ParamSpec("_P")
_Record = TypeVar("_Record")
_Answer = TypeVar("_Answer")
_RECORD = "_record"
_WIDTH = 116


def keywords(record: Callable[_P, _Record]) -> Callable[[Callable[[_Record], _Answer]], Callable[_P, _Answer]]:
    """Turn a function of one record into one that takes the record's fields as arguments.

    Raises UsageError for an option that the record does not have, with the nearest one.
    """

    def decorate(function: Callable[[_Record], _Answer]) -> Callable[_P, _Answer]:
        @functools.wraps(function)
        def called(*arguments: _P.args, **options: _P.kwargs) -> _Answer:
            known = [field.name for field in dataclasses.fields(record)]  # type: ignore[arg-type]
            for name in options:
                if name not in known:
                    raise unknown_name("option", name, known)
            given = record(*arguments, **options)
            refuse_overwriting(list(claims_of({}, {"": given})))
            return function(given)

        own = inspect.signature(record).parameters.values()
        answer = inspect.signature(function).return_annotation
        called.__signature__ = inspect.Signature(list(own), return_annotation=answer)  # type: ignore[attr-defined]
        vars(called)[_RECORD] = record
        return called

    return decorate


def documented(function: Callable[_P, _Answer]) -> Callable[_P, _Answer]:
    """The function itself, with types and a list of options where `help()` looks; others than those above stay."""
    record = vars(function).pop(_RECORD, None)
    function.__signature__ = _typed(record or function, inspect.signature(function))  # type: ignore[attr-defined]
    if record is not None:
        lines = [line for field in dataclasses.fields(record) for line in _about(record, field.name)]
        function.__doc__ = "\n".join([inspect.getdoc(function) or "", "", "Options:", *lines])
    return function


class _Absent(type):
    """A class, or a module of classes, that is known by name alone."""

    def __getattr__(cls, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(name, (), {"__module__": cls.__name__})


def _typed(owner: Callable[..., object], signature: inspect.Signature) -> inspect.Signature:
    """The signature with types in place of their names; one of a package that is not loaded stays a bare name."""
    absent: dict[str, object] = {}
    while True:
        try:
            hints = typing.get_type_hints(owner, localns=absent)
            break
        except NameError as error:
            name = str(error.name)
            absent[name] = _Absent(name, (), {"__module__": "builtins"})
    return signature.replace(
        parameters=[
            each.replace(annotation=hints.get(each.name, each.annotation)) for each in signature.parameters.values()
        ]
    )


def _about(record: type, name: str) -> Iterator[str]:
    texts = [text for kind in record.__mro__ if dataclasses.is_dataclass(kind) and (text := _texts(kind).get(name))]
    if texts:
        yield f"    {name}"
        yield from textwrap.wrap(" ".join(texts[0].split()), _WIDTH, initial_indent=" " * 8, subsequent_indent=" " * 8)


@functools.lru_cache
def _texts(kind: type) -> dict[str, str]:
    """The string that stands behind each field in the source of a class."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    statements = body.body if isinstance(body, ast.ClassDef) else []
    return {
        field.target.id: text.value.value
        for field, text in itertools.pairwise(statements)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }

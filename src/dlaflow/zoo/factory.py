"""A network of the user's own, `package.module:factory`: where its code may lie, and what of it may be called.

A name can come from a recipe that somebody else wrote, so it reaches no further than a network needs: the module lies
in the folder or in an installed package, never in Python's own library, and what is called is a network's class or a
function that is defined in such a module too (`from subprocess import getoutput` defines nothing). A function of an
installed package can do anything, so it is called only where networks are what the package is for: it says that it
needs torch (torchvision, timm). Torch itself does not, and offers classes alone; a project installed as editable is the
user's own. Importing the module still runs it: a recipe is a program.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.metadata import distribution, distributions, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit
from urllib.request import url2pathname

from packaging.requirements import InvalidRequirement, Requirement

from dlaflow.errors import InputError, UsageError, unknown_name

_SHAPE = "package.module:factory"
_PLACES = "a module in the folder of the recipe or the command, or in an installed package"
_SITES = frozenset({"site-packages", "dist-packages"})


@dataclass(frozen=True, slots=True)
class Reference:
    """`folder/package.module:factory`; the folder is where the module may lie, the current one where it is left out."""

    folder: Path
    module: str
    factory: str

    def __str__(self) -> str:
        return f"{self.module}:{self.factory}"

    @property
    def source(self) -> Path | None:
        """The file of the module, where it lies in the folder."""
        module = self.folder.joinpath(*self.module.split("."))
        return next((path for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file()), None)


def reference(name: str) -> Reference:
    """What `name` says. Imports nothing. Raises UsageError where it cannot name a network."""
    place, _, factory = name.rpartition(":")
    folder, slash, module = place.rpartition("/")
    if not module or not factory:
        raise UsageError("the model's name is incomplete", expected=_SHAPE, received=repr(name))
    if not all(part.isidentifier() for part in (*module.split("."), factory)):
        raise UsageError("the model's name is none of Python's", expected=_SHAPE, received=repr(name))
    _refuse_python_itself(module, name)
    return Reference(Path(folder + slash), module, factory)


def beside(name: str, folder: Path) -> str:
    """A recipe's `name` with the recipe's folder in front, where the module lies in that folder.

    Raises UsageError for a name that brings a folder of its own, or that cannot name a network.
    """
    if "/" in name.partition("@")[0]:
        raise UsageError("the model's name names a folder", expected=_SHAPE, received=repr(name))
    found = reference(name.partition("@")[0])
    there = folder.resolve() != Path.cwd() and PathFinder.find_spec(_top(found.module), [str(folder)]) is not None
    return f"{Path(os.path.relpath(folder)).as_posix()}/{name}" if there else name


def load(found: Reference) -> Callable[..., object]:
    """Import the module and return the factory.

    Raises UsageError for a module or factory that is not there or may not be called, InputError when the module fails.
    """
    from torch import nn

    with importable(found.folder):
        _forget_namesake(found)
        _places(found.module, found)
        factory = getattr(_imported(found), found.factory)
        made_by = inspect.unwrap(factory)
        is_network = inspect.isclass(made_by) and issubclass(made_by, nn.Module)
        if not (is_network or inspect.isfunction(made_by)):
            expected, kind = "a function or a class of torch.nn.Module", type(made_by).__name__
            raise UsageError(f"{found} makes no network", expected=expected, received=f"a {kind}")
        _refuse_python_itself(made_by.__module__ or "", str(found))
        places = _places(made_by.__module__, found)
        if not (is_network or _may_make_networks(made_by.__module__, places, found.folder)):
            raise UsageError(
                f"{found} is not called",
                expected="a class of torch.nn.Module, or a function of your own or of a package that needs torch",
                received=f"a function of {_top(made_by.__module__)}",
                then="Write a function beside the recipe that returns the network.",
            )
    return cast("Callable[..., object]", factory)


@contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Python's console scripts leave the current folder out; `python -m` does not. Be like the latter."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _imported(found: Reference) -> object:
    try:
        module = import_module(found.module)
    except ModuleNotFoundError as error:
        if error.name is None or not (found.module == error.name or found.module.startswith(f"{error.name}.")):
            raise InputError(f"{found.module} cannot be imported: it needs the module {error.name!r}") from None
        raise _absent(error.name, found) from None
    except Exception as error:
        raise users_fault(f"{found.module} cannot be imported", error) from error
    if not callable(getattr(module, found.factory, None)):
        callables = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise unknown_name(f"factory in {found.module}", found.factory, callables)
    return module


def users_fault(what: str, error: Exception) -> InputError:
    """The user's own code failed."""
    return InputError(f"{what}: {type(error).__name__}: {' '.join(str(error).split())}")


def _refuse_python_itself(module: str, name: str) -> None:
    if _top(module) in sys.stdlib_module_names or _top(module) in ("", "__main__"):
        received = f"{_top(module) or 'something'} of Python itself"
        raise UsageError(f"{name} cannot be a network", expected=_PLACES, received=received)


def _forget_namesake(found: Reference) -> None:
    """Python keeps one module of a name: that of another folder makes room for this one's, an installed package never.

    Raises InputError for the latter.
    """
    top = _top(found.module)
    known = getattr(sys.modules.get(top), "__file__", None)
    there = PathFinder.find_spec(top, [str(found.folder.resolve())])
    if known is None or there is None or there.origin in (None, known):
        return
    if _is_installed(Path(known).parent if Path(known).stem == "__init__" else Path(known)):
        what = f"another module {top!r} is loaded, from {known}"
        raise InputError(what, then=f"Rename the one in {found.folder.resolve()}.")
    for name in [each for each in sys.modules if _top(each) == top]:
        del sys.modules[name]


def _places(module: str, found: Reference) -> list[Path]:
    """Where the package of `module` lies. Nothing is imported for the answer.

    Raises UsageError where it is not there, or lies neither in the folder nor in an installed package.
    """
    try:
        spec = find_spec(_top(module))
    except ValueError:  # a module made by hand says nothing about itself
        spec = None
    if spec is None:
        raise _absent(_top(module), found)
    origin = [spec.origin] if spec.has_location and spec.origin else []
    places = [Path(place) for place in spec.submodule_search_locations or origin]
    if not places or not all(_is_own(place, found.folder) or _is_installed(place) for place in places):
        received = f"{_top(module)} in {places[0] if places else spec.origin}"
        then = "Put the module there, or install its package (`pip install -e .`)."
        raise UsageError(f"{found} is not called", expected=_PLACES, received=received, then=then)
    return places


def _may_make_networks(module: str, places: list[Path], folder: Path) -> bool:
    """Whether a function of `module` may be called: the user's own, or of packages that cannot do without torch."""
    if _top(module) == "dlaflow":
        return module == "dlaflow.zoo.networks"
    own = all(_is_own(place, folder) or _is_editable(place) for place in places)
    if own and not any(_SITES.intersection(place.parts) for place in places):  # an environment often lies in a project
        return True
    names = packages_distributions().get(_top(module), [])
    return bool(names) and all(map(_needs_torch, names))


def _needs_torch(name: str) -> bool:
    try:
        needed = [Requirement(each) for each in distribution(name).requires or []]
    except InvalidRequirement:
        return False
    return any(
        each.name.lower() == "torch" and (not each.marker or each.marker.evaluate({"extra": ""})) for each in needed
    )


def _is_own(place: Path, folder: Path) -> bool:
    """Whether a file or a package's folder lies right in `folder`, not deeper."""
    return folder.resolve() in (place.parent, place.resolve().parent)


def _is_installed(place: Path) -> bool:
    return bool(_installed()[0] & {place.parent, place.resolve().parent}) or _is_editable(place)


def _is_editable(place: Path) -> bool:
    return any(each.is_relative_to(project) for each in (place, place.resolve()) for project in _installed()[1])


def _absent(module: str, found: Reference) -> UsageError:
    return UsageError(
        f"there is no Python module {module!r} for the model {found}",
        then=f"It is looked for in the folder {found.folder.resolve()} and among the installed packages.",
    )


@cache
def _installed() -> tuple[frozenset[Path], frozenset[Path]]:
    """The folders that hold installed packages, and the projects of packages that are installed as editable."""
    roots = {Path(__file__).resolve().parents[2]}  # dlaflow itself, also when it runs from its sources
    projects = set()
    for each in distributions():
        roots |= {folder := Path(str(each.locate_file(""))), folder.resolve()}
        try:
            about = json.loads(each.read_text("direct_url.json") or "{}")
            url = urlsplit(about["url"] if about.get("dir_info", {}).get("editable") else "")
        except (ValueError, KeyError, AttributeError):
            continue
        if url.scheme == "file":
            projects.add(Path(url2pathname(url.path)).resolve())
    return frozenset(roots), frozenset(projects)


def _top(module: str) -> str:
    return module.partition(".")[0]

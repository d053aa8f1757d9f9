"""Replaces names of the product from outside, and fails loudly where a name is no longer there."""

import inspect
from collections.abc import Callable
from typing import Any


class NameGone(Exception):
    """The product has no such name any more: the mutant must be written anew."""


def replace_name(owner: object, name: str, value: object) -> Any:
    """Set `owner.name` and return what it was; raises NameGone."""
    if name not in vars(owner):
        raise NameGone(f"{getattr(owner, '__name__', owner)} has no {name}")
    old = inspect.getattr_static(owner, name)
    setattr(owner, name, value)
    return old


def wrap_method(owner: type, name: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace a plain method by what `make` returns for it; raises NameGone."""
    if not inspect.isfunction(vars(owner).get(name)):
        raise NameGone(f"{owner.__name__} has no method {name}")
    setattr(owner, name, make(vars(owner)[name]))


def require_source(function: Callable[..., Any], *texts: str) -> None:
    """Raise NameGone unless the function still says what a mutant relies on."""
    source = inspect.getsource(function)
    for text in texts:
        if text not in source:
            raise NameGone(f"{function.__qualname__} no longer says {text!r}")

"""Arguments that have another name now: calls with the former name still work."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def renamed(**names: str) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """names: the present name of an argument by its former one. The warning is one that Python shows only on request.

    The function raises TypeError for a call with both names.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> T:
            for former in names.keys() & kwargs.keys():
                name = names[former]
                if name in kwargs:
                    raise TypeError(f"{function.__name__}() takes {name}=, formerly {former}=, and got both")
                kwargs[name] = kwargs.pop(former)
                what = f"{function.__name__}({former}=) is {name}= now"
                warnings.warn(what, PendingDeprecationWarning, stacklevel=2)
            return function(*args, **kwargs)

        return call

    return decorate

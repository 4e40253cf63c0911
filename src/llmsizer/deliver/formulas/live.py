"""Numbers that know the spreadsheet formula they come from: the program's own formulas, written out as cells.

``money.formulas`` is arithmetic on records of numbers. Given records of ``Live`` it yields, in one pass, each value and
the text of the formula behind it, so that a workbook holds no second copy of a formula.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# How tightly the outermost operator of a text binds.
_COMPARED, _ADDED, _TIMES, _ATOM = 0, 1, 2, 3
# A workbook's formulas hold so many generations of hardware, also where fewer are bought: a shorter life that someone
# types in still adds up, and a generation that is kept for no month costs nothing.
GENERATIONS = 3


@dataclass(frozen=True, slots=True, eq=False)
class Live:
    """A value and the text of its formula, without the equals sign. NaN is a value that nobody knows."""

    text: str
    value: float
    binds: int = _ATOM

    __array_priority__ = 1000

    @property
    def is_number(self) -> bool:
        """Whether it is a plain number rather than a formula."""
        return self.text.strip("()").replace(".", "").replace("e", "").replace("-", "").isdigit()

    def _in(self, least: int) -> str:
        return self.text if self.binds >= least else f"({self.text})"

    def __add__(self, other: Any) -> Live:
        return _joined("+", operator.add, self, other, _ADDED)

    def __radd__(self, other: Any) -> Live:
        return _joined("+", operator.add, other, self, _ADDED)

    def __sub__(self, other: Any) -> Live:
        return _joined("-", operator.sub, self, other, _ADDED)

    def __rsub__(self, other: Any) -> Live:
        return _joined("-", operator.sub, other, self, _ADDED)

    def __mul__(self, other: Any) -> Live:
        return _joined("*", operator.mul, self, other, _TIMES)

    def __rmul__(self, other: Any) -> Live:
        return _joined("*", operator.mul, other, self, _TIMES)

    def __truediv__(self, other: Any) -> Live:
        return _joined("/", _divided, self, other, _TIMES)

    def __rtruediv__(self, other: Any) -> Live:
        return _joined("/", _divided, other, self, _TIMES)

    def __pow__(self, other: Any) -> Live:
        return _power(self, other)

    def __rpow__(self, other: Any) -> Live:
        return _power(other, self)

    def __neg__(self) -> Live:
        return Live(f"(-{self._in(_ATOM)})", -self.value)

    def __gt__(self, other: Any) -> Live:
        return _joined(">", operator.gt, self, other, _COMPARED)

    def __le__(self, other: Any) -> Live:
        return _joined("<=", operator.le, self, other, _COMPARED)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __float__(self) -> float:
        return self.value

    def __int__(self) -> int:
        """Only ever asked for how many generations of hardware to write out."""
        return max(GENERATIONS, int(self.value))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method != "__call__" or options or ufunc not in _UFUNCS:
            return NotImplemented
        return _UFUNCS[ufunc](*inputs)

    def __array_function__(self, function: Any, types: Any, inputs: Any, options: Any) -> Any:
        if options or function not in _FUNCTIONS:
            return NotImplemented
        return _FUNCTIONS[function](*inputs)


def live(value: Any) -> Live:
    """A number as a formula of itself."""
    if isinstance(value, Live):
        return value
    number = float(value)
    if math.isnan(number):
        return Live("NA()", number)
    text = repr(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)
    return Live(text if number >= 0 else f"({text})", number)


def called(name: str, value: float, *inputs: Any) -> Live:
    """A spreadsheet function of inputs, with its value."""
    return Live(f"{name}({','.join(live(one).text for one in inputs)})", value)


def rounded_up(x: Any, slack: float = 0.0) -> Live:
    """The next whole number; ``slack`` forgives rounding errors of that size."""
    less = live(x) - slack if slack else live(x)
    return called("ROUNDUP", float(np.ceil(less.value)), less, 0)


def whole(x: Any) -> Live:
    return called("INT", float(np.floor(live(x).value)), x)


def least(*inputs: Any) -> Live:
    return called("MIN", float(np.min([live(one).value for one in inputs])), *inputs)


def most(*inputs: Any) -> Live:
    return called("MAX", float(np.max([live(one).value for one in inputs])), *inputs)


def exp(x: Any) -> Live:
    return called("EXP", float(np.exp(live(x).value)), x)


def ln(x: Any) -> Live:
    return called("LN", float(np.log(live(x).value)), x)


def either(condition: Any, yes: Any, no: Any) -> Live:
    """``IF``: a branch that is not taken may be unknown. A condition that is no formula is decided here and now."""
    if not isinstance(condition, Live):
        return live(yes) if bool(condition) else live(no)
    return called("IF", live(yes).value if condition.value else live(no).value, condition, yes, no)


def _joined(sign: str, compute: Callable[[Any, Any], Any], left: Any, right: Any, binds: int) -> Live:
    a, b = live(left), live(right)
    if a.is_number and b.is_number and binds > _COMPARED:
        return live(compute(a.value, b.value))
    if sign == "*" and "0" in (a.text, b.text):
        return live(0)
    if sign == "+" and a.text == "0":
        return b
    if sign in "+-" and b.text == "0":
        return a
    # What stands to the right of a minus or a division must not fall apart: a - (b + c), a / (b * c).
    tighter = binds + 1 if sign in "-/" or sign not in "+*" else binds
    text = f"{a._in(binds)}{sign}{b._in(min(tighter, _ATOM))}"
    return Live(text, float(compute(a.value, b.value)), binds)


def _divided(a: float, b: float) -> float:
    return a / b if b else math.nan


def _power(base: Any, exponent: Any) -> Live:
    a, b = live(base), live(exponent)
    return Live(f"{a._in(_ATOM)}^{b._in(_ATOM)}", a.value**b.value, _TIMES)


def _clipped(x: Any, low: Any, high: Any) -> Live:
    return most(low, least(x, high))


_UFUNCS: dict[Any, Callable[..., Any]] = {
    np.add: lambda a, b: live(a) + b,
    np.subtract: lambda a, b: live(a) - b,
    np.multiply: lambda a, b: live(a) * b,
    np.true_divide: lambda a, b: live(a) / b,
    np.power: _power,
    np.negative: lambda a: -live(a),
    np.minimum: least,
    np.maximum: most,
    np.ceil: rounded_up,
    np.exp: exp,
    np.log: ln,
    np.isnan: lambda a: math.isnan(live(a).value),
}
_FUNCTIONS: dict[Any, Callable[..., Any]] = {np.where: either, np.clip: _clipped, np.max: live}

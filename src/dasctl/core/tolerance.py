"""How many failed instances a command puts up with before it begins no further node: `--max-failures N or N%`."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOLERANCE = re.compile(r"([0-9]{1,9})(%?)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """So many instances, or so many in a hundred of those that the command is about, may fail."""

    number: int
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Tolerance:
        """`3`, `10%`. ValueError where it is neither, with what would be."""
        match = _TOLERANCE.match(text.strip())
        if match is None or (match[2] and int(match[1]) > 100):
            raise ValueError(f"{text!r} is not a number of failures: write 3, or 10% of the instances")
        return cls(number=int(match[1]), percent=bool(match[2]))

    def exceeded(self, failures: int, instances: int) -> bool:
        """Whether `failures` of `instances` are more than may be."""
        return failures * 100 > self.number * instances if self.percent else failures > self.number

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)

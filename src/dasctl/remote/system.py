"""The parts of the standard library that a plain synchronisation uses, without what comes along with them.

What lives here: `os`, `stat` and `signal` as python has them built in. Their modules in Python import others (`enum`,
`functools`, `_collections_abc`, `posixpath`), which takes longer than all that a synchronisation with nothing to do asks of
them. What only `os` itself has (`os.path`, `os.environ`, `os.makedirs`) is imported late by those who need it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import posix as os
    import signal
    import stat
else:
    try:
        import _signal as signal
        import _stat as stat
        import posix as os
    except ImportError:  # another python than CPython
        import os
        import signal
        import stat

__all__ = ["os", "signal", "stat"]

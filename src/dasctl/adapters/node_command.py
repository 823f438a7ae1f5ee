"""What is run on a node: a stock python3 that executes what comes (`bootstrap.py`). Alone: it is needed before that."""

# One line that sh, bash, dash, csh, tcsh, fish and zsh pass unharmed between single quotes.
PRELUDE = "import sys;i=sys.stdin.buffer;exec(i.read(int(i.readline())))"
COMMAND = f"exec python3 -I -S -X utf8 -c '{PRELUDE}'"

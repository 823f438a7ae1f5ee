#!/bin/sh
# Brings .venv to one of two states, and does nothing where it is there already:
#   venv.sh run    dasctl installed, as a user would have it
#   venv.sh dev    dasctl installed in place (edits count at once), with the tools for tests and checks
set -eu
cd "$(dirname "$0")/.."
want=${1:-run}

fits() { # a python3 of 3.11 or newer, and a way to bring packages into a virtual environment
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
        { "$1" -c 'import venv, ensurepip' 2>/dev/null || "$1" -c 'import venv, pip' 2>/dev/null; }
}

choose_python() {
    for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.14; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    {
        echo "No python3 (3.11 or newer) that can make virtual environments was found."
        for candidate in "${PYTHON:-python3}" python3.13 python3.12 python3.11 python3.14; do
            version=$("$candidate" --version 2>/dev/null) || continue
            if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
                echo "  $(command -v "$candidate") is $version, but lacks the venv module."
            else
                echo "  $(command -v "$candidate") is $version."
            fi
        done
        echo "Debian and Ubuntu:  apt-get install python3 python3-venv"
        echo "Fedora and RHEL:    dnf install python3.12"
        echo "Alpine:             apk add python3"
        echo "Or name another one:  make PYTHON=/path/to/python3 demo"
    } >&2
    return 1
}

make_venv() {
    python=$(choose_python)
    echo "Making .venv with $("$python" --version) ($python)"
    rm -rf .venv
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv .venv
    else # Debian without python3-venv, where pip is there all the same
        "$python" -m venv --without-pip .venv
        "$python" -m pip --python .venv/bin/python install --quiet pip 2>/dev/null
    fi
}

install() {
    echo "Installing dasctl and what it needs into .venv"
    # Its words count only when it fails: configurations with mirrors make it warn a lot.
    .venv/bin/python -m pip install --disable-pip-version-check --no-input "$@" \
        >.venv/install.log 2>&1 </dev/null || {
        tail -n 30 .venv/install.log >&2
        echo "dasctl could not be installed: pip's last words are above, all of them in .venv/install.log" >&2
        exit 1
    }
}

# An interpreter that was removed or upgraded away leaves a .venv behind that cannot run.
.venv/bin/python -c 'import pip' 2>/dev/null || make_venv

newer_than() { # whether something that was installed has changed since the stamp $1
    [ -n "$(find pyproject.toml src sample-domain -newer "$1" \
        ! -name '*.pyc' ! -name '__pycache__' ! -path '*.egg-info*' 2>/dev/null | head -n 1)" ]
}

case $want in
run)
    # Installed in place serves the purpose too; only pyproject.toml can make that old.
    if [ -e .venv/.dev ] && [ ! pyproject.toml -nt .venv/.dev ]; then exit 0; fi
    if [ -e .venv/.run ] && ! newer_than .venv/.run; then exit 0; fi
    install --upgrade --upgrade-strategy only-if-needed .
    rm -f .venv/.dev
    touch .venv/.run
    ;;
dev)
    if [ -e .venv/.dev ] && [ ! pyproject.toml -nt .venv/.dev ]; then exit 0; fi
    install -e '.[dev]'
    rm -f .venv/.run
    touch .venv/.dev
    ;;
*)
    echo "usage: venv.sh run|dev" >&2
    exit 2
    ;;
esac

#!/bin/sh
# Runs all tests, in three processes side by side: most of their time is waiting for servers, and one after the other takes
# half as long again. What each said comes when it has ended; the exit code is bad if one of them failed.
#
# Each has a folder of its own for temporary files: pytest takes other users' rights off the one that it would share with
# others, also while a node's user works in there.
#   run_tests.sh PYTHON
set -u
cd "$(dirname "$0")/.."
python=$1
said=$(mktemp -d)
chmod 755 "$said"
running=""

end() { # an interrupt ends all of them
    # shellcheck disable=SC2086 # process numbers
    [ -z "$running" ] || kill $running 2>/dev/null
    rm -rf "$said"
}
trap 'end; exit 130' INT TERM
trap end EXIT

begin() { # begin NAME ARGUMENTS…
    name=$1
    shift
    "$python" -m pytest -q -p no:cacheprovider --basetemp="$said/tmp.$name" "$@" >"$said/$name" 2>&1 &
    running="$running $!"
}

begin first tests/system/test_[a-m]*.py
begin second tests/system/test_[n-z]*.py
# shellcheck disable=SC2086
set -- $running
"$python" -m pytest -q -p no:cacheprovider --basetemp="$said/tmp.third" --ignore=tests/system
code=$?
for name in first second; do
    wait "$1" || code=$?
    shift
    cat "$said/$name"
done
running=""
exit $code

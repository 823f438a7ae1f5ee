#!/bin/sh
# Installs, from the system's packages, what the tests use and pip cannot bring: the OpenSSH server and client, rsync
# (the independent eye on what was synchronised), csh and fish (login shells that nodes may have), and nginx (which spreads
# requests over servers that are restarted).
#
# Does nothing where all is there. Where it may not install, it says what to install, and fails: the tests that need a
# real sshd are not skipped.
set -eu
PATH=$PATH:/usr/sbin:/sbin:/usr/local/sbin
here=$(dirname "$0")

missing=""
for tool in sshd ssh ssh-keygen rsync csh fish nginx; do
    command -v $tool >/dev/null 2>&1 || missing="$missing $tool"
done
can_make_venv() {
    for python in "${PYTHON:-python3}" python3.13 python3.12 python3.11; do
        "$python" -c 'import venv, ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && return 0
    done
    return 1
}
[ -x "$here/../.venv/bin/python" ] || can_make_venv || missing="$missing python3-venv"

# sshd, started by root, wants this folder, which a container has not where the service never ran.
privilege_separation_folder() {
    [ "$(id -u)" -ne 0 ] || [ -d /run/sshd ] || [ ! -e /etc/debian_version ] || mkdir -p -m 0755 /run/sshd
}
if [ -z "$missing" ]; then
    privilege_separation_folder
    exit 0
fi

if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    as_root="none"
fi

say() { echo "The tests need:$missing" >&2; }
packages=""
for tool in $missing; do
    if command -v apt-get >/dev/null 2>&1; then
        manager=apt-get
        case $tool in
        sshd) package=openssh-server ;; ssh | ssh-keygen) package=openssh-client ;; csh) package=tcsh ;; *) package=$tool ;;
        esac
    elif command -v dnf >/dev/null 2>&1; then
        manager=dnf
        case $tool in
        sshd) package=openssh-server ;; ssh) package=openssh-clients ;; ssh-keygen) package=openssh ;; csh) package=tcsh ;;
        python3-venv) package=python3.12 ;; *) package=$tool ;;
        esac
    elif command -v apk >/dev/null 2>&1; then
        manager=apk
        case $tool in
        sshd) package=openssh-server ;; ssh) package=openssh-client ;; ssh-keygen) package=openssh-keygen ;; csh) package=tcsh ;;
        python3-venv) package=python3 ;; *) package=$tool ;;
        esac
    else
        say
        echo "Install these with your system's package manager, and run it again." >&2
        exit 1
    fi
    packages="$packages $package"
done

case $manager in
apt-get) command="apt-get install -y --no-install-recommends$packages" ;;
dnf) command="dnf install -y$packages" ;;
apk) command="apk add$packages" ;;
esac
if [ "$as_root" = none ]; then
    say
    echo "They cannot be installed from here (not root, and sudo asks for a password). Please run:" >&2
    echo "    sudo $command" >&2
    exit 1
fi

echo "Installing what the tests need:$packages"
had_sshd=yes
case $missing in *sshd*) had_sshd=no ;; esac
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
[ "$manager" != apt-get ] || $as_root apt-get update >"$log" 2>&1 </dev/null || true
if ! $as_root env DEBIAN_FRONTEND=noninteractive $command >>"$log" 2>&1 </dev/null; then
    tail -n 20 "$log" >&2
    say
    echo "This failed: $command" >&2
    exit 1
fi

# The tests start their own servers on loopback. A package must not open port 22 of a machine that had it closed.
if [ $had_sshd = no ] && [ -d /run/systemd/system ]; then
    for unit in ssh.socket ssh.service sshd.socket sshd.service; do
        $as_root systemctl disable --now $unit >/dev/null 2>&1 || true
    done
fi
privilege_separation_folder
for tool in $missing; do
    [ "$tool" = python3-venv ] || command -v $tool >/dev/null 2>&1 || {
        echo "$tool is still not there after: $command" >&2
        exit 1
    }
done

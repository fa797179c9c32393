# What ./demo and ./tests/run share: what is needed from the system, and a word of progress. Sourced, not run.

say() { printf '\n\033[1m== %s\033[0m\n' "$*" >&2; }

die() { printf '\nerror: %s\n' "$*" >&2; exit 1; }

# need COMMAND PACKAGE …: installs the Debian packages of the commands that are missing.
need() {
    local missing=()
    while [ $# -ge 2 ]; do
        command -v "$1" >/dev/null 2>&1 || missing+=("$2")
        shift 2
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    command -v apt-get >/dev/null 2>&1 || die "please install: ${missing[*]}"
    [ "$(id -u)" -eq 0 ] || die "please install (as root): apt-get install ${missing[*]}"
    say "installing ${missing[*]}"
    # apt waits for dpkg's lock, but not for that of its own lists, and stages run beside each other.
    (
        flock 9
        apt-get -o DPkg::Lock::Timeout=300 update -qq
        DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    ) 9>/run/lock/sonde-setup
}

# The same for servers of the lab. Their packages would start services: one that sets this machine's clock, others that
# take its port 53. Not wanted, now or when it starts the next time.
need_servers() {
    local words=("$@") policy=/usr/sbin/policy-rc.d made= fresh=()
    while [ $# -ge 2 ]; do
        command -v "$1" >/dev/null 2>&1 || fresh+=("$2")
        shift 2
    done
    [ ${#fresh[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -eq 0 ] && [ ! -e $policy ]; then
        printf '#!/bin/sh\nexit 101\n' > $policy && chmod 755 $policy && made=1
    fi
    need "${words[@]}"
    [ -z "$made" ] || rm -f $policy
    [ ! -d /run/systemd/system ] || systemctl disable --quiet "${fresh[@]}" 2>/dev/null || true
}

need_rust() {
    command -v cargo >/dev/null 2>&1 || die "Rust is not installed (cargo is not on the PATH): see README"
    # A C compiler links, and builds SQLite and zstd.
    need cc gcc
    [ -e /usr/include/stdlib.h ] || need no-such-command-libc libc6-dev
}

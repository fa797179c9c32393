# Builds one static binary, of the probe as a rule. Sourced by `build` here and in os-image, not run. Expects `say`, `die`, `need` of tests/lib/setup.sh, and to be
# in the repository's root.

# Short names, as operators say them.
targets=(x86_64 aarch64 armv7)

# The names that Rust, Debian and OCI give to a target.
rust_name() {
    case $1 in
        x86_64) echo x86_64-unknown-linux-musl ;;
        aarch64) echo aarch64-unknown-linux-musl ;;
        # rustup has no standard library for armv7 with musl and hard floats.
        armv7) echo armv7-unknown-linux-gnueabihf ;;
    esac
}
debian_name() { case $1 in x86_64) echo amd64 ;; aarch64) echo arm64 ;; armv7) echo armhf ;; esac; }
oci_name() { case $1 in x86_64) echo amd64 ;; aarch64) echo arm64 ;; armv7) echo arm/v7 ;; esac; }

# What each target needs of this machine; fails, with words, where it cannot be had.
need_target() {
    local rust compiler=gcc package=gcc headers=libc6-dev
    rust=$(rust_name "$1")
    case $1 in
        aarch64) compiler=aarch64-linux-gnu-gcc package=gcc-aarch64-linux-gnu headers=libc6-dev-arm64-cross ;;
        armv7) compiler=arm-linux-gnueabihf-gcc package=gcc-arm-linux-gnueabihf headers=libc6-dev-armhf-cross ;;
    esac
    if ! rustc --print target-libdir --target "$rust" | xargs test -d; then
        command -v rustup >/dev/null 2>&1 || { echo "no standard library for $rust, and no rustup to add it" >&2; return 1; }
        rustup target add "$rust" || { echo "rustup cannot add $rust" >&2; return 1; }
    fi
    if ! command -v $compiler >/dev/null 2>&1; then
        # The headers only recommended by the compiler's package: they are needed.
        (need "$compiler" "$package" "no-such-command-$headers" "$headers") || return 1
    fi
    need xz xz-utils readelf binutils
}

# build_binary TARGET [PACKAGE [EXAMPLE]]: the probe, or the program of another package that has its name, or an example of its; prints where it is. The same source
# gives the same bytes in any directory: paths of the workspace and of the registry are replaced by fixed ones in Rust and C, and
# nothing else of the machine goes in.
build_binary() {
    local rust source flags cflags package=${2:-sonde-probe} example=${3:-}
    rust=$(rust_name "$1")
    flags="--remap-path-prefix=$PWD=/sonde"
    cflags="-ffile-prefix-map=$PWD=/sonde"
    for source in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*; do
        flags+=$'\x1f'"--remap-path-prefix=$source=/registry"
        cflags+=" -ffile-prefix-map=$source=/registry"
    done
    # Linked by the linker that comes with Rust, against the C library that comes with Rust: nothing of the machine's. Where
    # Rust brings none (armv7), Debian's.
    case $1 in
        x86_64)
            export CC_x86_64_unknown_linux_musl=gcc CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld ;;
        aarch64)
            export CC_aarch64_unknown_linux_musl=aarch64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER=rust-lld ;;
        armv7)
            flags+=$'\x1f'"-Ctarget-feature=+crt-static"
            export CC_armv7_unknown_linux_gnueabihf=arm-linux-gnueabihf-gcc
            export CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER=arm-linux-gnueabihf-gcc ;;
    esac
    export "CFLAGS_${rust//-/_}=$cflags" CARGO_ENCODED_RUSTFLAGS="$flags"
    cargo build --locked --profile probe --target "$rust" --package "$package" ${example:+--example "$example"} >&2 || return 1
    echo "${CARGO_TARGET_DIR:-target}/$rust/probe/${example:+examples/}${example:-$package}"
}

# Fails unless the binary is for the target and needs no library and no loader.
check_static() {
    local header
    header=$(readelf --file-header --program-headers "$2")
    case $1 in
        x86_64) grep -q 'Machine:.*X86-64' <<<"$header" ;;
        aarch64) grep -q 'Machine:.*AArch64' <<<"$header" ;;
        armv7) grep -q 'Machine:.*ARM$' <<<"$header" ;;
    esac || die "$2 is not for $1"
    ! grep -qE 'INTERP|\(NEEDED\)' <<<"$header$(readelf --dynamic "$2" 2>/dev/null)" || die "$2 is not static"
}

# Fails where what build_binary has made would be other bytes elsewhere.
check_paths() {
    # A path of this machine would be one of somebody's home, and differ elsewhere.
    ! grep -aqF -e "$PWD/" -e "${CARGO_HOME:-$HOME/.cargo}/" "$1" || die "$1 contains paths of this machine"
}

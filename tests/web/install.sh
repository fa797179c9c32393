# Puts what the browser's programs need into target/web-tests: pinned packages, and the programs beside them. Sourced, not run, from
# the workspace's root, after tests/lib/setup.sh.

install_web_tests() {
    need node nodejs npm npm chromium chromium
    # Installed again when the pins change.
    if ! cmp --silent tests/web/package-lock.json target/web-tests/package-lock.json; then
        rm -rf target/web-tests
        mkdir -p target/web-tests
        cp tests/web/package.json tests/web/package-lock.json tests/web/.npmrc target/web-tests/
        if ! (cd target/web-tests && npm ci --silent); then
            rm target/web-tests/package-lock.json
            [ "${SONDE_WEB_REQUIRED:-}" != 1 ] || die "npm ci has failed"
            echo "SKIPPED: the real browser (npm ci has failed: no registry of packages here?)" >&2
            exit 0
        fi
    fi
    rm -rf target/web-tests/src
    mkdir target/web-tests/src
    cp tests/web/*.mjs target/web-tests/src/
}

# The second build of `os-image/build --check`: another directory, another user, two days later. Sourced by it, not run.
# Expects its variables, and the helpers of tests/lib/setup.sh.

say "the same again, elsewhere"
need faketime faketime
again=$(mktemp -d)
trap 'rm -rf "$again"' EXIT
# What is not committed counts too, so the working tree is copied and not cloned.
mkdir "$again/another directory"
git ls-files -z --cached --others --exclude-standard -- os-image Cargo.lock | xargs -0 cp --parents -t "$again/another directory" --no-dereference
cp "$init" "$again/init"
cp "$probe" "$again/probe"
if [ -n "$update_root" ]; then
    cp "$update_root" "$again/root.json"
    system+=(--update-root "$again/root.json")
fi
cp "$out/sonde_$number.efi" "$again/signed.efi"
cp target/os-image/scratch/BOOTAA64.EFI "$again/loader.efi"
cp "${packages[@]}" "$again"
whom=()
if [ "$(id -u)" -eq 0 ]; then
    chown -R 4711:4712 "$again"
    whom=(setpriv --reuid 4711 --regid 4712 --clear-groups)
else
    echo "SKIPPED: another user (that needs root)" >&2
fi
# Nothing of the environment but the path: not the builder's language, zone or umask either.
(
    cd "$again/another directory" && umask 077 &&
    "${whom[@]}" env -i PATH="$PATH" HOME="$again" LANG=C TZ=Pacific/Chatham PYTHONPATH=os-image/lib PYTHONDONTWRITEBYTECODE=1 faketime -f +2d \
        /usr/bin/python3 os-image/lib/image.py --work "$again/scratch" --out "$again/out" "${system[@]}" \
        --init "$again/init" --probe "$again/probe" --signed "$again/signed.efi" --signed-loader "$again/loader.efi" \
        "${packages[@]/#*\//$again/}"
)
unsigned=sonde_$number.unsigned.efi
explain() {
    if ! command -v diffoscope >/dev/null 2>&1; then
        (need diffoscope diffoscope-minimal) || { cmp "$1" "$2"; return 0; }
    fi
    # It takes its time over a whole card, and says what it has found until then.
    timeout 600 diffoscope --max-page-size 20000 --max-report-size 20000 "$1" "$2" || true
}
same() { cmp -s "$1" "$2" || { explain "$1" "$2"; die "two builds differ: $3"; }; }
same target/os-image/scratch/initramfs.cpio "$again/scratch/initramfs.cpio" "the initramfs"
same "$out/$unsigned" "$again/out/$unsigned" "the file before it is signed"
echo "before signing: two directories, users and days give the same bytes"

# The signature apart: it is over exactly these bytes, by this certificate, and the card around the signed files differs in nothing.
sbverify --cert "$cert" "$out/sonde_$number.efi" >/dev/null || die "the signature of sonde_$number.efi does not verify"
for card in "${cards[@]}"; do
    same "$out/$card" "$again/out/$card" "the card's image $card around the signed files"
done
echo "the card's image around the signed files: the same bytes"

# A probe in an emulated aarch64 machine, which has nothing but Debian's kernel, busybox and the static program. Sourced by
# `probe-size`, not run. Expects `say`, `die`, `need` of tests/lib/setup.sh, and to be in the repository's root.

# make_guest DIR PROBE NETWORK CONFIG: kernel and initramfs. What is Debian's is kept under target/vm.
make_guest() {
    local dir=$1 debian=${CARGO_TARGET_DIR:-target}/vm/aarch64 modules
    if [ ! -d "$debian" ]; then
        say "Debian's kernel and busybox for aarch64"
        mkdir -p "$(dirname "$debian")"
        rm -rf "$debian.new"
        # Unpacked, not installed: nothing of it has to run here.
        mmdebstrap --quiet --variant=extract --architectures=arm64 --include=linux-image-arm64,busybox-static bookworm "$debian.new"
        mv "$debian.new" "$debian"
    fi
    mkdir -p "$dir/root/bin" "$dir/root/proc" "$dir/root/sys" "$dir/root/dev" "$dir/root/etc" "$dir/root/state" "$dir/root/tmp"
    cp "$debian/bin/busybox" "$dir/root/bin/"
    for modules in failover net_failover virtio_net virtio_mmio; do
        find "$debian/lib/modules" -name "$modules.ko" -exec cp {} "$dir/root/" \;
    done
    install -m 0755 "$2" "$dir/root/sonde-probe"
    cp "$3" "$dir/root/network.toml"
    cp "$4" "$dir/root/sonde.toml"
    install -m 0755 /dev/stdin "$dir/root/init" <<'END'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec < /dev/ttyAMA0 > /dev/ttyAMA0 2>&1
stty -echo
for module in failover net_failover virtio_net virtio_mmio; do insmod /$module.ko; done
ip link set lo up
ip addr add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
ip -6 addr add fec0::15/64 dev eth0
ip -6 route add default via fec0::2 dev eth0
echo "0 2147483647" > /proc/sys/net/ipv4/ping_group_range
echo "nameserver 10.0.2.2" > /etc/resolv.conf
/sonde-probe run --network /network.toml --config /sonde.toml --state /state > /tmp/log 2>&1 &
probe=$!
echo READY
# One word, one line that begins with it.
while read -r word; do
    case $word in
        look) echo "look $(awk '/^VmRSS/ { rss = $2 } /^VmHWM/ { hwm = $2 } /^voluntary/ { sum += $2 } END { print rss, hwm, sum }' \
            /proc/$probe/status /proc/$probe/task/*/status)" ;;
        threads) echo "threads $(for task in /proc/$probe/task/*; do echo "$(cat $task/comm)=$(awk '/^voluntary/ { print $2 }' $task/status)"; done | xargs)" ;;
        status) echo "status $(/sonde-probe status --json --state /state)" ;;
        log) echo "log $(tail -n 20 /tmp/log | tr '\n' '|')" ;;
    esac
done
END
    (cd "$dir/root" && find . | LC_ALL=C sort | cpio --quiet -o -H newc) | gzip -1 > "$dir/initramfs"
    cp "$debian"/boot/vmlinuz-* "$dir/kernel"
}

# start_probe_guest DIR: sets `guest_process`; from then on `guest_says` works.
start_probe_guest() {
    mkfifo "$1/serial.in" "$1/serial.out"
    qemu-system-aarch64 -M virt -cpu cortex-a72 -smp 2 -m 512 -display none -monitor none -no-reboot \
        -chardev "pipe,id=serial,path=$1/serial" -serial chardev:serial \
        -kernel "$1/kernel" -initrd "$1/initramfs" -append "console=ttyAMA0 quiet panic=1" \
        -netdev user,id=net,ipv4=on,ipv6=on -device virtio-net-device,netdev=net &
    guest_process=$!
    # Opened for both, so that neither end waits for the other, and nothing is lost between two questions.
    exec 7<>"$1/serial.in" 8<>"$1/serial.out"
}

# guest_says WORD: the rest of the line with which the guest answers.
guest_says() {
    local line
    [ "$1" = READY ] || echo "$1" >&7
    while IFS= read -r -t 120 line <&8; do
        line=${line%$'\r'}
        case $line in
            "$1" | "$1 "*) echo "${line#"$1"}"; return ;;
        esac
    done
    die "the guest says nothing to \"$1\""
}

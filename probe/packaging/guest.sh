# A bare Debian 12 in QEMU, and how to speak to it. Sourced by `vm-test`, not run. Expects `say`, `die`, `need` of tests/lib/setup.sh,
# and to be in the repository's root. The guest reaches this machine's loopback, as 10.0.2.2, and is reached by ssh.

# Where images are kept between runs.
vm=${CARGO_TARGET_DIR:-target}/vm
# Where ssh to the guest listens on this machine.
door=18022

# The disk: what mmdebstrap calls minimal, with systemd as init, a kernel, ssh and nftables. Made once; another Debian, or another
# list of packages, is another name.
disk=$vm/bookworm-1.img

make_disk() {
    [ ! -f "$disk" ] || return 0
    say "a bare Debian 12"
    local root
    mkdir -p "$vm"
    root=$(mktemp -d "$vm/root.XXXXXX")
    [ -f "$vm/key" ] || ssh-keygen -q -t ed25519 -N '' -f "$vm/key"
    # Nothing in it asks the net of its own accord: apt's timers are off.
    mmdebstrap --quiet --variant=minbase \
        --include=linux-image-cloud-amd64,initramfs-tools,systemd,systemd-sysv,udev,dbus,nftables,iproute2,iputils-ping,openssh-server,zstd \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"; echo MODULES=list > "$1/etc/initramfs-tools/conf.d/small"' \
        --customize-hook='printf "virtio_pci\nvirtio_blk\nvirtio_net\next4\n" >> "$1/etc/initramfs-tools/modules"; chroot "$1" update-initramfs -u' \
        --customize-hook="mkdir -p -m 700 \"\$1/root/.ssh\"; cp $vm/key.pub \"\$1/root/.ssh/authorized_keys\"" \
        --customize-hook='printf "[Match]\nName=en*\n[Network]\nDHCP=yes\n" > "$1/etc/systemd/network/wired.network"' \
        --customize-hook='echo "nameserver 10.0.2.3" > "$1/etc/resolv.conf"; echo bare > "$1/etc/hostname"; echo "/dev/vda / ext4 defaults 0 1" > "$1/etc/fstab"' \
        --customize-hook='chroot "$1" systemctl --quiet enable systemd-networkd ssh' \
        --customize-hook='chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer fstrim.timer e2scrub_all.timer' \
        bookworm "$root" || { rm -rf "$root"; die "no bare Debian could be made"; }
    cp "$root"/boot/vmlinuz-* "$vm/vmlinuz"
    cp "$root"/boot/initrd.img-* "$vm/initrd"
    truncate -s 1500M "$disk.new"
    mke2fs -q -t ext4 -d "$root" "$disk.new"
    rm -rf "$root"
    mv "$disk.new" "$disk"
}

# start_guest: a machine whose disk forgets everything when its process ends; reboots of the guest do not end it. Sets
# `machine`, its process. It counts on `scratch` for its console and its connections.
start_guest() {
    local accelerate=(-accel "tcg,thread=multi" -cpu max)
    # Where the processor itself can do it. What else offers /dev/kvm (PVM) runs only kernels that were made for it.
    if [ -w /dev/kvm ] && { [ -d /sys/module/kvm_intel ] || [ -d /sys/module/kvm_amd ]; }; then
        accelerate=(-accel kvm -cpu host)
    else
        echo "without KVM: the guest is emulated, which takes minutes" >&2
    fi
    qemu-system-x86_64 "${accelerate[@]}" -m 512 -smp 2 -display none -serial "file:$scratch/console" \
        -kernel "$vm/vmlinuz" -initrd "$vm/initrd" -append "root=/dev/vda console=ttyS0 quiet systemd.default_timeout_start_sec=600" \
        -drive "file=$disk,format=raw,if=virtio,snapshot=on,cache=unsafe" \
        -netdev "user,id=net,hostfwd=tcp:127.0.0.1:$door-:22" -device virtio-net-pci,netdev=net &
    machine=$!
}

# guest COMMAND: as root in the guest. One connection serves all.
guest() {
    ssh -q -i "$vm/key" -p $door -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o ConnectTimeout=20 \
        -o ControlMaster=auto -o "ControlPath=$scratch/ssh" -o ControlPersist=60 -o ServerAliveInterval=5 root@127.0.0.1 "$@"
}

# await WHAT COMMAND …: until it succeeds, or the machine has gone.
await() {
    local what=$1 until=$((SECONDS + 600))
    shift
    until "$@" >/dev/null 2>&1; do
        kill -0 "$machine" 2>/dev/null || die "the virtual machine has ended before $what"
        [ $SECONDS -lt $until ] || die "waited in vain for $what"
        sleep 0.2
    done
}

# reboot_guest: returns when it is up again.
reboot_guest() {
    boot_id=$(guest cat /proc/sys/kernel/random/boot_id)
    guest systemctl reboot || true
    await "the reboot" rebooted
}
rebooted() {
    local now
    now=$(guest cat /proc/sys/kernel/random/boot_id) && [ -n "$now" ] && [ "$now" != "$boot_id" ]
}

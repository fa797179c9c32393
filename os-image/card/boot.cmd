# For boards whose U-Boot cannot rename files (before 2025.07): which of two slots starts, and how many tries a new one has left. U-Boot runs this
# from boot.scr. ab.env has three lines (`alt`, `slot`, `try`), is filled up with zeros to 512 bytes, and is only ever written in place: one sector.
#   try=good   slot is kept: it is started, and alt only when it cannot be
#   try=3,2,1  slot is on trial: the number goes down before it is started, and a slot that does not start costs its try
#   try=0      slot has used its tries: alt is started
# No word of ab.env but these is taken. Whatever else is wrong ends in a reset, and so in the next try.
setenv slot a
setenv alt b
setenv try good
if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} ab.env; then
    env import -t ${kernel_addr_r} ${filesize} alt slot try
fi
setenv left
if test "${try}" = 3; then setenv left 2; fi
if test "${try}" = 2; then setenv left 1; fi
if test "${try}" = 1; then setenv left 0; fi
setenv first ${slot}
setenv second
if test "${try}" = 0; then setenv first ${alt}; setenv second ${slot}; fi
if test "${try}" = good; then setenv second ${alt}; fi
if test -n "${left}"; then
    setenv try ${left}
    env export -t -s 200 ${kernel_addr_r} alt slot try
    # A try that cannot be counted would be repeated for ever.
    if fatwrite ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} ab.env 200; then
        echo "slot ${slot} on trial, ${left} tries left after this one"
    else
        setenv first ${alt}
    fi
fi
for name in ${first} ${second}; do
    if load ${devtype} ${devnum}:${distro_bootpart} ${kernel_addr_r} slot_${name}.efi; then
        if test -n "${fdt_addr}"; then bootefi ${kernel_addr_r} ${fdt_addr}; else bootefi ${kernel_addr_r} ${fdtcontroladdr}; fi
    fi
done
reset

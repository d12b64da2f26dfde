#!/bin/busybox sh
# /init of the benchmark's guest: Debian's root disk read-only, memory for /tmp, the programs in /mnt.
export PATH=/bin:/sbin
busybox mount -t proc proc /proc
busybox mount -t devtmpfs devtmpfs /dev 2>/dev/null
for module in virtio_mmio virtio_blk ext4; do
    busybox modprobe "$module" 2>/dev/null
done
tries=0
until [ -b /dev/vda ] || [ $tries -ge 200 ]; do
    busybox usleep 50000
    tries=$((tries + 1))
done
busybox mkdir -p /newroot
if busybox mount -t ext4 -o ro /dev/vda /newroot; then
    busybox mount -t tmpfs tmpfs /newroot/tmp
    busybox mount -o bind /bench /newroot/mnt
    busybox mount -t proc proc /newroot/proc
    busybox mount -o bind /dev /newroot/dev
    busybox chroot /newroot /usr/bin/python3 -B -S -E /mnt/table_runner.py
else
    echo "@bench fail disk the root disk cannot be mounted"
fi
busybox poweroff -n -f

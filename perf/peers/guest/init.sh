#!/bin/sh
# First process of a guest. Its root is the host's own file system, read-only, under the daemons that the
# host has only unpacked and an overlay in memory: the guest runs the host's programs and leaves no trace.
# The kernel command line names the host's folder of this guest ("guest="), of those daemons ("daemons=")
# and of its kernel's modules ("modules=").
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
if [ "${1:-}" != inside ]; then
  mount -t proc proc /proc
  argument() { tr ' ' '\n' </proc/cmdline | sed -n "s/^$1=//p"; }
  modules=$(argument modules) guest=$(argument guest) daemons=$(argument daemons)
  mount -t tmpfs tmpfs /mnt
  mkdir /mnt/upper /mnt/work /mnt/root /mnt/daemons
  mount -t hostfs -o "$daemons" none /mnt/daemons
  insmod "$modules/kernel/fs/overlayfs/overlay.ko"
  mount -t overlay -o lowerdir=/mnt/daemons:/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root || echo o >/proc/sysrq-trigger
  mount -t proc proc /mnt/root/proc
  mount -t sysfs sysfs /mnt/root/sys
  mount -t devtmpfs devtmpfs /mnt/root/dev
  mount -t tmpfs tmpfs /mnt/root/run
  mount -t tmpfs tmpfs /mnt/root/tmp
  mkdir -p /mnt/root/i "/mnt/root/lib/modules/$(uname -r)"
  mount -t hostfs -o "$modules" none "/mnt/root/lib/modules/$(uname -r)" # the kernel loads the rest as it needs it
  mount -t hostfs -o "$guest" none /mnt/root/i
  exec chroot /mnt/root /bin/sh /i/init.sh inside
fi
ip link set lo up
: >/i/ready
# The host puts command.N in place by a rename; the answer is complete when status.N appears.
n=1
while :; do
  if [ -e /i/command.$n ]; then
    sh /i/command.$n >/i/output.$n 2>/i/errors.$n </dev/null
    echo $? >/i/status.part
    mv /i/status.part /i/status.$n
    n=$((n + 1))
  else
    sleep 0.02
  fi
done

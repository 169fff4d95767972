# shellcheck shell=bash
#
# A machine that systemd has booted, for the tests of the units: this machine's own files below a layer that keeps what is
# written, in namespaces of its own. Nothing is downloaded, nothing outside is changed, and all is forgotten at the end.
#
# Here: what it needs, its boot and its end, and commands in it. Not here: what is tried in it.

# machine_lacks: says what keeps it from booting here; prints nothing if it can.
machine_lacks() {
  local program
  [ "$(id -u)" = 0 ] || { echo 'booting systemd needs root' && return; }
  for program in unshare nsenter pivot_root; do
    command -v "$program" >/dev/null || { echo "there is no program $program (package util-linux)" && return; }
  done
  [ -x /lib/systemd/systemd ] || { echo 'there is no systemd' && return; }
  [ -n "$(cgroups)" ] || { echo 'no cgroup2 is mounted' && return; }
  # A container may be root and still not be allowed to.
  unshare --mount --pid --uts --ipc --net --cgroup --fork --propagation private \
    mount -n -t tmpfs tmpfs /mnt 2>/dev/null || { echo 'namespaces and mounts are not allowed' && return; }
  # shellcheck disable=SC2016  # for the inner shell
  unshare --mount --propagation private bash -c 'mount -n -t tmpfs tmpfs /mnt && mkdir /mnt/{upper,work,root} &&
    mount -n -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root' 2>/dev/null ||
    echo 'there is no overlay file system'
}

# cgroups: prints where this process' group is in the hierarchy of cgroup2.
cgroups() {
  local mounted group
  mounted=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/self/mounts)
  group=$(sed -n 's/^0:://p' /proc/self/cgroup)
  [ -z "$mounted" ] || printf '%s' "$mounted${group%/}"
}

# machine_boot SOURCE PROGRAMS: boots it, with that checkout in /run/source and the programs in its target/release. Sets
# `machine` to the process id of its systemd. What it says before it has a journal goes to the file `machine_log`.
machine_boot() {
  machine_group=$(cgroups)/ddb-pipe-units-$$
  mkdir "$machine_group"
  # Bats waits for whoever has its descriptors.
  (
    echo "$BASHPID" >"$machine_group/cgroup.procs"
    exec unshare --mount --pid --uts --ipc --net --cgroup --fork --kill-child --propagation private \
      bash "${BASH_SOURCE[0]}" "$@"
  ) </dev/null >"${machine_log:?}" 2>&1 3>&- 4>&- &
  machine_parent=$!
  export machine machine_parent machine_group
  until_true 30 machine_is_up || {
    tail -n 20 "$machine_log" >&2
    return 1
  }
}

machine_is_up() {
  machine=$(pgrep -P "$machine_parent") && [ "$(cat "/proc/$machine/comm")" = systemd ] &&
    in_machine systemctl is-active -q machine.target 2>/dev/null
}

# machine_end: ends everything that runs in it, and with that its files are gone.
machine_end() {
  [ -n "${machine_parent:-}" ] || return 0
  kill -KILL "$machine_parent" 2>/dev/null || true
  # Its groups can be removed when the kernel has seen the end of the last process.
  until_true 10 remove_groups || true
}

remove_groups() {
  find "$machine_group" -depth -type d -exec rmdir {} + 2>/dev/null
  [ ! -e "$machine_group" ]
}

# in_machine COMMAND...: runs it there as root, for two minutes at most.
in_machine() {
  timeout 120 nsenter -t "$machine" -a -- "$@"
}

# until_true SECONDS COMMAND...: waits until the command succeeds; fails if it does not within that time.
until_true() {
  local end=$((SECONDS + $1))
  until "${@:2}"; do
    [ "$SECONDS" -lt "$end" ] || return 1
    read -r -t 0.1 <><(:) || true
  done
}

# become SOURCE PROGRAMS: makes this process, the first one of new namespaces, the systemd of the machine.
become() {
  local source programs name root=/mnt/root
  source=$(readlink -f "$1") programs=$(readlink -f "$2")
  mount -n -t tmpfs -o mode=755 tmpfs /mnt
  # The checkout may be on another file system than the root.
  mkdir /mnt/{upper,work,root,source-upper,source-work,source,programs}
  mount -n -t overlay -o "lowerdir=$source,upperdir=/mnt/source-upper,workdir=/mnt/source-work" overlay /mnt/source
  mount -n --bind "$programs" /mnt/programs
  mount -n -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay $root
  # From here on everything is written to the layer: `$root` is not this machine's own.
  cd $root
  rm -rf etc/systemd/system etc/ddb-pipe etc/credstore var/lib/ddb-pipe var/log/journal
  mkdir -p etc/systemd/system etc/credstore
  chmod 700 etc/credstore
  chroot . userdel ddb-pipe 2>/dev/null || true
  : >etc/fstab
  : >etc/machine-id
  echo units >etc/hostname
  # They are for the machine as a whole.
  for name in firstboot modules-load remount-fs sysctl random-seed network-generator; do
    ln -s /dev/null "etc/systemd/system/systemd-$name.service"
  done
  # Debian's would start this machine's own databases.
  mkdir -p etc/systemd/system-generators
  ln -sf /dev/null etc/systemd/system-generators/postgresql-generator
  printf '[Unit]\nRequires=basic.target\nAfter=basic.target\n' >etc/systemd/system/machine.target

  mount -n -t proc proc proc
  mount -n --bind proc/sys proc/sys
  mount -n -o remount,bind,ro proc/sys
  mount -n -t sysfs -o ro sysfs sys
  mount -n -t cgroup2 cgroup2 sys/fs/cgroup
  mount -n -t tmpfs -o mode=755 tmpfs dev
  # Nodes of its own: systemd changes whose they are and who may use them.
  mknod -m 666 dev/null c 1 3
  mknod -m 666 dev/zero c 1 5
  mknod -m 666 dev/full c 1 7
  mknod -m 666 dev/random c 1 8
  mknod -m 666 dev/urandom c 1 9
  mknod -m 666 dev/tty c 5 0
  mkdir dev/pts dev/shm
  mount -n -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
  ln -s pts/ptmx dev/ptmx
  ln -s /proc/self/fd dev/fd
  mount -n -t tmpfs -o mode=1777 tmpfs dev/shm
  mount -n -t tmpfs -o mode=755 tmpfs run
  mount -n -t tmpfs -o mode=1777 tmpfs tmp
  mkdir -p run/source run/outside
  mount -n --move /mnt/source run/source
  mkdir -p run/source/target/release
  mount -n --move /mnt/programs run/source/target/release
  pivot_root . run/outside
  umount -l /run/outside
  # As systemd does where it is not in a container: credentials come to a service by it.
  mount -n --make-rshared /
  exec env -i container=ddb-pipe-units PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=machine.target --log-target=journal
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -euo pipefail
  become "$@"
fi

#!/bin/busybox sh
# Innkeeper's guest agent, protocol 1 (docs/guest-protocol.md). Process 1 of a guest that `inn run`
# starts: mounts, finds its ports, runs one command, reports how it ended and powers off.
#
# It runs under busybox ash with FEATURE_SH_STANDALONE. Everything that varies is in /inn/request,
# written by the host for this one run; every fork here is time the user waits, so built-ins first.

busybox=/bin/busybox
control= stdin= stdout= stderr= # the ports' device nodes

fail() { # WHY...: tell the host why the command never started, and end
    if [ -n "$control" ]; then echo "fail $*" >&3; else echo "inn: $*"; fi
    $busybox poweroff -f
    while :; do $busybox sleep 1; done
}

pause() { # LIMIT WHY...: wait 5 ms, at most LIMIT times in a row
    limit=$1
    shift
    tries=$((tries + 1))
    [ $tries -le "$limit" ] || fail "$*"
    $busybox usleep 5000
}

load_modules() { # with what they need, by the image's modules.dep, in one process
    # A module this kernel has built in is not there to load; one that is missing shows in what
    # then does not work, with that program's own words.
    [ -z "$INN_MODULES" ] || $busybox modprobe -q -a $INN_MODULES
}

ports_are_there() {
    [ -c "$control" ] || return 1
    [ -z "$INN_TTY" ] || { [ -c "/dev/$INN_TTY" ]; return; }
    [ -c "$stdout" ] && [ -c "$stderr" ] && { [ -z "$INN_STDIN" ] || [ -c "$stdin" ]; }
}

find_ports() { # by name; they appear a moment after the device does
    tries=0
    until ports_are_there; do
        for entry in /sys/class/virtio-ports/*/name; do
            read -r name 2>/dev/null <"$entry" || continue
            device=${entry%/name} device=/dev/${device##*/}
            case $name in
            inn.control) control=$device ;;
            inn.stdin) stdin=$device ;;
            inn.stdout) stdout=$device ;;
            inn.stderr) stderr=$device ;;
            esac
        done
        ports_are_there || pause 2000 "the virtio console ports did not appear"
    done
}

open_streams() { # 5, 6 and 7 become the command's 0, 1 and 2
    if [ -n "$INN_TTY" ]; then
        exec 5<>"/dev/$INN_TTY" 6>&5 7>&5
        $busybox stty rows "$INN_ROWS" cols "$INN_COLUMNS" <&5
    else
        exec 5</dev/null
        [ -z "$INN_STDIN" ] || exec 5<"$stdin"
        exec 6>"$stdout" 7>"$stderr"
    fi
}

mount_late() { # the mounts that need a directory, a module or a disk first
    tries=0
    while [ -n "$INN_DISK" ] && [ ! -b "$INN_DISK" ]; do
        pause 400 "the disk $INN_DISK did not appear"
    done
    why=$($busybox mount -a -T /inn/fstab.late 2>&1) || fail "a file system did not mount: $why"
}

enter_disk() { # the disk becomes / for everyone but this process, which keeps the initramfs
    [ -n "$INN_BARE" ] || [ -e /root.disk/usr/bin/env ] || fail "the root disk has no /usr/bin/env"
    # Moved over /, not just entered: the kernel refuses user namespaces to a chrooted process.
    cd /root.disk && $busybox mount -o move . / || fail "the disk could not be made the root"
}

mount_volumes() { # inside the root the command will see
    why=$($INN_ENTER sh -c "$INN_VOLUMES" 2>&1) || fail "a volume did not mount: $why"
}

find_user() { # INN_USER (NAME, UID or UID:GID) as uid, gid and home
    case $INN_USER in
    *[!0-9:]*) ;;
    *) uid=${INN_USER%%:*} gid=${INN_USER##*:} home=/; return ;;
    esac
    while IFS=: read -r name _ uid gid _ home _; do
        [ "$name" != "$INN_USER" ] || return 0
    done 2>/dev/null <"${INN_DISK:+.}/etc/passwd"
    fail "the guest has no user $INN_USER"
}

find_program() { # NAME PATH: the file in the disk that a command's name means, as program
    case $1 in
    */*) program=$1; return ;;
    esac
    rest=$2:
    while [ -n "$rest" ]; do
        program=${rest%%:*}/$1 rest=${rest#*:}
        # A link may lead anywhere in the disk, which here is not the root: taken to be right.
        [ -L ".$program" ] && return
        [ -f ".$program" ] && [ -x ".$program" ] && return
    done
    echo "inn: $1: not found" >&2
    exit 127
}

serve_control() { # what the host may ask while the command runs
    while read -r verb one two; do
        case $verb in
        signal)
            until read -r child </inn/child; do usleep 1000; done
            # The group once the command leads one; the process alone until then.
            kill -s "$one" "-$child" 2>/dev/null || kill -s "$one" "$child" 2>/dev/null ;;
        winsize) stty rows "$one" cols "$two" <"/dev/$INN_TTY" ;;
        esac
    done <&3
}

run_command() (
    read -r child _ </proc/self/stat
    echo "$child" >/inn/child
    exec 3>&- 0<&5 1>&6 2>&7 5<&- 6>&- 7>&-
    inn_command
)

finish() { # STATUS: nothing may be left to lose when the host reads it
    kill -9 -1
    wait
    [ -z "$INN_FLUSH" ] || $busybox sync
    tries=0
    while [ "$INN_FLUSH" = disk ] && ! $INN_ENTER mount -o remount,ro / 2>/dev/null; do
        # What was just killed may still hold a file open for a moment.
        tries=$((tries + 1))
        [ $tries -le 200 ] || break
        usleep 5000
    done
    echo "exit $1" >&3
    while read -r verb _ <&3 && [ "$verb" != bye ]; do :; done
    $busybox poweroff -n -f
    while :; do $busybox sleep 1; done
}

. /inn/request
$busybox mount -a -T /inn/fstab || fail "/proc, /sys and /dev did not mount"
mkdir -p /dev/pts /dev/shm
[ -z "$INN_HOSTNAME" ] || echo "$INN_HOSTNAME" >/proc/sys/kernel/hostname
load_modules
find_ports
exec 3<>"$control"
open_streams
mount_late
[ -z "$INN_DISK" ] || enter_disk
[ -z "$INN_VOLUMES" ] || mount_volumes
[ -z "$INN_USER" ] || find_user
: >/inn/child
echo ready >&3
serve_control &
run_command
status=$?
exec 5<&- 6>&- 7>&-
finish $status

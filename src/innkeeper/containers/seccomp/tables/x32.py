"""System call numbers of x32, derived by tests/containers/derive_syscall_tables.py."""

TABLE = """
0 read write open close stat fstat lstat poll lseek mmap mprotect munmap brk
14 rt_sigprocmask
17 pread64 pwrite64
21 access pipe select sched_yield mremap msync mincore madvise shmget shmat shmctl dup dup2
34 pause nanosleep getitimer alarm setitimer getpid sendfile socket connect accept sendto
48 shutdown bind listen getsockname getpeername socketpair
56 clone fork vfork
60 exit wait4 kill uname semget semop semctl shmdt msgget msgsnd msgrcv msgctl fcntl flock fsync
75 fdatasync truncate ftruncate getdents getcwd chdir fchdir rename mkdir rmdir creat link
87 unlink symlink readlink chmod fchmod chown fchown lchown umask gettimeofday getrlimit
98 getrusage sysinfo times
102 getuid syslog getgid setuid setgid geteuid getegid setpgid getppid getpgrp setsid setreuid
114 setregid getgroups setgroups setresuid getresuid setresgid getresgid getpgid setfsuid
123 setfsgid getsid capget capset
130 rt_sigsuspend
132 utime mknod
135 personality ustat statfs fstatfs sysfs getpriority setpriority sched_setparam sched_getparam
144 sched_setscheduler sched_getscheduler sched_get_priority_max sched_get_priority_min
148 sched_rr_get_interval mlock munlock mlockall munlockall vhangup modify_ldt pivot_root
157 prctl arch_prctl adjtimex setrlimit chroot sync acct settimeofday mount umount2 swapon
168 swapoff reboot sethostname setdomainname iopl ioperm
175 init_module delete_module
179 quotactl
181 getpmsg putpmsg afs_syscall tuxcall security gettid readahead setxattr lsetxattr fsetxattr
191 getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr removexattr lremovexattr
199 fremovexattr tkill time futex sched_setaffinity sched_getaffinity
207 io_destroy io_getevents
210 io_cancel
212 lookup_dcookie epoll_create
216 remap_file_pages getdents64 set_tid_address restart_syscall semtimedop fadvise64
223 timer_settime timer_gettime timer_getoverrun timer_delete clock_settime clock_gettime
229 clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill utimes
237 mbind set_mempolicy get_mempolicy mq_open mq_unlink mq_timedsend mq_timedreceive
245 mq_getsetattr
248 add_key request_key keyctl ioprio_set ioprio_get inotify_init inotify_add_watch
255 inotify_rm_watch migrate_pages openat mkdirat mknodat fchownat futimesat newfstatat unlinkat
264 renameat linkat symlinkat readlinkat fchmodat faccessat pselect6 ppoll unshare
275 splice tee sync_file_range
280 utimensat epoll_pwait signalfd timerfd_create eventfd fallocate timerfd_settime
287 timerfd_gettime accept4 signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1
298 perf_event_open
300 fanotify_init fanotify_mark prlimit64 name_to_handle_at open_by_handle_at clock_adjtime
306 syncfs
308 setns getcpu
312 kcmp finit_module sched_setattr sched_getattr renameat2 seccomp getrandom memfd_create
320 kexec_file_load bpf
323 userfaultfd membarrier mlock2 copy_file_range
329 pkey_mprotect pkey_alloc pkey_free statx io_pgetevents rseq uretprobe uprobe
424 pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount
430 fsopen fsconfig fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2
440 process_madvise epoll_pwait2 mount_setattr quotactl_fd landlock_create_ruleset
445 landlock_add_rule landlock_restrict_self memfd_secret process_mrelease futex_waitv
450 set_mempolicy_home_node cachestat fchmodat2 map_shadow_stack futex_wake futex_wait
456 futex_requeue statmount listmount lsm_get_self_attr lsm_set_self_attr lsm_list_modules mseal
463 setxattrat getxattrat listxattrat removexattrat open_tree_attr file_getattr file_setattr
470 listns
512 rt_sigaction rt_sigreturn ioctl readv writev recvfrom sendmsg recvmsg execve ptrace
522 rt_sigpending rt_sigtimedwait rt_sigqueueinfo sigaltstack timer_create mq_notify kexec_load
529 waitid set_robust_list get_robust_list vmsplice move_pages preadv pwritev rt_tgsigqueueinfo
537 recvmmsg sendmmsg process_vm_readv process_vm_writev setsockopt getsockopt io_setup
544 io_submit execveat preadv2 pwritev2
"""

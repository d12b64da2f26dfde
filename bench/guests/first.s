# The shortest guest: its second store says a byte on the UART, its last one powers off.
# At 0x80000000 it is firmware in M-mode, at 0x80200000 a kernel in S-mode; both see physical memory.

_start:
        li      t0, 0x10000000
        li      t1, '!'
        sb      t1, 0(t0)
        li      t0, 0x100000
        li      t1, 0x5555
        sw      t1, 0(t0)
1:      j       1b

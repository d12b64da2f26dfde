# An integer workload in S-mode under Sv39 with 4 KiB pages, for a bare `virt` board.
#
# M-mode builds the page tables and drops to S-mode; the last ecall comes back to M-mode, which
# prints `checksum retired` on the UART (hex) and powers off through the test finisher. The retired
# count means something on ours only: QEMU without -icount counts host time there. Whoever assembles
# this puts `ROUNDS = n` in front and calls of the parts in place of the BODY line.

        .equ UART, 0x10000000
        .equ FINISHER, 0x100000
        .equ PASS, 0x5555
        .equ FAIL, 0x13333
        .equ PTE_LEAF, 0xcf                     # D A X W R V
        .equ PTE_TABLE, 0x01
        .equ MAPPED_PAGES, 1024                 # two level-0 tables: the first 4 MiB of RAM
        .equ ECALL_FROM_S, 9

        .equ TEXT_BYTES, 2048
        .equ SORT_COUNT, 96
        .equ MATRIX_ORDER, 16
        .equ FIB_N, 14
        .equ LIST_NODES, 2048
        .equ SIEVE_BYTES, 4096

        .text
        .option rvc
_start:
        li      t0, -1
        srli    t0, t0, 10
        csrw    pmpaddr0, t0
        li      t0, 0x1f
        csrw    pmpcfg0, t0
        la      t0, m_trap
        csrw    mtvec, t0

        la      t0, table0                      # level 0: every page onto itself
        li      t1, 0x80000000
        li      t2, MAPPED_PAGES
        li      t4, 4096
1:      srli    t3, t1, 2
        ori     t3, t3, PTE_LEAF
        sd      t3, 0(t0)
        addi    t0, t0, 8
        add     t1, t1, t4
        addi    t2, t2, -1
        bnez    t2, 1b

        la      t0, table1                      # level 1: entries 0 and 1
        la      t1, table0
        srli    t2, t1, 2
        ori     t2, t2, PTE_TABLE
        sd      t2, 0(t0)
        add     t1, t1, t4
        srli    t2, t1, 2
        ori     t2, t2, PTE_TABLE
        sd      t2, 8(t0)

        la      t1, table2                      # level 2: entry 2, from 0x80000000
        srli    t2, t0, 2
        ori     t2, t2, PTE_TABLE
        sd      t2, 16(t1)

        srli    t1, t1, 12
        li      t2, 8 << 60                     # Sv39
        or      t1, t1, t2
        csrw    satp, t1
        sfence.vma

        li      t0, 0x1800                      # MPP = S
        csrc    mstatus, t0
        li      t0, 0x0800
        csrs    mstatus, t0
        la      t0, supervisor
        csrw    mepc, t0
        mret

supervisor:
        la      sp, stack_top
        li      s1, 1
        call    prepare
        li      s0, ROUNDS
round:
# BODY
        addi    s0, s0, -1
        bnez    s0, round
        mv      a0, s1
        ecall

# ---- the parts; each folds what it computed into s1

crc_part:                                       # a table-driven CRC-32: loads, ALU, one branch
        la      a0, text
        li      a1, TEXT_BYTES
        la      t0, crc_table
        mv      a2, s1
1:      lbu     t1, 0(a0)
        xor     t1, t1, a2
        andi    t1, t1, 255
        slli    t1, t1, 2
        add     t1, t1, t0
        lwu     t1, 0(t1)
        srliw   a2, a2, 8
        xor     a2, a2, t1
        addi    a0, a0, 1
        addi    a1, a1, -1
        bnez    a1, 1b
        add     s1, s1, a2
        ret

sort_part:                                      # insertion sort: loads, stores, unsure branches
        la      a0, numbers
        li      a1, SORT_COUNT
        li      a2, 0x5851f42d4c957f2d
        mv      t0, a0
        mv      t1, a1
        mv      t2, s1
1:      mul     t2, t2, a2
        addi    t2, t2, 1445
        srli    t3, t2, 33
        sd      t3, 0(t0)
        addi    t0, t0, 8
        addi    t1, t1, -1
        bnez    t1, 1b
        li      t0, 1
2:      slli    t1, t0, 3
        add     t1, t1, a0
        ld      t2, 0(t1)
3:      ld      t3, -8(t1)
        ble     t3, t2, 4f
        sd      t3, 0(t1)
        addi    t1, t1, -8
        bne     t1, a0, 3b
4:      sd      t2, 0(t1)
        addi    t0, t0, 1
        bne     t0, a1, 2b
        ld      t0, (SORT_COUNT / 2 * 8)(a0)
        add     s1, s1, t0
        ret

matrix_part:                                    # integer matrix product: multiplies and two streams
        la      a0, matrix_a
        la      a2, matrix_c
        li      a3, MATRIX_ORDER
1:      la      a1, matrix_b
        li      a4, MATRIX_ORDER
2:      mv      t0, a0
        mv      t1, a1
        li      t2, MATRIX_ORDER
        li      t3, 0
3:      ld      t4, 0(t0)
        ld      t5, 0(t1)
        mul     t4, t4, t5
        add     t3, t3, t4
        addi    t0, t0, 8
        addi    t1, t1, MATRIX_ORDER * 8
        addi    t2, t2, -1
        bnez    t2, 3b
        sd      t3, 0(a2)
        addi    a2, a2, 8
        addi    a1, a1, 8
        addi    a4, a4, -1
        bnez    a4, 2b
        addi    a0, a0, MATRIX_ORDER * 8
        addi    a3, a3, -1
        bnez    a3, 1b
        ld      t0, -8(a2)
        add     s1, s1, t0
        ret

fib_part:                                       # recursion: calls, returns, the stack
        addi    sp, sp, -16
        sd      ra, 0(sp)
        li      a0, FIB_N
        call    fib
        add     s1, s1, a0
        ld      ra, 0(sp)
        addi    sp, sp, 16
        ret
fib:
        li      t0, 2
        blt     a0, t0, 1f
        addi    sp, sp, -32
        sd      ra, 24(sp)
        sd      s2, 16(sp)
        sd      s3, 8(sp)
        mv      s2, a0
        addi    a0, a0, -1
        call    fib
        mv      s3, a0
        addi    a0, s2, -2
        call    fib
        add     a0, a0, s3
        ld      ra, 24(sp)
        ld      s2, 16(sp)
        ld      s3, 8(sp)
        addi    sp, sp, 32
1:      ret

list_part:                                      # a linked list across 32 pages: dependent loads
        la      t0, nodes
        li      t1, LIST_NODES
1:      ld      t2, 8(t0)
        ld      t0, 0(t0)
        add     s1, s1, t2
        addi    t1, t1, -1
        bnez    t1, 1b
        ret

sieve_part:                                     # a sieve of bytes: strided stores
        la      a0, sieve
        li      a1, SIEVE_BYTES
        add     a2, a0, a1
        mv      t0, a0
1:      sd      zero, 0(t0)
        addi    t0, t0, 8
        bne     t0, a2, 1b
        li      t0, 2
        li      t4, 1
2:      add     t1, a0, t0
        lbu     t2, 0(t1)
        bnez    t2, 4f
        addi    s1, s1, 1
        mul     t3, t0, t0
        bge     t3, a1, 4f
        add     t3, t3, a0
3:      sb      t4, 0(t3)
        add     t3, t3, t0
        blt     t3, a2, 3b
4:      addi    t0, t0, 1
        bne     t0, a1, 2b
        ret

# ---- what the parts work on

prepare:
        la      a0, crc_table
        li      a1, 0xedb88320
        li      t0, 0
1:      mv      t1, t0
        li      t2, 8
2:      andi    t3, t1, 1
        srliw   t1, t1, 1
        beqz    t3, 3f
        xor     t1, t1, a1
3:      addi    t2, t2, -1
        bnez    t2, 2b
        sw      t1, 0(a0)
        addi    a0, a0, 4
        addi    t0, t0, 1
        li      t2, 256
        bne     t0, t2, 1b

        la      a0, text
        li      a1, TEXT_BYTES
        li      t0, 12345
        li      t1, 1103515245
4:      mul     t0, t0, t1
        addi    t0, t0, 1013
        srli    t2, t0, 16
        sb      t2, 0(a0)
        addi    a0, a0, 1
        addi    a1, a1, -1
        bnez    a1, 4b

        la      a0, matrix_a
        li      a1, MATRIX_ORDER * MATRIX_ORDER * 2
5:      mul     t0, t0, t1
        addi    t0, t0, 1013
        srai    t2, t0, 40
        sd      t2, 0(a0)
        addi    a0, a0, 8
        addi    a1, a1, -1
        bnez    a1, 5b

        la      a0, nodes                       # node i leads to node (i + 769) mod count
        li      t0, 0
        li      t4, LIST_NODES - 1
6:      addi    t1, t0, 769
        and     t1, t1, t4
        la      t2, nodes
        slli    t3, t1, 6
        add     t3, t3, t2
        sd      t3, 0(a0)
        sd      t0, 8(a0)
        addi    a0, a0, 64
        addi    t0, t0, 1
        ble     t0, t4, 6b
        ret

# ---- M-mode's end

        .balign 4
m_trap:
        csrr    s4, minstret
        csrr    t0, mcause
        li      t1, ECALL_FROM_S
        li      s3, FAIL
        bne     t0, t1, 1f
        li      s3, PASS
1:      mv      s2, a0
        call    print_hex
        mv      s2, s4
        call    print_hex
        li      t0, FINISHER
        sw      s3, 0(t0)
2:      j       2b

print_hex:                                      # s2 in 16 digits and a space
        li      t0, UART
        li      t1, 60
1:      srl     t2, s2, t1
        andi    t2, t2, 15
        addi    t2, t2, '0'
        li      t3, '9'
        ble     t2, t3, 2f
        addi    t2, t2, 'a' - '0' - 10
2:      sb      t2, 0(t0)
        addi    t1, t1, -4
        bgez    t1, 1b
        li      t2, ' '
        sb      t2, 0(t0)
        ret

        .bss
        .balign 4096
table2: .space  4096
table1: .space  4096
table0: .space  8192
crc_table: .space 1024
text:   .space  TEXT_BYTES
numbers: .space SORT_COUNT * 8
        .balign 4096
matrix_a: .space MATRIX_ORDER * MATRIX_ORDER * 8
matrix_b: .space MATRIX_ORDER * MATRIX_ORDER * 8
matrix_c: .space MATRIX_ORDER * MATRIX_ORDER * 8
        .balign 4096
sieve:  .space  SIEVE_BYTES
        .balign 4096
nodes:  .space  LIST_NODES * 64
        .space  4096
stack_top:

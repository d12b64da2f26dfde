"""A 16550A UART.

Source: the National Semiconductor PC16550D data sheet (registers, section 8). The line has no
speed: a byte written is sent at once when the host has room, so the transmitter is busy only under
back-pressure, and received bytes below the trigger level count as timed out at once.
"""

from __future__ import annotations

from collections import deque

from innkeeper.devices.bus import IrqLine
from innkeeper.devices.char import BytesLike, CharPort, CharSink

REGISTER_COUNT = 8
FIFO_BYTES = 16

RBR_THR, IER, IIR_FCR, LCR, MCR, LSR, MSR, SCR = range(REGISTER_COUNT)

IER_RX, IER_THRE, IER_LINE, IER_MODEM = 1, 2, 4, 8
IIR_NONE, IIR_MODEM, IIR_THRE, IIR_RX, IIR_LINE, IIR_TIMEOUT = 1, 0, 2, 4, 6, 12
IIR_FIFO_ON = 0xC0
FCR_ENABLE, FCR_CLEAR_RX, FCR_CLEAR_TX = 1, 2, 4
LCR_DLAB = 0x80
MCR_DTR, MCR_RTS, MCR_OUT1, MCR_OUT2, MCR_LOOP = 1, 2, 4, 8, 16
LSR_DATA, LSR_OVERRUN, LSR_THRE, LSR_IDLE = 1, 2, 0x20, 0x40
MSR_CTS, MSR_DSR, MSR_RI, MSR_DCD = 0x10, 0x20, 0x40, 0x80
_CONNECTED = MSR_CTS | MSR_DSR | MSR_DCD
_TRIGGERS = (1, 4, 8, 14)
_BYTE = tuple(bytes([n]) for n in range(256))


class Uart16550(CharPort):
    """Model a 16550A at 1-byte registers `1 << reg_shift` apart; `irq` is its interrupt line."""

    def __init__(self, irq: IrqLine, sink: CharSink | None = None, *, reg_shift: int = 0) -> None:
        super().__init__()
        if sink is not None:
            self.sink = sink
        self._irq = irq
        self._shift = reg_shift
        self._rx: deque[int] = deque()
        self._tx = bytearray()
        self._starved = False
        self.reset()

    def reset(self) -> None:
        """Return to the power-on state."""
        self._rx.clear()
        self._tx.clear()
        self._ier = self._fcr = self._lcr = self._scr = 0
        self._mcr = 0
        self._divisor = 12
        self._thre_pending = False
        self._overrun = False
        self._irq.set(False)
        self._writable()

    # Guest side

    def read(self, offset: int, size: int) -> int:
        """Load a register; wider loads see one register."""
        reg = offset >> self._shift
        if reg == LSR:
            return self._line_status()
        if reg == RBR_THR:
            return self._divisor & 0xFF if self._lcr & LCR_DLAB else self._receive()
        if reg == IER:
            return self._divisor >> 8 if self._lcr & LCR_DLAB else self._ier
        if reg == IIR_FCR:
            return self._identify()
        if reg == LCR:
            return self._lcr
        if reg == MCR:
            return self._mcr
        if reg == MSR:
            return self._modem_status()
        return self._scr if reg == SCR else 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Store to a register; the low byte counts."""
        reg, value = offset >> self._shift, value & 0xFF
        if reg == RBR_THR and not self._lcr & LCR_DLAB:
            self._send(value)
        elif reg == RBR_THR:
            self._divisor = (self._divisor & 0xFF00) | value
        elif reg == IER and self._lcr & LCR_DLAB:
            self._divisor = (self._divisor & 0xFF) | (value << 8)
        elif reg == IER:
            self._enable(value & 0x0F)
        elif reg == IIR_FCR:
            self._fifo_control(value)
        elif reg == LCR:
            self._lcr = value
        elif reg == MCR:
            self._modem_control(value & 0x1F)
        elif reg == SCR:
            self._scr = value

    def _send(self, value: int) -> None:
        if self._mcr & MCR_LOOP:
            self._put_received(value)
        elif (self._tx or not self.sink.write(_BYTE[value])) and len(self._tx) < FIFO_BYTES:
            self._tx.append(value)  # a guest that ignores THRE loses bytes, as on the chip
        self._thre_pending = not self._tx
        if self._ier or self._irq.level:
            self._update()

    def _receive(self) -> int:
        if not self._rx:
            return 0
        value = self._rx.popleft()
        if not self._rx:
            self._writable()
        self._update()
        return value

    def take_input(self, limit: int) -> bytes:
        """Take up to `limit` received bytes past the registers: firmware reads for its caller."""
        taken = bytes(self._rx.popleft() for _ in range(min(limit, len(self._rx))))
        if taken and not self._rx:
            self._writable()
        self._update()
        return taken

    def _line_status(self) -> int:
        status = LSR_DATA if self._rx else 0
        if not self._tx:
            status |= LSR_THRE | LSR_IDLE
        if self._overrun:
            self._overrun = False
            status |= LSR_OVERRUN
            self._update()
        return status

    def _modem_status(self) -> int:
        if self._mcr & MCR_LOOP:
            mcr = self._mcr
            return (
                (MSR_CTS if mcr & MCR_RTS else 0)
                | (MSR_DSR if mcr & MCR_DTR else 0)
                | (MSR_RI if mcr & MCR_OUT1 else 0)
                | (MSR_DCD if mcr & MCR_OUT2 else 0)
            )
        return _CONNECTED

    def _enable(self, value: int) -> None:
        if value & IER_THRE and not self._ier & IER_THRE and not self._tx:
            self._thre_pending = True  # enabling THRE while empty interrupts at once
        self._ier = value
        self._update()

    def _fifo_control(self, value: int) -> None:
        changed = (value ^ self._fcr) & FCR_ENABLE
        self._fcr = value & 0xC9
        if changed or value & FCR_CLEAR_RX:
            self._rx.clear()
            self._writable()
        if changed or value & FCR_CLEAR_TX:
            self._tx.clear()
            self._thre_pending = True
        self._update()

    def _modem_control(self, value: int) -> None:
        self._mcr = value
        self._update()

    def _cause(self) -> int:
        if self._overrun and self._ier & IER_LINE:
            return IIR_LINE
        if self._rx and self._ier & IER_RX:
            full = not self._fcr & FCR_ENABLE or len(self._rx) >= _TRIGGERS[self._fcr >> 6]
            return IIR_RX if full else IIR_TIMEOUT
        if self._thre_pending and self._ier & IER_THRE:
            return IIR_THRE
        return IIR_NONE

    def _identify(self) -> int:
        cause = self._cause()
        if cause == IIR_THRE:
            self._thre_pending = False
            self._update()
        return cause | (IIR_FIFO_ON if self._fcr & FCR_ENABLE else 0)

    def _update(self) -> None:
        self._irq.set(self._cause() != IIR_NONE)

    # Host side

    def _room(self) -> int:
        return (FIFO_BYTES if self._fcr & FCR_ENABLE else 1) - len(self._rx)

    def _put_received(self, value: int) -> None:
        if self._room() > 0:
            self._rx.append(value)
        else:
            self._overrun = True

    def _writable(self) -> None:
        if self._starved and self.on_writable is not None:
            self._starved = False
            self.on_writable()

    def feed(self, data: BytesLike) -> int:
        """Put bytes into the receive FIFO, as many as fit."""
        if self._mcr & MCR_LOOP:
            room = 0
        else:
            room = max(self._room(), 0)
        self._rx.extend(data[:room])
        taken = min(room, len(data))
        self._starved = taken < len(data)
        self._update()
        return taken

    def resume(self) -> None:
        """Send what waited for the host."""
        if self._tx:
            del self._tx[: self.sink.write(bytes(self._tx))]
            if not self._tx:
                self._thre_pending = True
                self._update()

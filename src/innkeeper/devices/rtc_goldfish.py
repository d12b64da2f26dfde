"""Goldfish real-time clock: nanoseconds since 1970, and one alarm.

Source: the register list in Android's goldfish virtual hardware document ("Goldfish timer").
Reading TIME_LOW latches the high half for TIME_HIGH; writing a low half makes the pair take effect.
"""

from __future__ import annotations

from collections.abc import Callable

from innkeeper.devices.bus import IrqLine

SIZE_BYTES = 0x1000
TIME_LOW, TIME_HIGH, ALARM_LOW, ALARM_HIGH = 0x00, 0x04, 0x08, 0x0C
IRQ_ENABLED, CLEAR_ALARM, ALARM_STATUS, CLEAR_INTERRUPT = 0x10, 0x14, 0x18, 0x1C
_U32 = 0xFFFF_FFFF


class GoldfishRtc:
    """Model the clock.

    `clock_ns()` gives the host's time since 1970. `set_alarm(time_ns)` asks the machine to call
    `expire`
    when `clock_ns()` reaches `time_ns` (`None`: no alarm); an early or spurious call does no harm.
    """

    def __init__(
        self,
        irq: IrqLine,
        *,
        clock_ns: Callable[[], int],
        set_alarm: Callable[[int | None], None] | None = None,
    ) -> None:
        self._irq = irq
        self._clock_ns = clock_ns
        self._set_alarm = set_alarm
        self._offset_ns = 0
        self._latched_high = 0
        self._time_high = 0
        self._alarm_high = 0
        self._alarm_ns = 0
        self._alarm_on = False
        self._irq_enabled = False
        self._pending = False

    def read(self, offset: int, size: int) -> int:
        """Load a 32-bit register."""
        if size != 4:
            return 0
        if offset == TIME_LOW:
            now = self._now()
            self._latched_high = (now >> 32) & _U32
            return now & _U32
        if offset == TIME_HIGH:
            return self._latched_high
        if offset == ALARM_LOW:
            return self._alarm_ns & _U32
        if offset == ALARM_HIGH:
            return self._alarm_ns >> 32
        if offset == IRQ_ENABLED:
            return int(self._irq_enabled)
        return int(self._alarm_on) if offset == ALARM_STATUS else 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Store to a 32-bit register."""
        if size != 4:
            return
        if offset == TIME_HIGH:
            self._time_high = value
        elif offset == TIME_LOW:
            self._offset_ns = (self._time_high << 32 | value) - self._clock_ns()
        elif offset == ALARM_HIGH:
            self._alarm_high = value
        elif offset == ALARM_LOW:
            self._arm(self._alarm_high << 32 | value)
        elif offset == IRQ_ENABLED:
            self._irq_enabled = bool(value & 1)
            self._update()
        elif offset == CLEAR_ALARM:
            self._disarm()
        elif offset == CLEAR_INTERRUPT:
            self._pending = False
            self._update()

    def _now(self) -> int:
        return self._clock_ns() + self._offset_ns

    def _arm(self, alarm_ns: int) -> None:
        self._alarm_ns, self._alarm_on = alarm_ns, True
        if alarm_ns <= self._now():
            self.expire()
        elif self._set_alarm is not None:
            self._set_alarm(alarm_ns - self._offset_ns)

    def _disarm(self) -> None:
        self._alarm_on = False
        if self._set_alarm is not None:
            self._set_alarm(None)

    def expire(self) -> None:
        """Raise the alarm if its time has come."""
        if self._alarm_on and self._alarm_ns <= self._now():
            self._alarm_on = False
            self._pending = True
            self._update()

    def _update(self) -> None:
        self._irq.set(self._pending and self._irq_enabled)

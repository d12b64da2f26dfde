"""Who a file belongs to, as the guest is told and as the host keeps it ("mapped-none").

What the guest creates belongs to the host user that runs Innkeeper. That user's files are shown to
the guest as its root's (or another identity's, by configuration); everybody else's as they
are. Run as root, the map is therefore the identity. A chown is carried out if the
host allows it and refused with the host's error if not; it is never only pretended.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from innkeeper.backends.share.wire import refuse

UNCHANGED = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class OwnerMap:
    """The host user and group, and the guest's uid and gid that stand for them."""

    host_uid: int
    host_gid: int
    guest_uid: int = 0
    guest_gid: int = 0

    @classmethod
    def of_this_process(cls, *, guest_uid: int = 0, guest_gid: int = 0) -> OwnerMap:
        """Map the user that runs Innkeeper to the guest's root, or to who is named."""
        return cls(os.geteuid(), os.getegid(), guest_uid, guest_gid)

    def shown_uid(self, uid: int) -> int:
        """Return the uid the guest sees for a host uid."""
        return self.guest_uid if uid == self.host_uid else uid

    def shown_gid(self, gid: int) -> int:
        """Return the gid the guest sees for a host gid."""
        return self.guest_gid if gid == self.host_gid else gid

    def kept_uid(self, uid: int) -> int:
        """Return the host uid for a guest's; `EPERM` if no file could be shown as that."""
        return _kept(uid, guest=self.guest_uid, host=self.host_uid)

    def kept_gid(self, gid: int) -> int:
        """Return the host gid for a guest's; `EPERM` if no file could be shown as that."""
        return _kept(gid, guest=self.guest_gid, host=self.host_gid)


def _kept(number: int, *, guest: int, host: int) -> int:
    if number == UNCHANGED:
        raise refuse(errno.EINVAL)  # (uid_t) -1 would mean "leave it" to the host
    if number == guest:
        return host
    if number == host:
        raise refuse(errno.EPERM)
    return number

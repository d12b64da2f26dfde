"""The code that makes sure of a reach: one look at the TLB, or none while it keeps to its page.

The TLB's entry is that of the first byte's page, and its tag must be the last byte's: so a reach
never crosses pages. What is found is an *addend*, the host's address less the guest's.
"""

from __future__ import annotations

from innkeeper.engine.emulator.hart import (
    CALL_SPAN_BOTH,
    CALL_SPAN_READ,
    CALL_SPAN_WRITE,
    DATA_ENTRIES,
    Bank,
    DataEntry,
)
from innkeeper.engine.emulator.regions.flow import PAGE, Insn
from innkeeper.engine.emulator.regions.reach import Reach, Site
from innkeeper.engine.emulator.regions.templates import HOST
from innkeeper.native.types import size_of

NO_PAGE = PAGE // 2
"""What no address is that has lost the bits of its place in a page."""


class Checks:
    """The part of a region's emitter that knows about memory."""

    def where(self, one: Insn, tag: str, done: int) -> str:
        """Return the host address of an access, of which the first of a reach makes sure."""
        site = self.sites[one.at]
        if site.first:
            self.check(one, site, tag, done)
        self.body += [
            f"  %gb.{tag} = load ptr, ptr %reach.{site.reach.number}",
            f"  %gw.{tag} = getelementptr i8, ptr %gb.{tag}, i64 {site.offset}",
        ]
        return f"%gw.{tag}"

    def check(self, one: Insn, site: Site, tag: str, done: int) -> None:
        """Make sure of a reach, else leave; its slot gets the host address of its root."""
        reach = site.reach
        self.allocas.append(f"  %reach.{reach.number} = alloca ptr")
        self.step_aside(f"unreached.{tag}", one.at, done)
        self.body += [
            f"  %gr.{tag} = load i64, ptr %x.{one.rs1}",
            f"  %gl.{tag} = add i64 %gr.{tag}, {one.imm + reach.low - site.offset}",
            *self.last_page_of(reach, one, tag),
        ]
        arrivals = [f"[%gd.{tag}, %ghit.{tag}]", f"[%gy.{tag}, %gfar.{tag}]"]
        if reach.kept:
            self.look_at_kept(reach, one, tag)
            arrivals.append(f"[%gk.{tag}, %gkept.{tag}]")
        self.look_at_tlb(reach, tag)
        self.ask(reach, one, tag)
        self.body += [
            f"gon.{tag}:",
            f"  %gs.{tag} = phi ptr {', '.join(arrivals)}",
            f"  %gz.{tag} = getelementptr i8, ptr %gs.{tag}, i64 %gr.{tag}",
            f"  %gv.{tag} = getelementptr i8, ptr %gz.{tag}, i64 {one.imm - site.offset}",
            f"  store ptr %gv.{tag}, ptr %reach.{reach.number}",
        ]

    @staticmethod
    def remember(reach: Reach, found: str, tag: str) -> list[str]:
        """Keep the addend of a page, if a reach does that."""
        if not reach.kept:
            return []
        return [
            f"  {found}.page = and i64 %gl.{tag}, {-PAGE}",
            f"  store i64 {found}.page, ptr %page.{reach.number}",
            f"  store ptr {found}, ptr %keep.{reach.number}",
        ]

    @staticmethod
    def is_single(reach: Reach, one: Insn) -> bool:
        """Tell whether a reach is one access: its low bits say if it is aligned."""
        assert one.template is not None and one.template.access is not None
        return reach.high - reach.low == one.template.access[0]

    def last_page_of(self, reach: Reach, one: Insn, tag: str) -> list[str]:
        """Return what computes the tag that is wanted: the page of the last byte."""
        size = reach.high - reach.low
        if self.is_single(reach, one):
            return [f"  %gp.{tag} = and i64 %gl.{tag}, {-PAGE | (size - 1)}"]
        return [
            f"  %gh.{tag} = add i64 %gl.{tag}, {size - 1}",
            f"  %gp.{tag} = and i64 %gh.{tag}, {-PAGE}",
        ]

    def look_at_kept(self, reach: Reach, one: Insn, tag: str) -> None:
        """Go on without the TLB if the reach is still in the page that it was in last."""
        page, keep = f"%page.{reach.number}", f"%keep.{reach.number}"
        self.allocas += [f"  {page} = alloca i64", f"  {keep} = alloca ptr"]
        self.inits += [f"  store i64 {NO_PAGE}, ptr {page}", f"  store ptr null, ptr {keep}"]
        self.body.append(f"  %gc.{tag} = load i64, ptr {page}")
        if self.is_single(reach, one):
            self.body.append(f"  %gj.{tag} = icmp eq i64 %gc.{tag}, %gp.{tag}")
        else:
            self.body += [
                f"  %gu.{tag} = and i64 %gl.{tag}, {-PAGE}",
                f"  %gu0.{tag} = xor i64 %gu.{tag}, %gc.{tag}",
                f"  %gu1.{tag} = xor i64 %gp.{tag}, %gc.{tag}",
                f"  %gu2.{tag} = or i64 %gu0.{tag}, %gu1.{tag}",
                f"  %gj.{tag} = icmp eq i64 %gu2.{tag}, 0",
            ]
        self.body += [
            f"  br i1 %gj.{tag}, label %gkept.{tag}, label %glook.{tag}, !prof !91",
            f"gkept.{tag}:",
            f"  %gk.{tag} = load ptr, ptr {keep}",
            f"  br label %gon.{tag}",
            f"glook.{tag}:",
        ]

    def look_at_tlb(self, reach: Reach, tag: str) -> None:
        """Compare with the first level of the TLB."""
        bank_entry = Bank.FIELDS["data"][1]
        shift = size_of(DataEntry).bit_length() - 1
        field = bank_entry + DataEntry.FIELDS["write_tag" if reach.writes else "read_tag"][1]
        addend = bank_entry + DataEntry.FIELDS["addend"][1]
        self.body += [
            f"  %gn.{tag} = lshr i64 %gl.{tag}, {12 - shift}",
            f"  %gi.{tag} = and i64 %gn.{tag}, {(DATA_ENTRIES - 1) << shift}",
            f"  %ge.{tag} = getelementptr i8, ptr %bank, i64 %gi.{tag}",
            f"  %gt.{tag} = getelementptr i8, ptr %ge.{tag}, i64 {field}",
            f"  %gg.{tag} = load i64, ptr %gt.{tag}{HOST}",
            f"  %gm.{tag} = icmp ne i64 %gg.{tag}, %gp.{tag}",
            f"  br i1 %gm.{tag}, label %gmiss.{tag}, label %ghit.{tag}, !prof !90",
            f"ghit.{tag}:",
            f"  %ga.{tag} = getelementptr i8, ptr %ge.{tag}, i64 {addend}",
            f"  %gd.{tag} = load ptr, ptr %ga.{tag}{HOST}",
            *self.remember(reach, f"%gd.{tag}", tag),
            f"  br label %gon.{tag}",
        ]

    def ask(self, reach: Reach, one: Insn, tag: str) -> None:
        """Ask for what the TLB does not have, and leave if it may not be had."""
        assert one.template is not None and one.template.access is not None
        size, which = reach.high - reach.low, CALL_SPAN_READ
        if reach.writes:
            which = CALL_SPAN_WRITE if one.template.access[1] else CALL_SPAN_BOTH
        self.cold += [
            f"gmiss.{tag}:",
            *self.call_out(which, tag),
            f"  %gq.{tag} = call preserve_allcc ptr %fn.{tag}"
            f"(ptr %hart, i64 %gl.{tag}, i32 {size})",
            f"  %gx.{tag} = icmp eq ptr %gq.{tag}, null",
            f"  br i1 %gx.{tag}, label %unreached.{tag}, label %gfar.{tag}, !prof !90",
            f"gfar.{tag}:",
            f"  %go.{tag} = sub i64 0, %gl.{tag}",
            f"  %gy.{tag} = getelementptr i8, ptr %gq.{tag}, i64 %go.{tag}",
            *self.remember(reach, f"%gy.{tag}", tag),
            f"  br label %gon.{tag}",
        ]

"""Versions, relations, indices, and the choice of packages."""

from __future__ import annotations

import contextlib
import itertools
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from innkeeper.base.errors import ImageError, IntegrityError, NotFoundError, UsageError
from innkeeper.images import deb822
from innkeeper.images.debversion import Version, satisfies
from innkeeper.images.packages import PackageIndex
from innkeeper.images.relations import parse_relations
from innkeeper.images.resolve import resolve

from .fuzzing import fuzz

# In rising order (deb-version(7), "Sorting algorithm").
ASCENDING = [
    "0~~", "0~~a", "0~", "0", "0a", "0.1", "1.0~rc1-1", "1.0-1", "1.0-1+b1", "1.0-1.1", "1.0-2",
    "1.0a", "1.0+x", "1.2", "1.10", "10", "1:0.1", "2:0",
]  # fmt: skip
SAME = [("1.0", "1.0-0"), ("0:1", "1"), ("1.01", "1.1"), ("1.0-00", "1.0")]
VERSIONS = st.from_regex(r"(?:[0-9]:)?[0-9][a-c0-9.+~]{0,6}(?:-[a-c0-9.+~]{1,4})?", fullmatch=True)


def test_versions_sort_as_the_manual_says() -> None:
    for low, high in itertools.combinations(ASCENDING, 2):
        assert Version(low) < Version(high), (low, high)
        assert not Version(high) <= Version(low)
    for one, other in SAME:
        assert Version(one) == Version(other)
        assert hash(Version(one)) == hash(Version(other))


@fuzz(40)
@given(VERSIONS, VERSIONS)
def test_versions_sort_as_dpkg_sorts(one: str, other: str) -> None:
    if shutil.which("dpkg") is None:
        pytest.skip("needs dpkg to compare with")
    command = ["dpkg", "--compare-versions", one, "lt", other]
    assert (subprocess.run(command, check=False).returncode == 0) == (Version(one) < Version(other))


@pytest.mark.parametrize("text", ["", "a:1", "1 2", "-1:2", "1/2", "9" * 5000, "é"])
def test_what_is_no_version(text: str) -> None:
    with pytest.raises(ImageError):
        Version(text)


def test_satisfies() -> None:
    assert satisfies("1.0", ">=", "1.0")
    assert not satisfies("1.0", ">>", "1.0")
    assert satisfies("1.0~", "<<", "1.0")


def test_stanzas() -> None:
    text = "# c\nA: 1\nB:\n two\n .\n  three\n\n\nA: 2\n"
    assert list(deb822.parse(text)) == [{"a": "1", "b": "\ntwo\n\n three"}, {"a": "2"}]
    for bad in (" x\n", "no colon\n", "A: 1\nA: 2\n"):
        with pytest.raises(ImageError):
            list(deb822.parse(bad))


@fuzz(150)
@given(st.text(alphabet="aB:,.|() \n\t#<=>~1-", max_size=80))
def test_parsers_of_text_fail_only_as_image_errors(text: str) -> None:
    for parse in (lambda: list(deb822.parse(text)), lambda: parse_relations(text)):
        with contextlib.suppress(ImageError):
            parse()


def index(*packages: str) -> PackageIndex:
    """Make an index of `name version; Field: value; ...` items."""
    stanzas = []
    for text in packages:
        head, *fields = text.split("; ")
        name, version = head.split()
        stanzas.append("\n".join([f"Package: {name}", f"Version: {version}", *fields]))
    return PackageIndex("\n\n".join(stanzas).encode() + b"\n", arch="riscv64")


def names(*packages: str, want: str = "aa", **more: object) -> list[str]:
    return [p.name for p in resolve(index(*packages), want.split(), **more)]  # type: ignore[arg-type]


def test_dependencies_come_first() -> None:
    assert names("aa 1; Depends: bb, cc", "bb 1; Depends: cc", "cc 1", "dd 1") == ["cc", "bb", "aa"]


def test_the_first_possible_alternative_is_taken() -> None:
    assert names("aa 1; Depends: x | bb | cc", "bb 1", "cc 1") == ["bb", "aa"]
    assert names("aa 1; Depends: bb (>= 2) | cc", "bb 1", "cc 1") == ["cc", "aa"]


def test_what_is_chosen_already_satisfies_an_alternative() -> None:
    assert "bb" not in names("aa 1; Depends: bb | cc, cc", "bb 1", "cc 1", want="cc aa")
    assert names("aa 1; Depends: bb | cc", "bb 1", "cc 1", prefer=["cc"]) == ["cc", "aa"]


def test_virtual_packages() -> None:
    providers = (
        "p1 1; Provides: virt; Priority: optional",
        "p2 1; Provides: virt; Priority: standard",
    )
    assert names("aa 1; Depends: virt", *providers) == ["p2", "aa"]
    versioned = "pp 1; Provides: virt (= 3), other"
    assert names("aa 1; Depends: virt (>= 2)", versioned) == ["pp", "aa"]
    with pytest.raises(ImageError, match="virt"):
        names("aa 1; Depends: virt (>= 4)", versioned)
    with pytest.raises(ImageError, match="virt"):
        names("aa 1; Depends: virt (>= 2)", *providers)
    assert names(*providers, want="virt") == ["p2"]


def test_cycles_end_and_pre_dependencies_go_first() -> None:
    order = names("aa 1; Depends: bb", "bb 1; Pre-Depends: aa", want="bb")
    assert sorted(order) == ["aa", "bb"]
    assert names("aa 1; Pre-Depends: bb", "bb 1; Depends: aa") == ["bb", "aa"]


def test_qualified_relations() -> None:
    assert names("aa 1; Depends: perl:any (>= 5), bb", "perl 5.4", "bb 1",
                 want="aa") == ["perl", "bb", "aa"]  # fmt: skip


def test_the_basic_system() -> None:
    found = names(
        "base 1; Essential: yes", "req 1; Priority: required", "opt 1; Priority: optional",
        "imp 1; Priority: important", want="", basic=True,
    )  # fmt: skip
    assert sorted(found) == ["base", "req"]


def test_the_newest_version_counts() -> None:
    made = index("aa 1.9", "aa 1.10", "aa 1.2")
    assert made["aa"].version == "1.10"


def test_conflicts() -> None:
    with pytest.raises(UsageError, match="cannot be installed together"):
        names("aa 1; Conflicts: bb", "bb 1", want="aa bb")
    with pytest.raises(UsageError):
        names("aa 1; Breaks: bb (<< 2)", "bb 1", want="aa bb")
    assert len(names("aa 1; Breaks: bb (<< 1)", "bb 1", want="aa bb")) == 2
    # A package may conflict with what it provides itself.
    assert names("aa 1; Provides: mta; Conflicts: mta") == ["aa"]
    picked = names(
        "aa 1; Depends: bb | cc, dd", "bb 1; Conflicts: dd", "cc 1", "dd 1", want="dd aa"
    )
    assert "cc" in picked


def test_what_is_not_there() -> None:
    with pytest.raises(NotFoundError, match="nonsense"):
        names("aa 1", want="nonsense")
    with pytest.raises(ImageError, match="needs bb"):
        names("aa 1; Depends: bb")


@pytest.mark.parametrize(
    "stanza",
    ["aa 1; Filename: ../../etc/passwd", "aa 1; Filename: /etc/passwd", "aa 1"],
)
def test_file_names_that_leave_the_mirror(stanza: str) -> None:
    with pytest.raises(ImageError):
        _ = index(stanza)["aa"].filename


def test_packages_without_a_checksum() -> None:
    with pytest.raises(IntegrityError):
        _ = index("aa 1; MD5sum: 00")["aa"].sha256

"""A pure-Python program for the guest's python3: dictionaries, lists, strings, floats, objects.

`mix.py ROUNDS`; prints one checksum. It imports nothing but `sys`, so python3-minimal runs it.
"""

import sys


class Account:
    def __init__(self, name, balance):
        self.name = name
        self.balance = balance
        self.history = []

    def move(self, amount, other):
        self.balance -= amount
        other.balance += amount
        self.history.append((other.name, amount))


def words(count):
    state, made = 1, []
    for _ in range(count):
        state = (state * 1103515245 + 12345) % 2147483648
        made.append("".join(chr(97 + (state >> shift) % 26) for shift in (3, 7, 11, 15)))
    return made


def dictionaries(text):
    counts = {}
    for word in text:
        counts[word[:2]] = counts.get(word[:2], 0) + 1
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return sum(rank * count for rank, (_, count) in enumerate(ordered))


def strings(text):
    line = " ".join(text)
    parts = line.upper().replace("A", "aa").split(" ")
    return sum(len(part) for part in parts if part.find("E") >= 0) + line.count("ab")


def numbers(count):
    total, x = 0.0, 0.5
    for i in range(count):
        x = 3.7 * x * (1.0 - x)
        total += x / (i + 1) if i & 1 else -x
    return int(total * 1e6)


def queens(size, row=0, columns=0, left=0, right=0):
    if row == size:
        return 1
    found, free = 0, ((1 << size) - 1) & ~(columns | left | right)
    while free:
        bit = free & -free
        free ^= bit
        found += queens(size, row + 1, columns | bit, (left | bit) << 1, (right | bit) >> 1)
    return found


def objects(count):
    accounts = [Account(str(i), 1000) for i in range(50)]
    for i in range(count):
        accounts[i % 50].move(i % 17, accounts[(i * 7 + 3) % 50])
    return sum(len(a.history) * a.balance for a in accounts)


def main():
    text, total = words(2000), 0
    for _ in range(int(sys.argv[1])):
        total += dictionaries(text) + strings(text) + numbers(5000) + queens(6) + objects(4000)
    print("mix", total)


main()

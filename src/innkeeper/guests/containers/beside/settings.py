"""What the processes beside a container are told: words `NAME=VALUE`."""


class Settings:
    """The words, read; descriptors are -1 when there is none."""

    def __init__(self, words: list[str]) -> None:
        self._words = dict(word.partition("=")[::2] for word in words)

    def number(self, name: str, default: int = -1) -> int:
        """Return a number."""
        return int(self._words.get(name, default))

    def seconds(self, name: str) -> float:
        """Return a number of seconds."""
        return float(self._words[name])

    def text(self, name: str) -> str:
        """Return a text."""
        return self._words.get(name, "")

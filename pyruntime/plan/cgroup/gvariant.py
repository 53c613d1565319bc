"""Values of D-Bus as people write them.  Source: GVariant Text Format; the annotations of runc's systemd.md."""

from pyruntime.base.errors import SpecError

_KEYWORDS = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
    "signature": "g",
}
_RANGES = {
    "y": (0, 8),
    "n": (1, 15),
    "q": (0, 16),
    "i": (1, 31),
    "u": (0, 32),
    "x": (1, 63),
    "t": (0, 64),
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v"}
_HINT = "such as true, 'text', uint64 5, ['a', 'b'] or [('a', uint32 1)]"
_CLOSING = {"[": "]", "(": ")", "<": ">"}


def parse_gvariant(text: str, where: str) -> tuple[str, object]:
    """The D-Bus signature and the value of a text; arrays become lists, structures tuples, a variant
    (signature, value).

    Raises:
        SpecError: it cannot be read; dictionaries are not.
    """
    parser = _Parser(text, where)
    result = parser.value("")
    if parser.peek():
        raise parser.error("something follows the value")
    return result


class _Parser:
    def __init__(self, text: str, where: str) -> None:
        self.text = text
        self.where = where
        self.place = 0

    def error(self, why: str) -> SpecError:
        return SpecError(f"value parse error: {self.text!r}: {why}", where=self.where, hint=_HINT)

    def peek(self) -> str:
        """The next character that is no blank, "" at the end."""
        while self.text[self.place : self.place + 1].isspace():
            self.place += 1
        return self.text[self.place : self.place + 1]

    def value(self, wanted: str) -> tuple[str, object]:
        """One value; `wanted` is its signature if something before it says that."""
        signature, value = self.some_value(wanted)
        if wanted and signature != wanted:
            raise self.error(f"a value of type {signature} stands where one of {wanted} should")
        return signature, value

    def some_value(self, wanted: str) -> tuple[str, object]:
        first = self.peek()
        if first == "@":
            self.place += 1
            return self.value(self.word())
        if first in ("'", '"'):
            return wanted if wanted in ("o", "g") else "s", self.string(first)
        if first == "[":
            return self.array(wanted)
        if first == "(":
            items = self.items(first)
            return f"({''.join(signature for signature, _ in items)})", tuple(value for _, value in items)
        if first == "<":
            items = self.items(first)
            if len(items) != 1:
                raise self.error("a variant holds one value")
            return "v", items[0]
        word = self.word()
        if word in _KEYWORDS:
            return self.value(_KEYWORDS[word])
        if word in ("true", "false"):
            return "b", word == "true"
        return self.number(word, wanted)

    def word(self) -> str:
        self.peek()
        start = self.place
        while self.place < len(self.text) and self.text[self.place] not in " \t\n,[]()<>'\"":
            self.place += 1
        if start == self.place:
            raise self.error("a value is missing")
        return self.text[start : self.place]

    def string(self, quote: str) -> str:
        self.place += 1
        found = ""
        while self.place < len(self.text):
            character = self.text[self.place]
            self.place += 1
            if character == quote:
                return found
            if character == "\\":
                character = self.text[self.place : self.place + 1]
                self.place += 1
                character = _ESCAPES.get(character, character)
            found += character
        raise self.error("a quote is not closed")

    def array(self, wanted: str) -> tuple[str, object]:
        items = self.items("[", wanted[1:])
        signatures = {signature for signature, _ in items}
        if len(signatures) > 1:
            raise self.error("the elements of an array are of one type")
        signature = f"a{items[0][0]}" if items else wanted
        if not signature.startswith("a"):
            raise self.error("an empty array needs its type before it: @as []")
        values = [value for _, value in items]
        return signature, bytes(values) if signature == "ay" else values  # type: ignore[arg-type]

    def items(self, opening: str, wanted: str = "") -> list[tuple[str, object]]:
        self.place += 1
        found: list[tuple[str, object]] = []
        while self.peek() != _CLOSING[opening]:
            found.append(self.value(wanted or (found[0][0] if opening == "[" and found else "")))
            if self.peek() == ",":
                self.place += 1
            elif self.peek() != _CLOSING[opening]:
                raise self.error(f"{_CLOSING[opening]} is missing")
        self.place += 1
        return found

    def number(self, word: str, wanted: str) -> tuple[str, object]:
        try:
            if wanted == "d" or (not wanted and "." in word):
                return "d", float(word)
            value = int(word, 0)
        except ValueError:
            raise self.error(f"{word!r} is no value") from None
        signed, bits = _RANGES.get(wanted or "i", (0, 0))
        if not -signed << bits <= value < 1 << bits:
            raise self.error(f"{word} does not fit")
        return wanted or "i", value

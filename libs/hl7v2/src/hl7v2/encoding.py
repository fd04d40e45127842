"""Values into bytes, with the delimiters and in the character set of one message."""

from hl7v2.charsets import Charset
from hl7v2.delimiters import Delimiters
from hl7v2.errors import Hl7Error
from hl7v2.values import Raw, Repeat, Value


class Context:
    """Delimiters and character set, shared by all segments of one message."""

    __slots__ = ("charset", "codec", "delimiters", "modified")

    def __init__(self, delimiters: Delimiters, charset: Charset, *, modified: bool) -> None:
        self.delimiters = delimiters
        self.charset = charset
        self.codec = charset.working_codec
        self.modified = modified

    def change_charset(self, charset: Charset) -> None:
        """Write in another character set from now on; the caller must re-encode the segments."""
        self.charset = charset
        self.codec = charset.working_codec
        self.modified = True

    def decoded(self, value: bytes) -> str:
        """Text of ``value``.

        Bytes that are invalid in the character set are read as 8859/1, so that reading can go on.
        """
        try:
            return value.decode(self.codec)
        except UnicodeDecodeError:
            return value.decode("latin-1")

    def encoded(self, text: str, where: str) -> bytes:
        """``text`` in the working character set;

        Hl7Error when the message's character set lacks one of its characters.
        """
        try:
            on_the_wire = text.encode(self.charset.codec)
            return text.encode("utf-8") if not self.charset.splits_as_bytes else on_the_wire
        except UnicodeEncodeError:
            # The original exception would carry the value.
            raise Hl7Error("102", where, f"the value cannot be written in {self.charset.name} (MSH-18)") from None


def encode_field(value: Value, context: Context, segment: str, field: int) -> bytes:
    """A whole field with its repetitions."""
    if value.__class__ is str or value is None:
        return encode_leaf(value, context, f"{segment}-{field}")
    where = f"{segment}-{field}"
    if not isinstance(value, Repeat):
        return encode_repetition(value, context, where)
    return _joined([encode_repetition(v, context, where) for v in value], context.delimiters.repetition, where)


def encode_repetition(value: Value, context: Context, where: str) -> bytes:
    """One repetition: text, or a list of components."""
    if value is None or isinstance(value, str | int | bytes):
        return encode_leaf(value, context, where)
    if isinstance(value, Repeat):
        raise TypeError(f"{where}: repetitions inside a repetition")
    return _joined([encode_component(v, context, where) for v in value], context.delimiters.component, where)


def encode_component(value: Value, context: Context, where: str) -> bytes:
    """One component: text, or a list of subcomponents."""
    if value is None or isinstance(value, str | int | bytes):
        return encode_leaf(value, context, where)
    return _joined([encode_leaf(v, context, where) for v in value], context.delimiters.subcomponent, where)


def encode_leaf(value: Value, context: Context, where: str) -> bytes:
    """Text, escaped unless it is raw or bytes."""
    if value is None:
        return b""
    delimiters = context.delimiters
    if isinstance(value, bytes):
        encoded = value
    elif isinstance(value, str | int):
        encoded = context.encoded(str(value), where)
        if not isinstance(value, Raw):
            return delimiters.escaped(encoded, where)
    else:
        raise TypeError(f"{where}: a list where only text is allowed")
    if delimiters.field in encoded or b"\r" in encoded or b"\n" in encoded:
        raise ValueError(f"{where}: encoded text must not hold a field separator or a line end")
    return encoded


def _joined(parts: list[bytes], char: bytes, where: str) -> bytes:
    while parts and not parts[-1]:
        parts.pop()
    if len(parts) > 1 and not char:
        raise Hl7Error("102", where, "the message declares no delimiter for this level (MSH-2)")
    return char.join(parts)

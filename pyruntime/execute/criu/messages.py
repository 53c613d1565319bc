"""The messages of CRIU's RPC: protocol buffers, as far as checkpoint and restore need them.

Numbers and types are those of CRIU's images/rpc.proto (syntax proto2).  A message is a dict here; a field that is
not in it is not sent.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    Schema = Mapping[str, "Field"]
    Message = dict[str, object]

_VARINT, _SIXTY_FOUR, _BLOCK, _THIRTY_TWO = 0, 1, 2, 5


class Field:
    """One field: its number, and for a message in the message its schema."""

    __slots__ = ("number", "schema", "text")

    def __init__(self, number: int, schema: "Schema | None" = None, *, text: bool = False) -> None:
        self.number = number
        self.schema = schema
        self.text = text


def _text(number: int) -> Field:
    return Field(number, text=True)


DUMP, RESTORE, PRE_DUMP, NOTIFY, FEATURE_CHECK, VERSION = 1, 2, 4, 6, 9, 10
TYPE_NAMES = {
    0: "EMPTY",
    DUMP: "DUMP",
    RESTORE: "RESTORE",
    PRE_DUMP: "PRE_DUMP",
    NOTIFY: "NOTIFY",
    FEATURE_CHECK: "FEATURE_CHECK",
    VERSION: "VERSION",
}

_PAGE_SERVER = {"address": _text(1), "port": Field(2)}
_EXTERNAL_MOUNT = {"key": _text(1), "val": _text(2)}
_JOIN_NAMESPACE = {"ns": _text(1), "ns_file": _text(2)}
_INHERITED = {"key": _text(1), "fd": Field(2)}
_CGROUP_ROOT = {"ctrl": _text(1), "path": _text(2)}
_FEATURES = {"mem_track": Field(1), "lazy_pages": Field(2)}
_OPTIONS = {
    "images_dir_fd": Field(1),
    "pid": Field(2),
    "leave_running": Field(3),
    "ext_unix_sk": Field(4),
    "tcp_established": Field(5),
    "evasive_devices": Field(6),
    "shell_job": Field(7),
    "file_locks": Field(8),
    "log_level": Field(9),
    "log_file": _text(10),
    "ps": Field(11, _PAGE_SERVER),
    "notify_scripts": Field(12),
    "root": _text(13),
    "parent_img": _text(14),
    "track_mem": Field(15),
    "auto_dedup": Field(16),
    "work_dir_fd": Field(17),
    "link_remap": Field(18),
    "ext_mnt": Field(23, _EXTERNAL_MOUNT),
    "manage_cgroups": Field(24),
    "cg_root": Field(25, _CGROUP_ROOT),
    "rst_sibling": Field(26),
    "inherit_fd": Field(27, _INHERITED),
    "manage_cgroups_mode": Field(34),
    "external": _text(37),
    "empty_ns": Field(38),
    "join_ns": Field(39, _JOIN_NAMESPACE),
    "freeze_cgroup": _text(44),
    "tcp_skip_in_flight": Field(46),
    "lazy_pages": Field(48),
    "orphan_pts_master": Field(50),
    "config_file": _text(51),
    "tcp_close": Field(52),
    "lsm_profile": _text(53),
    "lsm_mount_context": _text(64),
    "network_lock": Field(65),
}
REQUEST: "Schema" = {
    "type": Field(1),
    "opts": Field(2, _OPTIONS),
    "notify_success": Field(3),
    "keep_open": Field(4),
    "features": Field(5, _FEATURES),
}
RESPONSE: "Schema" = {
    "type": Field(1),
    "success": Field(2),
    "restore": Field(4, {"pid": Field(1)}),
    "notify": Field(5, {"script": _text(1), "pid": Field(2)}),
    "cr_errno": Field(7),
    "features": Field(8, _FEATURES),
    "cr_errmsg": _text(9),
    "version": Field(10, {"major_number": Field(1), "minor_number": Field(2), "sublevel": Field(4)}),
}


def encode(message: "Message", schema: "Schema") -> bytes:
    """A message on the wire; a list or tuple is a repeated field."""
    parts: list[bytes] = []
    for name, value in message.items():
        field = schema[name]
        values = value if isinstance(value, (list, tuple)) else (value,)
        parts += [_encode_one(field, one) for one in values]
    return b"".join(parts)


def _encode_one(field: Field, value: object) -> bytes:
    if isinstance(value, int):
        return _varint(field.number << 3 | _VARINT) + _varint(value & (1 << 64) - 1)
    if field.schema is not None:
        assert isinstance(value, dict), "a message in a message is a dict"
        data = encode(value, field.schema)
    else:
        assert isinstance(value, str), "numbers, texts and messages are all there is"
        data = value.encode("utf-8", "surrogateescape")
    return _varint(field.number << 3 | _BLOCK) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    digits = bytearray()
    while number > 0x7F:
        digits.append(number & 0x7F | 0x80)
        number >>= 7
    digits.append(number)
    return bytes(digits)


def decode(data: bytes, schema: "Schema") -> "Message":
    """A message from the wire; fields that the schema lacks are left out, repeated ones become lists.

    Raises:
        ValueError: the data is no such message.
    """
    names = {field.number: (name, field) for name, field in schema.items()}
    message: Message = {}
    position = 0
    while position < len(data):
        tag, position = _read_varint(data, position)
        value, position = _read_value(data, position, tag & 7)
        name, field = names.get(tag >> 3, ("", None))
        if field is None:
            continue
        decoded = _decode_value(field, value)
        if name in message:
            earlier = message[name]
            message[name] = [*(earlier if isinstance(earlier, list) else [earlier]), decoded]
        else:
            message[name] = decoded
    return message


def _decode_value(field: Field, value: "int | bytes") -> object:
    if isinstance(value, int):
        return value - (1 << 64) if value >> 63 else value
    if field.schema is not None:
        return decode(value, field.schema)
    return value.decode("utf-8", "surrogateescape") if field.text else value


def _read_value(data: bytes, position: int, kind: int) -> "tuple[int | bytes, int]":
    if kind == _VARINT:
        return _read_varint(data, position)
    if kind == _BLOCK:
        size, position = _read_varint(data, position)
    elif kind in (_SIXTY_FOUR, _THIRTY_TWO):
        size = 8 if kind == _SIXTY_FOUR else 4
    else:
        raise ValueError(f"wire type {kind} is not known")
    if position + size > len(data):
        raise ValueError("the message is cut off")
    return data[position : position + size], position + size


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    number = shift = 0
    while position < len(data) and shift < 70:
        digit = data[position]
        position += 1
        number |= (digit & 0x7F) << shift
        if digit < 0x80:
            return number, position
        shift += 7
    raise ValueError("the message is cut off")

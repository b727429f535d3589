"""Kafka's messages, encoded and decoded from the definitions that Kafka itself was built from.

The definitions come out of the kafka-clients jar, so what the tests hold sluice against shares
nothing with sluice's own tables. Bodies are dictionaries by the definitions' field names; what a
body leaves out takes the definition's default."""

import functools
import json
import re
import struct
import uuid
import zipfile

import parts

_INTEGERS = {"int8": ">b", "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I",
             "int64": ">q", "float64": ">d"}


class Range:
    """A range of versions as the definitions write it: "none", "3", "0-4" or "2+"."""

    def __init__(self, text):
        low, dash, high = text.rstrip("+").partition("-")
        self.none = text == "none"
        self.low = 0 if self.none else int(low)
        self.high = int(high) if dash else (1 << 15 if text.endswith("+") else self.low)

    def __contains__(self, version):
        return not self.none and self.low <= version <= self.high


class Message:
    """One request or response, all versions."""

    def __init__(self, definition):
        self.name = definition["name"]
        self.key = definition.get("apiKey", -1)
        self.versions = Range(definition["validVersions"])
        self.flexible = Range(definition.get("flexibleVersions", "none"))
        common = {s["name"]: s["fields"] for s in definition.get("commonStructs", [])}
        self.fields = [Field(f, common) for f in definition.get("fields", [])]

    def encode(self, body, version):
        out = bytearray()
        _put_struct(out, self.fields, body, version, version in self.flexible)
        return bytes(out)

    def decode(self, data, version, may_be_left=0):
        """The body as a dictionary; raises ValueError on anything missing, or left over but for so
        many bytes."""
        reader = Reader(data)
        body = _get_struct(reader, self.fields, version, version in self.flexible)
        if len(data) - reader.at not in (0, may_be_left):
            raise ValueError(f"{self.name} v{version}: {len(data) - reader.at} bytes left over")
        return body


class Field:
    def __init__(self, definition, common):
        self.name = definition["name"]
        self.type = definition["type"]
        self.array = self.type.startswith("[]")
        self.item = self.type[2:] if self.array else self.type
        self.versions = Range(definition.get("versions", definition.get("taggedVersions", "none")))
        self.nullable = Range(definition.get("nullableVersions", "none"))
        self.tagged = Range(definition.get("taggedVersions", "none"))
        self.tag = definition.get("tag")
        self.flexible = (Range(definition["flexibleVersions"])
                         if "flexibleVersions" in definition else None)
        fields = definition.get("fields", common.get(self.item))
        self.fields = [Field(f, common) for f in fields] if fields is not None else None
        self._default = definition.get("default")

    def default(self, version):
        if self._default == "null":
            return None
        if self.array:
            return []
        if self.fields is not None:
            return {f.name: f.default(version) for f in self.fields if version in f.versions}
        if self.item == "bool":
            return str(self._default).lower() == "true"
        if self.item == "float64":
            return float(self._default or 0)
        if self.item in _INTEGERS:
            return int(str(self._default or 0), 0)
        if self.item == "uuid":
            return uuid.UUID(int=0)
        return self._default or "" if self.item == "string" else b""


# --- writing

def put_unsigned(out, value):
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _put_length(out, length, flexible, short):
    """A length or count; None is null."""
    if flexible:
        put_unsigned(out, 0 if length is None else length + 1)
    else:
        out += struct.pack(">h" if short else ">i", -1 if length is None else length)


def _put_item(out, field, value, version, flexible):
    kind = field.item
    if field.fields is not None:
        _put_struct(out, field.fields, value, version, flexible)
    elif kind == "bool":
        out.append(1 if value else 0)
    elif kind in _INTEGERS:
        out += struct.pack(_INTEGERS[kind], value)
    elif kind == "uuid":
        out += value.bytes
    else:
        data = value.encode() if isinstance(value, str) else value
        _put_length(out, None if data is None else len(data), flexible, kind == "string")
        out += data or b""


def _put_field(out, field, value, version, flexible, tagged=False):
    if field.flexible is not None:
        flexible = version in field.flexible
    if field.array:
        _put_length(out, None if value is None else len(value), flexible, False)
        for item in value or ():
            _put_item(out, field, item, version, flexible)
        return
    if field.fields is not None and version in field.nullable:
        if tagged:
            put_unsigned(out, 0 if value is None else 1)
        else:
            out += struct.pack(">b", -1 if value is None else 1)
        if value is None:
            return
    _put_item(out, field, value, version, flexible)


def _put_struct(out, fields, body, version, flexible):
    unknown = set(body) - {f.name for f in fields} - {"_tags"}
    if unknown:
        raise KeyError(f"no such fields: {unknown}")
    tags = {}
    for field in fields:
        if version not in field.versions:
            continue
        value = body.get(field.name, field.default(version))
        if version in field.tagged:
            if value != field.default(version):
                data = bytearray()
                _put_field(data, field, value, version, flexible, True)
                tags[field.tag] = bytes(data)
        else:
            _put_field(out, field, value, version, flexible)
    if flexible:
        tags |= body.get("_tags", {})
        put_unsigned(out, len(tags))
        for tag, data in sorted(tags.items()):
            put_unsigned(out, tag)
            put_unsigned(out, len(data))
            out += data


# --- reading

class Reader:
    def __init__(self, data):
        self.data = data
        self.at = 0

    def take(self, count):
        if count < 0 or self.at + count > len(self.data):
            raise ValueError(f"{count} bytes wanted at {self.at} of {len(self.data)}")
        self.at += count
        return self.data[self.at - count:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def unsigned(self):
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 28:
                raise ValueError("a varint of more than 5 bytes")

    def length(self, flexible, short):
        value = self.unsigned() - 1 if flexible else self.number(">h" if short else ">i")
        if value < -1:
            raise ValueError(f"length {value}")
        return None if value < 0 else value


def _get_item(reader, field, version, flexible):
    kind = field.item
    if field.fields is not None:
        return _get_struct(reader, field.fields, version, flexible)
    if kind == "bool":
        return reader.take(1) != b"\0"
    if kind in _INTEGERS:
        return reader.number(_INTEGERS[kind])
    if kind == "uuid":
        return uuid.UUID(bytes=bytes(reader.take(16)))
    length = reader.length(flexible, kind == "string")
    if length is None:
        if version not in field.nullable:
            raise ValueError(f"{field.name} is null in version {version}")
        return None
    data = bytes(reader.take(length))
    return data.decode() if kind == "string" else data


def _get_field(reader, field, version, flexible, tagged=False):
    if field.flexible is not None:
        flexible = version in field.flexible
    if field.array:
        count = reader.length(flexible, False)
        if count is None:
            if version not in field.nullable:
                raise ValueError(f"{field.name} is null in version {version}")
            return None
        return [_get_item(reader, field, version, flexible) for _ in range(count)]
    if field.fields is not None and version in field.nullable:
        there = reader.unsigned() if tagged else reader.number(">b")
        if there <= 0:
            return None
    return _get_item(reader, field, version, flexible)


def _get_struct(reader, fields, version, flexible):
    body = {}
    tagged = {}
    for field in fields:
        if version not in field.versions:
            continue
        if version in field.tagged:
            tagged[field.tag] = field
            body[field.name] = field.default(version)
        else:
            body[field.name] = _get_field(reader, field, version, flexible)
    if flexible:
        previous = -1
        for _ in range(reader.unsigned()):
            tag = reader.unsigned()
            if tag <= previous:
                raise ValueError(f"tag {tag} after {previous}")
            previous = tag
            data = bytes(reader.take(reader.unsigned()))
            if tag not in tagged:
                body.setdefault("_tags", {})[tag] = data
                continue
            inner = Reader(data)
            body[tagged[tag].name] = _get_field(inner, tagged[tag], version, True, True)
            if inner.at != len(data):
                raise ValueError(f"tag {tag} is longer than its field")
    return body


# --- the catalogue

@functools.cache
def _catalogue():
    jar = next(parts.KAFKA.glob("kafka-clients-*.jar"))
    found = {}
    with zipfile.ZipFile(jar) as archive:
        for name in archive.namelist():
            if re.fullmatch(r"common/message/\w+(Request|Response)\.json", name):
                text = re.sub(r"^\s*//.*$", "", archive.read(name).decode(), flags=re.M)
                definition = json.loads(re.sub(r"//[^\"\n]*$", "", text, flags=re.M))
                found[definition["name"]] = definition
    return found


@functools.cache
def request(name):
    return Message(_catalogue()[f"{name}Request"])


@functools.cache
def response(name):
    return Message(_catalogue()[f"{name}Response"])


@functools.cache
def names():
    """API key -> name, without "Request"."""
    return {d["apiKey"]: d["name"].removesuffix("Request") for d in _catalogue().values()
            if d["type"] == "request" and "apiKey" in d}


def encode_request(name, version, body, correlation=1, client_id="e2e"):
    """A whole request, header and body, without the length in front."""
    message = request(name)
    out = bytearray(struct.pack(">hhi", message.key, version, correlation))
    data = client_id.encode() if client_id is not None else None
    out += struct.pack(">h", -1 if data is None else len(data)) + (data or b"")
    if version in message.flexible:
        out.append(0)
    return bytes(out) + message.encode(body, version)


def decode_response(name, version, data):
    """Correlation id and body of a whole response, without the length in front."""
    message = response(name)
    reader = Reader(data)
    correlation = reader.number(">i")
    if version in message.flexible and name != "ApiVersions":
        for _ in range(reader.unsigned()):
            reader.unsigned()
            reader.take(reader.unsigned())
    return correlation, message.decode(data[reader.at:], version)


def framed(data):
    return struct.pack(">i", len(data)) + data

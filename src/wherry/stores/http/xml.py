"""XML that a service sends, read by one who does not trust it.

Document types and entities are refused: they are never there, and they are how XML attacks its reader.
Called by the adapters of object stores for every answer that is XML.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from wherry.model.errors import StoreError


class _Hostile(Exception):
    pass


def parse(document: bytes | memoryview) -> Element:
    """The root element.  Raises `StoreError` for what is not plain XML."""
    builder = TreeBuilder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    try:
        parser.Parse(bytes(document), True)
    except (expat.ExpatError, _Hostile) as error:
        raise StoreError("the service's XML is malformed") from error
    root: Element = builder.close()
    return root


def _refuse(*_: object) -> None:
    raise _Hostile

"""CI's XML: parsing, building, and rows of pages."""

from __future__ import annotations

from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services.tencent_ci import xml


def test_repeated_element_is_a_list_even_alone() -> None:
    assert xml.parse(b"<Response><JobsDetail><JobId>j1</JobId></JobsDetail></Response>") == {
        "Response": {"JobsDetail": [{"JobId": "j1"}]}
    }


def test_build_escapes_text_and_omits_none() -> None:
    document = xml.build(
        "Request", {"A": "a<b>&c", "B": None, "C": {"D": True, "E": None}, "F": [1, 2]}
    )
    assert (
        document == b"<Request><A>a&lt;b&gt;&amp;c</A><C><D>true</D></C><F>1</F><F>2</F></Request>"
    )


def test_parse_returns_what_build_was_given() -> None:
    content = {"Input": {"Object": "输入/a & b.jpg"}, "Name": "日常"}
    assert xml.parse(xml.build("Request", content)) == {"Request": content}


def test_mismatched_tag_error_has_line_and_column() -> None:
    """The mistake is that of a published sample: <Type>Workflow</Name>."""
    with pytest.raises(InvalidRequest, match=r"line 3, column 18") as caught:
        xml.parse_request("<Request>\n <Name>demo</Name>\n <Type>Workflow</Name>\n</Request>")
    assert "Mismatched tag" in caught.value.detail


def test_request_with_another_root_raises() -> None:
    with pytest.raises(InvalidRequest, match="<Foo>"):
        xml.parse_request("<Foo/>")


def test_document_that_is_not_well_formed_raises() -> None:
    with pytest.raises(ExpatError):
        xml.parse(b"<html><br></html>")


def test_request_with_entities_raises() -> None:
    """xmltodict refuses entities, which may expand to gigabytes."""
    with pytest.raises(InvalidRequest, match="entities"):
        xml.parse_request("<!DOCTYPE a [<!ENTITY x 'y'>]><Request>&x;</Request>")


DOCUMENTS = [
    (b"<A/>", {"A": None}),
    (b"<A> x </A>", {"A": "x"}),
    (b"<A><B/><B>1</B></A>", {"A": {"B": [None, "1"]}}),
    (b"<A><Contents/></A>", {"A": {"Contents": [None]}}),
    (b"<Contents>1</Contents>", {"Contents": ["1"]}),
    (b"<A>x<B/>y</A>", {"A": {"B": None, "#text": "xy"}}),
    (b"<A>x<!-- y -->z</A>", {"A": "xz"}),
    (b"<A><![CDATA[ <x> ]]></A>", {"A": "<x>"}),
    (b"<A b = '1'>x</A>", {"A": {"@b": "1", "#text": "x"}}),
    (b"<?xml version='1.0' encoding='utf-8'?>\n<A>\xc3\xa9</A>", {"A": "é"}),
    (b"<A>&lt;&#233;&amp;</A>", {"A": "<é&"}),
    (b"<!DOCTYPE A><A/>", {"A": None}),
    (b"<a:A><a:B/></a:A>", {"a:A": {"a:B": None}}),
    ("<A>é</A>".encode("utf-16"), {"A": "é"}),
    (b"\xef\xbb\xbf<A>1</A>", {"A": "1"}),
    ("<?xml version='1.0' encoding='gbk'?><A>é</A>", {"A": "é"}),
]


@pytest.mark.parametrize(("document", "expected"), DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_parse(document: bytes | str, expected: object) -> None:
    assert xml.parse(document) == expected


def nest(levels: int) -> bytes:
    return b"<A>" * levels + b"x" + b"</A>" * levels


def test_document_up_to_the_bound_of_depth_is_parsed() -> None:
    value: object = xml.parse(nest(xml.MAX_DEPTH - 1))
    depth = 0
    while isinstance(value, dict):
        value = value["A"]
        depth += 1
    assert (value, depth) == ("x", xml.MAX_DEPTH - 1)


@pytest.mark.parametrize("levels", [xml.MAX_DEPTH, 3000, 200_000])
def test_document_nested_too_deeply_is_refused(levels: int) -> None:
    """Code that walks it, or writes it to the journal, would recurse too deeply."""
    with pytest.raises(ValueError, match="deeply"):
        xml.parse(nest(levels))
    if levels > xml.MAX_DEPTH:
        with pytest.raises(ValueError, match="deeply"):
            xml.parse_rows(nest(levels), "R", "B", ["C"], "D")


def test_entities_are_refused_by_both_parsers() -> None:
    document = b'<!DOCTYPE A [<!ENTITY x "xx"><!ENTITY y "&x;&x;">]><A>&y;</A>'
    for parse in (xml.parse, lambda body: xml.parse_rows(body, "A", "B", ["C"], "D")):
        with pytest.raises(ValueError, match="entities"):
            parse(document)


@pytest.mark.parametrize("encoding", ["gbk", "gb2312", "gb18030", "big5", "no-such-encoding"])
def test_declared_encodings_are_read(encoding: str) -> None:
    """Of GBK and its kin expat knows none, and of an unknown one the bytes decide."""
    codec = "utf-8" if encoding.startswith("no") else encoding
    text = f'<?xml version="1.0" encoding="{encoding}"?><A><B><C>中文</C></B></A>'
    body = text.encode(codec)
    assert xml.parse(body) == {"A": {"B": {"C": "中文"}}}
    assert xml.parse_rows(body, "A", "B", ["C"], "D") == ([("中文",)], None)


@pytest.mark.parametrize(
    "document", [b"", b"<A>", b"<A></B>", b"x", b"<A/><B/>", b"<A>\xff</A>", b"<A>&x;</A>"]
)
def test_rows_and_dicts_raise_the_same_error(document: bytes) -> None:
    """With the same message, line and column."""
    with pytest.raises(ExpatError) as from_rows:
        xml.parse_rows(document, "A", "B", ["C"], "D")
    with pytest.raises(ExpatError) as from_dict:
        xml.parse(document)
    assert str(from_rows.value) == str(from_dict.value)


names = st.sampled_from(["A", "B", "JobsDetail", "é"])
letters = st.text(st.characters(categories=["L", "N", "P", "Z"]), max_size=4)
texts = st.sampled_from(["", " ", "x", "a='b'", "?", "!"]) | letters
attributes = st.sampled_from(["", "", "", " a='1'"])
elements = st.recursive(
    st.builds(
        lambda name, attribute, text: f"<{name}{attribute}>{escape(text)}</{name}>",
        names,
        attributes,
        texts,
    ),
    lambda inner: st.builds(
        lambda name, parts: f"<{name}>{''.join(text + part for text, part in parts)}</{name}>",
        names,
        st.lists(st.tuples(texts.map(escape), inner), max_size=4),
    ),
    max_leaves=10,
)
PATHS = ["B", "A.B", "A.A.B", "é"]


@given(st.lists(elements, max_size=4))
@settings(deadline=None, max_examples=300)
def test_rows_have_the_texts_of_the_dicts(children: list[str]) -> None:
    """`parse_rows` finds what `get_text` finds in the result of `parse`."""
    document = f"<Page>{''.join(children)}</Page>".encode()
    page = xml.parse(document)["Page"]
    page = page if isinstance(page, dict) else {}
    details = [detail for detail in page.get("JobsDetail", ()) if isinstance(detail, dict)]
    rows, token = xml.parse_rows(document, "Page", "JobsDetail", PATHS, "A")
    assert rows == [tuple(xml.get_text(detail, path) for path in PATHS) for detail in details]
    assert token == xml.get_text(page, "A")

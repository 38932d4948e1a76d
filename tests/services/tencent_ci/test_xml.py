"""CI's XML, both ways."""

from __future__ import annotations

from xml.parsers.expat import ExpatError
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyter_mjci.errors import InvalidRequest
from jupyter_mjci.services.tencent_ci import xml


def test_one_job_is_a_list_too() -> None:
    """An element that may repeat is a list, however often it comes."""
    assert xml.parse(b"<Response><JobsDetail><JobId>j1</JobId></JobsDetail></Response>") == {
        "Response": {"JobsDetail": [{"JobId": "j1"}]}
    }


def test_write_escapes_and_leaves_out() -> None:
    """Letters with a meaning in XML are escaped, None leaves its element out, booleans are
    words.
    """
    made = xml.build(
        "Request", {"A": "a<b>&c", "B": None, "C": {"D": True, "E": None}, "F": [1, 2]}
    )
    assert made == b"<Request><A>a&lt;b&gt;&amp;c</A><C><D>true</D></C><F>1</F><F>2</F></Request>"


def test_written_is_read_back() -> None:
    """Reading gives what was written."""
    content = {"Input": {"Object": "输入/a & b.jpg"}, "Name": "日常"}
    assert xml.parse(xml.build("Request", content)) == {"Request": content}


def test_a_mismatched_tag_is_told_with_line_and_column() -> None:
    """The mistake of a published sample, <Type>Workflow</Name>, is pointed at."""
    with pytest.raises(InvalidRequest, match=r"line 3, column 18") as caught:
        xml.parse_request("<Request>\n <Name>demo</Name>\n <Type>Workflow</Name>\n</Request>")
    assert "Mismatched tag" in caught.value.detail


def test_another_root_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="<Foo>"):
        xml.parse_request("<Foo/>")


def test_an_answer_that_is_no_xml_raises() -> None:
    with pytest.raises(ExpatError):
        xml.parse(b"<html><br></html>")


DOCUMENTS = [
    b"<A/>",
    b"<A>x</A>",
    b"<A> x </A>",
    b"<A>\n</A>",
    b"<A><B/><B>1</B></A>",
    b"<A><B>1</B><C/><B>2</B><B/></A>",
    b"<A><Contents/></A>",
    b"<A><Contents>1</Contents><Contents><B/></Contents></A>",
    b"<Contents>1</Contents>",
    b"<A>x<B/>y</A>",
    b"<A> <B>1</B>\n</A>",
    b"<A>x<!-- y -->z</A>",
    b"<A><![CDATA[ <x> ]]></A>",
    b'<A b="1"/>',
    b"<A b = '1'>x</A>",
    b"<?xml version='1.0' encoding='utf-8'?>\n<A>\xc3\xa9</A>",
    b"<A>&lt;&#233;&amp;</A>",
    b"<?xml version='1.0'?><?x y?><A/>",
    b"<!DOCTYPE A><A/>",
    b"<a:A><a:B/></a:A>",
    b"<A><B xmlns='u'>1</B></A>",
    "<A>é</A>".encode("utf-16"),
    b"<A>a=b</A>",
    b"<A>a='b'</A>",
    b"<A>x\xc2\xa0</A>",
    b"\xef\xbb\xbf<A>1</A>",
    b"<A>a</A>\n",
    b"<A>what?! =</A>",
    "<?xml version='1.0' encoding='gbk'?><A>é</A>",
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=range(len(DOCUMENTS)))
def test_the_quick_way_reads_what_xmltodict_reads(document: bytes | str) -> None:
    assert xml.parse(document) == xml.parse_with_xmltodict(document)


def test_a_document_of_any_depth_is_read() -> None:
    found, depth = xml.parse(b"<A>" * 3000 + b"x" + b"</A>" * 3000), 0
    while isinstance(found, dict):
        found, depth = found["A"], depth + 1
    assert (found, depth) == ("x", 3000)


@pytest.mark.parametrize(
    "document", [b"", b"<A>", b"<A></B>", b"x", b"<A/><B/>", b"<A>\xff</A>", b"<A>&x;</A>"]
)
def test_both_ways_refuse_the_same(document: bytes) -> None:
    """With the same words, line and column."""
    with pytest.raises(ExpatError) as quick:
        xml.parse(document)
    with pytest.raises(ExpatError) as other:
        xml.parse_with_xmltodict(document)
    assert str(quick.value) == str(other.value)


names = st.sampled_from(["A", "B", "Contents", "JobsDetail", "é"])
letters = st.text(st.characters(categories=["L", "N", "P", "Z"]), max_size=4)
texts = st.sampled_from(["", " ", "x", "a='b'", "?", "!"]) | letters
elements = st.recursive(
    st.builds(lambda name, text: f"<{name}>{escape(text)}</{name}>", names, texts),
    lambda inner: st.builds(
        lambda name, parts: f"<{name}>{''.join(text + part for text, part in parts)}</{name}>",
        names,
        st.lists(st.tuples(texts.map(escape), inner), max_size=4),
    ),
    max_leaves=10,
)


@given(elements)
@settings(deadline=None, max_examples=300)
def test_the_quick_way_reads_any_document(document: str) -> None:
    assert xml.parse(document) == xml.parse_with_xmltodict(document)
    assert xml.parse(document.encode()) == xml.parse_with_xmltodict(document)

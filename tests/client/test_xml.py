"""CI's XML, both ways."""

from __future__ import annotations

from xml.parsers.expat import ExpatError

import pytest

from jupyter_mjci.client import xml
from jupyter_mjci.errors import CallError


def test_one_job_is_a_list_too() -> None:
    """An element that may repeat is a list, however often it comes."""
    assert xml.read(b"<Response><JobsDetail><JobId>j1</JobId></JobsDetail></Response>") == {
        "Response": {"JobsDetail": [{"JobId": "j1"}]}
    }


def test_write_escapes_and_leaves_out() -> None:
    """Letters with a meaning in XML are escaped, None leaves its element out, booleans are words."""
    made = xml.write("Request", {"A": "a<b>&c", "B": None, "C": {"D": True, "E": None}, "F": [1, 2]})
    assert made == b"<Request><A>a&lt;b&gt;&amp;c</A><C><D>true</D></C><F>1</F><F>2</F></Request>"


def test_written_is_read_back() -> None:
    """Reading gives what was written."""
    content = {"Input": {"Object": "输入/a & b.jpg"}, "Name": "日常"}
    assert xml.read(xml.write("Request", content)) == {"Request": content}


def test_a_mismatched_tag_is_told_with_line_and_column() -> None:
    """The mistake of a published sample, <Type>Workflow</Name>, is pointed at."""
    with pytest.raises(CallError, match=r"line 3, column 18") as caught:
        xml.read_request("<Request>\n <Name>demo</Name>\n <Type>Workflow</Name>\n</Request>")
    assert "Mismatched tag" in caught.value.why


def test_another_root_is_refused() -> None:
    with pytest.raises(CallError, match="<Foo>"):
        xml.read_request("<Foo/>")


def test_an_answer_that_is_no_xml_raises() -> None:
    with pytest.raises(ExpatError):
        xml.read(b"<html><br></html>")

"""CSV as people have it: encodings, separators, line ends, titles, quotes; no row is lost in silence."""

import csv
import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from overwatt.aoi.errors import RegistryError
from overwatt.pipeline.declared.received import FAULT
from overwatt.workflows.io.delimited import read_csv
from tests.support import names, naming

ROWS = [["1", "Ash", "-77.46", "39.02"], ["2", "Beech", "-77.47", "39.03"]]


def table(tmp_path, text, encoding="utf-8"):
    file = tmp_path / "r.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return read_csv(file)


def cells(frame):
    return frame.drop(columns=FAULT).to_numpy(object).tolist()


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("before", ["", "sep={s}{e}", "List of permits{e}{e}", "# Source: A, B{e}# 2026{e}"])
def test_separators_line_ends_and_lines_before_the_header(tmp_path, separator, end, before):
    lines = [["id", "name", "lon", "lat"], *ROWS]
    text = before.format(s=separator, e=end) + "".join(separator.join(r) + end for r in lines)
    frame = table(tmp_path, text)
    assert list(frame)[:4] == lines[0]
    assert cells(frame) == ROWS
    assert frame[FAULT].isna().all()


@pytest.mark.parametrize(
    "encoding",
    ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp1250", "cp1251", "cp932"],
)
def test_encodings(tmp_path, encoding):
    words = {
        "cp1250": "Centrum przetwarzania danych Łódź, województwo łódzkie, żółty budynek przy ulicy Źródlanej",
        "cp1251": "Центр обработки данных Москва", "cp932": "東京データセンター",
    }.get(encoding, "Rechenzentrum Zürich Süd – Größe für München und Köln")  # fmt: skip
    text = "id;name\n" + "".join(f"{k};{words}\n" for k in range(3))
    assert cells(table(tmp_path, text, encoding))[0][1] == words


def test_single_bytes_that_are_not_utf8_do_not_change_the_other_lines(tmp_path):
    text = "id,name\n1,Zürich\n2,Genève\n3,日本\n".encode()
    frame = table(tmp_path, text + b"4,caf\xe9\n5,\x93x\x94 \x81\n")
    assert frame["name"].tolist() == ["Zürich", "Genève", "日本", "café", "“x” \x81"]
    assert names(frame.attrs["encoding"], "2 of its 5 lines", "cp1252")
    assert table(tmp_path, text).attrs["encoding"] == ""
    assert cells(table(tmp_path, b"\xef\xbb\xbfid,name\n4,caf\xe9\n")) == [["4", "café"]]
    assert (
        "cp1250" in table(tmp_path, "id;name\n1;Łódź, żółty budynek przy ulicy Źródlanej\n", "cp1250").attrs["encoding"]
    )


def test_quotes_breaks_and_empty_columns(tmp_path):
    text = (
        'id,"Address\n(street, number)",lon,lat,,\n1,"1 ""Elm"" Rd,\nHamburg",1,2,,\n\n,,,,,\n2,5" pipe,3,4,note,\n'
        "3,x,5,6,,,,\n"
    )
    frame = table(tmp_path, text)
    assert list(frame)[:4] == ["id", "Address (street, number)", "lon", "lat"]
    assert cells(frame)[0][:4] == ["1", '1 "Elm" Rd,\nHamburg', "1", "2"]
    assert cells(frame)[1][:5] == ["2", '5" pipe', "3", "4", "note"]
    assert cells(frame)[2][0] == "3"
    assert frame[FAULT].isna().all()


def test_a_broken_line_is_kept_with_its_fault_and_no_other_is_lost(tmp_path):
    text = 'id,lon,lat\n1,1,2\n2,"1,2\n3,1,2,9\n4,1\n5,"x"y,2\n6,1,\0002\n'
    frame = table(tmp_path, text)
    assert frame["id"].tolist() == list("123456")
    faults = frame[FAULT].fillna("").tolist()
    words = ("", "cannot be read", "4 fields", "2 fields", "','", "")
    assert all(w in f and bool(w) == bool(f) for w, f in zip(words, faults, strict=True))
    assert "row 3" in faults[2]
    assert "never closed" in table(tmp_path, 'id,lon\n1,"2\n3,4\n')[FAULT][0]


@pytest.mark.parametrize("text", ['id,lon,lat\n1,1,2\n2,"1', "id,lon,lat\n1,1,2\n2,-77."])
def test_a_file_that_ends_within_a_row_is_noticed(tmp_path, text):
    assert table(tmp_path, text).attrs["cut_off"]
    assert not table(tmp_path, "id,lon,lat\n1,1,2\n2,3,4").attrs["cut_off"]
    assert not table(tmp_path, "id,lon,lat\n1,1,2\nTotal: 1").attrs["cut_off"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"PK\x03\x04xlsx", ("Excel",)),
        (b"<!DOCTYPE html><html></html>", ("web page",)),
        (b'{"type": "FeatureCollection"}', ("JSON", ".json")),
        (b'[{"id": 1}]', ("JSON",)),
        (b"PAR1....", ("Parquet",)),
        (b"\x1f\x8b..", ("gzip",)),
        (b"id,lon,id\n1,2,3\n", ("'id'", "twice")),
        (b"By county, 2026\nid,name,lon,lat\n1,a,2,3\n2,b,3,4\n", ("line 2", "header")),
        (b"\n \n,,\n", ("empty",)),
    ],
)
def test_what_is_no_table_is_named(tmp_path, content, words):
    with pytest.raises(RegistryError, match=naming("'r.csv'", *words)) as caught:
        table(tmp_path, content)
    assert "\n" not in str(caught.value)


texts = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(texts, texts, texts), max_size=6), st.sampled_from(",;\t|"), st.booleans())
@example([("", ";0", ""), ("", ";0", "")], "\t", False)  # as many lines agree on the semicolons in cells
@example([("", ";0", "\n;0\n;1")], "|", True)  # more do
def test_what_a_writer_writes_is_read_back(tmp_path_factory, rows, separator, quoted):
    out = io.StringIO()
    writer = csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL)
    writer.writerows([("lon", "lat", "name"), *rows])
    frame = table(tmp_path_factory.mktemp("d"), out.getvalue())
    blank = separator + " \t\n"
    # lines of nothing but separators are no rows
    assert [r for r in cells(frame) if any(c.strip(blank) for c in r)] == [
        list(r) for r in rows if any(c.strip(blank) for c in r)
    ]
    assert frame[FAULT].isna().all()

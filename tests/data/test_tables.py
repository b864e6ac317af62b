"""Tables as people write them: every spelling means the same, and an odd row costs only itself."""

import tempfile
import unicodedata
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from echosweep.config import PrepareConfig
from echosweep.data import echonet, folder
from echosweep.data.matching import candidates, match
from echosweep.data.source import MISSING, Listing
from echosweep.data.table_rows import parse_number
from echosweep.data.tables import (
    Table,
    WrongRow,
    named,
    one_row_each,
    patient_text,
    read_optional,
    read_table,
)
from echosweep.data.tree import scan
from echosweep.errors import UsageError


def table(path: Path, text: str | bytes, encoding: str = "utf-8") -> Table:
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return read_table(path, ["file"], ["split", "EF"])


def cells(read: Table) -> list[dict[str, str]]:
    return [{column: row[column] for column in read.columns} for row in read.rows]


# --- reading --------------------------------------------------------------------------------


PLAIN = "file,EF,split,sex\na.avi,55.5,VAL,M\nb.avi,60,TEST,\n"


@pytest.mark.parametrize(
    "text",
    [
        PLAIN.encode("utf-8-sig"),
        PLAIN.encode("utf-16"),
        b"\xfe\xff" + PLAIN.encode("utf-16-be"),
        PLAIN.replace("\n", "\r\n").encode(),
        PLAIN.replace("\n", "\r").encode(),
        PLAIN.replace("\n", "\n\n , ,\n").encode(),
        PLAIN.replace(",", " , ").encode(),
        PLAIN.replace(",", ";").replace("55.5", "55,5").encode(),
        PLAIN.replace(",", "\t").replace("55.5", "55,5").encode(),
        b"sep=;\r\n" + PLAIN.replace(",", ";").encode(),
        PLAIN.replace("file,EF,split", "FILE,Ef,Split").encode(),
        PLAIN.replace("a.avi", '"a.avi"').replace("sex", '"sex"').encode(),
        PLAIN.replace("M\n", "M,,\n").encode(),
        PLAIN.replace("TEST,\n", "TEST").encode(),
        PLAIN.replace("a", "a\0").encode(),
        b"\n\n" + PLAIN.encode(),
    ],
)
def test_every_spelling_is_the_same_table(tmp_path: Path, text: bytes) -> None:
    read = table(tmp_path / "videos.csv", text)
    first, second = read.rows
    assert read.columns == ("file", "EF", "split", "sex")
    assert [row["file"] for row in read.rows] == ["a.avi", "b.avi"]
    assert [read.number(row, "EF") for row in read.rows] == [55.5, 60]
    assert [read.split(row) for row in read.rows] == ["val", "test"]
    assert read.labels(first, ("file", "split")) == {"EF": 55.5, "sex": "M"}
    assert read.labels(second, ("file", "split")) == {"EF": 60.0}
    assert not first.fault
    assert not second.fault


def test_a_table_of_another_encoding_is_read_and_said(tmp_path: Path) -> None:
    read = table(tmp_path / "videos.csv", "file,who\na.avi,Müller – x\n", "cp1252")
    assert read.rows[0]["who"] == "Müller – x"
    assert read.notes == ("videos.csv is not in UTF-8; it was read as cp1252 (Latin-1)",)
    assert table(tmp_path / "x.csv", b"file\n\x81.avi\n").rows[0]["file"] == "\x81.avi"
    assert table(tmp_path / "x.csv", b"file\na\0.avi\n").notes == (
        "x.csv holds 1 NUL bytes; they were passed over",
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no column file; it has: nothing; needed: file$"),
        (b"\n\n", "no column file; it has: nothing"),
        (b"sep=;", "no column file; it has: nothing"),
        (b"name,EF\na,1\n", "no column file; it has: name, EF; needed: file$"),
        (b"PK\x03\x04\x14\0", "is no CSV file but one of Excel; save it as CSV"),
        (bytes(range(256)), "no column file"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "videos.csv"
    with pytest.raises(UsageError, match=message) as error:
        table(path, data)
    assert str(error.value).startswith(str(path))
    assert str(error.value).isprintable()
    read, (note,) = read_optional(path, ["file"])
    assert read is None
    assert note.endswith("it is not used")


def test_a_table_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"videos\.csv cannot be read: No such file"):
        read_table(tmp_path / "videos.csv", ["file"])


def test_without_names_no_message_has_a_header_or_a_folder(tmp_path: Path) -> None:
    path = tmp_path / "Lang_Berta" / "metadata.csv"
    path.parent.mkdir()
    path.write_text("Doe0.avi,Kraus0\nDoe1.avi,Kraus1\n")
    read, notes = read_optional(path, [("file", "file_name")], anonymous=True)
    assert read is None
    assert notes == [
        "metadata.csv has no column file; needed: file or file_name; it is not used",
    ]
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(UsageError, match=r"^metadata\.csv is no CSV file"):
        read_table(path, ["file"], anonymous=True)
    path.unlink()
    with pytest.raises(UsageError, match=r"^metadata\.csv cannot be read"):
        read_table(path, ["file"], anonymous=True)
    path.write_text("file,split,Kraus0,Doe,Doe\na,trian,1,2,3\nb,VAL,inf,4,4\nc,VAL,5,5,5\n")
    read = read_table(path, ["file"], ["split"], anonymous=True)
    assert read.notes == ("metadata.csv has several columns 4: they are read as one",)
    assert read.rows[0].fault == "metadata.csv row 2: has '2' and '3' in its columns 4"
    with pytest.raises(WrongRow, match="row 2, column split: 'trian'"):
        read.split(read.rows[0])
    with pytest.raises(WrongRow, match="row 3, column 3: 'inf' is no finite number"):
        read.labels(read.rows[1], ("file", "split"))


def test_a_column_may_have_several_names(tmp_path: Path) -> None:
    path = tmp_path / "metadata.csv"
    for header in ("file", "File_Name", "FILE NAME", "filename", " file-name "):
        path.write_text(f"{header},x\na.avi,1\n")
        assert read_table(path, [("file", "file_name")]).rows[0]["file"] == "a.avi"
    path.write_text("file_name,file\na,b\n")
    read = read_table(path, [("file_name", "file")])
    assert cells(read) == [{"file_name": "a", "file": "b"}]
    with pytest.raises(UsageError, match=r"no column EF; .* needed: file or path, EF"):
        read_table(path, [("file", "path"), "EF"])


def test_rows_are_numbered_as_in_a_spreadsheet(tmp_path: Path) -> None:
    read = table(tmp_path / "t.csv", 'file,note\na,"two\nlines"\n\nb,one\n')
    assert [(row.number, row["note"]) for row in read.rows] == [(2, "two\nlines"), (4, "one")]


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ('b,"60,TEST,F', "row 3: a quote in it does not end"),
        ('"b,60,TEST,F', "row 3: a quote in it does not end"),
        ("b,60,5,TEST,F", "row 3: has 5 cells for 4 columns"),
    ],
)
def test_a_broken_row_loses_no_other(tmp_path: Path, row: str, fault: str) -> None:
    rest = [f"c{number},{number},VAL,M" for number in range(300)]
    text = "\n".join(["file,EF,split,sex", "a,50,TRAIN,F", row, *rest, row, ""])
    read = table(tmp_path / "t.csv", text)
    assert read.rows[1].fault == f"t.csv {fault}"
    assert len(read.rows) == 303
    whole = [each for each in read.rows if not each.fault]
    assert [each["file"] for each in whole] == ["a", *(f"c{number}" for number in range(300))]
    assert {read.split(each) for each in whole[1:]} == {"val"}


def test_quotes_within_a_cell_are_text(tmp_path: Path) -> None:
    read = table(tmp_path / "t.csv", 'file,note\na,5" wide\nb,"said ""no"", left"\nc, "x" \n')
    assert [row["note"] for row in read.rows] == ['5" wide', 'said "no", left', "x"]
    assert not any(row.fault for row in read.rows)


def test_a_row_that_ends_early_has_no_values_there(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("patient,file,EF\np,a,1\np,b\np\n")
    read = read_table(path, ["file"])
    assert [row["EF"] for row in read.rows] == ["1", "", ""]
    assert [row.fault for row in read.rows] == ["", "", "t.csv row 4: ends before column file"]
    assert "2 rows of t.csv have fewer cells than columns (first: row 3)" in read.notes[0]


def test_columns_of_one_name_are_one(tmp_path: Path) -> None:
    read = table(tmp_path / "t.csv", "file,EF,EF,x,x\na,1,1,,y\nb,1,2,,\nc,,3,,\n")
    assert [row.fault for row in read.rows] == [
        *("", "t.csv row 3: has '1' and '2' in its columns EF", ""),
    ]
    assert [read.labels(row, ("file",)) for row in read.rows] == [
        *({"EF": 1.0, "x": "y"}, {"EF": 1.0}, {"EF": 3.0}),
    ]
    assert "several columns EF, x" in read.notes[0]


# --- cells ----------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["", "nan", "NaN", "N/A", "NA", "none", "None", "null", "-"])
def test_words_for_nothing_are_no_value(tmp_path: Path, word: str) -> None:
    read = table(tmp_path / "t.csv", f"file,EF,split,sex\na,{word},{word},{word}\n")
    (row,) = read.rows
    assert read.number(row, "EF") is None
    assert read.split(row) is None
    assert read.labels(row, ("file",)) == {}


@pytest.mark.parametrize(
    ("cell", "delimiter", "message"),
    [
        ("good", ",", "t.csv row 2, column EF: 'good' is no number"),
        ("1_000", ",", "'1_000' is no number"),
        ("٣", ",", "is no number"),
        ("55,5", "\t", None),
        ("1,234", "\t", "'1,234' is no number"),
        ("1.234,5", ";", "'1.234,5' is no number"),
        ("inf", ",", "t.csv row 2, column EF: 'inf' is no finite number"),
        ("-Infinity", ",", "is no finite number"),
        ("1e999", ",", "is no finite number"),
    ],
)
def test_a_cell_that_is_no_number_is_named(
    tmp_path: Path, cell: str, delimiter: str, message: str | None
) -> None:
    text = f"file{delimiter}EF\na{delimiter}{cell}\nb{delimiter}1\n"
    read = table(tmp_path / "t.csv", text)
    if message is None:
        assert read.number(read.rows[0], "EF") == 55.5
        return
    with pytest.raises(WrongRow) as error:
        read.number(read.rows[0], "EF")
    assert message in str(error.value)
    assert read.number(read.rows[1], "EF") == 1


def test_an_unknown_split_is_never_the_nearest(tmp_path: Path) -> None:
    read = table(tmp_path / "t.csv", "file,split\na,Validation\nb,trian\nc, TRAINING \n")
    assert read.split(read.rows[0]) == "val"
    assert read.split(read.rows[2]) == "train"
    with pytest.raises(WrongRow, match=r"row 3, column split: 'trian' is not one of train, val"):
        read.split(read.rows[1])


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        (["ab12", "12e45678", "1234", "ef56"], ["ab12", "12e45678", "1234", "ef56"]),
        (["Inf", "Ant", "Lat"], ["Inf", "Ant", "Lat"]),
        (["008", "012", "113", "1024"], ["008", "012", "113", "1024"]),
        (["1", "good", "2.5"], [1.0, "good", 2.5]),
        (["055", "55.5", "7"], ["055", 55.5, 7.0]),
        (["0", "0.5", "-1e3", ""], [0.0, 0.5, -1000.0, None]),
        (["good", "", "nan"], ["good", None, None]),
    ],
)
def test_a_column_of_text_stays_text(
    tmp_path: Path, cells: list[str], labels: list[float | str | None]
) -> None:
    rows = "".join(f"{number},{cell}\n" for number, cell in enumerate(cells))
    read = table(tmp_path / "t.csv", f"file,x\n{rows}")
    assert [read.labels(row, ("file",)).get("x") for row in read.rows] == labels


def test_an_infinite_number_among_numbers_is_a_fault(tmp_path: Path) -> None:
    read = table(tmp_path / "t.csv", "file,x\na,1\nb,1e999\nc,2\nd,good\n")
    with pytest.raises(WrongRow, match="row 3, column x: '1e999' is no finite number"):
        read.labels(read.rows[1], ("file",))
    assert read.labels(read.rows[3], ("file",)) == {"x": "good"}


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives_both_decimal_marks(number: float) -> None:
    assert parse_number(repr(number)) == number
    assert parse_number(repr(number).replace(".", ","), decimal_comma=True) == number


@pytest.mark.parametrize(
    ("cell", "patient"),
    [
        *(("7.0", "7"), ("7", "7"), ("0.0", "0"), ("120.00", "120"), ("7,0", "7")),
        *(("007", "007"), ("007.0", "007.0"), ("7.5", "7.5"), ("1.0a", "1.0a"), ("p1.0", "p1.0")),
        *(("7.", "7."), ("7,000", "7,000"), ("", ""), ("1.0.0", "1.0.0")),
    ],
)
def test_a_patient_of_digits_is_one_whatever_program_wrote_it(cell: str, patient: str) -> None:
    assert patient_text(cell) == patient


# --- rows of one video ----------------------------------------------------------------------


def test_rows_of_one_file_are_merged_or_contradict(tmp_path: Path) -> None:
    text = "file,EF,split\na,55,VAL\nb,1,TEST\na.avi,55.0,valid\nb.AVI,1,TRAIN\nc,,VAL\nc,7,\n"
    read = table(tmp_path / "t.csv", text)
    there = {name: tmp_path / name for name in ("a.avi", "b.avi", "c.avi")}
    videos, _ = named(read, "file", there)
    merged, note = one_row_each(read, "file", videos)
    assert [video.name for video in merged] == ["a.avi", "b.avi", "c.avi"]
    assert [video.fault for video in merged] == [
        *("", "t.csv row 5, column split: 'TRAIN' differs from 'TEST' in row 3, of the same video"),
        "",
    ]
    assert (merged[2].rows[0]["EF"], merged[2].rows[0]["split"]) == ("7", "VAL")
    assert note.startswith("2 videos have several rows in t.csv")


# --- names ----------------------------------------------------------------------------------

ACCENT = unicodedata.normalize("NFC", "é.avi")


@pytest.mark.parametrize(
    ("wanted", "there", "found"),
    [
        ("a.avi", ["a.avi", "A.avi"], "a.avi"),
        ("A.AVI", ["a.avi"], "a.avi"),
        ("a", ["a.avi"], "a.avi"),
        ("a", ["A.AVI"], "A.AVI"),
        ("a.mp4", ["a.avi"], "a.avi"),
        ("./a.avi", ["a.avi"], "a.avi"),
        ("p\\a.avi", ["p/a.avi", "q/a.avi"], "p/a.avi"),
        (" p / a.avi ", ["p/a.avi"], "p/a.avi"),
        ("p//x/../a.avi", ["p/a.avi"], "p/a.avi"),
        ("/data/set/p/a.avi", ["p/a.avi", "q/a.avi", "a.avi"], "p/a.avi"),
        ("C:\\set\\P\\a.avi", ["p/a.avi", "q/a.avi"], "p/a.avi"),
        ("gs://bucket/p/a", ["p/a.avi"], "p/a.avi"),
        ("a.avi", ["p/a.avi"], "p/a.avi"),
        ("v1.2", ["v1.2.avi", "v1.avi"], "v1.2.avi"),
        (ACCENT, [unicodedata.normalize("NFD", ACCENT)], unicodedata.normalize("NFD", ACCENT)),
        (unicodedata.normalize("NFD", ACCENT), [ACCENT], ACCENT),
        # None of these may be guessed.
        ("a", ["a.avi", "a.mp4"], None),
        ("a.AVI", ["A.avi", "a.avi"], None),
        ("a.avi", ["p/a.avi", "q/a.avi"], None),
        ("v1.2", ["v1.avi"], None),
        ("p/a.avi", ["q/a.avi", "a.avi"], None),
        ("../p/a.avi", ["p/a.avi", "a.avi"], None),
        ("../../etc/passwd", ["a.avi"], None),
        ("/etc/passwd", ["a.avi"], None),
        ("", ["a.avi"], None),
        (".", ["a.avi"], None),
        ("/", ["a.avi"], None),
    ],
)
def test_a_name_means_one_file_or_none(wanted: str, there: list[str], found: str | None) -> None:
    files = {name: Path("/root") / name for name in there}
    assert match([wanted], files) == ({wanted: files[found]} if found else {})


def test_a_file_that_is_listed_is_not_taken_for_another() -> None:
    files = {name: Path(name) for name in ("a.avi", "b.avi")}
    assert match(["a.avi", "a.mp4", "/x/y/b.avi", "/x/z/b.avi"], files) == {"a.avi": files["a.avi"]}
    assert match(["a.avi", "a"], files) == {"a.avi": files["a.avi"], "a": files["a.avi"]}


@given(
    st.lists(st.text("aA./\\ é\u0301:", max_size=6), max_size=8),
    st.lists(st.text("aA.é/", min_size=1, max_size=6), max_size=8),
)
def test_no_name_ever_means_a_file_that_is_not_there(wanted: list[str], there: list[str]) -> None:
    files = {name: Path("/root") / name for name in there}
    found = match(wanted, files)
    assert set(found.values()) <= set(files.values())
    assert all(found[name] == files[name] for name in wanted if name in files and name in found)
    assert set(found) <= set(candidates(wanted, files)) <= set(wanted)


def test_a_table_of_another_folder_shows_a_name_of_each_side(tmp_path: Path) -> None:
    read = table(tmp_path / "t.csv", "file\nx1.avi\nx2.avi\n")
    videos, (note,) = named(read, "file", {"b.avi": tmp_path / "b.avi"})
    assert {video.fault for video in videos} == {MISSING}
    assert (
        note == "2 of 2 names in t.csv fit no file: the table says 'x1.avi', the folder has 'b.avi'"
    )


def test_rows_without_a_name_and_of_several_files_are_records(tmp_path: Path) -> None:
    read = table(tmp_path / "t.csv", "file,EF\n,1\na,2\n../../x,3\n,4\n")
    videos, _ = named(read, "file", {name: tmp_path / name for name in ("a.avi", "a.mp4")})
    assert [(video.name, video.fault) for video in videos] == [
        ("t.csv row 2", "names no file"),
        ("a", "may be any of several files: 'a.avi', 'a.mp4'"),
        ("../../x", MISSING),
        ("t.csv row 5", "names no file"),
    ]
    assert all(tmp_path in (video.path, *video.path.parents) for video in videos)


# --- everything at once ---------------------------------------------------------------------


class Spelling(NamedTuple):
    """How a table is written."""

    delimiter: str
    encoding: str
    blank: str
    quote: bool
    newline: str
    case: str
    ending: str


SPELLINGS = st.builds(
    Spelling,
    st.sampled_from(",;\t"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    st.sampled_from(["", " ", "  "]),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    st.sampled_from(["upper", "lower", "title", "swapcase"]),
    st.sampled_from(["", ".avi", ".AVI", ".mp4"]),
)
SPLIT_WORDS = {"train": ["TRAIN", "Training"], "val": ["VAL", "valid"], "test": ["Test"]}
DEFECTS = ["", "", "", "word", "infinite", "split", "long", "short", "quote", "missing", "absent"]
ROWS = st.lists(
    st.tuples(
        st.sampled_from(["train", "val", "test"]),
        st.integers(0, 1),
        st.one_of(st.none(), st.integers(0, 999)),
        st.sampled_from(DEFECTS),
    ),
    min_size=1,
    max_size=8,
)


def write_rows(
    path: Path, spelling: Spelling, header: list[str], rows: list[tuple[str, int, int | None, str]]
) -> None:
    """Write rows (split, spelling of it, tenths of EF, defect) as a table of the same meaning."""
    lines = [[getattr(name, spelling.case)() for name in header]]
    for number, (split, word, tenths, defect) in enumerate(rows):
        words = SPLIT_WORDS[split]
        ef = "N/A" if tenths is None else str(tenths / 10)
        ef = ef.replace(".", ",") if spelling.delimiter == ";" else ef
        line = [f"vidé{number}{spelling.ending}", ef, words[word % len(words)]]
        line[1] = {"word": "good", "infinite": "inf", "missing": "-"}.get(defect, line[1])
        line[2] = "trian" if defect == "split" else line[2]
        line += {"long": ["more"]}.get(defect, [])
        lines.append(line[:2] if defect == "short" else line)
    texts = []
    for number, line in enumerate(lines):
        broken = number and rows[number - 1][3] == "quote"
        quoted = [f'"{cell}"' if spelling.quote and not broken else cell for cell in line]
        quoted[1] = f'"{quoted[1]}' if broken else quoted[1]
        blank = spelling.blank
        texts.append(spelling.delimiter.join(f"{blank}{cell}{blank}" for cell in quoted))
    path.write_bytes((spelling.newline.join(texts) + spelling.newline).encode(spelling.encoding))


def check(
    listing: Listing, spelling: Spelling, rows: list[tuple[str, int, int | None, str]]
) -> None:
    """Every row is a clip; those without a defect have their split and label, to the letter."""
    filled = [
        defect
        for _, _, tenths, defect in rows
        if defect not in ("long", "quote", "missing")
        and (tenths is not None or defect in ("word", "infinite"))
    ]
    text = 2 * filled.count("word") >= len(filled)  # a label of words, where a label may be one
    clips = {clip.name.split(".")[0].lower(): clip for clip in listing.clips}
    listed = listing.tables[0].name
    for number, (split, _, tenths, defect) in enumerate(rows):
        clip = clips[f"vidé{number}"]
        if defect in ("", "missing"):
            value = None if tenths is None or defect == "missing" else tenths / 10
            assert (clip.fault, clip.split, clip.split_by) == ("", split, listed)
            label = {key.upper(): label for key, label in clip.labels.items()}.get("EF")
            if listed == "videos.csv" and text and label is not None:
                assert isinstance(label, str)
                label = parse_number(label, spelling.delimiter == ";")
            assert label == value
        elif defect == "absent":
            assert clip.fault == MISSING
        elif listed == "videos.csv" and (
            defect in ("word", "short") or (defect == "infinite" and text)
        ):
            # A label may be a word there, and a split may be left away.
            assert (clip.fault, clip.split) == ("", None if defect == "short" else split)
        else:
            row = 2 * number + 3 if spelling.newline == "\n\n" else number + 2
            assert clip.fault.startswith(f"{listed} row {row}")
    assert len(listing.clips) == len(rows)


@settings(max_examples=120, deadline=None)
@given(SPELLINGS, ROWS)
def test_any_spelling_and_any_defect_leave_the_other_rows_as_they_are(
    spelling: Spelling, rows: list[tuple[str, int, int | None, str]]
) -> None:
    with tempfile.TemporaryDirectory() as name:
        for kind, header, where in (
            (echonet, ["FileName", "EF", "Split"], "Videos"),
            (folder, ["file", "EF", "split"], "."),
        ):
            root = Path(name) / kind.__name__
            (root / where).mkdir(parents=True)
            for number, row in enumerate(rows):
                if row[3] != "absent":
                    (root / where / f"vidé{number}.avi").touch()
            (root / where / "other.avi").touch()
            list_name = "FileList.csv" if kind is echonet else "videos.csv"
            write_rows(root / list_name, spelling, header, rows)
            listing = kind.clips(scan(root), PrepareConfig())
            if kind is folder:
                (other,) = (clip for clip in listing.clips if clip.name == "other.avi")
                clips = [clip for clip in listing.clips if clip is not other]
                listing = Listing(clips, listing.layout, listing.tables)
            check(listing, spelling, rows)


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"file,EF,split\n", b"\xff\xfe"]))
def test_any_bytes_are_a_table_or_a_usage_error(data: bytes, head: bytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "a.avi").touch()
        (root / "videos.csv").write_bytes(head + data)
        try:
            listing = folder.clips(scan(root), PrepareConfig())
        except UsageError:
            return
        assert any(clip.path == root / "a.avi" for clip in listing.clips)
        assert len({clip.name for clip in listing.clips}) == len(listing.clips)


@pytest.mark.parametrize("written", ["{}.avi", "{}", "{}.AVI", "/data/set/{}.avi", "{}.mp4"])
def test_many_names_are_matched_however_they_are_written(tmp_path: Path, written: str) -> None:
    names = [f"0X{number:016X}" for number in range(2_000)]
    lines = [f"{written.format(name)},{number}" for number, name in enumerate(names)]
    path = tmp_path / "videos.csv"
    path.write_text("file,EF\n" + "\n".join(lines))
    there = {f"{name}.avi": tmp_path / f"{name}.avi" for name in names}
    videos, _ = named(read_table(path, ["file"]), "file", there)
    assert not any(video.fault for video in videos)
    assert len(videos) == len(names)

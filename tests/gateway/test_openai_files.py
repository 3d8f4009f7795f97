"""OpenAI's files: upload, list, retrieve, content, delete, and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.gateway.in_process import START_S, Gateway, a_gateway
from tests.gateway.openai_scenes import content, jsonl, send_create, send_file, some_lines, upload

DAY_S = 86_400


def ids_of(gateway: Gateway, **parameters: Any) -> list[str]:
    return [each["id"] for each in gateway.send("GET", "/v1/files", params=parameters).json()["data"]]


def test_an_uploaded_file_is_shown_as_the_vendor_shows_it(tmp_path: Path) -> None:
    sent = jsonl(some_lines(3))
    with a_gateway(tmp_path) as gateway:
        answer = send_file(gateway, sent, name="überschrift ; x=y.jsonl")
        shown = answer.json()

        assert shown == {
            "id": shown["id"],
            "object": "file",
            "bytes": len(sent),
            "created_at": int(START_S),
            "expires_at": int(START_S) + 30 * DAY_S,
            "filename": "überschrift ; x=y.jsonl",
            "purpose": "batch",
            "status": "processed",
            "status_details": None,
        }
        assert shown["id"].startswith("file-")
        assert answer.headers["x-request-id"].startswith("req_")
        assert gateway.send("GET", f"/v1/files/{shown['id']}").json() == shown
        assert content(gateway, shown["id"]) == sent


def test_a_file_that_holds_what_looks_like_a_boundary_comes_whole(tmp_path: Path) -> None:
    """Any bytes: a line end, a dash or a NUL in a file does not end it."""
    sent = b"\r\n--\r\n--x\r\n" + bytes(range(256)) * 4_000 + b"\r\n-"
    with a_gateway(tmp_path) as gateway:
        file_id = send_file(gateway, sent).json()["id"]

        assert content(gateway, file_id) == sent


def test_files_are_listed_newest_first_and_by_pages(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        made = [upload(gateway, some_lines(1)) for _ in range(5)]
        page = gateway.send("GET", "/v1/files", params={"limit": 2, "after": made[4]}).json()

        assert ids_of(gateway) == made[::-1]
        assert ids_of(gateway, order="asc", limit=3) == made[:3]
        assert ids_of(gateway, purpose="batch_output") == []
        assert [each["id"] for each in page["data"]] == [made[3], made[2]]
        assert (page["object"], page["first_id"], page["last_id"], page["has_more"]) == ("list", made[3], made[2], True)


def test_a_deleted_file_is_gone_everywhere_and_for_good(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        file_id = upload(gateway, some_lines(1))
        answer = gateway.send("DELETE", f"/v1/files/{file_id}")

        assert answer.json() == {"id": file_id, "object": "file", "deleted": True}
        assert ids_of(gateway) == []
        assert list((tmp_path / "files").iterdir()) == []
        for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
            assert gateway.send(method, f"/v1/files/{file_id}{path}").status_code == 404
    with a_gateway(tmp_path) as gateway:
        assert send_create(gateway, file_id).status_code == 400


def test_a_file_is_there_until_its_time_is_over(tmp_path: Path) -> None:
    with a_gateway(tmp_path) as gateway:
        form = {"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"}
        files = {"file": ("in.jsonl", jsonl(some_lines(1)))}
        file_id = gateway.send("POST", "/v1/files", files=files, data=form).json()["id"]
        gateway.clock.now_s += 3_599
        assert gateway.send("GET", f"/v1/files/{file_id}").status_code == 200
        gateway.clock.now_s += 1

        assert gateway.send("GET", f"/v1/files/{file_id}").status_code == 404
        assert send_create(gateway, file_id).status_code == 400


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"files": {"file": ("in.txt", b"{}")}, "data": {"purpose": "batch"}}, "Must be .jsonl"),
        ({"files": {"file": ("in.jsonl", b"{}")}, "data": {"purpose": "fine-tune"}}, "purpose"),
        ({"files": {"file": ("in.jsonl", b"{}")}}, "purpose"),
        ({"files": {"purpose": (None, b"batch")}}, "'file' is a required property"),
        ({"files": [("file", ("a.jsonl", b"{}")), ("file", ("b.jsonl", b"{}"))]}, "Maximum number of files is 1"),
        ({"json": {"purpose": "batch"}}, "multipart/form-data"),
        ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "too early"),
        ({"content": b"nothing", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "not a multipart"),
        ({"files": {"purpose": (None, b"b" * 5_000)}}, "Part exceeded maximum size of 4KB"),
    ],
)
def test_a_bad_upload_is_a_400_in_openais_envelope_and_leaves_nothing(
    tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    with a_gateway(tmp_path) as gateway:
        answer = gateway.send("POST", "/v1/files", **options)

        assert answer.status_code == 400
        assert told in answer.json()["error"]["message"]
        assert answer.json()["error"].keys() == {"message", "type", "param", "code"}
        assert list((tmp_path / "files").iterdir()) == list((tmp_path / "requests").iterdir()) == []


def test_a_file_too_large_is_a_413(tmp_path: Path) -> None:
    with a_gateway(tmp_path, size_bytes_max=1_000) as gateway:
        assert send_file(gateway, b" " * 1_001).status_code == 413
        assert send_file(gateway, b" " * 1_000).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/files?limit=0", "/v1/files?order=up", "/v1/batches?limit=101", "/v1/batches?limit=x"]
)
def test_a_bad_page_is_a_400(tmp_path: Path, path: str) -> None:
    with a_gateway(tmp_path) as gateway:
        assert gateway.send("GET", path).status_code == 400


def test_what_is_wrong_with_a_form_is_told_to_its_sender_and_not_to_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise anyone who reaches the port could fill the disk with its log."""
    form = b'--x\r\nContent-[Disposition: form-data; name="file"\r\n\r\n--x--\r\n'
    with a_gateway(tmp_path) as gateway:
        answer = gateway.send(
            "POST", "/v1/files", content=form, headers={"content-type": "multipart/form-data; boundary=x"}
        )

    assert answer.status_code == 400
    assert [record.name for record in caplog.records if record.levelname == "WARNING"] == []

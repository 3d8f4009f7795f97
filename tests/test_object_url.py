"""URLs of object stores: what they name, and what is refused without being shown."""

from __future__ import annotations

import pytest

from orchestrator.domain.errors import ConfigError
from orchestrator.storage.location import join, locate, parent_and_name
from orchestrator.storage.object_url import BucketPlace, S3Service, bucket_place, s3_service

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("s3://my.bucket/a/b", ("s3", "my.bucket", "a/b")),
        ("s3://bucket", ("s3", "bucket", "")),
        ("s3://bucket/", ("s3", "bucket", "")),
        ("gs://bucket/a b%20c/", ("gs", "bucket", "a b%20c")),
        ("az://container/x/**/*.parquet", ("az", "container", "x/**/*.parquet")),
        ("s3://bucket/year=2026/part?.csv", ("s3", "bucket", "year=2026/part?.csv")),
    ],
)
def test_a_url_names_a_bucket_and_a_key_as_it_is_written(url: str, named: tuple[str, str, str]) -> None:
    scheme, bucket, key = named

    assert bucket_place(url) == BucketPlace(scheme=scheme, bucket=bucket, key=key)


@pytest.mark.parametrize(
    "url",
    [
        f"s3://id:{SECRET}@bucket/x",
        f"s3://{SECRET}@bucket",
        f"gs://bucket:{SECRET}/x",
        f"https://account.blob.core.windows.net/container/x?sig={SECRET}",
        f"https://bucket.s3.amazonaws.com/x?X-Amz-Signature={SECRET}",
        f"http://user:{SECRET}@host/x",
        f"{SECRET} or so://bucket",
    ],
)
def test_a_url_that_may_bear_secrets_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        locate(url)

    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_credentials_in_a_url_are_answered_with_where_they_belong() -> None:
    with pytest.raises(ConfigError, match="no credentials or host: give AWS_ACCESS_KEY_ID"):
        locate(f"s3://id:{SECRET}@bucket/x")


@pytest.mark.parametrize("url", ["s3://", "s3:///key", "s3://-bucket/x", "s3://b*/x", "s3://b/x//y", "s3://b/../x"])
def test_a_url_that_names_no_place_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        locate(url)


def test_equal_places_are_equal_texts() -> None:
    assert locate("s3://bucket/work/") == locate("s3://bucket/work") == join("s3://bucket", "work")


def test_a_whole_bucket_cannot_be_an_output() -> None:
    """Later revisions stand beside the first."""
    with pytest.raises(ConfigError, match="name a folder in it"):
        parent_and_name("s3://bucket")

    assert parent_and_name("s3://bucket/out") == ("s3://bucket", "out")


@pytest.mark.parametrize(
    ("environment", "service"),
    [
        ({}, ("", "us-east-1")),
        ({"AWS_DEFAULT_REGION": "eu-west-1"}, ("", "eu-west-1")),
        ({"AWS_DEFAULT_REGION": "eu-west-1", "AWS_REGION": "eu-west-3"}, ("", "eu-west-3")),
        ({"AWS_ENDPOINT_URL": "https://a", "AWS_ENDPOINT_URL_S3": "https://b:9000/"}, ("https://b:9000", "us-east-1")),
        ({"AWS_ENDPOINT_URL": "http://127.0.0.1:5000"}, ("http://127.0.0.1:5000", "us-east-1")),
        ({"AWS_ENDPOINT_URL": "http://[::1]:5000"}, ("http://[::1]:5000", "us-east-1")),
        ({"AWS_ENDPOINT_URL": "http://minio:9000", "AWS_ALLOW_HTTP": "true"}, ("http://minio:9000", "us-east-1")),
    ],
)
def test_the_usual_variables_say_which_s3(environment: dict[str, str], service: tuple[str, str]) -> None:
    endpoint, region = service

    assert s3_service(environment) == S3Service(endpoint=endpoint, region=region)


@pytest.mark.parametrize(
    "endpoint",
    ["minio:9000", "ftp://host", "https://", "https://host:port", f"https://id:{SECRET}@host", "https://host/path"],
)
def test_an_endpoint_that_is_none_is_refused_by_its_variable(endpoint: str) -> None:
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL must be") as caught:
        s3_service({"AWS_ENDPOINT_URL": endpoint})

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("host", ["minio:9000", "10.0.0.7:9000", "localhost.evil.example", "127.0.0.1.example"])
def test_rows_do_not_leave_this_machine_in_the_clear_unless_that_is_allowed(host: str) -> None:
    with pytest.raises(ConfigError, match="AWS_ALLOW_HTTP=true"):
        s3_service({"AWS_ENDPOINT_URL": f"http://{host}"})

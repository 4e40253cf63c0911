"""A server behind TLS, on loopback with a certificate of its own: refused in one line, and taken with its issuer."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from known_answer_server import KnownAnswers, serving, steady
from llmsizer.cli import main
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.profile import read_records
from llmsizer.profile.engines import openai_http

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
QUICK = ("--concurrency", "1", "--prompt-tokens", "16", "--output-tokens", "4", "--requests", "4")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Self-signed, for 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "own.pem", folder / "own.key"
    asked = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", "/CN=loopback", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*asked, *named, "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    return made, key


@pytest.fixture
def url(certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An HTTPS server that answers at once, in a thread of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(openai_http, "describe_device", lambda: DeviceRecord(name="this CPU", kind="cpu"))
    monkeypatch.setenv("LLMSIZER_STORE", str(tmp_path / "store.sqlite"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    answers = KnownAnswers(lambda number, request: steady(0.001, 0.001, request["max_tokens"]))
    with serving(answers, tls=context) as address:
        yield address


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["profile", *arguments, *QUICK]) == 1
    said = capsys.readouterr()
    lines = [line for line in said.err.splitlines() if line.strip()]
    assert said.out == "" and "Traceback" not in said.err
    return " ".join(lines)


def test_a_certificate_that_nobody_vouches_for_is_refused_and_said_what_would_work(
    url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, url)
    assert "certificate not accepted" in line and "self-signed" in line.replace("self signed", "self-signed")
    assert "--ca-file" in line and "SSL_CERT_FILE" in line


def test_the_issuer_named_by_option_or_environment_is_believed(
    url: str, certificate: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["profile", url, *QUICK, "--ca-file", str(certificate[0]), "--records", "option.jsonl"]) == 0
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
    assert main(["profile", url, *QUICK, "--records", "environment.jsonl"]) == 0
    for name in ("option.jsonl", "environment.jsonl"):
        (record,) = read_records(tmp_path / name, ProfileRecord)[0]
        assert record.counts is not None and record.counts.requests_ok == 4
        assert record.load is not None and str(record.load.endpoint).startswith("https://127.0.0.1:")


def test_a_file_that_is_no_certificate_and_one_for_another_host_are_said(
    url: str, certificate: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "no.pem").write_text("no certificate\n")
    assert "give a PEM file" in refused(capsys, url, "--ca-file", "no.pem")
    other = url.replace("127.0.0.1", "localhost")
    assert "certificate not accepted" in refused(capsys, other, "--ca-file", str(certificate[0]))

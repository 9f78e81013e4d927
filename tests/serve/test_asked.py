"""What `rali serve` gives beside scores, on request, and what it says about itself."""

from __future__ import annotations

import base64
import json
import re

import huggingface_hub
import pytest
from huggingface_hub import errors
from starlette.testclient import TestClient

from rali import Scorer
from rali.scoring.intervals import Interval, write_interval
from rali.scoring.model_folder import INTERVAL_FILE, PHRASES_FILE
from rali.serve import create_app
from rali.serve.openapi import DESCRIPTION
from tiny_onnx import write_model

PNG = {"content-type": "image/png"}


def test_phrases_intervals_and_maps_are_those_of_the_scorer(client, scorer, photographs):
    address = "/score?explain=true&interval=0.9&map=true"
    found = client.post(address, content=photographs[0], headers=PNG).json()["results"][0]
    expected = next(scorer.score_many([photographs[0]], interval=0.9, explain=True))
    assert found["score"] == pytest.approx(expected.score, abs=1e-5)
    assert [found["low"], found["high"]] == pytest.approx([expected.low, expected.high], abs=1e-5)
    assert [each["phrase"] for each in found["why"]] == [each.phrase for each in expected.why]
    heatmap = scorer.map(photographs[0])
    for row, scores in zip(found["map"]["scores"], heatmap.scores.tolist(), strict=True):
        assert row == pytest.approx(scores, abs=1e-5)
    assert [found["map"]["y"], found["map"]["x"]] == [each.tolist() for each in heatmap.centres]
    plain = client.post("/score?explain=false", content=photographs[0], headers=PNG).json()
    assert plain["results"][0].keys() == {"score", "error"}


def test_what_cannot_be_read_has_none_of_them(client):
    address = "/score?explain=true&interval=0.9&map=true"
    found = client.post(address, content=b"text", headers=PNG).json()["results"][0]
    assert "not a picture" in found.pop("error")
    assert found == dict.fromkeys(("score", "low", "high", "why", "map"))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("expain=true", "The query has 'expain'; expected explain, interval, map."),
        ("explain=yes", "expected true or false"),
        ("explain", "expected true or false"),
        ("interval=high", "a level such as 0.9"),
        ("interval=1.5", "between 0 and 1"),
        ("interval=nan", "between 0 and 1"),
        ("interval=0.99999999", "calibration pictures"),
        ("map=true&map=true", "twice"),
    ],
)
def test_an_address_that_asks_for_what_there_is_not_says_so(client, photographs, query, words):
    reply = client.post(f"/score?{query}", content=photographs[0], headers=PNG)
    assert (reply.status_code, words in reply.json()["error"]) == (400, True), reply.text


def test_no_request_asks_the_hub(tmp_path, photographs, monkeypatch):
    asked = []

    def download(model, name, revision=None):
        asked.append(name)
        if not name.endswith(".onnx"):
            raise errors.EntryNotFoundError(name)
        return str(write_model(tmp_path / "cache" / name))

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    with TestClient(create_app(Scorer("owner/name"))) as client:
        asked.clear()
        for query in ("explain=true", "interval=0.9"):
            reply = client.post(f"/score?{query}", content=photographs[0], headers=PNG)
            assert (reply.status_code, "has no" in reply.json()["error"]) == (400, True), reply.text
        assert not asked


def test_a_hub_that_did_not_reply_is_asked_again(tmp_path, photographs, monkeypatch):
    away = errors.LocalEntryNotFoundError("no network")

    def download(model, name, revision=None):
        if name.endswith(".onnx"):
            return str(write_model(tmp_path / "cache" / name))
        if away:
            raise away
        if name == PHRASES_FILE:
            raise errors.EntryNotFoundError(name)
        return str(write_interval(Interval((0.1,) * 99), tmp_path))

    def ask(query):
        reply = client.post(f"/score?{query}", content=photographs[0], headers=PNG)
        return reply.status_code, reply.text

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.chdir(tmp_path)
    with TestClient(create_app(Scorer("owner/name"))) as client:
        for query, name in (("explain=true", PHRASES_FILE), ("interval=0.9", INTERVAL_FILE)):
            status, text = ask(query)
            assert (status, f"{name} is not in the local cache" in text) == (503, True), text
        away = None
        status, text = ask("interval=0.9")
        assert (status, '"high":' in text) == (200, True), text
        status, text = ask("explain=true")
        assert (status, "has no phrases.npz" in text) == (400, True), text


def test_a_map_is_of_one_picture_and_a_body_has_known_fields_only(client, photographs):
    images = [base64.b64encode(each).decode() for each in photographs[:2]]
    reply = client.post("/score?map=true", json={"images": images})
    assert (reply.status_code, "one picture" in reply.json()["error"]) == (400, True)
    reply = client.post("/score", json={"images": images, "explain": True})
    assert (reply.status_code, "'explain'" in reply.json()["error"]) == (400, True)


# --- Flow-Factory ---------------------------------------------------------------------------------


def as_payload(**given: object) -> dict[str, object]:
    """As its client builds it: every field, null where there is nothing."""
    names = ("image", "video", "condition_images", "condition_videos", "kwargs")
    return {"prompt": ["a cat", "a dog"], **dict.fromkeys(names), **given}


def test_flow_factorys_request_gets_a_reward_per_prompt(client, scorer, photographs):
    assert client.get("/health").json() == {"status": "ok"}
    images = [base64.b64encode(each).decode() for each in photographs[:3]]
    scores = scorer(photographs[:3])
    asked = as_payload(image=images[:2], condition_images=[images[:1]] * 2, kwargs={"a": 1})
    assert client.post("/compute", json=asked).json() == {"rewards": pytest.approx(scores[:2])}
    videos = as_payload(video=[images[:2], images[2:]])
    expected = pytest.approx([scores[:2].mean(), scores[2]])
    assert client.post("/compute", json=videos).json() == {"rewards": expected}


def test_flow_factorys_client_is_told_why_there_is_no_reward(client, photographs):
    """It reads `error` of a reply with status 200 only; a reward must not be made up."""
    images = [base64.b64encode(photographs[0]).decode(), base64.b64encode(b"text").decode()]
    reply = client.post("/compute", json=as_payload(image=images))
    assert reply.status_code == 200 and reply.json().keys() == {"error"}
    assert re.match("Number 2 has no reward: .*not a picture", reply.json()["error"])
    for asked, words in (
        (as_payload(), "Expected image or video"),
        (as_payload(image=images, video=[images]), "Expected image or video"),
        (as_payload(image=images[:1]), "2 prompts and 1 pictures"),
        (as_payload(video=[images, []]), "frames"),
        (as_payload(image=images, audio=[1]), "'audio'"),
        (as_payload(video=[images * 9, images]), "1 to 16 pictures"),
    ):
        reply = client.post("/compute", json=asked)
        assert reply.status_code in (400, 413) and words in reply.json()["error"], reply.text
    asked = as_payload(image=images, audio=None)  # a field that it may have one day
    assert client.post("/compute", json=asked).status_code == 200
    assert client.post("/compute?map=true", json=asked).status_code == 400


# --- about itself, and for browsers ---------------------------------------------------------------


def test_every_address_is_described_and_needs_no_network(scorer):
    app = create_app(scorer, name="/home/me/model", token="secret")
    pages = {"/", "/docs", "/openapi.json"}
    described = {
        (path, method.upper()) for path, each in DESCRIPTION["paths"].items() for method in each
    }
    routes = {(each.path, *(each.methods - {"HEAD"})) for each in app.routes}
    assert {each for each in routes if each[0] not in pages} == described
    with TestClient(app) as client:
        assert client.get("/openapi.json").json() == json.loads(json.dumps(DESCRIPTION))
        for page in ("/", "/docs"):
            reply = client.get(page)
            assert reply.headers["content-type"].startswith("text/html")
            assert "default-src 'none'" in reply.headers["content-security-policy"]
            assert not re.search(r"https?://|src=\"(?!data:)", reply.text), page
            assert "/home/me" not in reply.text
        assert "POST /compute" in client.get("/docs").text


def test_a_token_may_be_an_addresss_password(scorer):
    """As Flow-Factory's client, which sends no header of ours, can give it."""
    with TestClient(create_app(scorer, token="secret")) as client:
        for password, status in (("secret", 400), ("other", 401), ("", 401)):
            reply = client.post("/compute", json={}, auth=("any", password))
            assert reply.status_code == status, password


def test_origins_may_ask_and_long_replies_are_compressed(scorer):
    with TestClient(create_app(scorer, token="secret", origins=["https://a.example"])) as client:
        asked = {
            "origin": "https://a.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,content-type",
        }
        reply = client.options("/score", headers=asked)
        assert reply.status_code == 200
        assert reply.headers["access-control-allow-origin"] == "https://a.example"
        other = client.options("/score", headers={**asked, "origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers
        refused = client.post("/score", headers={"origin": "https://a.example"})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == "https://a.example"
        assert client.get("/openapi.json").headers["content-encoding"] == "gzip"
    with TestClient(create_app(scorer)) as client:
        reply = client.get("/health", headers={"origin": "https://a.example"})
        assert "access-control-allow-origin" not in reply.headers
        assert "content-encoding" not in reply.headers

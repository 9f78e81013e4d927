"""What the server takes and returns, as OpenAPI 3.1 and as a page that needs no network."""

from __future__ import annotations

from html import escape
from typing import Any

from rali.report.blocks import page_html, section_html
from rali.version import __version__

Json = dict[str, Any]
TITLE = "rali serve"
INTRO = "Scores of pictures' quality, from 1 (bad) to 5 (excellent), without a reference."


def _object(required: list[str], **properties: Any) -> Json:
    return {"type": "object", "required": required, "properties": properties}


def _list(items: Json, text: str = "") -> Json:
    return {"type": "array", "items": items} | ({"description": text} if text else {})


def _reply(text: str, schema: Json, kind: str = "application/json") -> Json:
    return {"description": text, "content": {kind: {"schema": schema}}}


def _asked(name: str, schema: Json, text: str) -> Json:
    return {"name": name, "in": "query", "schema": schema, "description": text}


NUMBER, TEXT = {"type": "number"}, {"type": "string"}
MAYBE, MAYBE_TEXT = {"type": ["number", "null"]}, {"type": ["string", "null"]}
BASE64 = {"type": "string", "contentEncoding": "base64"}
FILE = {"type": "string", "format": "binary"}
REASON = _object(
    ["phrase", "meaning", "probability"], phrase=TEXT, meaning=TEXT, probability=NUMBER
)
MAP = _object(
    ["scores", "y", "x"],
    scores=_list(_list(NUMBER), "Of overlapping windows, from the top left."),
    y=_list(NUMBER, "The windows' centres in pixels, from the top."),
    x=_list(NUMBER, "The windows' centres in pixels, from the left."),
)
RESULT = _object(
    ["score", "error"],
    score=MAYBE,
    error={**MAYBE_TEXT, "description": "Why there is no score."},
    low={**MAYBE, "description": "With interval: the lowest of people's score to expect."},
    high={**MAYBE, "description": "With interval: the highest of people's score to expect."},
    why={
        "type": ["array", "null"],
        "items": REASON,
        "description": "With explain: the likeliest phrases about the picture.",
    },
    map={"oneOf": [MAP, {"type": "null"}], "description": "With map."},
)
ERROR = _object(["error"], error=TEXT)
REFUSALS = {
    "400": "The request is malformed, or asks for what there is not.",
    "401": "The token is missing or wrong.",
    "408": "The request did not arrive in time.",
    "413": "The request is too large.",
    "415": "The body is of another kind, or compressed.",
    "429": "There is no room now: see Retry-After.",
    "503": "The server stops, or the Hub does not say whether the model can answer.",
}
COMPUTE = _object(
    [],
    prompt=_list(TEXT, "Of each picture or video; a score is of quality alone."),
    image=_list(BASE64, "A picture per prompt."),
    video=_list(_list(BASE64), "The frames of a video per prompt; its reward is their mean."),
    condition_images={"description": "Not looked at."},
    condition_videos={"description": "Not looked at."},
    kwargs={"description": "Not looked at."},
)


def _post(summary: str, parameters: list[Json], content: Json, reply: Json) -> Json:
    refusals = {status: _reply(text, ERROR) for status, text in REFUSALS.items()}
    return {
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": content},
        "responses": {"200": reply, **refusals},
        "security": [{}, {"bearer": []}, {"basic": []}],
    }


def _get(summary: str, reply: Json, *, token: bool = False) -> Json:
    security: list[Json] = [{}, {"bearer": []}, {"basic": []}] if token else []
    return {"summary": summary, "responses": {"200": reply}, "security": security}


HEALTH = _get("Whether the server runs.", _reply("It does.", _object(["status"], status=TEXT)))
PATHS: Json = {
    "/score": {
        "post": _post(
            "Score pictures.",
            [
                _asked("explain", {"type": "boolean"}, "Adds why: the three likeliest phrases."),
                _asked(
                    "interval",
                    {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
                    "Adds low and high: people's score lies between them with this probability.",
                ),
                _asked(
                    "map",
                    {"type": "boolean"},
                    "Adds map, the scores of windows, to a request of one picture.",
                ),
            ],
            {
                "application/json": {"schema": _object(["images"], images=_list(BASE64))},
                "multipart/form-data": {"schema": {"type": "object"}},
                "image/*": {"schema": FILE},
                "application/octet-stream": {"schema": FILE},
            },
            _reply(
                "One result per picture, in order.",
                _object(["model", "results"], model=TEXT, results=_list(RESULT)),
            ),
        )
    },
    "/compute": {
        "post": _post(
            "Rewards for Flow-Factory's remote reward model.",
            [],
            {"application/json": {"schema": COMPUTE}},
            _reply(
                "A reward per prompt, or the reason why one of the pictures has none.",
                _object([], rewards=_list(NUMBER), error=TEXT),
            ),
        )
    },
    "/healthz": {"get": HEALTH},
    "/health": {"get": HEALTH},
    "/metrics": {"get": _get("Prometheus.", _reply("Text.", TEXT, "text/plain"), token=True)},
}
DESCRIPTION: Json = {
    "openapi": "3.1.0",
    "info": {"title": TITLE, "version": __version__, "description": INTRO},
    "servers": [{"url": "."}],
    "paths": PATHS,
    "components": {
        "securitySchemes": {
            "bearer": {"type": "http", "scheme": "bearer"},
            "basic": {
                "type": "http",
                "scheme": "basic",
                "description": "The token is the password.",
            },
        }
    },
}


def as_page() -> str:
    """`DESCRIPTION` for people."""
    body = "".join(
        section_html(f"{method.upper()} {path}", _operation_html(operation), operation["summary"])
        for path, methods in PATHS.items()
        for method, operation in methods.items()
    )
    return page_html(TITLE, INTRO, '<p><a href="openapi.json">openapi.json</a></p>' + body)


def _operation_html(operation: Json) -> str:
    rows = [(f"?{each['name']}=", each["description"]) for each in operation.get("parameters", ())]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        rows.append((kind, _shape(content["schema"]) if "json" in kind else "pictures' files"))
    for status, reply in operation["responses"].items():
        shape = _shape(next(iter(reply["content"].values()))["schema"])
        rows.append((status, f"{reply['description']} {shape}"))
    cells = "".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in rows)
    return f'<table class="words">{cells}</table>'


def _shape(schema: Json) -> str:
    """A schema in short: {"images": […]}."""
    if "properties" in schema:
        inner = (f'"{name}": {_shape(each)}' for name, each in schema["properties"].items())
        return "{" + ", ".join(inner) + "}"
    kinds = schema.get("type", "…")
    if "array" in kinds:
        return f"[{_shape(schema['items'])}, …]"
    return kinds if isinstance(kinds, str) else " or ".join(kinds)

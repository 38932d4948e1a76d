"""Odd responses of the servers between us and a Midjourney proxy, by family, and what they mean.

Each row is what one server really sends, or has been reported to send, for a request that it
refuses, cannot pass on, or does not know. The same table is used for the classification alone and,
on a loopback server, for submissions, polls, listings and pictures.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyter_mjci.client.outcomes import Outcome, Reason

CLOUDFLARE = {"server": "cloudflare", "cf-ray": "8f0-FRA"}


@dataclass(frozen=True)
class OddResponse:
    """What a server sends, and what it means.

    `words` are what the error has to show; "" where the body says nothing.
    """

    name: str
    status: int
    body: Any
    outcome: Outcome
    reason: Reason
    words: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        if isinstance(self.body, str):
            return self.body.encode()
        return json.dumps(self.body, ensure_ascii=False).encode()

    @property
    def content_type(self) -> str:
        kind = "application/json"
        if isinstance(self.body, str):
            kind = "text/html" if self.body.lstrip().startswith("<") else "text/plain"
        return self.headers.get("content-type", kind)


def _page(title: str, text: str = "") -> str:
    return f"<!DOCTYPE html>\n<html><head><title>{title}</title></head><body>{text}</body></html>"


def _nginx(title: str) -> str:
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1>"
        "</center>\r\n<hr><center>nginx/1.25.3</center>\r\n</body>\r\n</html>\r\n"
    )


REFUSAL, BUSY, UNKNOWN, UNSUPPORTED = (
    Outcome.REFUSAL,
    Outcome.BUSY,
    Outcome.UNKNOWN,
    Outcome.UNSUPPORTED,
)

ODD_RESPONSES = (
    # --- nginx, load balancers, CDNs ---
    OddResponse(
        "nginx 502", 502, _nginx("502 Bad Gateway"), UNKNOWN, Reason.UNAVAILABLE, "502 Bad Gateway"
    ),
    OddResponse(
        "nginx 504",
        504,
        _nginx("504 Gateway Time-out"),
        UNKNOWN,
        Reason.UNAVAILABLE,
        "504 Gateway Time-out",
    ),
    OddResponse(
        "nginx 413",
        413,
        _nginx("413 Request Entity Too Large"),
        REFUSAL,
        Reason.TOO_LARGE,
        "413 Request Entity Too Large",
    ),
    OddResponse("nginx 403", 403, _nginx("403 Forbidden"), REFUSAL, Reason.FORBIDDEN, "403 Forb"),
    OddResponse("nginx 404", 404, _nginx("404 Not Found"), UNSUPPORTED, Reason.NO_ENDPOINT, "404"),
    OddResponse(
        "nginx 301",
        301,
        _nginx("301 Moved Permanently"),
        REFUSAL,
        Reason.REDIRECT,
        "https://relay.example/mj",
        {"location": "https://relay.example/mj"},
    ),
    OddResponse(
        "nginx 401 of auth_basic",
        401,
        _nginx("401 Authorization Required"),
        REFUSAL,
        Reason.PASSWORD,
        "401 Authorization Required",
        {"www-authenticate": 'Basic realm="relay"'},
    ),
    OddResponse("nginx 499", 499, b"", UNKNOWN, Reason.UNAVAILABLE),
    OddResponse(
        "Cloudflare 524",
        524,
        _page("relay.example | 524: A timeout occurred"),
        UNKNOWN,
        Reason.UNAVAILABLE,
        "524: A timeout occurred",
        CLOUDFLARE,
    ),
    OddResponse(
        "Cloudflare 521 text",
        521,
        "error code: 521",
        UNKNOWN,
        Reason.UNAVAILABLE,
        "error code: 521",
    ),
    OddResponse(
        "Cloudflare challenge",
        403,
        _page("Just a moment...", "Enable JavaScript and cookies to continue"),
        REFUSAL,
        Reason.CHALLENGE,
        "Just a moment...",
        {**CLOUDFLARE, "cf-mitigated": "challenge"},
    ),
    OddResponse(
        "Cloudflare old challenge",
        503,
        _page("Just a moment..."),
        REFUSAL,
        Reason.CHALLENGE,
        "Just a moment...",
        CLOUDFLARE,
    ),
    OddResponse(
        "Cloudflare block",
        403,
        _page("Attention Required! | Cloudflare", "Sorry, you have been blocked"),
        REFUSAL,
        Reason.CHALLENGE,
        "Attention Required!",
        CLOUDFLARE,
    ),
    OddResponse(
        "Cloudflare 429 text",
        429,
        "error code: 1015",
        BUSY,
        Reason.RATE_LIMIT,
        "error code: 1015",
        {**CLOUDFLARE, "retry-after": "7"},
    ),
    OddResponse(
        "Akamai 403", 403, _page("Access Denied"), REFUSAL, Reason.CHALLENGE, "Access Denied"
    ),
    OddResponse(
        "Alibaba Cloud WAF 405",
        405,
        _page("405", "Your request may cause potential threats to the server's security."),
        REFUSAL,
        Reason.CHALLENGE,
        "405",
        {"server": "Tengine"},
    ),
    OddResponse(
        "Imperva 200",
        200,
        '<html><head><script src="/_Incapsula_Resource?SWJIYLWA=719"></script></head></html>',
        UNKNOWN,
        Reason.CHALLENGE,
    ),
    OddResponse("page with 202", 202, _page("Sign in"), UNKNOWN, Reason.NO_ANSWER, "Sign in"),
    OddResponse(
        "AWS ALB 503",
        503,
        "<html>\r\n<head><title>503 Service Temporarily Unavailable</title></head>\r\n<body></body>"
        "\r\n</html>",
        UNKNOWN,
        Reason.UNAVAILABLE,
        "503 Service Temporarily Unavailable",
        {"server": "awselb/2.0"},
    ),
    OddResponse("AWS ALB 460", 460, b"", UNKNOWN, Reason.UNAVAILABLE),
    OddResponse(
        "API Gateway 403", 403, {"message": "Forbidden"}, REFUSAL, Reason.FORBIDDEN, "Forbidden"
    ),
    OddResponse(
        "API Gateway 504",
        504,
        {"message": "Endpoint request timed out"},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "Endpoint request timed out",
    ),
    OddResponse(
        "Envoy 503",
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow",
        UNKNOWN,
        Reason.UNAVAILABLE,
        "upstream connect error",
    ),
    OddResponse("Traefik 404", 404, "404 page not found\n", UNSUPPORTED, Reason.NO_ENDPOINT, "404"),
    OddResponse("HAProxy 408", 408, _page("408 Request Time-out"), UNKNOWN, Reason.UNAVAILABLE),
    OddResponse(
        "Squid 407",
        407,
        _page("ERROR: Cache Access Denied"),
        REFUSAL,
        Reason.UNAUTHORIZED,
        "Cache Access Denied",
    ),
    OddResponse(
        "Kong 404",
        404,
        {"message": "no Route matched with those values"},
        UNSUPPORTED,
        Reason.NO_ENDPOINT,
        "no Route matched",
    ),
    OddResponse(
        "Kong 429",
        429,
        {"message": "API rate limit exceeded"},
        BUSY,
        Reason.RATE_LIMIT,
        "API rate limit exceeded",
        {"retry-after": "11"},
    ),
    OddResponse(
        "Kong 503 with Retry-After",
        503,
        {"message": "Service unavailable"},
        BUSY,
        Reason.UNAVAILABLE,
        "Service unavailable",
        {"retry-after": "5"},
    ),
    OddResponse(
        "APISIX 502",
        502,
        {"error_msg": "failed to fetch upstream"},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "failed to fetch upstream",
    ),
    # --- frameworks ---
    OddResponse(
        "Spring 404",
        404,
        {
            "timestamp": "2024-04-05T19:34:38.901+00:00",
            "status": 404,
            "error": "Not Found",
            "path": "/mj/task/list-by-condition",
        },
        UNSUPPORTED,
        Reason.NO_ENDPOINT,
        "Not Found",
    ),
    OddResponse(
        "Spring 404 with status 200",
        200,
        {"timestamp": 1712345678901, "status": 404, "error": "Not Found", "path": "/mj/x"},
        UNSUPPORTED,
        Reason.NO_ENDPOINT,
        "Not Found",
    ),
    OddResponse(
        "Spring 400",
        400,
        {"timestamp": 1, "status": 400, "error": "Bad Request", "message": "prompt is missing"},
        REFUSAL,
        Reason.ERROR,
        "Bad Request: prompt is missing",
    ),
    OddResponse(
        "Spring 405",
        405,
        {"status": 405, "error": "Method Not Allowed"},
        UNSUPPORTED,
        Reason.NO_ENDPOINT,
        "Method Not Allowed",
    ),
    OddResponse(
        "FastAPI 404", 404, {"detail": "Not Found"}, UNSUPPORTED, Reason.NO_ENDPOINT, "Not Found"
    ),
    OddResponse(
        "FastAPI 422",
        422,
        {"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "missing"}]},
        REFUSAL,
        Reason.ERROR,
        "body.prompt: field required",
    ),
    OddResponse(
        "FastAPI 500 text",
        500,
        "Internal Server Error",
        UNKNOWN,
        Reason.UNAVAILABLE,
        "Internal Server Error",
    ),
    OddResponse(
        ".NET validation",
        400,
        {
            "type": "https://tools.ietf.org/html/rfc9110#section-15.5.1",
            "title": "One or more validation errors occurred.",
            "status": 400,
            "errors": {"Prompt": ["The Prompt field is required."]},
        },
        REFUSAL,
        Reason.ERROR,
        "Prompt: The Prompt field is required.",
    ),
    OddResponse(".NET 415", 415, b"", REFUSAL, Reason.ERROR),
    OddResponse(
        "Express 404",
        404,
        '<!DOCTYPE html>\n<html lang="en"><head><title>Error</title></head><body><pre>Cannot '
        "POST /mj/x</pre></body></html>",
        UNSUPPORTED,
        Reason.NO_ENDPOINT,
        "Error",
    ),
    OddResponse(
        "Express 200",
        200,
        {"status": "error", "message": "upstream timeout"},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "upstream timeout",
    ),
    OddResponse(
        "Django 400",
        400,
        {"prompt": ["This field is required."]},
        REFUSAL,
        Reason.ERROR,
        "required",
    ),
    OddResponse(
        "GraphQL 200",
        200,
        {"errors": [{"message": "not allowed", "path": ["imagine"]}]},
        UNKNOWN,
        Reason.NO_ANSWER,
        "not allowed",
    ),
    OddResponse(
        "plain 400", 400, "prompt is required", REFUSAL, Reason.ERROR, "prompt is required"
    ),
    OddResponse("plain 418", 418, b"", REFUSAL, Reason.ERROR),
    # --- relays ---
    OddResponse(
        "message only",
        200,
        {"message": "upstream timeout"},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "upstream",
    ),
    OddResponse(
        "message of no known kind", 200, {"message": "hm"}, UNKNOWN, Reason.NO_ANSWER, "hm"
    ),
    OddResponse(
        "code 500 with status 200",
        200,
        {"code": 500, "msg": "系统繁忙"},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "系统繁忙",
    ),
    OddResponse(
        "code 500 with status 500",
        500,
        {"code": 500, "msg": "系统繁忙"},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "系统繁忙",
    ),
    OddResponse(
        "no balance", 500, {"code": 500, "msg": "余额不足"}, REFUSAL, Reason.QUOTA, "余额不足"
    ),
    OddResponse(
        "new-api quota",
        403,
        {"error": {"message": "用户额度不足", "code": "insufficient_user_quota"}},
        REFUSAL,
        Reason.QUOTA,
        "用户额度不足",
    ),
    OddResponse(
        "OpenAI quota",
        429,
        {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota"}},
        REFUSAL,
        Reason.QUOTA,
        "You exceeded your current quota",
    ),
    OddResponse(
        "new-api quota of a task",
        400,
        {"description": "quota_not_enough ", "type": "upstream_error", "code": 4},
        REFUSAL,
        Reason.QUOTA,
        "quota_not_enough",
    ),
    OddResponse("402", 402, {"message": "Payment Required"}, REFUSAL, Reason.QUOTA, "Payment"),
    OddResponse(
        "one-api token",
        401,
        {"error": {"message": "无效的令牌 (request id: 1)", "type": "one_api_error"}},
        REFUSAL,
        Reason.UNAUTHORIZED,
        "无效的令牌",
    ),
    OddResponse(
        "one-api no channel",
        503,
        {"error": {"message": "当前分组下无可用渠道", "code": "model_not_found"}},
        REFUSAL,
        Reason.ERROR,
        "无可用渠道",
    ),
    OddResponse(
        "one-api no channel, no code",
        503,
        {"error": {"message": "对于模型 mj_imagine 无可用渠道", "type": "one_api_error"}},
        REFUSAL,
        Reason.ERROR,
        "无可用渠道",
    ),
    OddResponse(
        "fork of new-api that lost its upstream",
        400,
        {"description": "do_request_failed ", "type": "upstream_error", "code": 4},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "do_request_failed",
    ),
    OddResponse(
        "Alibaba Cloud WAF, script",
        200,
        "<html><script>var arg1='3000176000856006061501533003690027800375';</script></html>",
        UNKNOWN,
        Reason.CHALLENGE,
        "",
    ),
    OddResponse(
        "AWS WAF challenge",
        202,
        b"",
        UNKNOWN,
        Reason.CHALLENGE,
        "",
        {"x-amzn-waf-action": "challenge"},
    ),
    OddResponse(
        "AWS Lambda timed out",
        200,
        {"errorMessage": "2024 Task timed out after 3.00 seconds", "errorType": "Timedout"},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "Task timed out after 3.00 seconds",
    ),
    OddResponse(
        "AWS API Gateway",
        504,
        {"message": "Endpoint request timed out"},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "Endpoint request timed out",
    ),
    OddResponse("nginx 494", 494, _nginx("400 Bad Request"), REFUSAL, Reason.TOO_LARGE, "400 Bad"),
    OddResponse(
        "one-api rate limit",
        429,
        {"error": {"message": "请求过于频繁", "code": "rate_limit_exceeded"}},
        BUSY,
        Reason.RATE_LIMIT,
        "请求过于频繁",
    ),
    OddResponse(
        "new-api overload",
        429,
        {"description": "当前分组负载已饱和", "type": "upstream_error", "code": 30},
        BUSY,
        Reason.RATE_LIMIT,
        "当前分组负载已饱和",
    ),
    OddResponse(
        "new-api lost upstream",
        500,
        {"description": "do_request_failed", "type": "upstream_error", "code": 5},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "do_request_failed",
    ),
    OddResponse("new-api front page", 200, _page("New API"), UNKNOWN, Reason.NO_ANSWER, "New API"),
    OddResponse("429 with nothing", 429, b"", BUSY, Reason.RATE_LIMIT),
    OddResponse(
        "success false",
        200,
        {"success": False, "message": "bad model"},
        REFUSAL,
        Reason.ERROR,
        "bad",
    ),
    OddResponse(
        "success false, may pass",
        200,
        {"success": False, "message": "network error, try again"},
        UNKNOWN,
        Reason.UNAVAILABLE,
        "try again",
    ),
    OddResponse(
        "error in GBK",
        400,
        json.dumps({"message": "提示词不能为空"}, ensure_ascii=False).encode("gbk"),
        REFUSAL,
        Reason.ERROR,
        "提示词不能为空",
        {"content-type": "application/json; charset=gbk"},
    ),
    OddResponse(
        "object storage",
        403,
        "<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>Access Denied.</Message>"
        "<RequestId>R1</RequestId></Error>",
        REFUSAL,
        Reason.FORBIDDEN,
        "Access Denied.",
    ),
    # --- the proxy itself ---
    OddResponse(
        "queue full",
        200,
        {"code": 23, "description": "队列已满，请稍后尝试", "result": None},
        BUSY,
        Reason.QUEUE_FULL,
        "队列已满",
    ),
    OddResponse(
        "queue full as 500",
        500,
        {"code": 23, "description": "queue is full", "result": None},
        BUSY,
        Reason.QUEUE_FULL,
        "queue is full",
    ),
    OddResponse(
        "no account",
        200,
        {"code": 3, "description": "可用的账号实例不存在", "result": None},
        BUSY,
        Reason.NO_ACCOUNT,
        "可用的账号实例不存在",
    ),
    OddResponse(
        "banned",
        200,
        {"code": 24, "description": "可能包含敏感词", "properties": {"bannedWord": "x"}},
        REFUSAL,
        Reason.BANNED,
        "可能包含敏感词",
    ),
    OddResponse(
        "failure",
        200,
        {"code": 9, "description": "提交失败，系统异常"},
        REFUSAL,
        Reason.ERROR,
        "系统",
    ),
)

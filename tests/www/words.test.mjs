// What went wrong, in words.

import assert from "node:assert/strict";
import { test } from "node:test";
import { explain, readRetryAfter, seconds } from "../../www/words.js";

test("each failure has a title, and says whether trying again can help", () => {
  for (const [failure, title, retry] of [
    [{ kind: "network" }, /cannot be reached/, true],
    [{ kind: "broken" }, /broke off/, true],
    [{ kind: "silent" }, /Nothing comes/, true],
    [{ kind: "media", detail: "codec" }, /cannot play what came/, true],
    [{ kind: "unsupported", detail: "FLV" }, /cannot play this format/, false],
    [{ kind: "missing", library: "hls.js", file: "/hls.min.js" }, /^hls\.js is not part/, false],
    [{ kind: "something new" }, /Playing failed/, false],
    [{ kind: "status", status: 401 }, /^401: .*proof/, false],
    [{ kind: "status", status: 403 }, /^403: /, false],
    [{ kind: "status", status: 404 }, /^404: Nobody publishes/, true],
    [{ kind: "status", status: 418 }, /^418: The server gives no stream/, false],
    [{ kind: "status", status: 429 }, /^429: /, true],
    [{ kind: "status", status: 502 }, /^502: /, true],
    [{ kind: "status", status: 503 }, /^503: /, true],
    [{ kind: "status", status: 504 }, /^504: /, true],
    [{ kind: "status", status: 508 }, /^508: .*circle/, false],
  ]) {
    const said = explain(failure);
    assert.match(said.title, title);
    assert.equal(said.retry, retry, said.title);
    assert.equal(typeof said.hint, "string", said.title);
  }
});

test("what the server or the browser says is passed on", () => {
  assert.equal(explain({ kind: "status", status: 502, said: "Origin o1 closed." }).said, "Origin o1 closed.");
  assert.equal(explain({ kind: "media", detail: "no HEVC" }).said, "no HEVC");
  assert.equal(explain({ kind: "unsupported", detail: "Use HLS." }).hint, "Use HLS.");
  assert.match(explain({ kind: "missing", library: "mpegts.js", file: "/x.js" }).hint, /npm ci.*\/x\.js/);
});

test("a full proxy says when to come again", () => {
  assert.match(explain({ kind: "status", status: 503, retryAfter: 1 }).hint, / again in 1 second\.$/);
  assert.match(explain({ kind: "status", status: 503, retryAfter: 7 }).hint, / again in 7 seconds\.$/);
  assert.doesNotMatch(explain({ kind: "status", status: 503, retryAfter: null }).hint, /again in/);
  assert.doesNotMatch(explain({ kind: "status", status: 404, retryAfter: 7 }).hint, /again in/);
  assert.equal(seconds(0), "0 seconds");
});

test("a Retry-After is whole seconds or nothing", () => {
  for (const [value, wanted] of [["0", 0], ["10", 10], ["99999", 99999]]) assert.equal(readRetryAfter(value), wanted);
  for (const value of [null, undefined, "", "-1", "1.5", "100000", "1e3", " 1", "Wed, 21 Oct 2015 07:28:00 GMT"]) {
    assert.equal(readRetryAfter(value), null, String(value));
  }
});

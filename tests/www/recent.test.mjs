// The streams that were played last: what is kept, and a storage that is closed, full, or holds anything.

import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { forgetAll, recent, remember } from "../../www/recent.js";

const KEY = "srs-stream-proxy.recent";
let kept;

beforeEach(() => {
  kept = new Map();
  globalThis.localStorage = {
    getItem: (key) => kept.get(key) ?? null,
    setItem: (key, value) => kept.set(key, value),
  };
});

test("the last five are kept, the last one first, each once", () => {
  assert.deepEqual(recent(), []);
  for (const name of ["a", "b", "c", "a", "d", "e", "f"]) remember(`/live/${name}.flv`);
  assert.deepEqual(recent(), ["/live/f.flv", "/live/e.flv", "/live/d.flv", "/live/a.flv", "/live/c.flv"]);
  forgetAll();
  assert.deepEqual(recent(), []);
});

test("what somebody else left in the storage does no harm", () => {
  for (const text of ["", "null", "{}", "7", '"x"', "[", "[1,null,{}]"]) {
    kept.set(KEY, text);
    assert.deepEqual(recent(), [], text);
    remember("/live/a.flv");
    assert.deepEqual(recent(), ["/live/a.flv"], text);
  }
  kept.set(KEY, '[1,"/live/a.flv",null,"b","c","d","e","f"]');
  assert.deepEqual(recent(), ["/live/a.flv", "b", "c", "d", "e"]);
});

test("a storage that is closed or full is no error", () => {
  const refuse = () => {
    throw new Error("SecurityError");
  };
  globalThis.localStorage = { getItem: refuse, setItem: refuse };
  remember("/live/a.flv");
  forgetAll();
  assert.deepEqual(recent(), []);
  globalThis.localStorage = { getItem: () => '["a"]', setItem: refuse };
  remember("b");
  assert.deepEqual(recent(), ["a"]);
});

test("tokens are not kept, not even those of an older version of the page", () => {
  remember("/live/a.flv?token=s3cret&vhost=v");
  assert.equal(kept.get(KEY), '["/live/a.flv?vhost=v"]');
  kept.set(KEY, '["/live/a.flv?token=1","/live/a.flv?token=2"]');
  assert.deepEqual(recent(), ["/live/a.flv"]);
});

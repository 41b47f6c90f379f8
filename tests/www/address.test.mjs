// Stream addresses: what is typed, other formats, links and commands.

import assert from "node:assert/strict";
import { test } from "node:test";
import * as address from "../../www/address.js";

const PAGE = "http://proxy.example:18080/console.html?x=1";
const read = (text) => address.readAddress(text, PAGE).href;

test("what is typed becomes an address on this server, or stays one elsewhere", () => {
  for (const [typed, href] of [
    ["/live/demo.flv", "http://proxy.example:18080/live/demo.flv"],
    ["  live/demo.ts \n", "http://proxy.example:18080/live/demo.ts"],
    ["/live/demo", "http://proxy.example:18080/live/demo.m3u8"],
    ["/live/demo/", "http://proxy.example:18080/live/demo.m3u8"],
    ["/live/cam.1", "http://proxy.example:18080/live/cam.1.m3u8"],
    ["/live/cam.1?token=a/b", "http://proxy.example:18080/live/cam.1.m3u8?token=a/b"],
    ["/live/demo.M3U8", "http://proxy.example:18080/live/demo.M3U8"],
    ["/live/demo.flv#t=3", "http://proxy.example:18080/live/demo.flv"],
    ["https://other.example/live/a.mp3", "https://other.example/live/a.mp3"],
    ["//other.example/live/a.aac", "http://other.example/live/a.aac"],
    ["other.example:8080/live/a.flv", "http://other.example:8080/live/a.flv"],
    ["/live/ein Kanal.flv", "http://proxy.example:18080/live/ein%20Kanal.flv"],
  ]) {
    assert.equal(read(typed), href, typed);
  }
});

test("what cannot be played is refused with words for the reader", () => {
  for (const [typed, words] of [
    ["", /Type the address/],
    [" \t", /Type the address/],
    ["/", /names no stream/],
    ["http://other.example", /names no stream/],
    ["rtmp://a.example/live/a", /cannot play rtmp addresses/],
    ["javascript:alert(1)", /cannot play javascript addresses/],
    ["http://me:secret@a.example/live/a.flv", /user name/],
    ["http://[", /is not an address/],
    ["http://" + "%".repeat(500), /^"http:\/\/%{53}…" is not an address\.$/],
  ]) {
    assert.throws(() => read(typed), { message: words }, typed);
  }
});

test("the extension is the format's, whatever dots a name has", () => {
  for (const [path, extension] of [
    ["/live/a.flv", "flv"],
    ["/live/a.TS", "ts"],
    ["/live/a.b.m3u8", "m3u8"],
    ["/live/cam.1", ""],
    ["/live/a", ""],
    ["/a.flv/b", ""],
  ]) {
    assert.equal(address.extensionOf(new URL(path, PAGE)), extension, path);
  }
});

test("another format is the same stream without the HLS session", () => {
  const with_ = (path, format) => address.withFormat(new URL(path, PAGE), format).href.slice(new URL(PAGE).origin.length);
  assert.equal(with_("/live/a.m3u8?spbhid=x&token=t&hls_ctx=y", "flv"), "/live/a.flv?token=t");
  assert.equal(with_("/live/a.flv?token=%2F%26", "ts"), "/live/a.ts?token=%2F%26");
  assert.equal(with_("/live/cam.1.flv", "m3u8"), "/live/cam.1.m3u8");
  assert.equal(with_("/live/a.m3u8?spbhid=x", "ts"), "/live/a.ts");
  const before = new URL("/live/a.flv?spbhid=x", PAGE);
  address.withFormat(before, "ts");
  assert.equal(before.href, "http://proxy.example:18080/live/a.flv?spbhid=x", "the first stays as it is");
});

test("an address is shown short where it is on this server, and links lead back to it", () => {
  for (const typed of ["/live/a.flv", "/live/a.flv?token=a%26b+c", "https://other.example/live/a.ts?x=1&y=2", "/live/ü.flv"]) {
    const url = address.readAddress(typed, PAGE);
    const link = new URL(address.pageLink(url, PAGE));
    assert.equal(link.pathname, "/");
    const stream = link.searchParams.get("stream");
    assert.equal(stream, address.shortForm(url, PAGE));
    assert.equal(read(stream), url.href, typed);
  }
  const own = address.readAddress("/live/a.flv?b=c", PAGE);
  assert.equal(address.shortForm(own, PAGE), "/live/a.flv?b=c");
  assert.equal(address.shortForm(own, "http://elsewhere.example/"), own.href);
});

test("commands are one word a URL for a shell, whatever the address has", () => {
  const commands = (typed) => Object.fromEntries(address.commandsFor(address.readAddress(typed, PAGE), PAGE));
  const live = commands("/live/a.flv");
  assert.equal(live.VLC, "vlc http://proxy.example:18080/live/a.flv");
  assert.equal(live.ffplay, "ffplay -fflags nobuffer http://proxy.example:18080/live/a.flv");
  assert.match(live.curl, /^curl -N -m 10 -D - -o ten-seconds\.flv http:/);
  assert.equal(live.Stream, "http://proxy.example:18080/live/a.flv");
  assert.equal(live["This page"], "http://proxy.example:18080/?stream=/live/a.flv");
  const hls = commands("/live/a.m3u8?a=1&b=2");
  assert.equal(hls.ffplay, "ffplay 'http://proxy.example:18080/live/a.m3u8?a=1&b=2'");
  assert.equal(hls.curl, "curl -i 'http://proxy.example:18080/live/a.m3u8?a=1&b=2'");
  for (const typed of ["/live/a.flv?x='$(id)'", "/live/`id`.flv", "/live/a.flv?x=;id"]) {
    const word = commands(typed).VLC.slice("vlc ".length);
    assert.match(word, /^('[^']*'|[\w:/.,@%+=-]+)$/, typed);
  }
});

test("below a path of another server, the proxy begins where the page is", () => {
  const page = "https://media.example/proxy/?stream=x";
  const below = (typed) => address.readAddress(typed, page);
  for (const [typed, href] of [
    ["/live/a.flv", "https://media.example/proxy/live/a.flv"],
    ["live/a.flv", "https://media.example/proxy/live/a.flv"],
    ["/proxy/live/a.flv", "https://media.example/proxy/live/a.flv"],
    ["//other.example/live/a.flv", "https://other.example/live/a.flv"],
    ["https://media.example/live/a.flv", "https://media.example/live/a.flv"],
  ]) {
    assert.equal(below(typed).href, href, typed);
  }
  assert.throws(() => below("/proxy/"), /names no stream/);
  assert.equal(address.shortForm(below("/live/a.flv?x=1"), page), "/live/a.flv?x=1");
  assert.equal(address.pageLink(below("/live/a.flv"), page), "https://media.example/proxy/?stream=/live/a.flv");
  assert.equal(address.shortForm(new URL("https://media.example/live/a.flv"), page), "/live/a.flv");
});

test("an address without a format takes the one that plays here", () => {
  assert.equal(address.readAddress("/live/a?vhost=b", PAGE, "flv").href, "http://proxy.example:18080/live/a.flv?vhost=b");
  assert.equal(address.readAddress("/live/a.ts", PAGE, "flv").pathname, "/live/a.ts");
});

test("links and commands have the public address, where there is one and the stream is ours", () => {
  const publicBase = new URL("https://tv.example/proxy/");
  const commands = (typed) => Object.fromEntries(address.commandsFor(address.readAddress(typed, PAGE), PAGE, publicBase));
  assert.equal(commands("/live/a.flv?x=1").Stream, "https://tv.example/proxy/live/a.flv?x=1");
  assert.equal(commands("/live/a.flv")["This page"], "https://tv.example/proxy/?stream=/live/a.flv");
  assert.equal(commands("https://other.example/live/a.flv").Stream, "https://other.example/live/a.flv");
});

test("what may be a secret is taken out of an address", () => {
  for (const [before, after] of [
    ["/live/a.flv", "/live/a.flv"],
    ["/live/a.flv?token=s&vhost=v&sign=x", "/live/a.flv?vhost=v"],
    ["/live/a.flv?token=s", "/live/a.flv"],
    ["/live/a.flv?app=b&stream=c#t", "/live/a.flv?app=b&stream=c"],
    ["/live/a.flv?a?vhost=b", "/live/a.flv"],
    ["https://other.example/a.flv?expires=1&vhost=v", "https://other.example/a.flv?vhost=v"],
    ["http://me:secret@other.example/a.flv", "http://other.example/a.flv"],
  ]) {
    assert.equal(address.withoutSecrets(before), after, before);
  }
});

test("an entry of the list of live streams is typed as its address", () => {
  assert.equal(address.listedAddress({ path: "/live/a", query: "" }), "/live/a");
  assert.equal(address.listedAddress({ path: "/live/a", query: "vhost=b" }, "flv"), "/live/a.flv?vhost=b");
});

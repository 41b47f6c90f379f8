// The rows of commands, with as much of a page as they need: elements, a clipboard, a selection.

import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import { commandRows, element } from "../../www/commands.js";

const PAGE = "http://proxy.example:18080/";
const FLV = new URL("/live/a.flv", PAGE);
let copied;
let selected;

class Element {
  constructor(name) {
    Object.assign(this, { name, children: [], attributes: {}, listeners: {} });
  }
  append(...children) {
    this.children.push(...children);
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  addEventListener(name, listener) {
    this.listeners[name] = listener;
  }
}

/** What of the page copies: the clipboard, the old command, both or none. */
function page({ clipboard, command }) {
  copied = [];
  selected = [];
  globalThis.document = {
    createElement: (name) => new Element(name),
    execCommand: (name) => command && (copied.push(`${name} ${selected.at(-1).textContent}`), true),
  };
  globalThis.getSelection = () => ({ selectAllChildren: (of) => selected.push(of) });
  const writeText = async (text) => copied.push(text);
  Object.defineProperty(globalThis, "navigator", { value: clipboard ? { clipboard: { writeText } } : {}, configurable: true });
}

const setTimeout = globalThis.setTimeout;
let later;

beforeEach(() => {
  page({ clipboard: true, command: true });
  later = [];
  globalThis.setTimeout = (...what) => later.push(what);
});
afterEach(() => (globalThis.setTimeout = setTimeout));

test("each command has a caption, its text and a button that says what it copies", () => {
  const rows = commandRows(FLV, PAGE);
  assert.deepEqual(rows.map((row) => row.children[0].textContent), ["VLC", "ffplay", "curl", "Stream", "This page"]);
  for (const { className, children: [caption, code, button] } of rows) {
    assert.equal(className, "command");
    assert.deepEqual([caption.name, code.name, button.name, button.type], ["span", "code", "button", "button"]);
    assert.ok(code.textContent.includes("/live/a.flv"));
    assert.equal(button.attributes["aria-label"], `Copy: ${caption.textContent}`);
  }
});

test("the button copies, says so, and is itself again later", async () => {
  const [, code, button] = commandRows(FLV, PAGE)[0].children;
  await button.listeners.click();
  assert.deepEqual(copied, [code.textContent]);
  assert.equal(button.textContent, "Copied");
  assert.deepEqual(later.map(([, delay]) => delay), [2000]);
  later[0][0]();
  assert.equal(button.textContent, "Copy");
});

test("without a clipboard the old way is used, and failing that the text is selected", async () => {
  page({ clipboard: false, command: true });
  let [, code, button] = commandRows(FLV, PAGE)[0].children;
  await button.listeners.click();
  assert.deepEqual(copied, [`copy ${code.textContent}`]);
  assert.equal(button.textContent, "Copied");
  page({ clipboard: false, command: false });
  [, code, button] = commandRows(FLV, PAGE)[0].children;
  await button.listeners.click();
  assert.deepEqual([copied, selected], [[], [code]]);
  assert.equal(button.textContent, "Press Ctrl+C");
});

test("an element has its class, and text that is never markup", () => {
  const made = element("p", "hint", "<b>no</b>");
  assert.deepEqual([made.name, made.className, made.textContent], ["p", "hint", "<b>no</b>"]);
  assert.equal(element("p", "x").textContent, "");
});

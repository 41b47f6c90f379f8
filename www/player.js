// The player page: what is asked for, what is played, and what is shown of it.

import { FORMATS, extensionOf, listedAddress, pageLink, readAddress, shortForm, withFormat } from "./address.js";
import { commandRows, element } from "./commands.js";
import { openEngine, playableFormats } from "./engines.js";
import { liveStreams } from "./live.js";
import { forgetAll, recent, remember } from "./recent.js";
import { explain, seconds } from "./words.js";

/** More streams to pick than a person reads; typing a part of a name finds the others. */
const MAX_PICKS = 30;
/** The list of live streams is asked for this often while the page is seen. */
const LIST_MS = 5_000;

/** Waits before the tries after a failure, in seconds; the last one repeats. */
const RETRY_AFTER = [1, 2, 4, 8, 15];
/** Some ten minutes; a forgotten tab must not knock for ever. */
const MAX_TRIES = 40;
/** No first picture for this long is a failure. An origin may take 10 s, and the proxy waits 5 s for a publisher. */
const FIRST_PICTURE_MS = 20_000;
/**
 * A picture that stands for this long is one too. HLS players wait for ever when another origin takes over, for its playlist counts
 * from a lower number; opening the stream anew goes on at once.
 */
const NEXT_PICTURE_MS = 8_000;
/** A picture that stands for this long is buffering, whatever the browser's events say. */
const STANDSTILL_MS = 1_500;
const TICK_MS = 500;

const $ = (id) => document.getElementById(id);
const video = $("video");

/** What is played now; null before the first and after "Stop". Each start makes a new one, so late answers find themselves outdated. */
let session = null;
/** Which formats can be played here, by extension. Until that is found out, all. */
let playable = { m3u8: true, flv: true, ts: true };
/** What is live, as the proxy told it last. */
let live = { streams: [], more: 0, publicBase: null };

// Starting and stopping.

/** Plays what was typed or linked to. */
function playTyped(text) {
  let url;
  try {
    url = readAddress(text, location.href, wantedFormat());
  } catch (error) {
    stop();
    setState("error", "Not playing");
    showError({ title: error.message, retry: false });
    return;
  }
  play(url);
}

function play(url, tries = 0) {
  close();
  const mine = { url, tries, engine: null, paused: false, played: false, finished: false, movedAt: performance.now(), position: 0 };
  session = mine;
  if (tries === 0) {
    showChoice(url);
    hideError();
    setState("loading", "Connecting …");
  } else {
    setState("loading", `Connecting again (try ${tries}) …`);
  }
  const current = () => session === mine;
  const events = {
    wanted: current,
    failed: (failure) => current() && failed(failure),
    finished: () => (mine.finished = true),
  };
  openEngine(video, url, events).then(
    (engine) => {
      if (!engine) return; // something else was started meanwhile
      mine.engine = engine;
      $("engine").textContent = engine.name;
      begin(mine);
    },
    (failure) => events.failed(failure.kind ? failure : { kind: "unknown", detail: String(failure.message ?? failure) }),
  );
}

/** Starts the video element; without sound where the browser demands a click first, and with a button where even that is refused. */
async function begin(mine) {
  try {
    await video.play();
  } catch (error) {
    if (session !== mine || error.name !== "NotAllowedError") return; // other errors come as events too
    if (!video.muted) {
      video.muted = true;
      $("unmute").hidden = false;
      return begin(mine);
    }
    mine.paused = true;
    video.muted = false; // after a click there may be sound
    $("unmute").hidden = true;
    setState("paused", "Press play: the browser wants a click first");
    $("begin").hidden = false;
  }
}

function stop() {
  close();
  session = null;
  hideError();
  setState("idle", "Nothing is playing");
}

function close() {
  if (!session) return;
  clearTimeout(session.timer);
  session.engine?.close();
  session.engine = null;
  $("begin").hidden = true;
  for (const id of ["delay", "resolution", "bitrate", "engine"]) $(id).textContent = "–";
  $("golive").hidden = true;
}

/** The stream is not there, broke off, or cannot be played: says so, and tries again where that can help. */
function failed(failure) {
  const { url, played, paused } = session;
  let { tries } = session;
  if (played) tries = 0;
  close();
  session = { url, tries, engine: null };

  const words = explain(failure);
  showError(words);
  if (failure.kind === "missing") offerInstead(url);
  const brokeOff = played && (failure.kind === "broken" || failure.kind === "silent");
  const state = brokeOff ? "ended" : "error";
  if (!words.retry || tries >= MAX_TRIES || (paused && brokeOff)) {
    setState(state, brokeOff ? "Ended" : "Not playing");
    return;
  }
  const wait = Math.max(RETRY_AFTER[Math.min(tries, RETRY_AFTER.length - 1)], Math.min(failure.retryAfter ?? 0, 120));
  countDown(session, state, brokeOff ? "Reconnecting" : "Trying again", wait);
}

function countDown(mine, state, doing, left) {
  if (session !== mine) return;
  if (left === 0) return play(mine.url, mine.tries + 1);
  setState(state, `${doing} in ${seconds(left)}`);
  mine.timer = setTimeout(() => countDown(mine, state, doing, left - 1), 1000);
}

// What the video element tells.

video.addEventListener("playing", () => {
  if (!session?.engine) return;
  session.paused = false;
  session.movedAt = performance.now();
  hideError();
  $("begin").hidden = true;
  setState("playing", "Playing");
  if (!session.played) {
    remember(shortForm(session.url, location.href));
    showPicks();
  }
  session.played = true;
});
video.addEventListener("waiting", () => session?.played && !video.paused && setState("buffering", "Buffering …"));
video.addEventListener("pause", () => {
  if (!session?.played || !session.engine || video.ended || video.error) return;
  session.paused = true;
  setState("paused", "Paused");
});
video.addEventListener("play", () => session && (session.paused = false));
video.addEventListener("ended", () => session?.engine && finish());
video.addEventListener("volumechange", () => !video.muted && ($("unmute").hidden = true));

function finish() {
  setState("ended", "The stream has ended");
  close();
}

/** Figures, and what no event tells: a picture that stands still, a server that sends nothing. */
function tick() {
  if (!session?.engine) return;
  const now = performance.now();
  const state = $("state").dataset.state;
  if (video.currentTime !== session.position || session.paused) {
    session.position = video.currentTime;
    session.movedAt = now;
    if (state === "buffering" && !video.paused && video.readyState > 2) setState("playing", "Playing");
  } else if (state === "playing" && now - session.movedAt > STANDSTILL_MS) {
    setState("buffering", "Buffering …");
  } else if (session.finished && now - session.movedAt > STANDSTILL_MS) {
    return finish();
  } else if (now - session.movedAt > (session.played ? NEXT_PICTURE_MS : FIRST_PICTURE_MS)) {
    return failed({ kind: "silent" });
  }
  if (session.played) showFigures(session.engine);
}
setInterval(tick, TICK_MS);

// Showing.

function setState(state, text) {
  $("stage").dataset.state = state;
  video.controls = state === "playing" || state === "paused" || state === "buffering";
  if ($("state").dataset.state !== state) $("state").dataset.state = state;
  if ($("state").textContent !== text) $("state").textContent = text;
  $("headline").textContent = state === "idle" ? "Type or pick a stream above" : text;
  $("stop").disabled = state === "idle" || !session;
  document.title = session ? `${shortForm(session.url, location.href)} · srs-stream-proxy` : "Player · srs-stream-proxy";
}

function showFigures(engine) {
  const delay = engine.delay();
  const kbps = engine.kbps();
  $("delay").textContent = delay === null ? "–" : `${delay.toFixed(1)} s`;
  $("golive").hidden = !(delay > engine.lateAfter);
  if (video.videoWidth > 0) $("resolution").textContent = `${video.videoWidth}×${video.videoHeight}`;
  else $("resolution").textContent = video.readyState > 0 ? "sound only" : "–";
  if (kbps === null || session.paused) $("bitrate").textContent = "–";
  else $("bitrate").textContent = kbps < 1000 ? `${Math.round(kbps)} kbit/s` : `${(kbps / 1000).toFixed(2)} Mbit/s`;
}

function showError({ title, hint = "", said = "", retry }) {
  $("error-title").textContent = title;
  $("error-hint").textContent = hint;
  $("error-said").textContent = said ? `“${said}”` : "";
  $("error-said").hidden = !said;
  $("again").hidden = !retry;
  $("instead").hidden = true;
  $("error").hidden = false;
}

function hideError() {
  $("error").hidden = true;
}

/** A library is missing: offers a format that plays without it, if there is one. */
function offerInstead(url) {
  const format = extensionOf(url);
  playable = format === "m3u8" ? { ...playable, m3u8: false } : { ...playable, flv: false, ts: false };
  showPlayable();
  const other = Object.keys(FORMATS).find((it) => playable[it]);
  if (!other) return;
  $("instead").hidden = false;
  $("instead").textContent = `Play it as ${FORMATS[other]}`;
  $("instead").onclick = () => play(withFormat(url, other));
}

/** Offers the formats that can be played here, and says what to install for the others. */
function showPlayable() {
  for (const radio of $("formats").elements) radio.closest("label").hidden = !playable[radio.value];
  const { m3u8, flv } = playable;
  $("formats").hidden = !m3u8 && !flv;
  $("install").hidden = m3u8 && flv;
  $("install-title").textContent = m3u8
    ? "FLV and TS need a player library that this build has not got."
    : flv
      ? "HLS needs a player library that this build has not got, or a browser that plays it by itself."
      : "This browser plays no live stream by itself, and this build has no player libraries.";
  $("install-meanwhile").hidden = m3u8 || flv;
}

/** The format of an address that names none: the chosen one, else the first that plays. */
function wantedFormat() {
  const chosen = [...$("formats").elements].find((radio) => radio.checked && playable[radio.value]);
  return chosen?.value ?? Object.keys(FORMATS).find((it) => playable[it]) ?? "m3u8";
}

/** The chosen stream in the address field, the format switch, the page's own address and the commands. */
function showChoice(url) {
  $("url").value = shortForm(url, location.href);
  showFormat();
  const link = pageLink(url, location.href);
  if (link !== location.href) history.pushState(null, "", link);

  showCommands(url);
}

function showCommands(url) {
  $("elsewhere").hidden = false;
  $("commands").replaceChildren(...commandRows(url, location.href, live.publicBase));
}

function showFormat() {
  let format = "";
  try {
    format = extensionOf(readAddress($("url").value, location.href, wantedFormat()));
  } catch {
    // half typed
  }
  for (const radio of $("formats").elements) radio.checked = radio.value === format;
}

// Streams to pick.

function showPicks() {
  const listed = live.streams.map((stream) => listedAddress(stream));
  const played = recent();
  const picks = listed.slice(0, MAX_PICKS);
  const left = live.more + listed.length - picks.length;
  fill($("suggestions"), picks);
  $("live-line").hidden = picks.length === 0;
  $("live-more").textContent = left > 0 ? `and ${left.toLocaleString("en")} more: type a part of the name` : "";
  fill($("recent"), played);
  $("recent-line").hidden = played.length === 0;
  $("known").replaceChildren(...[...new Set([...played, ...listed])].map((entry) => Object.assign(element("option", ""), { value: entry })));
}

/** Shows picks; where they are the same as before nothing is touched, so that none goes away under a finger. */
function fill(place, entries) {
  const shown = [...place.children].map((button) => button.textContent);
  if (JSON.stringify(shown) !== JSON.stringify(entries)) place.replaceChildren(...entries.map(pick));
}

async function refreshList() {
  const told = document.hidden ? null : await liveStreams();
  if (told) {
    const moved = String(told.publicBase) !== String(live.publicBase);
    live = told;
    showPicks();
    if (moved && session) showCommands(session.url);
  }
  setTimeout(refreshList, LIST_MS);
}

function pick(entry) {
  const button = element("button", "pick", entry);
  button.type = "button";
  button.addEventListener("click", () => playTyped(entry));
  return button;
}

// What the person does.

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  playTyped($("url").value);
});
$("stop").addEventListener("click", stop);
$("again").addEventListener("click", () => session && play(session.url));
$("golive").addEventListener("click", () => session && play(session.url));
$("begin").addEventListener("click", () => session && begin(session));
$("unmute").addEventListener("click", () => (video.muted = false));
$("forget").addEventListener("click", () => {
  forgetAll();
  showPicks();
});
$("url").addEventListener("input", showFormat);
$("formats").addEventListener("change", (event) => {
  try {
    const url = withFormat(readAddress($("url").value, location.href, event.target.value), event.target.value);
    if (session) return play(url);
    $("url").value = shortForm(url, location.href);
  } catch {
    showFormat();
  }
});
addEventListener("popstate", playLinked);

/** Plays what the page's own address names, if anything. */
function playLinked() {
  const linked = new URLSearchParams(location.search).get("stream");
  if (linked === null || linked === "") return stop();
  $("url").value = linked;
  showFormat();
  playTyped(linked);
}

showPicks();
refreshList();
playableFormats(video).then((found) => {
  playable = found;
  showPlayable();
  playLinked();
});

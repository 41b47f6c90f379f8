// The rows of commands to copy.

import { commandsFor } from "./address.js";

/** One element for each command that plays the URL elsewhere, with a button that copies it. */
export function commandRows(url, pageUrl, publicBase) {
  return commandsFor(url, pageUrl, publicBase).map(commandRow);
}

function commandRow([label, text]) {
  const row = element("div", "command");
  const button = element("button", "quiet", "Copy");
  button.type = "button";
  button.setAttribute("aria-label", `Copy: ${label}`);
  const code = element("code", "", text);
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text, code)) ? "Copied" : "Press Ctrl+C";
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
  row.append(element("span", "caption", label), code, button);
  return row;
}

/** Copies the text; where the clipboard is closed to the page (plain http), the old way; failing that, it stays selected. */
async function copy(text, shownIn) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection().selectAllChildren(shownIn);
    return document.execCommand("copy");
  }
}

/** An element with a class and a text. */
export function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

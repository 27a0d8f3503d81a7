// Keys that work anywhere on the page, and the list of all of them.

import { $ } from "./dom.js";

/** `acts`: grid() puts the focus into the grid. */
export function listen(acts) {
  const list = $("keys");
  const show = () => { if (!list.open) list.showModal(); };
  $("keys-open").addEventListener("click", show);
  $("keys-close").addEventListener("click", () => list.close());
  list.addEventListener("click", (event) => { if (event.target === list) list.close(); });
  $("words").addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" || event.altKey) return;
    event.preventDefault();
    acts.grid();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isWriting(event.target)) return;
    if (event.key === "?" && !$("login").open) { event.preventDefault(); show(); }
    if (event.key === "/" && !document.querySelector("dialog[open]") && !$("search").hidden) {
      event.preventDefault();
      $("words").focus();
      $("words").select();
    }
  });
}

const isWriting = (element) => element.closest("input:not([type=checkbox]):not([type=range]), select, textarea") !== null;

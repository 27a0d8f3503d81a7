// Elements from code. Everything that comes from data becomes text or a property, never markup.

/** An element: h("button", {class: "plain", onclick: f, "aria-label": "…"}, "text", child). */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.className = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const $ = (id) => document.getElementById(id);

/** A message at the bottom, perhaps with something to do about it; it stays for a while. */
export function toast(message, action = null, seconds = 12) {
  const line = h("div", { class: "toast" }, h("p", { dir: "auto" }, message));
  const end = () => line.remove();
  if (action) line.append(h("button", { type: "button", onclick: () => { end(); action.run(); } }, action.label));
  line.append(h("button", { type: "button", "aria-label": "Close this message", onclick: end }, "✕"));
  for (const other of [...$("toasts").children]) if (other.querySelector("p").textContent === message) other.remove(); // said once
  $("toasts").append(line);
  let timer = setTimeout(end, seconds * 1000);
  line.addEventListener("pointerenter", () => clearTimeout(timer));
  line.addEventListener("focusin", () => clearTimeout(timer));
  line.addEventListener("pointerleave", () => { timer = setTimeout(end, 4000); });
}

export const plural = (count, one, many = one + "s") => `${count.toLocaleString()} ${count === 1 ? one : many}`;

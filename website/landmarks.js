// What the theme leaves to be named or reached by keyboard. It adds some of it late, so changes are watched.
const used = new Set(Array.from(document.querySelectorAll("nav[aria-label]"), (nav) => nav.ariaLabel));
const named = (words) => {
  let name = words;
  for (let count = 2; used.has(name); count += 1) name = `${words} ${count}`;
  used.add(name);
  return name;
};
const mend = () => {
  for (const copy of document.querySelectorAll("nav.md-code__nav:not([aria-label])")) copy.ariaLabel = named("Code");
  for (const nav of document.querySelectorAll("nav.md-nav[aria-labelledby]")) {
    nav.ariaLabel = named(document.getElementById(nav.getAttribute("aria-labelledby")).textContent.trim());
    nav.removeAttribute("aria-labelledby");
  }
  for (const wide of document.querySelectorAll(".md-typeset__scrollwrap:not([tabindex])")) wide.tabIndex = 0;
};
mend();
new MutationObserver(mend).observe(document.body, { childList: true, subtree: true });

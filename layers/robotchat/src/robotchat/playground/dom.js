/** Making elements. Text is only ever put in as text: there is no way here to put in markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element with properties and children. `on` holds listeners by event; the names of attributes are
 * HTML's; `true` sets an attribute without a value, and what is false or null is left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name === "value" || name === "checked" || name === "disabled") {
      element[name] = value;
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false));
  // What a select holds is there only now.
  if (tag === "select" && "value" in properties) element.value = properties.value;
  return element;
}

/** Puts children in place of those that are there. */
export function fill(element, ...children) {
  const kept = document.activeElement;
  const action = element.contains(kept) && kept !== element ? kept.dataset.action : null;
  element.replaceChildren(...children.flat(3).filter(Boolean));
  if (action) element.querySelector(`[data-action="${CSS.escape(action)}"]`)?.focus();
  return element;
}

const PATHS = {
  talk: "M4 6.5A2.5 2.5 0 0 1 6.5 4h11A2.5 2.5 0 0 1 20 6.5v7a2.5 2.5 0 0 1-2.5 2.5H11l-4.5 4v-4A2.5 2.5 0 0 1 4 13.5z",
  jobs: "M4 6h16M4 12h16M4 18h10",
  operate: "M4 7h9m5 0h2M4 17h2m5 0h9M13 4.5v5M8.5 14.5v5",
  docs: "M5 4.5h9.5L19 9v10.5H5zM14 4.5V9h5M8.5 13h7m-7 3h5",
  plus: "M12 5v14M5 12h14",
  send: "M5 12h13M12.5 6.5 18 12l-5.5 5.5",
  stop: "M7 7h10v10H7z",
  image: "M4.5 5h15v14h-15zM4.5 16l4.5-4.5 4 4 2.5-2.5 4 4M15 9.2h.01",
  settings: "M5 7h6m4 0h4M5 12h10m4 0h0M5 17h3m4 0h7M13 5v4M17 10v4M10 15v4",
  close: "M6 6l12 12M18 6 6 18",
  branch: "M7 5v14M7 9h6a4 4 0 0 1 4 4v2m-2.5-2.5L17 15l2.5-2.5",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  code: "M9 7l-5 5 5 5M15 7l5 5-5 5",
  open: "M14 5h5v5M19 5l-8 8M17 14v5H5V7h5",
  trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10.5 11v5m3-5v5",
  seed: "M12 20v-8m0 0c0-4 3-6 7-6 0 4-3 6-7 6zm0 2c0-3-2.5-5-6-5 0 3 2.5 5 6 5z",
  menu: "M4 7h16M4 12h16M4 17h16",
  moon: "M19 14.5A7.5 7.5 0 0 1 9.5 5a7.5 7.5 0 1 0 9.5 9.5z",
  sun: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 3v1.5m0 15V21M3 12h1.5m15 0H21M5.6 5.6l1.1 1.1m10.6 10.6 1.1 1.1M5.6 18.4l1.1-1.1M17.3 6.7l1.1-1.1",
  leave: "M14 5H6v14h8M10 12h10m-3.5-3.5L20 12l-3.5 3.5",
  copy: "M9 9h10v10H9zM15 9V5H5v10h4",
  key: "M14.5 5a4.5 4.5 0 1 1-4 6.5L4 18v2h3v-2h2v-2h2l1-1.3M15.5 9h.01",
  info: "M12 4a8 8 0 1 0 0 16 8 8 0 0 0 0-16zM12 11v5M12 8h.01",
};

/** A small picture beside or in place of words; screen readers are not told of it. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** A button with an icon and its name in words, or with the icon alone (`bare`). */
export function button(name, label, press, { bare = false, kind = "", action = name, ...more } = {}) {
  return h(
    "button",
    {
      type: "button",
      class: `button ${bare ? "bare" : ""} ${kind}`,
      "aria-label": bare ? label : null,
      title: bare ? label : null,
      "data-action": action,
      on: { click: press },
      ...more,
    },
    icon(name),
    bare ? null : h("span", {}, label),
  );
}

/** A dialog over the page, with a heading and a way to close it; gives the element. */
export function dialog(title, closeLabel, ...children) {
  const element = h(
    "dialog",
    { class: "dialog", "aria-label": title, on: { close: () => element.remove() } },
    h(
      "header",
      {},
      h("h2", {}, title),
      button("close", closeLabel, () => element.close(), { bare: true }),
    ),
    h("div", { class: "body" }, children),
  );
  element.addEventListener("click", (event) => event.target === element && element.close());
  document.body.append(element);
  element.showModal();
  return element;
}

/** Asks before something that cannot be undone; resolves to whether it is meant. */
export function confirmed(question, yes, no) {
  return new Promise((resolve) => {
    const box = dialog(
      question,
      no,
      h(
        "div",
        { class: "row end" },
        h("button", { type: "button", class: "button", "data-action": "no", on: { click: () => box.close() } }, no),
        h(
          "button",
          {
            type: "button",
            class: "button danger",
            "data-action": "yes",
            on: { click: () => (box.returnValue = "yes", box.close("yes")) },
          },
          yes,
        ),
      ),
    );
    box.addEventListener("close", () => resolve(box.returnValue === "yes"));
  });
}

let shown = null;

/** Says something in passing, aloud to screen readers as well. */
export function notify(text, kind = "") {
  const place = document.getElementById("notices");
  if (!place) return;
  const note = h("p", { class: `notice ${kind}` }, text);
  shown?.remove();
  shown = note;
  place.append(note);
  setTimeout(() => note.remove(), kind === "bad" ? 9000 : 4000);
}

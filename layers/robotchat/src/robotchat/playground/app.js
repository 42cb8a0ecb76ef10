/** The page: its frame, which of its views is shown, and who is signed in. */

import { call, key, Refused } from "./api.js";
import { button, fill, h, icon, notify } from "./dom.js";
import { language, speak, t } from "./i18n.js";
import { jobs } from "./jobs.js";
import { operate } from "./operate.js";
import { talk } from "./talk.js";
import { followSystem, otherTheme, wear } from "./theme.js";

key.take();

const VIEWS = { talk, jobs, operate };
const root = document.getElementById("app");

const session = { admin: false, tenant: "" };
let view = "talk";
let leaving = null;

/** What went wrong, said to the user; a key that is not valid any more leads back to the door. */
export function report(error) {
  if (error?.name === "AbortError") return;
  if (error instanceof Refused && error.status === 401) {
    key.forget();
    show(t("keyRefused"));
  } else if (error instanceof Refused) {
    notify(t("refused", { message: error.message, code: error.code }), "bad");
  } else if (error instanceof TypeError && /fetch|network/i.test(error.message)) {
    notify(t("offline"), "bad");
  } else {
    notify(String(error?.message ?? error), "bad");
    console.error(error);
  }
}

async function enter() {
  const [usage, config] = await Promise.allSettled([call("/v1/usage"), call("/v1/config")]);
  if (usage.status === "rejected" && usage.reason.status !== 403) throw usage.reason;
  session.tenant = usage.value?.tenant ?? "";
  session.admin = config.status === "fulfilled";
}

function door(problem = "") {
  const field = h("input", {
    id: "key", type: "password", autocomplete: "off", spellcheck: "false", required: true,
    placeholder: "rk_…", "aria-describedby": "key-help key-problem",
  });
  const submit = async (event) => {
    event.preventDefault();
    if (!field.value.trim()) return;
    key.set(field.value.trim());
    await open();
  };
  return h("main", { class: "door" },
    h("form", { class: "card", on: { submit } },
      h("div", { class: "brand big" }, h("img", { src: new URL("icon.svg", import.meta.url).href, alt: "" }), h("h1", {}, "robotchat")),
      h("p", { class: "quiet" }, t("tagline")),
      h("label", { for: "key" }, t("apiKey")),
      field,
      h("p", { id: "key-help", class: "quiet small" }, t("signInText")),
      h("p", { id: "key-problem", class: "problem", role: "alert" }, problem),
      h("button", { type: "submit", class: "button primary", "data-action": "sign-in" }, icon("key"), h("span", {}, t("signIn"))),
      h("div", { class: "row between" }, languageButton(), themeButton()),
    ),
  );
}

const languageButton = () =>
  h("button", {
    type: "button", class: "button bare wide", "data-action": "language", lang: language === "en" ? "zh" : "en",
    title: t("languageHint"), on: { click: () => (speak(language === "en" ? "zh" : "en"), show()) },
  }, t("language"));

const themeButton = () => {
  const next = otherTheme();
  return button(next === "dark" ? "moon" : "sun", t(next), () => (wear(next), show()), { bare: true, action: "theme" });
};

function frame() {
  const names = Object.keys(VIEWS).filter((name) => name !== "operate" || session.admin);
  const tab = (name) =>
    h("a", {
      href: `#${name}`, class: "tab", "aria-current": name === view ? "page" : null, "data-action": `tab-${name}`,
      on: { click: (event) => (event.preventDefault(), go(name)) },
    }, icon(name), h("span", {}, t(name)));
  return [
    h("a", { class: "skip", href: "#main", on: { click: (event) => (event.preventDefault(), document.getElementById("main").focus()) } }, t("skip")),
    h("header", { class: "top" },
      h("div", { class: "brand" }, h("img", { src: new URL("icon.svg", import.meta.url).href, alt: "" }), h("strong", {}, "robotchat")),
      h("nav", { "aria-label": t("menu") }, names.map(tab)),
      h("div", { class: "tools" },
        h("a", { class: "button bare", href: new URL("reference.html", import.meta.url).href, "aria-label": t("reference"), title: t("reference"), "data-action": "reference" }, icon("docs")),
        languageButton(),
        themeButton(),
        button("leave", t("leave"), () => (key.forget(), show()), { bare: true }),
      ),
    ),
    h("main", { id: "main", tabindex: "-1", class: `view ${view}` }),
  ];
}

/** Draws the page anew: after signing in, in another language, or with another view. */
function show(problem = "") {
  leaving?.abort();
  leaving = new AbortController();
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = key.get() ? `${t(view)} · robotchat` : "robotchat";
  const notices = document.getElementById("notices") ?? h("div", { id: "notices", role: "status", "aria-live": "polite" });
  if (!key.get()) {
    fill(root, door(problem), notices);
    document.getElementById("key").focus();
    return;
  }
  fill(root, frame(), notices);
  VIEWS[view](document.getElementById("main"), { session, signal: leaving.signal, report });
}

function go(name) {
  view = name in VIEWS && (name !== "operate" || session.admin) ? name : "talk";
  history.replaceState(null, "", `#${view}`);
  show();
  root.querySelector(`[data-action="tab-${view}"]`)?.focus();
}

async function open() {
  try {
    if (key.get()) await enter();
    const wanted = location.hash.slice(1);
    if (wanted in VIEWS && (wanted !== "operate" || session.admin)) view = wanted;
    show();
  } catch (error) {
    if (!(error instanceof Refused && error.status === 401)) show();
    report(error);
  }
}

addEventListener("hashchange", () => {
  if (new URLSearchParams(location.hash.slice(1)).has("key")) {
    key.take();
    open();
  } else if (key.get()) {
    go(location.hash.slice(1));
  }
});

followSystem(() => show());
open();

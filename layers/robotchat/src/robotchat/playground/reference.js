/** The reference of the API: its OpenAPI document, readable. */

import { address, call } from "./api.js";
import { button, fill, h, icon } from "./dom.js";
import { language, speak, t } from "./i18n.js";
import { followSystem, otherTheme, wear } from "./theme.js";

const METHODS = ["get", "post", "put", "patch", "delete"];
const DEEPEST = 4;
const root = document.getElementById("app");
let api = null;

const resolved = (schema) => (schema?.$ref ? schema.$ref.slice(2).split("/").reduce((at, part) => at[part], api) : schema ?? {});

/** Text with `code` in it, in paragraphs. */
function prose(text) {
  return (text ?? "").split(/\n{2,}/).filter(Boolean).map((paragraph) =>
    h("p", {}, paragraph.replace(/\n/g, " ").split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part))));
}

/** A schema's type in a few words. */
function kindOf(schema) {
  const found = resolved(schema);
  if (found.const !== undefined) return JSON.stringify(found.const);
  if (found.enum) return found.enum.map((one) => JSON.stringify(one)).join(" | ");
  const several = found.anyOf ?? found.oneOf ?? found.allOf;
  if (several) return [...new Set(several.map(kindOf))].join(found.allOf ? " & " : " | ");
  if (found.type === "array") return `${kindOf(found.items)}[]`;
  if (Array.isArray(found.type)) return found.type.join(" | ");
  return schema?.$ref ? schema.$ref.split("/").at(-1) : found.format ? `${found.type} (${found.format})` : found.type ?? "any";
}

/** The objects that a schema may be, without the lists and alternatives around them. */
function objects(schema) {
  const found = resolved(schema);
  const inner = found.anyOf ?? found.oneOf ?? found.allOf ?? (found.items ? [found.items] : null);
  if (inner) return inner.flatMap(objects);
  return found.properties ? [found] : [];
}

const limits = (schema) =>
  [["minimum", "≥"], ["maximum", "≤"], ["maxLength", "≤"], ["maxItems", "≤"]]
    .filter(([name]) => schema[name] !== undefined).map(([name, sign]) => `${sign} ${schema[name]}${name === "maxLength" ? " characters" : ""}`);

function field(name, schema, required, depth) {
  const found = { ...resolved(schema), ...schema };
  const facts = [...limits(found)];
  if (found.default !== undefined && found.default !== null) facts.push(`= ${JSON.stringify(found.default)}`);
  const inner = depth < DEEPEST ? objects(schema) : [];
  return h("li", {}, h("div", {}, h("code", {}, h("strong", {}, name)), " ", h("span", { class: "quiet small" }, kindOf(schema), facts.length ? ` · ${facts.join(" · ")}` : "", " "),
    required ? h("span", { class: "badge" }, t("required")) : null), prose(found.description),
  inner.length ? h("details", {}, h("summary", { class: "small" }, t("itsFields")), inner.map((one) => properties(one, depth + 1))) : null);
}

const properties = (schema, depth = 1) =>
  h("ul", { class: "schema" }, Object.entries(schema.properties).map(([name, one]) => field(name, one, schema.required?.includes(name), depth)));

const contents = (content) =>
  Object.entries(content ?? {}).map(([kind, { schema, example }]) => {
    const found = objects(schema);
    return h("div", { class: "section" }, h("p", { class: "small quiet" }, h("code", {}, kind), " ", kindOf(schema)),
      found.map((one) => properties(one)), example ? h("pre", { tabindex: "0", "aria-label": t("exampleOf") }, JSON.stringify(example, null, 2)) : null);
  });

function operation(path, method, found) {
  const details = h("details", { on: { toggle: () => details.open && !details.dataset.made && make() } },
    h("summary", {}, t("details")));
  const make = () => {
    details.dataset.made = "yes";
    details.append(h("div", { class: "section" },
      found.parameters?.length ? [h("h4", {}, t("parameters")), h("ul", { class: "schema" }, found.parameters.map((one) => field(`${one.name} (${one.in})`, { ...one.schema, description: one.description ?? one.schema?.description }, one.required, 1)))] : null,
      found.requestBody ? [h("h4", {}, t("body")), contents(found.requestBody.content)] : null,
      h("h4", {}, t("answers")),
      Object.entries(found.responses).map(([status, one]) => {
        const answer = resolved(one);
        return h("details", {}, h("summary", {}, h("strong", {}, status), " ", h("span", { class: "quiet" }, answer.description)), contents(answer.content));
      })));
  };
  return h("article", { class: "card operation", id: found.operationId, "data-find": `${method} ${path} ${found.summary} ${found.operationId}`.toLowerCase() },
    h("h3", {}, h("span", { class: `method ${method}` }, method.toUpperCase()), h("code", {}, path)),
    h("p", {}, h("strong", {}, found.summary)), prose(found.description), details);
}

function shown() {
  const groups = new Map(api.tags.map(({ name }) => [name, []]));
  for (const [path, item] of Object.entries(api.paths)) {
    for (const method of METHODS) if (item[method]) groups.get(item[method].tags[0]).push([path, method, item[method]]);
  }
  const index = h("div", { class: "section" });
  const pages = h("main", { class: "pages", id: "main", tabindex: "-1" },
    h("div", { class: "section" }, h("h1", {}, `${api.info.title} ${api.info.version}`), prose(api.info.description), prose(t("referenceText"))));
  for (const [name, operations] of groups) {
    index.append(h("section", { class: "group" }, h("h2", {}, name), h("ul", {}, operations.map(([path, method, one]) =>
      h("li", { "data-find": `${method} ${path} ${one.summary} ${one.operationId}`.toLowerCase() }, h("a", { href: `#${one.operationId}` }, h("span", { class: `method ${method}` }, method.toUpperCase()), ` ${path}`))))));
    pages.append(h("section", { class: "group section" }, h("h2", {}, name), operations.map((one) => operation(...one))));
  }
  const search = h("input", { id: "search", type: "search", on: { input: () => narrow(search.value.trim().toLowerCase()) } });
  const narrow = (wanted) => {
    for (const one of root.querySelectorAll("[data-find]")) one.hidden = !one.dataset.find.includes(wanted);
    for (const group of root.querySelectorAll(".group")) group.hidden = !group.querySelector("[data-find]:not([hidden])");
  };
  return [
    h("div", { class: "reference" },
      h("nav", { class: "index", "aria-label": t("reference") },
        h("div", { class: "row between" }, h("a", { class: "brand", href: address("/") }, h("img", { src: address("/playground/icon.svg"), alt: "" }), h("strong", {}, "robotchat")),
          h("div", { class: "row" },
            h("button", { type: "button", class: "button bare", "data-action": "language", lang: language === "en" ? "zh" : "en", on: { click: () => (speak(language === "en" ? "zh" : "en"), show()) } }, t("language")),
            button(otherTheme() === "dark" ? "moon" : "sun", t(otherTheme()), () => (wear(otherTheme()), show()), { bare: true, action: "theme" }))),
        h("a", { class: "button", href: address("/openapi.json") }, icon("docs"), "openapi.json"),
        h("label", { for: "search" }, t("search")), search, index),
      pages),
  ];
}

function show() {
  document.documentElement.lang = language === "zh" ? "zh-CN" : "en";
  document.title = `robotchat · ${t("reference")}`;
  fill(root, shown());
  aim();
}

/** Opens what the address names. */
function aim() {
  const wanted = document.getElementById(location.hash.slice(1));
  if (!wanted) return;
  wanted.querySelector("details").open = true;
  wanted.scrollIntoView();
}

addEventListener("hashchange", aim);
followSystem(() => api && show());
fill(root, h("p", { class: "quiet" }, t("loading")));
try {
  api = await call("/openapi.json");
  show();
} catch {
  fill(root, h("p", { class: "problem", role: "alert" }, t("offline")));
}

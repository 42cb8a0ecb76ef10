/** The settings for the next picture: what the hosts have, and what was chosen of it. */

import { call } from "./api.js";
import { button, h } from "./dom.js";
import { t } from "./i18n.js";

const STORED = "robotchat.settings";
const SIZES = { "512x512": "square", "512x768": "portrait", "768x512": "landscape", "1024x1024": "square" };
const EMPTY = { checkpoint: "", sampler: "", steps: "", size: "", cfg: "", strength: "", seed: "", lora: "", loraWeight: "0.8", negative: "", model: "" };

let chosen = { ...EMPTY, ...JSON.parse(sessionStorage.getItem(STORED) ?? "{}") };
let offered = null;

/** What there is to choose from; empty lists where nobody answers. */
async function offers() {
  const ask = async (path, names) => {
    try {
      return names(await call(path));
    } catch {
      return []; // no host answers, or the key may not ask: the hosts' own choice remains
    }
  };
  const [checkpoints, samplers, loras, models] = await Promise.all([
    ask("/sdapi/v1/sd-models", (found) => found.map((one) => one.model_name)),
    ask("/sdapi/v1/samplers", (found) => found.map((one) => one.name)),
    ask("/sdapi/v1/loras", (found) => found.map((one) => one.name)),
    ask("/v1/models", (found) => found.data.map((one) => one.id)),
  ]);
  return { checkpoints, samplers, loras, models };
}

/** The A1111 fields that were chosen. */
export function drawing({ changing }) {
  const fields = {};
  if (chosen.steps) fields.steps = Number(chosen.steps);
  if (chosen.sampler) fields.sampler_name = chosen.sampler;
  if (chosen.cfg) fields.cfg_scale = Number(chosen.cfg);
  if (chosen.seed !== "") fields.seed = Number(chosen.seed);
  if (chosen.negative.trim()) fields.negative_prompt = chosen.negative.trim();
  if (chosen.size) [fields.width, fields.height] = chosen.size.split("x").map(Number);
  if (changing && chosen.strength) fields.denoising_strength = Number(chosen.strength);
  if (chosen.checkpoint) fields.override_settings = { sd_model_checkpoint: chosen.checkpoint };
  return fields;
}

/** The message with the LoRA that was chosen, unless the picture before has it in its prompt. */
export function withLora(message, before) {
  const tag = chosen.lora && `<lora:${chosen.lora}:${Number(chosen.loraWeight) || 1}>`;
  return tag && !before?.includes(tag) ? `${message} ${tag}` : message;
}

export const languageModel = () => chosen.model || undefined;

export function keepSeed(seed) {
  set("seed", String(seed));
}

function set(name, value) {
  chosen[name] = value;
  sessionStorage.setItem(STORED, JSON.stringify(chosen));
  const field = document.getElementById(`set-${name}`);
  if (field && field.value !== value) field.value = value;
}

const labelled = (name, field) => h("div", { class: "field" }, h("label", { for: `set-${name}` }, t(name === "model" ? "languageModel" : name)), field);

function choice(name, options, empty) {
  const shown = options.map((one) => (Array.isArray(one) ? one : [one, one]));
  const known = !chosen[name] || shown.some(([value]) => value === chosen[name]);
  return labelled(name, h("select", {
    id: `set-${name}`, value: chosen[name], on: { change: (event) => set(name, event.target.value) },
  }, h("option", { value: "" }, empty), known ? null : h("option", { value: chosen[name] }, chosen[name]),
  shown.map(([value, text]) => h("option", { value }, text))));
}

const number = (name, limits, placeholder) =>
  labelled(name, h("input", {
    id: `set-${name}`, type: "number", value: chosen[name], placeholder, ...limits,
    on: { input: (event) => event.target.validity.valid && set(name, event.target.value) },
  }));

/** The panel's content, once the hosts have said what they have. */
export async function panel() {
  offered ??= await offers();
  if (!offered.checkpoints.length) {
    const now = offered;
    offered = null; // asked again next time
    return fields(now);
  }
  return fields(offered);
}

function fields({ checkpoints, samplers, loras, models }) {
  const sizes = Object.entries(SIZES).map(([size, shape]) => [size, `${t(shape)} · ${size.replace("x", " × ")}`]);
  return [
    h("p", { class: "quiet small" }, t("settingsText")),
    choice("checkpoint", checkpoints, t("hostDefault")),
    choice("sampler", samplers, t("hostDefault")),
    choice("size", sizes, t("hostDefault")),
    h("div", { class: "pair" }, number("steps", { min: 1, max: 150 }, "20"), number("cfg", { min: 1, max: 30, step: 0.5 }, "7")),
    h("div", { class: "pair" }, number("seed", { min: -1, max: 4294967295 }, t("random")), number("strength", { min: 0, max: 1, step: 0.05 }, "0.75")),
    h("div", { class: "pair" }, choice("lora", loras, t("none")), number("loraWeight", { min: -2, max: 2, step: 0.1 }, "0.8")),
    labelled("negative", h("input", { id: "set-negative", type: "text", value: chosen.negative, maxlength: 500, on: { input: (event) => set("negative", event.target.value) } })),
    models.length ? choice("model", models, t("serviceDefault")) : null,
    button("retry", t("reset"), () => { for (const name of Object.keys(EMPTY)) set(name, EMPTY[name]); }, { action: "reset-settings" }),
  ];
}

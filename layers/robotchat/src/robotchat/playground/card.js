/** A job as a card: how far it is, its pictures, its prompt, and what can be done with it. */

import { call, follow, isFinal } from "./api.js";
import { button, fill, h } from "./dom.js";
import { t } from "./i18n.js";

/** What a job is doing, in words. */
export function doing(job) {
  const said = [t(job.status)];
  if (job.reason) said.push(t(job.reason));
  if (job.status === "running" && job.progress > 0) said[0] += ` ${Math.round(job.progress * 100)} %`;
  if (job.status === "queued" && job.queue_position) said.push(t("position", { position: job.queue_position }));
  if (!isFinal(job.status) && job.eta > 0) said.push(t("about", { seconds: Math.ceil(job.eta) }));
  return said.join(" · ");
}

export const sizeOf = (job) => {
  const [first] = job.images;
  if (first) return `${first.width} × ${first.height}`;
  return job.request.width ? `${job.request.width} × ${job.request.height}` : "";
};

/** What it was drawn with, in a line. */
export function drawnWith(job) {
  const { request } = job;
  const parts = [job.checkpoint, request.sampler_name, request.steps && `${request.steps} ${t("steps")}`, sizeOf(job)];
  const seed = job.images[0]?.seed ?? request.seed;
  if (seed !== undefined && seed !== null && seed !== -1) parts.push(`${t("seed")} ${seed}`);
  return parts.filter(Boolean).join(" · ");
}

export const imagesOf = (job, { large = true } = {}) =>
  job.images.map((image) =>
    image.url
      ? h("a", { href: image.url, target: "_blank", rel: "noopener", class: "image", "data-action": "image" },
          h("img", {
            src: image.url, alt: t("image", { prompt: job.prompt ?? job.message ?? "" }),
            width: image.width, height: image.height, loading: large ? null : "lazy",
          }))
      : h("p", { class: "quiet" }, t("gone")));

/**
 * A card that follows its job. `actions` gives the buttons for a job that has ended, beside those that
 * every job has; `changed` is told of each piece of news.
 */
export class Card {
  constructor(job, { signal, report, actions, changed = () => {} }) {
    this.job = job;
    this.context = { signal, report, actions, changed };
    this.bar = h("progress", { max: 1, "aria-label": t("progress") });
    this.status = h("p", { class: "status" });
    this.shown = h("div", { class: "images" });
    this.words = h("div", { class: "words" });
    this.buttons = h("div", { class: "row wrap" });
    this.element = h("article", { class: "card job", "data-job": job.id }, this.shown, this.bar, this.status, this.words, this.buttons);
    this.keys = {};
    this.update(job);
  }

  /** Follows the job to its end, unless it has ended. */
  async follow() {
    if (isFinal(this.job.status)) return;
    try {
      await follow(this.job, (job) => this.update(job), this.context.signal);
    } catch (error) {
      this.context.report(error);
    }
  }

  update(job) {
    this.job = job;
    const final = isFinal(job.status);
    this.element.dataset.status = job.status;
    this.bar.hidden = final;
    // A bar without a value says that something goes on, but not how far it is.
    if (job.status === "running" && job.progress > 0) this.bar.value = job.progress;
    else this.bar.removeAttribute("value");
    this.status.textContent = doing(job) + (job.turn ? ` · ${t("turn", { turn: job.turn })}` : "");
    this.once("images", [final, job.images.map((image) => image.sha256)], () => {
      fill(this.shown, final ? imagesOf(job) : this.shown.querySelector(".preview") ?? h("div", { class: "blank" }));
    });
    if (!final && job.preview) this.preview(job.preview);
    this.once("words", [job.prompt, job.negative_prompt, job.prompt_source, job.reply, job.error, final], () => fill(this.words, this.told()));
    this.once("buttons", [job.status, Boolean(job.links.retry)], () => fill(this.buttons, this.offered()));
    this.context.changed(job);
  }

  once(name, state, make) {
    const now = JSON.stringify(state);
    if (this.keys[name] === now) return;
    this.keys[name] = now;
    make();
  }

  preview(url) {
    // The next one takes the place of the last one when it is there: nothing flickers.
    const image = h("img", { class: "preview", src: url, alt: t("preview") });
    image.addEventListener("load", () => {
      if (isFinal(this.job.status)) return;
      fill(this.shown, image);
      this.context.changed(this.job); // the card has grown
    });
  }

  told() {
    const { job } = this;
    return [
      job.reply && h("p", { class: "reply" }, job.reply),
      job.error && h("p", { class: "problem" }, `${job.error.message} `, h("code", {}, job.error.code)),
      job.prompt && h("dl", { class: "prompt" },
        h("dt", {}, t("prompt"), " ", job.prompt_source && h("span", { class: `badge ${job.prompt_source}` }, t("writtenBy", { who: t(job.prompt_source) }))),
        h("dd", {}, job.prompt),
        job.negative_prompt ? [h("dt", {}, t("negative")), h("dd", {}, job.negative_prompt)] : null),
      job.images.length ? h("p", { class: "quiet small" }, drawnWith(job)) : null,
    ];
  }

  offered() {
    const { job } = this;
    if (!isFinal(job.status)) return [button("stop", t("cancel"), () => this.act("cancel"), { action: "cancel-job" })];
    return [
      job.links.retry && button("retry", t("retry"), () => this.act("retry"), { action: "retry-job" }),
      ...this.context.actions(job),
    ];
  }

  async act(verb) {
    try {
      const job = await call(`/v1/jobs/${this.job.id}/${verb}`, { method: "POST" });
      this.update({ ...this.job, ...job });
      if (verb === "retry") await this.follow();
    } catch (error) {
      this.context.report(error);
    }
  }
}

/** Jobs: a table that follows by itself, and what can be done with each. */

import { call, changed, isFinal, repeat } from "./api.js";
import { button, confirmed, dialog, fill, h, notify } from "./dom.js";
import { moment, seconds, t } from "./i18n.js";
import { doing, drawnWith, imagesOf } from "./card.js";

const PHASES = ["queued", "prompt", "host_wait", "run", "store"];
const STATES = ["queued", "running", "succeeded", "failed", "canceled", "expired"];
const LOOK_EVERY = 2;

export async function jobs(main, context) {
  await new View(main, context).follow();
}

class View {
  constructor(main, { signal, report }) {
    Object.assign(this, { signal, report, rows: new Map(), status: "", limit: 20, known: {} });
    this.body = h("tbody");
    this.empty = h("p", { class: "quiet" }, t("loading"));
    this.further = button("plus", t("more"), () => ((this.limit = Math.min(this.limit + 20, 100)), this.look(true)), { action: "more" });
    this.further.hidden = true;
    const filter = h("select", { id: "filter", on: { change: () => ((this.status = filter.value), this.look(true)) } },
      h("option", { value: "" }, t("all")), STATES.map((one) => h("option", { value: one }, t(one))));
    fill(main,
      h("div", { class: "row between wrap" }, h("div", {}, h("h1", {}, t("jobs")), h("p", { class: "quiet" }, t("jobsText"))),
        h("div", { class: "row" }, h("label", { for: "filter" }, t("status")), filter)),
      h("div", { class: "table", role: "region", "aria-label": t("jobs"), tabindex: "0" }, h("table", {},
        h("thead", {}, h("tr", {}, [t("imageColumn"), t("request"), t("status"), t("made"), t("time"), t("actions")].map((name) => h("th", { scope: "col" }, name)))),
        this.body)),
      this.empty, this.further);
  }

  async follow() {
    await repeat(LOOK_EVERY, this.signal, () => this.look());
  }

  async look(again = false) {
    if (again) this.known = {};
    const filter = this.status ? `&status=${this.status}` : "";
    try {
      const found = await changed(`/v1/jobs?limit=${this.limit}${filter}`, this.known);
      if (!found || this.signal.aborted) return;
      this.further.hidden = !found.next_cursor || this.limit >= 100;
      this.empty.hidden = found.data.length > 0;
      this.empty.textContent = t("nothing");
      this.show(found.data);
    } catch (error) {
      this.report(error);
    }
  }

  show(found) {
    const before = this.rows;
    this.rows = new Map();
    for (const job of found) {
      // Links are others at each read; what is shown of a job changes with its state only.
      const { images, preview, ...rest } = job;
      const state = JSON.stringify([rest, images.length, Boolean(preview)]);
      const old = before.get(job.id);
      this.rows.set(job.id, old?.state === state ? old : { state, row: this.row(job) });
    }
    fill(this.body, [...this.rows.values()].map(({ row }) => row));
  }

  row(job) {
    const cell = (name, ...children) => h("td", { "data-label": name }, children);
    const final = isFinal(job.status);
    return h("tr", { "data-job": job.id },
      cell(t("imageColumn"), h("div", { class: "thumbs" }, imagesOf(job, { large: false }).slice(0, 4))),
      cell(t("request"), h("strong", { class: "clip" }, job.message ?? job.request.prompt ?? job.prompt ?? ""), h("small", { class: "quiet clip" }, t(job.kind))),
      cell(t("status"), h("span", { class: `badge ${job.status}` }, doing(job)), job.error ? h("small", { class: "problem clip" }, job.error.message) : null,
        job.status === "running" ? h("progress", { max: 1, value: job.progress, "aria-label": t("progress") }) : null),
      cell(t("made"), moment(job.created_at)),
      cell(t("time"), phases(job.timings)),
      cell(t("actions"), h("div", { class: "row" },
        button("info", t("details"), () => this.details(job.id), { bare: true, action: `details-${job.id}` }),
        final ? null : button("stop", t("cancel"), () => this.act(job, "cancel"), { bare: true, action: `cancel-${job.id}` }),
        job.links.retry ? button("retry", t("retry"), () => this.act(job, "retry"), { bare: true, action: `retry-${job.id}` }) : null,
        final ? button("trash", t("delete"), () => this.remove(job), { bare: true, action: `delete-${job.id}` }) : null)));
  }

  async act(job, verb) {
    try {
      await call(`/v1/jobs/${job.id}/${verb}`, { method: "POST" });
      await this.look(true);
    } catch (error) {
      this.report(error);
    }
  }

  async remove(job) {
    if (!(await confirmed(t("deleteJobSure"), t("delete"), t("cancel")))) return;
    try {
      await call(`/v1/jobs/${job.id}`, { method: "DELETE" });
      notify(t("deleted"));
      await this.look(true);
    } catch (error) {
      this.report(error);
    }
  }

  async details(id) {
    try {
      const [job, { data }] = await Promise.all([call(`/v1/jobs/${id}`), call(`/v1/webhook-deliveries?job_id=${id}`)]);
      const line = (name, value) => (value === null || value === undefined || value === "" ? null : [h("dt", {}, name), h("dd", {}, value)]);
      dialog(job.message ?? t(job.kind), t("close"),
        h("div", { class: "images small" }, imagesOf(job)),
        h("dl", { class: "facts" },
          line(t("status"), h("span", { class: `badge ${job.status}` }, doing(job))),
          line(t("error"), job.error && [`${job.error.message} `, h("code", {}, job.error.code)]),
          line(t("prompt"), job.prompt), line(t("writtenBy"), job.prompt_source && t(job.prompt_source)),
          line(t("negative"), job.negative_prompt), line(t("fields"), drawnWith(job)), line(t("host"), job.host),
          line(t("cost"), job.cost), line(t("attempts"), t("attempt", { attempt: job.attempt, most: job.max_attempts })), line(t("id"), h("code", {}, job.id))),
        phases(job.timings),
        h("h3", {}, t("deliveries")), deliveries(data, this.report));
    } catch (error) {
      this.report(error);
    }
  }
}

/** Where the time went: a bar, and the same in words. */
export function phases(timings) {
  const spent = PHASES.filter((name) => timings[name] !== null && timings[name] !== undefined).map((name) => [name, timings[name]]);
  if (!spent.length) return h("span", { class: "quiet" }, "–");
  const bar = h("div", { class: "phases", "aria-hidden": "true" }, spent.map(([name, value]) => {
    const part = h("span", { class: name, title: `${t(`phase_${name}`)} ${seconds(value)}` });
    part.style.flexGrow = Math.max(value, 0.01);
    return part;
  }));
  const total = spent.reduce((sum, [, value]) => sum + value, 0);
  return h("div", { class: "spent" }, h("strong", {}, seconds(total)), bar,
    h("small", { class: "quiet" }, spent.filter(([, value]) => value >= 0.05).map(([name, value]) => `${t(`phase_${name}`)} ${seconds(value)}`).join(" · ")));
}

/** Webhook deliveries, each of which can be sent again. */
export function deliveries(found, report) {
  if (!found.length) return h("p", { class: "quiet" }, t("noDeliveries"));
  const again = async (one) => {
    try {
      await call(`/v1/webhook-deliveries/${one.id}/redeliver`, { method: "POST" });
      notify(t("redelivered"));
    } catch (error) {
      report(error);
    }
  };
  return h("div", { class: "table", role: "region", "aria-label": t("deliveries"), tabindex: "0" }, h("table", {},
    h("thead", {}, h("tr", {}, ["event", "receiver", "state", "attempts", "actions"].map((name) => h("th", { scope: "col" }, t(name))))),
    h("tbody", {}, found.map((one) => {
      const last = one.attempts.at(-1);
      return h("tr", {},
        h("td", { "data-label": t("event") }, h("code", {}, one.type), h("small", { class: "quiet" }, moment(one.created_at))),
        h("td", { "data-label": t("receiver") }, h("span", { class: "clip" }, one.url)),
        h("td", { "data-label": t("state") }, h("span", { class: `badge ${one.state}` }, t(one.state)), last ? h("small", { class: "quiet" }, String(last.status ?? last.error)) : null),
        h("td", { "data-label": t("attempts") }, String(one.attempt_count)),
        h("td", { "data-label": t("actions") }, button("retry", t("redeliver"), () => again(one), { action: `redeliver-${one.id}` })));
    }))));
}

/** Operate: hosts, queues, tenants with their keys, deliveries and dead letters; for keys with `admin`. */

import { call, repeat } from "./api.js";
import { button, confirmed, fill, h, notify } from "./dom.js";
import { bytes, moment, seconds, t } from "./i18n.js";
import { deliveries } from "./jobs.js";

const LOOK_EVERY = 4;
const SCOPES = ["images", "chat", "jobs:read", "admin"];
const LIVES = [["", "forever"], [String(30 * 86400), "days30"], [String(90 * 86400), "days90"], [String(365 * 86400), "days365"]];

export async function operate(main, context) {
  const view = new View(main, context);
  await Promise.all([view.follow(), view.tenants(), view.keys(), view.delivered()]);
}

const table = (label, names, rows) =>
  rows.length
    ? h("div", { class: "table", role: "region", "aria-label": label, tabindex: "0" }, h("table", {},
        h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name)))),
        h("tbody", {}, rows.map((cells) => h("tr", {}, cells.map((cell, at) => h("td", { "data-label": names[at] }, cell)))))))
    : h("p", { class: "quiet" }, t("nothing"));

const badge = (state) => h("span", { class: `badge ${state}` }, t(state));
const short = (value) => (value === null || value === undefined ? "∞" : value.toLocaleString());

class View {
  constructor(main, { session, signal, report }) {
    Object.assign(this, { session, signal, report, tenant: session.tenant });
    this.tiles = h("div", { class: "tiles" });
    const waiting = () => h("div", { class: "section" }, h("p", { class: "quiet" }, t("loading")));
    this.hosts = waiting();
    this.queues = waiting();
    this.who = waiting();
    this.secret = h("div", { role: "status" });
    this.held = waiting();
    this.sent = waiting();
    this.dead = h("div", { class: "section" }, h("p", { class: "quiet" }, t("deadText")));
    const section = (name, ...content) => h("section", { class: "section" }, h("h2", {}, t(name)), content);
    fill(main, h("h1", {}, t("operate")), this.tiles, section("hosts", this.hosts), section("queues", this.queues),
      section("tenants", this.who), section("keys", this.form(), this.secret, this.held),
      section("deliveries", this.sent), section("deadLetters", this.dead,
        h("div", { class: "row wrap" }, button("info", t("lookDead"), () => this.letters(), { action: "look-dead" }),
          button("retry", t("redrive"), () => this.redrive(), { action: "redrive" }))));
  }

  async attempt(work) {
    try {
      return await work();
    } catch (error) {
      if (!this.signal.aborted) this.report(error);
      return null;
    }
  }

  follow() {
    return repeat(LOOK_EVERY, this.signal, () => this.attempt(async () => {
      const [health, queues] = await Promise.all([call("/health"), call("/v1/queues")]);
      if (!this.signal.aborted) this.well(health, queues);
    }));
  }

  well(health, queues) {
    const named = Object.fromEntries(queues.data.map((queue) => [queue.name, queue]));
    const age = queues.oldest_job_at ? Math.max(0, (Date.now() - new Date(queues.oldest_job_at)) / 1000) : 0;
    const tile = (name, value, state = "") => h("div", { class: "card tile" }, h("strong", { class: state }, value), h("span", { class: "quiet" }, t(name)));
    const free = health.hosts.filter((host) => host.state === "free").length;
    fill(this.tiles, tile("service", t(health.status)), tile("freeHosts", `${free} / ${health.hosts.length}`), tile("waitingJobs", String(named.jobs.waiting + named.jobs.delayed)),
      tile("oldestJob", queues.oldest_job_at ? seconds(age) : "–"), tile("deadLetters", String(named.dead_letters.waiting)), tile("languageModel", t(health.language_model ? "yesThere" : "none")));
    fill(this.hosts, table(t("hosts"), [t("host"), t("state"), t("checkpoint"), t("failures"), t("lastFailure")], health.hosts.map((host) => [
      h("code", {}, host.name), badge(host.state), host.checkpoint ?? "–", String(host.failures),
      host.last_failure ? [h("code", {}, host.last_failure.code), ` ${moment(host.last_failure.at)}`] : "–"])));
    fill(this.queues, table(t("queues"), [t("queue"), t("waiting"), t("delayed"), t("inWork")], queues.data.map((queue) => [
      t(`queue_${queue.name}`), String(queue.waiting), String(queue.delayed), String(queue.in_work)])));
  }

  tenants(cursor = "") {
    return this.attempt(async () => {
      const found = await call(`/v1/tenants?limit=20${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
      if (this.signal.aborted) return;
      const meter = (used, limit, shown = short) => h("div", { class: "meter" }, h("span", {}, `${shown(used)} / ${limit === null ? "∞" : shown(limit)}`),
        limit ? h("progress", { max: limit, value: Math.min(used, limit), "aria-hidden": "true" }) : null);
      fill(this.who, table(t("tenants"), [t("tenant"), t("activeJobs"), t("imagesToday"), t("stored"), t("costToday"), t("models"), t("actions")], found.data.map((one) => [
        h("strong", {}, one.tenant), meter(one.now.active_jobs, one.limits.active_jobs), meter(one.today.images, one.limits.images_per_day),
        meter(one.now.stored_bytes, one.limits.stored_bytes, bytes), String(one.today.cost), one.limits.checkpoints?.join(", ") ?? t("all"),
        button("key", t("keys"), () => this.choose(one.tenant), { action: `keys-tenant_${one.tenant}` })])),
      found.next_cursor ? button("plus", t("more"), () => this.tenants(found.next_cursor), { action: "more" }) : null);
    });
  }

  choose(tenant) {
    this.tenant = tenant;
    this.whose.value = tenant;
    fill(this.secret);
    this.whose.focus();
    return this.keys();
  }

  form() {
    this.whose = h("input", { id: "key-tenant", type: "text", required: true, pattern: "[A-Za-z0-9][A-Za-z0-9_.\\-]{0,63}", maxlength: 64, value: this.tenant, on: { change: () => this.whose.validity.valid && this.choose(this.whose.value) } });
    const name = h("input", { id: "key-name", type: "text", maxlength: 100 });
    const life = h("select", { id: "key-life" }, LIVES.map(([value, words]) => h("option", { value }, t(words))));
    const boxes = SCOPES.map((scope) => h("input", { type: "checkbox", value: scope, checked: scope !== "admin", id: `scope-${scope}` }));
    const field = (id, label, control) => h("div", { class: "field" }, h("label", { for: id }, t(label)), control);
    const submit = (event) => {
      event.preventDefault();
      const body = { name: name.value, scopes: boxes.filter((box) => box.checked).map((box) => box.value) };
      if (life.value) body.expires_in = Number(life.value);
      return this.attempt(async () => {
        this.tell(await call(`/v1/tenants/${encodeURIComponent(this.whose.value)}/keys`, { method: "POST", body }));
        name.value = "";
        await this.tenants();
      });
    };
    return h("form", { class: "card inline", on: { submit } },
      field("key-tenant", "tenant", this.whose), field("key-name", "keyName", name), field("key-life", "life", life),
      h("fieldset", { class: "modes" }, h("legend", { class: "small quiet" }, t("scopes")), boxes.map((box) => h("label", { class: "row", for: box.id }, box, box.value))),
      h("button", { type: "submit", class: "button primary", "data-action": "create-key" }, t("createKey")));
  }

  /** A secret is told once: it stays until another one is made, or the view is left. */
  tell({ key, secret }) {
    fill(this.secret, h("div", { class: "card section" }, h("p", {}, t("secretOnce", { tenant: key.tenant })), h("code", { class: "secret" }, secret),
      h("div", { class: "row" }, button("copy", t("copy"), () => navigator.clipboard.writeText(secret).then(() => notify(t("copied")), this.report), { action: "copy-secret" }))));
    this.tenant = this.whose.value = key.tenant;
    return this.keys();
  }

  keys() {
    return this.attempt(async () => {
      const { data } = await call(`/v1/tenants/${encodeURIComponent(this.tenant)}/keys`);
      if (this.signal.aborted) return;
      fill(this.held, table(t("keys"), [t("id"), t("state"), t("keyName"), t("scopes"), t("made"), t("ends"), t("actions")], data.map((key) => [
        h("code", {}, key.id), badge(key.state), key.name || "–", key.scopes.join(", "), moment(key.created_at), key.expires_at ? moment(key.expires_at) : t("forever"),
        key.state === "valid" ? h("div", { class: "row" }, button("retry", t("rotate"), () => this.rotate(key), { action: `rotate-${key.id}` }),
          button("trash", t("revoke"), () => this.revoke(key), { bare: true, action: `revoke-${key.id}` })) : "–"])));
    });
  }

  async rotate(key) {
    if (!(await confirmed(t("rotateSure"), t("rotate"), t("cancel")))) return;
    await this.attempt(async () => this.tell(await call(`/v1/tenants/${encodeURIComponent(key.tenant)}/keys/${key.id}/rotate`, { method: "POST", body: {} })));
  }

  async revoke(key) {
    if (!(await confirmed(t("revokeSure"), t("revoke"), t("cancel")))) return;
    await this.attempt(async () => {
      await call(`/v1/tenants/${encodeURIComponent(key.tenant)}/keys/${key.id}`, { method: "DELETE" });
      await this.keys();
    });
  }

  delivered() {
    return this.attempt(async () => {
      const { data } = await call("/v1/webhook-deliveries?limit=20");
      if (!this.signal.aborted) fill(this.sent, deliveries(data, this.report));
    });
  }

  letters() {
    return this.attempt(async () => this.show((await call("/v1/dead-letters")).data));
  }

  show(found) {
    fill(this.dead, table(t("deadLetters"), [t("id"), t("sent"), t("received"), t("tenant"), t("job"), t("why")], found.map((letter) => [
      h("code", {}, letter.id), moment(letter.sent_at), String(letter.receives), letter.tenant ?? "–", letter.job_id ? h("code", {}, letter.job_id) : "–", letter.reason])));
  }

  async redrive() {
    if (!(await confirmed(t("redriveSure"), t("redrive"), t("cancel")))) return;
    await this.attempt(async () => {
      const { data, refused } = await call("/v1/dead-letters/redrive", { method: "POST" });
      notify(t("redriven", { count: data.length, refused }));
      await this.letters();
    });
  }
}
